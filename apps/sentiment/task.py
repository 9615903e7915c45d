"""Sentiment, and any other classes of texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from apps.errors import InputError
from apps.sentiment.blending import blend_runs
from apps.sentiment.data import DATASETS, load, load_csv, read_csv
from apps.sentiment.encoder import TextEncoder, fit_encoder
from apps.sentiment.explain import SURE, explain
from apps.sentiment.regions import before, learn_from
from apps.sentiment.teaching import teach
from apps.sentiment.words import check_text
from apps.task import Entry, Recipe, Task
from core import Array, Examples, Loss, Sequential, SoftmaxCrossEntropy, correct, predict
from core.metrics import accuracy, calibration_error, nll, roc_auc, softmax
from models.calibrated import fit_temperatures
from models.ngrams import prepare_ngrams


def open_text(given: str) -> str:
    """The text. Raises InputError where it is too long, or came as bytes that are not UTF-8."""
    try:
        given.encode("utf-8")
    except UnicodeEncodeError as error:
        read = given[: error.start][-40:]
        raise InputError(f"A text is not UTF-8 after {read!r}: save or send it as UTF-8.") from None
    return check_text(given, f"The text that begins with {given[:40]!r}")


def loss(recipe: Recipe) -> Loss:
    return SoftmaxCrossEntropy(label_smoothing=recipe.label_smoothing)


def initialise(model: Sequential, examples: Examples) -> None:
    prepare_ngrams(model, examples.x, examples.t)


def calibrate(model: Sequential, held: Examples) -> None:
    fit_temperatures(model, predict(model, held.x), held.x.lengths, held.t)


def score(logits: Array, t: Array) -> dict[str, float]:
    """accuracy and ROC AUC in [0, 1] (of several classes, the mean of each against the rest), nll in nats, ECE"""
    p = softmax(logits)
    classes = [1] if p.shape[1] == 2 else [k for k in range(p.shape[1]) if 0 < (t == k).sum() < len(t)]
    areas = [roc_auc(t == k, logits[:, k] - np.delete(logits, k, axis=1).mean(axis=1)) for k in classes]
    return {
        "accuracy": accuracy(t, p),
        "roc_auc": float(np.mean(areas)),
        "nll": nll(t, p),
        "calibration_error": calibration_error(t, p),
    }


_READER = Recipe(epochs=3, batch_size=64, lr=3e-3, dropout=0.4, clip_norm=1.0, validation=0.05, lanes=2, micro_batch=32)
_VECTORS = {"vocabulary": 30_000, "features": 100}  # of words: what --unlabelled learned once serves both

SENTIMENT = Task(
    name="sentiment",
    unit="texts",
    load=load,
    datasets=tuple(DATASETS),
    open=open_text,
    model="ngram_linear",
    served="blend",
    entries={
        "ngram_linear": Entry(
            {"orders": 3, "rows": 300_000},
            Recipe(epochs=2, lr=3e-3, validation=0.05, lanes=2),
        ),
        "ngram_bag": Entry(
            {"features": 16, "orders": 2, "rows": 150_000},
            Recipe(epochs=5, lr=1e-2, validation=0.05, lanes=2),
        ),
        "text_cnn": Entry(
            {"vocabulary": 30_000, "features": 64, "filters": 128, "most": 800},
            Recipe(epochs=4, batch_size=64, lr=2e-3, dropout=0.5, validation=0.05, lanes=2, micro_batch=32),
        ),
        "region_cnn": Entry(
            _VECTORS,
            Recipe(epochs=3, batch_size=64, lr=1e-3, dropout=0.5, validation=0.05, lanes=2, micro_batch=32),
        ),
        "blend": Entry({}, Recipe(epochs=4, batch_size=64, lr=0.03, validation=0.2, lanes=2, micro_batch=32)),
        "text_rnn": Entry({}, _READER),
        "text_lstm": Entry({}, _READER),
        "text_gru": Entry(
            _VECTORS,
            replace(_READER, epochs=2, lr=2e-3),
            {
                "sst2": {"batch_size": 128, "micro_batch": 64},
                "rotten_tomatoes": {"validation": 0.1},
            },
        ),
        "text_bigru": Entry({}, _READER),
    },
    loss=loss,
    metrics={"accuracy": correct},
    score=score,
    fit_encoder=fit_encoder,
    load_encoder=TextEncoder.load,
    load_csv=load_csv,
    read_csv=read_csv,
    initialise=initialise,
    calibrate=calibrate,
    sure=SURE,
    explain=explain,
    before=before,
    learn_from=learn_from,
    blend=blend_runs,
    teach=teach,
)
