"""The scorecard of an additive model: the points of every bin of every feature, which add up to the score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from apps.credit.measures import bins_of
from apps.credit.model import CreditModel
from apps.credit.reasons import terms
from apps.credit.stability import Training, bins, ordinary_values


@dataclass(frozen=True)
class Line:
    """One bin of one feature: its rows, the share of them that defaulted, and the points they are given."""

    feature: str
    bin: str
    count: int
    bad: float
    lowest: float
    highest: float
    mean: float


def feature_points(model: CreditModel, numbers: np.ndarray) -> np.ndarray:
    """numbers (N, F) → (N, F) points that add up to the score, the constant shared evenly

    Raises ValueError for a model that is no sum of its features.
    """
    if not model.additive:
        raise ValueError("a scorecard needs a model that adds up one term a feature")
    total = np.zeros(numbers.shape)
    for weight, member in zip(model.weights, model.members, strict=True):
        total += model.slope * weight * terms(member, member.encoder(numbers), numbers.shape[1])
    constant = model.logits(numbers[:1])[0] - total[0].sum()
    even = (model.points.offset - model.points.factor * constant) / numbers.shape[1]
    return np.asarray(even - model.points.factor * total)


def scorecard(model: CreditModel, numbers: np.ndarray, t: np.ndarray, bins: int = 8) -> list[Line]:
    """The table over some rows (N, F) with targets (N,): bins of equal counts, codes, categories, missing

    Within a bin of a curve the points run from the lowest to the highest of its rows.
    """
    given = feature_points(model, numbers)
    lines = []
    for i, feature in enumerate(model.schema.features):
        names, place = bins_of(feature, numbers[:, i], bins)
        at = place(numbers[:, i])
        for k, name in enumerate(names):
            own = at == k
            if own.any():
                mine = given[own, i]
                lines.append(
                    Line(
                        feature.name,
                        name,
                        int(own.sum()),
                        float(t[own].mean()),
                        float(mine.min()),
                        float(mine.max()),
                        float(mine.mean()),
                    )
                )
    return lines


@dataclass(frozen=True)
class Span:
    """One bin of one feature, as the model alone tells of it: the points from its lowest to its highest value.

    share  of the training rows; None where the model's description does not say
    """

    feature: int
    bin: str
    share: float | None
    lowest: float
    highest: float
    mean: float


def spans(model: CreditModel, training: Training | None) -> list[Span]:
    """The scorecard without any rows: the bins of each feature over its percentiles, codes, levels, and missing

    Raises ValueError for a model that is no sum of its features.
    """
    values = []
    for i, feature in enumerate(model.schema.features):
        inside = ordinary_values(model, i)
        if feature.kind == "numeric":  # and where a bin ends, and where a curve bends
            bends = [member.encoder.scales[i].edges for member in model.members]
            inside = np.unique(np.concatenate([inside, np.nextafter(inside[1:], -np.inf), *bends]))
        values.append(np.array([np.nan, *feature.codes, *inside]))
    rows = np.tile(model.typical, (max(map(len, values)), 1))
    for i, own in enumerate(values):
        rows[: len(own), i] = own
    points = feature_points(model, rows)
    lines = []
    for i, own in enumerate(values):
        names, place = bins(model, i)
        at = place(own)
        for k in np.unique(at):
            given = points[: len(own), i][at == k]
            counts = None if training is None else training.features[i]
            share = None if counts is None else float(counts[k] / counts.sum())
            lines.append(Span(i, names[k], share, float(given.min()), float(given.max()), float(given.mean())))
    return lines
