"""Contributions of words add up to the answer: exactly for n-grams, within 1e-3 for networks; never rescaled."""

import numpy as np
import pytest

from apps.calibration import Calibration
from apps.sentiment.encoder import TextEncoder
from apps.sentiment.explain import attribute, explain
from core import Ragged, predict
from models import build
from models.ngrams import prepare_ngrams

WORDS = 60
SIZES = {
    "ngram_linear": {"rows": 400},
    "ngram_bag": {"rows": 400, "features": 5, "dropout": 0.5},
    "text_cnn": {"features": 8, "filters": 6, "dropout": 0.5},
    "text_rnn": {"features": 8, "units": 6, "dropout": 0.5},
    "text_lstm": {"features": 8, "units": 6, "most": 12},
    "text_gru": {"features": 8, "units": 6},
    "text_bigru": {"features": 8, "units": 6},
    "region_cnn": {"features": 8, "filters": 6, "dropout": 0.5},
}
EXACT = ("ngram_linear", "ngram_bag")


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return Ragged.of([rng.integers(1, WORDS, n) for n in (0, 1, 2, 3, 5, 20, 40, *[20] * 60)])


def trained(name, classes, texts):
    """A model with weights of some size, as after training."""
    model = build(name, {"words": WORDS, "outputs": classes, **SIZES[name]}, rng=np.random.default_rng(0))
    prepare_ngrams(model, texts, np.arange(len(texts)) % classes)
    rng = np.random.default_rng(1)
    for path, parameter in model.named_parameters():
        if not parameter.frozen:
            parameter.value += 0.5 * rng.standard_normal(parameter.value.shape).astype(np.float32)
        if path.endswith("bag.weight") or "Table" in repr(parameter):
            parameter.value[0] = 0
        if path.endswith("temperature"):
            parameter.value[...] = [0.8, 1.3, 1.1, 0.9]
    return model


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", SIZES)
def test_contributions_and_base_add_up_to_the_answer(texts, name, classes):
    model = trained(name, classes, texts)
    logits = predict(model, texts)
    direction = np.full(classes, -1 / (classes - 1))
    direction[1] = 1
    for i in (0, 1, 3, 6):
        contributions, base = attribute(model, texts[i][None], direction)
        assert contributions.shape == texts[i].shape
        error = abs(contributions.sum() + base - logits[i] @ direction)
        assert error < (1e-5 if name in EXACT else 1e-3), (i, error)


@pytest.mark.parametrize(("name", "off"), [("text_cnn", 0.01), ("text_lstm", 0.01), ("region_cnn", 0.06)])
def test_few_stretches_tell_what_very_many_tell(texts, name, off, monkeypatch):
    model, direction = trained(name, 2, texts), np.array([-1.0, 1.0])
    for i in (3, 6):
        found, base = attribute(model, texts[i][None], direction)
        monkeypatch.setattr("apps.sentiment.explain.STRETCHES", 3000)
        fine, same = attribute(model, texts[i][None], direction)
        monkeypatch.undo()
        np.testing.assert_allclose(found, fine, atol=off * np.abs(fine).max())  # of weights this rough
        assert base == same


def test_a_words_part_is_what_the_answer_loses_without_it(texts):
    """In a model of single words, exactly."""
    model = build(
        "ngram_linear", {"words": WORDS, "outputs": 2, "rows": 100, "orders": 1}, rng=np.random.default_rng(0)
    )
    prepare_ngrams(model, texts, np.arange(len(texts)) % 2, start=1.0)
    ids = np.array([3, 9, 9, 4])
    contributions, _ = attribute(model, ids[None], np.array([-1.0, 1.0]))
    whole, without = predict(model, Ragged.of([ids, [3, 9, 9]])) @ [-1, 1]
    assert contributions[3] == pytest.approx(whole - without, abs=1e-5)
    assert contributions[1] == contributions[2]  # what occurs twice shares its part


class Answers:
    """As a Predictor, of a model that was never trained."""

    def __init__(self, model, labels):
        self.model, self.labels, self.calibration = model, labels, Calibration()
        self.encoder = TextEncoder([chr(97 + i) for i in range(26)])
        self.encode = self.encoder
        self.logits = lambda x: predict(self.model, x)


@pytest.mark.parametrize("text", ["", "a b a", "¡ñandú!"])
def test_an_explanation_names_every_word(text):
    model = build("text_gru", {"words": 28, "outputs": 2}, rng=np.random.default_rng(0))
    told = explain(Answers(model, ("negative", "positive")), text)
    assert told["explained"] == "positive"
    assert [each["token"] for each in told["tokens"]] == Answers(model, ()).encoder.split(text)


def test_of_many_classes_the_most_probable_is_explained():
    model = build("ngram_bag", {"words": 28, "outputs": 3, "rows": 50}, rng=np.random.default_rng(0))
    model.layers[0].inner.layers[-1].bias.value[...] = [0, 5, 0]
    told = explain(Answers(model, ("a", "b", "c")), "a b")
    assert told["explained"] == "b"
    assert told["base"] == pytest.approx(5)
