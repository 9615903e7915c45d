"""From text to ids: what is made equal, what stays apart, and what a file may claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.errors import InputError
from apps.sentiment.words import MOST_WORDS, UNKNOWN, Words, check_text, clean

pytest.importorskip("tokenizers")

TEXTS = ["It's not bad, not bad at all!", "Isn't it good? I can't say.", "bad bad bad 😍 10/10"]


@pytest.fixture(scope="module")
def words():
    return Words.fit(TEXTS)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("A <br /><br />B", "a b"),
        ("<b>Bold</b> &amp; <i>odd</i> &lt;3", "bold & odd < 3"),
        ("I <3 it, 2 < 3 > 1", "i < 3 it , 2 < 3 > 1"),
        ("ISN’T it “great”", 'is n\'t it " great "'),
        ("can't won't don't, it's I'll", "ca n't wo n't do n't , it 's i 'll"),
        ("soooooo coool!!!", "soo cool ! ! !"),
        ("naïve café, ＦＵＬＬ ﬁne", "naïve café , full fine"),
        ("так себе 良い!", "так себе 良い !"),
        ("❤️👍🏽", "❤ 👍 🏽"),
        ("10/10 x2", "10 / 10 x 2"),
        ("", ""),
        (" \n\t\u00a0\ufeff ", "\ufeff"),
    ],
)
def test_what_a_text_is_split_into(words, given, expected):
    assert " ".join(words.split(given)) == expected


def test_ids_are_by_frequency_and_what_is_unknown_has_one_of_its_own(words):
    assert words.words[0] == "bad"
    ids = words(["bad zebra", "", "BAD"])
    assert ids.lengths.tolist() == [2, 0, 1]
    assert ids.values.tolist() == [2, UNKNOWN, 2]
    assert words.sizes() == {"words": len(words.words) + 2}
    assert Words.fit(TEXTS, most=3).words == words.words[:3]


def test_a_run_saves_words_and_gets_the_same_encoder_back(words):
    again = Words.load(words.state())
    assert again.words == words.words
    assert (again(TEXTS).values == words(TEXTS).values).all()


def test_special_signs_cannot_be_typed(words):
    assert words(["[PAD] [UNK]"]).values.min() >= UNKNOWN
    assert len(words(["[PAD] [UNK]"]).values) == 6


@given(st.lists(st.text(), max_size=4))
def test_any_text_has_as_many_ids_as_words(texts):
    words = Words(["a", "b"])
    ids = words(texts)
    assert ids.lengths.tolist() == [len(words.split(text)) for text in texts]
    assert all("\x00" not in clean(text) or "\x00" in text for text in texts)


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        {"words": None},
        {"words": ["a"]},
        {"words": "a a"},
        {"words": "a  b"},
        {"words": "[PAD] a"},
        {"words": "a" * 101},
        {"words": " ".join(map(str, range(MOST_WORDS + 1)))},
    ],
)
def test_what_is_no_vocabulary_is_refused(state):
    with pytest.raises(ValueError, match=r"words|vocabulary"):
        Words.load(state)


def test_a_text_too_long_is_named():
    assert check_text("fine", "It") == "fine"
    with pytest.raises(InputError, match="It has 100,001 characters, more than the 100,000 a text may have: cut it"):
        check_text("x" * 100_001, "It")
