"""Models of words and their neighbours: what a text says is the sum of what its 1-, 2- and 3-grams say."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import (
    INITIALIZERS,
    Array,
    Context,
    Dense,
    Dropout,
    EmbeddingBag,
    Layer,
    Padded,
    Parameter,
    Ragged,
    Sequential,
)
from core.layers.lookup import checked_ids
from models.calibrated import calibrated

MOST_ORDERS, MOST_BITS = 5, 23
MANY = 5_000  # texts, from which on a feature seen once or twice is left out
_STEP, _MIX = np.uint32(0x9E3779B1), np.uint32(0x85EBCA6B)  # odd numbers with well-mixed bits


class NGrams(Layer):
    """ids of words → ids of their n-grams, n = 1 … orders

    x (N, T), an array or `Padded`, ids below `words`   y (N, orders · T)

    A word keeps its id. A longer n-gram gets words + a hash of `bits` bits, so that two may share one, and nothing
    need be stored (Weinberger et al., 2009); with an unknown word in it (id 1) it is left out. What is left out, or
    stands behind the end of the text, is 0. `unique`: what occurs several times counts once.

    The ids of y stand in no order of time where `unique`; they are meant for an `EmbeddingBag`.
    """

    takes_padded = True

    def __init__(self, words: int, orders: int, bits: int, *, unique: bool) -> None:
        if not (1 <= orders <= MOST_ORDERS and 0 <= bits <= MOST_BITS and words > 1):
            raise ValueError(f"n-grams have 1 to {MOST_ORDERS} words and up to {MOST_BITS} bits, not {orders} and {bits}")
        self.words, self.orders, self.bits, self.unique = words, orders, bits, unique

    @property
    def rows(self) -> int:
        """How many ids y may hold."""
        return self.words + (1 << self.bits if self.orders > 1 else 0)

    def forward(self, x: Any, ctx: Context) -> Array:
        ids = checked_ids("NGrams", x, self.words, ctx)
        y = self.grams(ids)
        if self.unique:
            y.sort(axis=1)
            y[:, 1:][y[:, 1:] == y[:, :-1]] = 0
        return y

    def grams(self, ids: Array) -> Array:
        """ids (N, T) → (N, orders · T): of each order, the n-gram that begins at each word"""
        y = np.zeros((len(ids), self.orders, ids.shape[1]), np.int32)
        y[:, 0] = ids
        known = ids > 1
        whole = known
        hashed = ids.astype(np.uint32)
        for n in range(1, min(self.orders, ids.shape[1])):
            hashed = (hashed[:, :-1] * _STEP) ^ ids[:, n:].astype(np.uint32)  # of n + 1 words
            whole = whole[:, :-1] & known[:, n:]
            mixed = hashed * _MIX
            mixed ^= mixed >> np.uint32(15)
            mixed *= _STEP
            bucket = (mixed >> np.uint32(32 - self.bits)).astype(np.int32) if self.bits else 0
            y[:, n, : -n] = np.where(whole, self.words + bucket, 0)
        return y.reshape(len(ids), -1)

    def backward(self, dy: Array, ctx: Context) -> None:
        """Ids have no gradient."""

    def __repr__(self) -> str:
        return f"NGrams({self.words}, {self.orders}, bits={self.bits})"


class LogRatios(Layer):
    """The same ids, each with the weight |r| of its feature: counted before training, and not learned.

    x (N, T) ids below `rows`   y a `Padded` with weights

    r = ln (p / ‖p‖₁) − ln (q / ‖q‖₁), p and q being 1 + the number of texts of a class, and of the others, that have
    the feature; of several classes, the largest |r|. So a feature that tells classes apart is learned faster than
    one that does not.      (Wang & Manning, 2012)
    """

    takes_padded = True

    def __init__(self, rows: int) -> None:
        self.weight = Parameter(np.ones(rows, np.float32), decays=False)
        self.weight.frozen = True

    def forward(self, x: Array, ctx: Context) -> Padded:
        weight = self.weight.value.take(x, 0, ctx.buffer("weight", x.shape), "clip")
        return Padded(x, np.full(len(x), x.shape[1]), weight)

    def backward(self, dy: Array, ctx: Context) -> None:
        """Ids have no gradient."""


class Versus(Layer):
    """y = (−x / 2, x / 2): one number as the logits of two classes, their difference being x

    x (N, 1)   y (N, 2)      dx = (dy_2 − dy_1) / 2
    """

    def forward(self, x: Array, ctx: Context) -> Array:
        return np.multiply(x, np.array([-0.5, 0.5], x.dtype), out=ctx.buffer("y", (len(x), 2)))

    def backward(self, dy: Array, ctx: Context) -> Array:
        return (dy[:, 1:] - dy[:, :1]) / 2


def ngram_linear(
    *, words: int, outputs: int, orders: int = 3, bits: int = 20, ratios: bool = True, rng: np.random.Generator
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: a weight for each n-gram that occurs, times its log-count ratio

    Linear in the presence of n-grams. `count_ratios` sets the ratios from labelled texts; without `ratios`, they are
    part of the weights, which predicts the same from half the numbers.      (Wang & Manning, 2012)
    """
    grams = NGrams(words, orders, bits, unique=True)
    layers: list[Layer] = [grams, LogRatios(grams.rows)] if ratios else [grams]
    columns = 1 if outputs == 2 else outputs
    bag = EmbeddingBag(grams.rows, columns, rng=rng, mode="sum", bias=True, initializer=INITIALIZERS["zeros"])
    return calibrated(*layers, bag, *([Versus()] if outputs == 2 else []))


