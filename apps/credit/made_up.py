"""Made-up applicants for a model that may come without data: what its own description says of the training rows.

Values are drawn by rank: latent factors, one for columns of one family such as PAY_2 and PAY_3 and one of risk, order
the applicants, and the order picks a value among the shares and percentiles of the training. No row is a real one.
"""

from __future__ import annotations

import numpy as np

from apps.credit.model import CreditModel
from apps.credit.stability import Training, ordinary_values, training_of

FAMILY, RISK, OWN = 0.85, 0.45, 0.35  # how much a column follows its family, the risk, and nobody
DRIFT = 0.15  # how far the applicants of a portfolio are riskier than those of the training
EXAMPLES = {"Refused": 0.4, "Just accepted": -0.05, "Safe": -1.5, "Risky": 1.6}  # logits above the cut-off


def made_up(model: CreditModel, rows: int, rng: np.random.Generator, drift: float = 0.0) -> np.ndarray:
    """(rows, F) numbers of applicants"""
    return _drawn(model, rows, rng, drift)[0]


def _drawn(model: CreditModel, rows: int, rng: np.random.Generator, drift: float) -> tuple[np.ndarray, np.ndarray]:
    """(numbers (N, F), the latent risk (N,))"""
    risk = rng.standard_normal(rows)
    families: dict[str, np.ndarray] = {}
    training = training_of(model)
    numbers = np.empty((rows, len(model.schema.features)))
    for i, feature in enumerate(model.schema.features):
        name = feature.name.rstrip("0123456789")
        family = families.setdefault(name, rng.standard_normal(rows))
        z = FAMILY * family + RISK * feature.direction * risk + OWN * rng.standard_normal(rows)
        u = (np.argsort(np.argsort(z)) + 0.5) / rows  # uniform, whatever z is
        numbers[:, i] = _values(model, training, i, u ** (1 - drift * feature.direction))
    return model.schema.complete(numbers), risk


def _values(model: CreditModel, training: Training | None, i: int, u: np.ndarray) -> np.ndarray:
    """Ranks u in (0, 1) → values: missing and codes come first, then the ordinary ones, as often as in the training"""
    feature, grid = model.schema.features[i], ordinary_values(model, i)
    if feature.kind == "categorical":
        shares = np.append(0.0, np.ones(len(grid))) if training is None else training.features[i]
        return np.asarray(np.append(np.nan, grid)[_place(shares, u)[0]])
    apart = np.array([np.nan, *feature.codes])
    # where the training is not known, nothing is missing, and each code as frequent as all ordinary values together
    counts = np.append(0.0, np.ones(len(apart))) if training is None else training.features[i].astype(np.float64)
    shares = np.append(counts[: len(apart)], counts[len(apart) :].sum())
    at, within = _place(shares, u)
    ordinary = model.percentiles[np.rint(within * 100).astype(np.int64), i]
    if feature.kind == "ordinal":
        ordinary = np.round(ordinary)
    return np.asarray(np.where(at < len(apart), np.append(apart, 0.0)[at], ordinary))


def _place(shares: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the place among shares that each u falls on, how far within it from 0 to 1)"""
    ends = np.cumsum(shares) / shares.sum()
    at = np.searchsorted(ends, u, side="right").clip(0, len(shares) - 1)
    begins = np.append(0.0, ends)[at]
    return at, ((u - begins) / np.maximum(ends[at] - begins, 1e-12)).clip(0, 1)


def examples(model: CreditModel) -> dict[str, np.ndarray]:
    """{name: applicant (F,)}: of many made-up ones those nearest to some logits, on the right side of the cut-off"""
    pool = made_up(model, 400, np.random.default_rng(3))
    above = model.logits(pool) - model.cut_logit
    return {
        name: pool[np.argmin(np.abs(above - wanted) + 1e9 * ((above >= 0) != (wanted >= 0)))]
        for name, wanted in EXAMPLES.items()
    }


def made_up_table(model: CreditModel, rows: int = 2000) -> tuple[list[str], list[list[str]]]:
    """(names, cells) of a portfolio that is a little riskier than the training, with outcomes and groups

    Outcomes are drawn at the model's own probabilities; groups know nothing but the latent risk.
    """
    rng = np.random.default_rng(7)
    numbers, risk = _drawn(model, rows, rng, DRIFT)
    schema = model.schema
    columns = [
        [feature.cell(value) for value in numbers[:, i].tolist()]
        for i, feature in enumerate(schema.features)
        if not feature.rule
    ]
    for _ in schema.protected:
        columns.append(np.where(0.5 * risk + rng.standard_normal(rows) > 0, "group A", "group B").tolist())
    other = "0" if schema.positive != "0" else "1"
    columns.append(np.where(rng.random(rows) < model.pd(numbers), schema.positive, other).tolist())
    names = [*(f.name for f in schema.asked), *schema.protected, schema.target]
    return names, [list(row) for row in zip(*columns, strict=True)]
