"""From text to the ids of its words, and back to the words that a person sees."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from apps.errors import InputError
from core import Ragged

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_WORDS = 50_000  # of a vocabulary: the most frequent ones
MOST_LETTERS = 100  # of a word that a file may name
MOST_CHARACTERS = 100_000  # of a text: seven times the longest review of IMDB
PADDING, UNKNOWN = 0, 1  # ids; the words of the vocabulary follow
SPECIAL = ("[PAD]", "[UNK]")

TAG = re.compile(r"</?[a-zA-Z!][^<>]{0,300}>")  # "<br />", and not "I <3 it"
_STRETCH = re.compile(r"([^\W\d_])\1{2,}")  # "soooo"
_STRETCHED = [letter * 3 for letter in ascii_lowercase]  # to look for these takes a third of the time of the pattern
_QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'", "“": '"', "”": '"', "\ufe0f": None})
# words, with "n't", "'s", "'ll" … apart, so that "isn't" and "wasn't" share their "not"; numbers; signs one by one
_WORD = r"\p{L}+?(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|[\p{L}\p{M}]+|\p{N}+|[^\s\p{L}\p{N}]"


def clean(text: str) -> str:
    """A text without HTML, of small letters, with plain quotation marks, and no letter more than twice in a row."""
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = TAG.sub(" ", text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    text = text.lower()
    if text.isascii() and not any(letters in text for letters in _STRETCHED):
        return text
    return _STRETCH.sub(r"\1\1", text)


class Words:
    """The words of a vocabulary, most frequent first, and the encoder that it makes of them.

    Called with N texts, it returns their ids, a `Ragged` of N sequences: 1 for unknown words, else 2 + the place of
    the word. The way from text to words is part of the program; a run saves the words alone.

    Raises ValueError where they are not distinct words.
    """

    def __init__(self, words: Sequence[str]) -> None:
        if len(words) > MOST_WORDS or len({*words, *SPECIAL}) < len(words) + len(SPECIAL):
            raise ValueError(f"a vocabulary is {MOST_WORDS:,} different words at most")
        if not all(isinstance(word, str) and 0 < len(word) <= MOST_LETTERS and not word.isspace() for word in words):
            raise ValueError("a vocabulary holds words")
        self.words = tuple(words)
        self._tokenizer = _tokenizer({word: i for i, word in enumerate((*SPECIAL, *words))})

    @classmethod
    def fit(cls, texts: Sequence[str], most: int = MOST_WORDS) -> Self:
        """The `most` most frequent words of some texts."""
        from tokenizers.trainers import WordLevelTrainer

        tokenizer = _tokenizer({})
        trainer = WordLevelTrainer(
            vocab_size=most + len(SPECIAL), min_frequency=1, special_tokens=[*SPECIAL], show_progress=False
        )
        tokenizer.train_from_iterator(map(clean, texts), trainer, length=len(texts))
        ranked = sorted((i, word) for word, i in tokenizer.get_vocab(with_added_tokens=False).items())
        return cls([word for _, word in ranked if word not in SPECIAL and len(word) <= MOST_LETTERS][:most])

    @classmethod
    def load(cls, state: Any) -> Self:
        """From what `state` gave. Raises ValueError for anything else."""
        if not isinstance(state, dict) or not isinstance(state.get("words"), str):
            raise ValueError("the encoder's words are missing")
        return cls(state["words"].split(" ") if state["words"] else [])

    def state(self) -> dict[str, Any]:
        """As JSON can hold it: one string, since no word has a blank in it."""
        return {"words": " ".join(self.words)}

    def sizes(self) -> dict[str, int]:
        """How many ids there are, padding and unknown words included."""
        return {"words": len(self.words) + len(SPECIAL)}

    def __call__(self, texts: Sequence[str]) -> Ragged:
        encoded = self._tokenizer.encode_batch_fast([clean(text) for text in texts], add_special_tokens=False)
        parts = [np.asarray(each.ids, np.int32) for each in encoded]
        return Ragged(np.concatenate([np.empty(0, np.int32), *parts]), np.cumsum([0, *map(len, parts)]))

    def split(self, text: str) -> list[str]:
        """The words of a text as they are encoded, unknown ones included."""
        cleaned = clean(text)
        return [cleaned[a:b] for a, b in self._tokenizer.encode(cleaned, add_special_tokens=False).offsets]


def check_text(text: str, name: str) -> str:
    """The text. Raises InputError, beginning with `name`, where it is too long to be one review."""
    if len(text) > MOST_CHARACTERS:
        raise InputError(
            f"{name} has {len(text):,} characters, more than the {MOST_CHARACTERS:,} a text may have: cut it."
        )
    return text


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split

    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=SPECIAL[UNKNOWN]))
    tokenizer.pre_tokenizer = Split(Regex(_WORD), "removed", invert=True)
    return tokenizer
