"""Networks for tables of applicants, customers, machines: numbers and categories in, one logit out.

Their inputs x (N, C) hold places in bins first, one column a number (−1 missing, −2, −3 … special codes), then codes
of categories, one column each, from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from core import (
    INITIALIZERS,
    AdditiveBins,
    ColumnEmbedding,
    Concat,
    Dense,
    Dropout,
    EnsembleDense,
    Layer,
    PiecewiseLinear,
    Reshape,
    Sequential,
    SiLU,
    Total,
)

MOST_IN_COLUMNS = 10_000_000  # parameters of the vectors of all columns


def logistic_regression(*, inputs: int, rng: np.random.Generator) -> Sequential:
    """(N, inputs) → (N, 1) logits: a weight for each input      (Berkson, 1944; Cox, 1958)

    Its loss is convex, so it starts from zeros.
    """
    return Sequential(Dense(inputs, 1, rng=rng, initializer=INITIALIZERS["zeros"]))


def mlp_ple(
    *,
    features: int,
    bins: int = 32,
    width: int = 8,
    specials: int = 1,
    categories: Sequence[int] = (),
    hidden: Sequence[int] = (128, 64),
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, features + categories) → (N, 1) logits: an MLP on vectors of `width` a column

    Numbers become vectors by piecewise-linear curves, categories by tables; SiLU, which leaves integrals along a path
    smooth.      (Gorishniy, Rubachev & Babenko, 2022)
    """
    layers: list[Layer] = [_columns(features, bins, width, specials, categories, rng)]
    inputs = (features + len(categories)) * width
    for before, after in pairwise((inputs, *hidden)):
        layers += [Dense(before, after, rng=rng), SiLU(), *([Dropout(dropout)] if dropout else [])]
    return Sequential(*layers, Dense((inputs, *hidden)[-1], 1, rng=rng))


def tabm(
    *,
    features: int,
    bins: int = 32,
    width: int = 8,
    specials: int = 1,
    categories: Sequence[int] = (),
    members: int = 8,
    hidden: Sequence[int] = (64, 64),
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, features + categories) → (N, members) logits: `mlp_ple`, of which every weight is shared by all members

    Members differ by scales and biases. Train with the mean of their losses, serve the mean of their logits (the paper:
    of their probabilities), of which contributions are exact.      (TabM: Gorishniy, Kotelnikov & Babenko, 2025)
    """
    layers: list[Layer] = [_columns(features, bins, width, specials, categories, rng)]
    inputs = (features + len(categories)) * width
    if members * max(inputs, *hidden) > MOST_IN_COLUMNS:
        raise ValueError(f"the members ask for more than {MOST_IN_COLUMNS:,} parameters")
    for i, (before, after) in enumerate(pairwise((inputs, *hidden))):
        layers += [EnsembleDense(before, after, members, rng=rng, diverse=i == 0), SiLU()]
        layers += [Dropout(dropout)] if dropout else []
    last = (inputs, *hidden)[-1]
    return Sequential(*layers, EnsembleDense(last, 1, members, rng=rng, diverse=True), Reshape(members))


def neural_additive(
    *,
    features: int,
    bins: int = 32,
    specials: int = 1,
    categories: Sequence[int] = (),
    directions: Sequence[int] = (),
    rng: np.random.Generator,
) -> Sequential:
    """(N, features + categories) → (N, 1) logits: b + Σ f(column), each f a curve or a table of its own

    The first layer's outputs are what the columns add; their order is that of x. `directions` holds −1, 0 or 1 for
    each number: never rising, free, never falling.      (Agarwal et al., 2021)
    """
    columns: list[Layer] = []
    if features:
        columns.append(AdditiveBins(features, bins, specials=specials, directions=directions))
    if categories:
        columns.append(ColumnEmbedding(categories, 1, rng=rng, start=features, initializer=INITIALIZERS["zeros"]))
    return Sequential(Concat(*columns), Total())


def _columns(
    features: int, bins: int, width: int, specials: int, categories: Sequence[int], rng: np.random.Generator
) -> Layer:
    """(N, features + categories) → (N, (features + categories) · width)"""
    if max(features * bins * width, sum(categories) * width) > MOST_IN_COLUMNS:
        raise ValueError(f"the columns ask for more than {MOST_IN_COLUMNS:,} parameters")
    columns: list[Layer] = []
    if features:
        columns.append(PiecewiseLinear(features, bins, width, specials=specials, rng=rng))
    if categories:
        lecun = INITIALIZERS["lecun_normal"]
        columns.append(ColumnEmbedding(categories, width, rng=rng, start=features, initializer=lecun))
    return Concat(*columns)
