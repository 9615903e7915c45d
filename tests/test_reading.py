"""What the page of sentiment stands on: the answer with its words, one word changed, many texts, text shown as text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.errors import InputError
from apps.markdown import literal
from apps.pictures import DARK, LIGHT
from apps.sentiment.reading import (
    Reading,
    added_columns,
    answer,
    cells_of,
    changed,
    coloured,
    read,
    read_many,
    wordiest,
)
from apps.sentiment.task import SENTIMENT
from apps.sentiment.typed import EXAMPLES, MOST_TYPED, chosen, typed
from apps.serving import served, shipped

TEXTS = [*EXAMPLES.values(), "not bad", "qzxv wvqk", "😭❤️ loved it", "<b>fine</b> &amp; good", "it 's n't"]


@pytest.fixture(scope="module", params=shipped(SENTIMENT))
def predictor(request):
    return served(SENTIMENT.name, request.param)


@pytest.mark.parametrize("text", TEXTS)
def test_the_words_add_up_to_the_probability(predictor, text):
    reading = read(predictor, text)
    p = 1 / (1 + np.exp(-(reading.base + reading.total)))
    assert p == pytest.approx(answer(predictor, text).probabilities[reading.explained], abs=1e-3)
    assert len(reading.words) == len(reading.contributions) == len(reading.known)


def test_a_word_left_out_is_the_text_without_it(predictor):
    text = "a wonderful , moving film"
    for new in ("", "truly horrible"):
        wanted = answer(predictor, f"a {new} , moving film").probabilities
        assert changed(predictor, text, 1, new).probabilities == pytest.approx(wanted)
    assert changed(predictor, "wonderful", 0).probabilities == pytest.approx(answer(predictor, "").probabilities)


def test_an_answer_is_the_predictor_s(predictor):
    told = predictor(TEXTS[0])
    found = answer(predictor, TEXTS[0])
    assert (found.label, found.uncertain) == (told["label"], told["uncertain"])
    assert found.probabilities == pytest.approx(told["probabilities"])


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_a_coloured_word_says_in_figures_what_it_says_in_colour(predictor, palette):
    reading = read(predictor, "A wonderful film, and a boring, terrible waste of qzxv.")
    shown = {each["text"]: each for each in coloured(reading, palette)}
    assert shown["wonderful"]["title"].startswith("wonderful: +")
    assert shown["terrible"]["title"].startswith("terrible: −")
    assert any(each["figure"] for each in shown.values())
    assert shown["qzxv"]["unknown"]
    assert not shown["film"]["unknown"]


def test_many_texts_are_read_like_one(predictor):
    texts = TEXTS * 20
    p = np.concatenate(list(read_many(predictor, texts)))
    np.testing.assert_allclose(p[-len(TEXTS) :], [predictor.probabilities([text])[0] for text in TEXTS], atol=1e-5)
    assert cells_of(predictor.labels, np.array([0.25, 0.75])) == ["positive", "0.250000", "0.750000"]
    with pytest.raises(InputError, match=r"Row 3 .* cut it"):
        list(read_many(predictor, ["a", "b", "c" * 100_001]))


def test_columns_that_are_there_already_are_not_written_over():
    assert added_columns(("no", "yes"), ["id"]) == ["verdict", "p_no", "p_yes"]
    with pytest.raises(InputError, match="rename it"):
        added_columns(("no", "yes"), ["p_yes"])


def test_the_wordiest_column_is_taken_for_the_texts():
    assert wordiest(["id", "review", "stars"], [["1", "good", "5"], ["2", "a long review", "1"]]) == 1


def test_what_was_typed_is_a_text_of_bounded_length():
    assert typed("né 😭") == "né 😭"
    assert typed("\ud800x") == "�x"
    for wrong in (None, 7, ["a"], "a" * (MOST_TYPED + 1)):
        with pytest.raises(InputError):
            typed(wrong)


@pytest.mark.parametrize("value", [None, 7, [], [0], [5, "b"], [-1, "b"], ["0", "a"], [1, "a"], [0.0, "a"]])
def test_a_choice_that_fits_no_word_is_none(value):
    assert chosen(value, ["a", "b"]) is None


def test_a_choice_is_the_place_of_its_word():
    assert chosen([1, "b"], ["a", "b"]) == 1


def test_markdown_shows_text_as_text():
    assert literal("a_b *c*\n# d") == r"a\_b \*c\* \# d"
    assert literal("![x](http://y) $z$ <b> :red[q]") == r"\!\[x\]\(http\:\/\/y\) \$z\$ \<b\> \:red\[q\]"
    assert literal("naïve – 100 €") == "naïve – 100 €"


SMALL = st.floats(-50, 50)


@given(SMALL, st.lists(SMALL, max_size=5))
def test_the_sums_add_up_as_they_are_shown(base, contributions):
    reading = Reading("positive", base, [], np.array(contributions), np.ones(0, bool))
    start, words, logit = reading.sums()
    assert start + words == logit
    assert abs(start - 100 * base) <= 0.5 + 1e-9
    assert abs(words - 100 * sum(contributions)) <= 1 + 1e-9
    assert abs(logit - 100 * (base + sum(contributions))) <= 0.5 + 1e-9
