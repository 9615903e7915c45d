"""The field in which a text is typed, and the words it is shown as: their markup, and what is taken from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apps.errors import InputError

FOLDER = Path(__file__).parent
FIELD_HTML, FIELD_CSS, FIELD_JS = ((FOLDER / f"field.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
WORDS_HTML = '<div class="words" role="group" aria-label="The words of the text; choose one"></div>'
WORDS_CSS, WORDS_JS = ((FOLDER / f"words.{kind}").read_text("utf-8") for kind in ("css", "js"))

MOST_TYPED = 20_000  # characters: the longest review of IMDB has 13,704

EXAMPLES = {
    "A good film": "A quiet, patient film with a wonderful cast. I laughed, I cried, and I would gladly see it again.",
    "A bad one": "Two hours of my life that I will never get back. Boring, badly written, and far too loud.",
    "Mixed": "I did not expect much, but the acting isn't bad at all. And yet the story never comes alive.",
    "Clear": "",
}


def typed(value: Any) -> str:
    """What a field sent, as a text. Raises InputError for what no field sends."""
    if not isinstance(value, str):
        raise InputError("What was sent is no text: type one.")
    if len(value) > MOST_TYPED:
        raise InputError(f"The text has more than {MOST_TYPED:,} characters: cut it.")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a sign becomes “�”


def chosen(value: Any, words: list[str]) -> int | None:
    """[index, word] that was chosen → index; None where nothing was, or the text is another one by now"""
    match value:
        case [int(i), str(word)] if 0 <= i < len(words) and words[i] == word:
            return i
    return None
