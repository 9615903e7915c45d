"""Regions of text: vectors of words learned by predicting what stands around them, and a network on top of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import (
    Array,
    Context,
    ConvMaxPool1D,
    Dense,
    Dropout,
    Embedding,
    EmbeddingBag,
    Layer,
    Loss,
    Padded,
    Parameter,
    ReLU,
    Sequential,
)
from core.layer import Table
from core.padded import lengths_of, values_of
from models.calibrated import calibrated
from models.text import Known

WIDTH = 5  # words of a region
AROUND = 10  # words that are predicted: five on either side


class Regions(Layer):
    """y_t = [x_t, ReLU(b + x_{t−2} + … + x_{t+2})]: every word's own vector, and that of the region around it

    x (N, T, E), an array or `Padded`   b (E,)   y (N, T, 2 E)

    What lies outside of a sequence is zero.      (Johnson & Zhang, 2015)
    """

    takes_padded = True

    def __init__(self, features: int) -> None:
        self.bias = Parameter(np.zeros(features, np.float32), decays=False)

    def forward(self, x: Any, ctx: Context) -> Any:
        v, lengths = values_of(x), lengths_of(x)
        n, t, e = v.shape
        inside = None if lengths is None else (np.arange(t) < lengths[:, np.newaxis])[:, :, np.newaxis]
        y = ctx.buffer("y", (n, t, 2 * e))
        own, region = y[:, :, :e], y[:, :, e:]
        np.copyto(own, v)
        if inside is not None:
            own *= inside
        _sum_windows(own, region)
        region += self.bias.value
        np.maximum(region, 0, out=region)
        if inside is not None:
            region *= inside
        ctx.save(region)
        return x.like(y) if isinstance(x, Padded) else y

    def backward(self, dy: Array, ctx: Context) -> Array:
        (region,) = ctx.saved
        e = region.shape[2]
        through = np.multiply(dy[:, :, e:], region > 0, out=ctx.buffer("through", region.shape))
        ctx.add_grad(self.bias, through.sum(axis=(0, 1)))
        dx = ctx.buffer("dx", region.shape)
        _sum_windows(through, dx)
        dx += dy[:, :, :e]
        return dx


def _sum_windows(x: Array, y: Array) -> None:
    """y_t = x_{t−2} + … + x_{t+2}"""
    np.copyto(y, x)
    for k in range(1, min(WIDTH // 2 + 1, x.shape[1])):
        y[:, k:] += x[:, :-k]
        y[:, :-k] += x[:, k:]


class RegionPredictor(Layer):
    """y_u = ReLU(b + Σ_j W[x_j]) · V[u] + c_u: which words u stand around the region of words x_1 … x_5

    x (N, 5 + 10) ids of the region, then of what stands around it   W, V (words, E)   y (N, U), a column for each of
    the U different words that stand around any of the N regions, in the order of their ids

    So the words around one region are what the others are compared with.      (after Johnson & Zhang, 2015)
    """

    def __init__(self, vocabulary: int, features: int, *, rng: np.random.Generator) -> None:
        self.inward = EmbeddingBag(vocabulary, features, rng=rng, mode="sum", bias=True)
        self.relu = ReLU()
        self.outward = Table((rng.standard_normal((vocabulary, features)) * 0.05).astype(np.float32))
        self.common = Table(np.full((vocabulary, 1), -3, np.float32))  # few of the words stand around one region

    def forward(self, x: Array, ctx: Context) -> Array:
        seen = candidates(x[:, WIDTH:])
        h = self.relu.forward(self.inward.forward(x[:, :WIDTH], ctx[0]), ctx[1])
        v = self.outward.value[seen]  # (U, E)
        ctx.save(seen, h, v)
        y = np.dot(h, v.T, out=ctx.buffer("y", (len(x), len(seen))))
        y += self.common.value[seen, 0]
        return y

    def backward(self, dy: Array, ctx: Context) -> None:
        """Ids have no gradient."""
        seen, h, v = ctx.saved
        ctx.add_rows(self.outward, seen, dy.T @ h)
        ctx.add_rows(self.common, seen, dy.sum(axis=0)[:, np.newaxis])
        self.inward.backward(self.relu.backward(dy @ v, ctx[1]), ctx[0])


def candidates(around: Array) -> Array:
    """(U,) the different ids that stand around some regions; 0 is none."""
    ids = np.unique(around)
    return ids[ids > 0]


class AroundLoss(Loss):
    """loss = Σ_u ln(1 + e^{−s y_u}) / 10, s being 1 for the words that stand around a region and −1 for the others

    y (N, U) of a `RegionPredictor`   t (N, 10) ids of the words around, 0 being none
    """

    def __call__(
        self, y: Array, t: Array, scale: float, ctx: Context, weight: Array | None = None
    ) -> tuple[float, Array]:
        seen = candidates(t)
        truth = ctx.buffer("truth", y.shape)
        truth.fill(0)
        rows, columns = np.nonzero(t)
        truth[rows, np.searchsorted(seen, t[rows, columns])] = 1
        e = np.exp(-np.abs(y), out=ctx.buffer("e", y.shape))
        value = float((np.maximum(y, 0) - y * truth).sum(dtype=np.float64) + np.log1p(e).sum(dtype=np.float64))
        dy = np.where(y > 0, 1, e) / (1 + e) - truth
        dy *= scale / AROUND
        return value * scale / AROUND, dy


def region_predictor(
    *, words: int, outputs: int = 0, vocabulary: int = 30_000, features: int = 100, rng: np.random.Generator
) -> Sequential:
    """(N, 15) ids of regions and the words around them → (N, U) logits of these words: see `RegionPredictor`"""
    return Sequential(RegionPredictor(min(words, vocabulary), features, rng=rng))


def region_cnn(
    *,
    words: int,
    outputs: int,
    vocabulary: int = 30_000,
    features: int = 100,
    filters: int = 300,
    kernel: int = 3,
    most: int = 400,
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: filters over words and the regions around them, the strongest of each

    `learn_from_regions` gives it the vectors of a `region_predictor`, which needs no labels. (Johnson & Zhang, 2015)
    """
    vocabulary = min(words, vocabulary)
    drop = [Dropout(dropout)] if dropout else []
    return calibrated(
        Known(vocabulary, most),
        Embedding(vocabulary, features, rng=rng),
        Regions(features),
        ConvMaxPool1D(2 * features, filters, kernel, rng=rng),
        ReLU(),
        *drop,
        Dense(filters, outputs, rng=rng),
    )
