"""What the shipped models of feelings do, on sentences that nothing was chosen by, and what they weigh."""

from pathlib import Path

import pytest

from apps.predictor import open_predictor
from apps.sentiment.data import read_csv
from apps.sentiment.explain import explain
from apps.sentiment.task import SENTIMENT
from models import WEIGHTS

pytest.importorskip("tokenizers")

HARD = Path(__file__).parent / "hard_sentences.tsv"
RIGHT = {"ngram_linear": 37, "blend": 48, "text_gru": 48}  # of the 60 hard sentences: four fifths
SHIPPED = sorted(name for name in SENTIMENT.entries if (WEIGHTS / f"sentiment_{name}.json").is_file())


@pytest.mark.parametrize("name", SHIPPED)
def test_hard_sentences_are_read_as_well_as_is_said(name):
    predictor = open_predictor(SENTIMENT, model=name)
    sentences, labels = read_csv(HARD, "sentence"), read_csv(HARD, "label")
    told = [predictor.labels[k] for k in predictor.probabilities(sentences).argmax(axis=1)]
    misses = [f"{label}: {text}" for text, label, got in zip(sentences, labels, told, strict=True) if label != got]
    print(f"{len(misses)} of {len(sentences)} hard sentences are misread by {name}:", *misses, sep="\n  ")
    assert len(sentences) - len(misses) >= RIGHT[name]


def test_the_shipped_models_are_small():
    files = [WEIGHTS / f"sentiment_{name}.safetensors" for name in SHIPPED]
    assert sum(path.stat().st_size for path in files) <= 16 * 2**20


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("text", ["", "Not bad at all!", "😡 <br /> Ужасно", "so so " * 400])
def test_what_every_shipped_model_says_of_words_adds_up(name, text):
    predictor = open_predictor(SENTIMENT, model=name)
    told = explain(predictor, text)
    z = predictor.calibration.logits(predictor.logits(predictor.encode([text])), 2)[0]
    total = told["base"] + sum(each["contribution"] for each in told["tokens"])
    assert total == pytest.approx(float(z[1] - z[0]), abs=1e-3)
