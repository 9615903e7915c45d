"""How far applicants are from those of the training: PSI against counts that a model's description keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from apps.credit.measures import bins_of, distinct, stability
from apps.credit.model import CreditModel
from apps.run import Facts
from core import CheckpointError

KEY = "training"  # in the description; a model that was saved without it has none
TENTHS = 10


@dataclass(frozen=True)
class Training:
    """How the training rows fall into bins.

    features  for each feature, the counts in its `bins`
    edges     (B − 1,) logits between the bins of the score, and scores (B,), the counts in these
    """

    features: tuple[np.ndarray, ...]
    edges: np.ndarray
    scores: np.ndarray


def ordinary_values(model: CreditModel, i: int) -> np.ndarray:
    """(M,) the values of a feature that a form offers and bins begin with: percentiles, or levels; codes left out"""
    feature, grid = model.schema.features[i], model.percentiles[:, i]
    if feature.categories:
        return np.arange(len(feature.categories), dtype=np.float64)
    if feature.kind == "ordinal":
        return np.arange(np.ceil(grid[0]), np.floor(grid[-1]) + 1)
    return distinct(grid)


def bins(model: CreditModel, i: int) -> tuple[list[str], Callable[[np.ndarray], np.ndarray]]:
    """(what the bins of a feature are called, a function from values (N,) to their bin), as the model alone tells"""
    feature = model.schema.features[i]
    numeric = feature.kind == "numeric"
    return bins_of(feature, model.percentiles[:, i] if numeric else ordinary_values(model, i))


def count(model: CreditModel, numbers: np.ndarray) -> Facts:
    """The counts of training rows (N, F), as a description can hold them and `training_of` reads them."""
    logits = model.logits(numbers)
    edges = np.unique(np.quantile(logits, np.linspace(0, 1, TENTHS + 1)[1:-1]))
    features = []
    for i, column in enumerate(numbers.T):
        names, place = bins(model, i)
        features.append(np.bincount(place(column), minlength=len(names)).tolist())
    scores = _tenths(edges, logits).tolist()
    return {KEY: {"features": features, "edges": edges.tolist(), "scores": scores}}


def _tenths(edges: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, logits, side="right"), minlength=len(edges) + 1)


def training_of(model: CreditModel) -> Training | None:
    """The counts in a model's description, or None where it was saved without.

    Raises CheckpointError where they are damaged.
    """
    told = model.facts.get(KEY)
    if told is None:
        return None
    try:
        features = tuple(np.array(each, np.int64) for each in told["features"])
        found = Training(features, np.array(told["edges"], np.float64), np.array(told["scores"], np.int64))
        sizes = [len(bins(model, i)[0]) for i in range(len(model.schema.features))]
        fits = [each.shape for each in features] == [(size,) for size in sizes]
        fits = fits and found.scores.shape == (len(found.edges) + 1,) and bool((np.diff(found.edges) > 0).all())
        if not fits or min(int(each.min()) for each in (*features, found.scores)) < 0:
            raise ValueError("they do not fit the model")
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the counts of the training rows are damaged ({error})") from None


def shifts(model: CreditModel, training: Training, numbers: np.ndarray, logits: np.ndarray) -> list[tuple[str, float]]:
    """[(score or feature, PSI)] of rows (N, F) with logits (N,), the score first, then the most shifted"""
    found = []
    for i, (feature, counts) in enumerate(zip(model.schema.features, training.features, strict=True)):
        now = np.bincount(bins(model, i)[1](numbers[:, i]), minlength=len(counts))
        found.append((feature.words or feature.name, stability(counts, now)))
    score = stability(training.scores, _tenths(training.edges, logits))
    return [("the score", score), *sorted(found, key=lambda each: -each[1])]