def ngram_bag(
    *,
    words: int,
    outputs: int,
    features: int = 16,
    orders: int = 2,
    bits: int = 19,
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: the mean of a vector for each n-gram, then one layer

    (Joulin et al., 2017: fastText)
    """
    grams = NGrams(words, orders, bits, unique=False)
    drop = [Dropout(dropout)] if dropout else []
    bag = EmbeddingBag(grams.rows, features, rng=rng, mode="mean")
    return calibrated(grams, bag, *drop, Dense(features, outputs, rng=rng))


def count_ratios(
    model: Layer, x: Ragged, t: Array, *, least: int | None = None, start: float = 0.04
) -> None:
    """Set the log-count ratios of an `ngram_linear` from labelled texts, and its weights to `start` times their sign.

    least: features in fewer texts have no weight, and learn nothing; None: 3, or 1 where there are few texts.
    """
    least = (3 if len(x) >= MANY else 1) if least is None else least
    grams, ratios, bag = (_find(model, kind) for kind in (NGrams, LogRatios, EmbeddingBag))
    columns = bag.weight.value.shape[1]
    classes = 2 if columns == 1 else columns
    counts = np.stack([_count(grams, x[np.flatnonzero(t == k)]) for k in range(classes)])  # (K, rows)
    total = counts.sum(axis=0)
    r = np.stack([_log_ratio(count, total - count) for count in counts])
    r[:, total < least] = 0
    r[:, 0] = 0
    scale = np.abs(r).max(axis=0)
    ratios.weight.value[...] = scale
    sign = r / np.where(scale > 0, scale, 1)
    bag.weight.value[...] = start * (sign[1:] if columns == 1 else sign).T


def _count(grams: NGrams, x: Ragged, at_a_time: int = 256) -> Array:
    """(rows,) how many texts have each feature"""
    counts = np.zeros(grams.rows, np.int64)
    by_length = np.argsort(x.lengths, kind="stable")
    for start in range(0, len(x), at_a_time):
        y = grams.forward(x.padded(by_length[start : start + at_a_time], Context()), Context())
        counts += np.bincount(y.reshape(-1), minlength=grams.rows)
    return counts


def _log_ratio(inside: Array, outside: Array) -> Array:
    p, q = inside + 1.0, outside + 1.0
    ratio: Array = np.log(p / p.sum()) - np.log(q / q.sum())
    return ratio


def _find(model: Layer, kind: type[Any]) -> Any:
    """The first layer of a kind."""
    waiting: list[Any] = [model]
    while waiting:
        layer = waiting.pop(0)
        if isinstance(layer, kind):
            return layer
        if isinstance(layer, Layer):
            waiting += vars(layer).values()
        elif isinstance(layer, list | tuple):
            waiting += layer
    raise ValueError(f"the model has no {kind.__name__}")
