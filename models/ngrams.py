"""Models of words and their neighbours: what a text says is the sum of what its 1-, 2- and 3-grams say."""

from __future__ import annotations

from collections.abc import Iterator
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

BITS = 23  # of a hash: words and hashes together stay below 2²⁴, to which every whole number is a float32
MOST_ORDERS = 5
MANY = 5_000  # texts, from which on a feature seen once or twice is left out
_STEP, _MIX = np.uint32(0x9E3779B1), np.uint32(0x85EBCA6B)  # odd numbers with well-mixed bits


class NGrams(Layer):
    """ids of words → ids of their n-grams, n = 1 … orders

    x (N, T), an array or `Padded`, ids below `words`   y (N, orders · T)

    A word keeps its id. A longer n-gram gets words + a hash of 23 bits, which few share with another (Weinberger et
    al., 2009); with an unknown word in it (id 1) it is left out. What is left out, or stands behind the end of the
    text, is 0. `unique`: what occurs several times counts once, and y is sorted.

    Raises ValueError for orders that are not 1 to 5.
    """

    takes_padded = True

    def __init__(self, words: int, orders: int, *, unique: bool) -> None:
        if not 1 <= orders <= MOST_ORDERS or not 1 < words < 1 << BITS:
            raise ValueError(f"n-grams have 1 to {MOST_ORDERS} words, out of 2 to {1 << BITS:,}: not {orders}, {words}")
        self.words, self.orders, self.unique = words, orders, unique

    def forward(self, x: Any, ctx: Context) -> Array:
        y = self.grams(checked_ids("NGrams", x, self.words, ctx))
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
            y[:, n, :-n] = np.where(whole, self.words + (mixed >> np.uint32(32 - BITS)).astype(np.int32), 0)
        return y.reshape(len(ids), -1)

    def backward(self, dy: Array, ctx: Context) -> None:
        """Ids have no gradient."""

    def __repr__(self) -> str:
        return f"NGrams({self.words}, {self.orders})"


class Selected(Layer):
    """ids → 1 + their place among `rows` selected ids, 0 for all others

    x (N, T) ids   y (N, T)   keys (rows,) the selected ids, rising; places that are not needed hold 2²⁴
    """

    def __init__(self, rows: int) -> None:
        self.keys = Parameter(np.full(rows, 1 << 24, np.float32), decays=False)
        self.keys.frozen = True

    def forward(self, x: Array, ctx: Context) -> Array:
        keys = self.keys.value
        at = np.searchsorted(keys, x.astype(keys.dtype))
        hit = keys.take(at, mode="clip") == x
        at += 1
        at *= hit
        return at

    def backward(self, dy: Array, ctx: Context) -> None:
        """Ids have no gradient."""


class LogRatios(Layer):
    """The same ids, each with the weight |r| of its feature: counted before training, and not learned.

    x (N, T) ids below `rows`   y a `Padded` with weights   weight (rows,)

    r = ln (p / ‖p‖₁) − ln (q / ‖q‖₁), p and q being 1 + the number of texts of a class, and of the others, that have
    the feature; of several classes, the largest |r|. So a feature that tells classes apart is learned faster than
    one that does not.      (Wang & Manning, 2012)
    """

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
        y: Array = np.multiply(x, np.array([-0.5, 0.5], x.dtype), out=ctx.buffer("y", (len(x), 2)))
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        return (dy[:, 1:] - dy[:, :1]) / 2


def ngram_linear(
    *, words: int, outputs: int, orders: int = 3, rows: int = 300_000, ratios: bool = True, rng: np.random.Generator
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: a weight for each n-gram that occurs, times its log-count ratio

    Linear in the presence of n-grams, of which `prepare_ngrams` chooses the `rows` most frequent and counts the ratios.
    Without `ratios`, they are part of the weights: the same predictions from fewer numbers.   (Wang & Manning, 2012)
    """
    columns = 1 if outputs == 2 else outputs
    bag = EmbeddingBag(rows + 1, columns, rng=rng, mode="sum", bias=True, initializer=INITIALIZERS["zeros"])
    layers: list[Layer] = [NGrams(words, orders, unique=True), Selected(rows)]
    layers += [LogRatios(rows + 1), bag] if ratios else [bag]
    return calibrated(*layers, *([Versus()] if outputs == 2 else []))


def ngram_bag(
    *,
    words: int,
    outputs: int,
    features: int = 16,
    orders: int = 2,
    rows: int = 150_000,
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: the mean of a vector for each n-gram, then one layer

    Of the hashed n-grams, the `rows` most frequent have a vector.      (Joulin et al., 2017: fastText)
    """
    bag = EmbeddingBag(rows + 1, features, rng=rng, mode="mean")
    drop = [Dropout(dropout)] if dropout else []
    return calibrated(
        NGrams(words, orders, unique=False), Selected(rows), bag, *drop, Dense(features, outputs, rng=rng)
    )


# --- what is counted before training --------------------------------------------------------------------------------


def prepare_ngrams(model: Layer, x: Ragged, t: Array, *, least: int | None = None, start: float = 0.02) -> None:
    """Choose the n-grams of a model that selects some, and set its log-count ratios, from labelled texts.

    least: an n-gram in fewer texts is left out; None: 3, or 1 where there are few texts.
    start: weights with a ratio begin at so much times its sign.
    """
    least = (3 if len(x) >= MANY else 1) if least is None else least
    grams, selected, ratios, bag = (find(model, kind) for kind in (NGrams, Selected, LogRatios, EmbeddingBag))
    if selected is None:
        return
    classes = int(t.max(initial=1)) + 1
    counts = np.stack([_count(grams, x[np.flatnonzero(t == k)]) for k in range(classes)])  # (K, ids)
    keys = _most_frequent(counts.sum(axis=0), len(selected.keys.value), least)
    selected.keys.value[: len(keys)] = keys
    if ratios is None:
        return
    counts = counts[:, keys]
    r = np.stack([_log_ratio(count, counts.sum(axis=0) - count) for count in counts])
    scale = np.abs(r).max(axis=0)
    ratios.weight.value[1 : len(keys) + 1] = scale
    sign = r / np.where(scale > 0, scale, 1)
    columns = bag.weight.value.shape[1]
    bag.weight.value[1 : len(keys) + 1, : len(sign)] = start * (sign[1:] if columns == 1 else sign).T


def _most_frequent(counts: Array, most: int, least: int) -> Array:
    """The ids that occur in `least` texts or more, the `most` most frequent, rising"""
    ids = np.flatnonzero(counts >= least)
    ids = ids[ids > 1]  # neither padding nor unknown words
    if len(ids) > most:
        ids = np.sort(ids[np.argsort(-counts[ids], kind="stable")[:most]])
    return ids


def _count(grams: NGrams, x: Ragged) -> Array:
    """(ids,) in how many texts each n-gram is"""
    once = NGrams(grams.words, grams.orders, unique=True)
    counts = np.zeros(grams.words + (1 << BITS), np.int32)
    for found in _found(once, x):
        counts += np.bincount(found, minlength=len(counts)).astype(np.int32)
    counts[0] = 0
    return counts


def _found(grams: NGrams, x: Ragged, most: int = 1 << 23) -> Iterator[Array]:
    """The n-grams of all texts, about `most` at a time"""
    ctx, by_length, parts, held = Context(), np.argsort(x.lengths, kind="stable"), [], 0
    for start in range(0, len(x), 256):
        parts.append(grams.forward(x.padded(by_length[start : start + 256], ctx), ctx).reshape(-1))
        held += len(parts[-1])
        if held > most or start + 256 >= len(x):
            yield np.concatenate(parts)
            parts, held = [], 0


def _log_ratio(inside: Array, outside: Array) -> Array:
    p, q = inside + 1.0, outside + 1.0
    ratio: Array = np.log(p / p.sum()) - np.log(q / q.sum())
    return ratio


def find(model: Layer, kind: type[Any]) -> Any:
    """The first layer of a kind, or None."""
    waiting: list[Any] = [model]
    while waiting:
        layer = waiting.pop(0)
        if isinstance(layer, kind):
            return layer
        if isinstance(layer, Layer):
            waiting += vars(layer).values()
        elif isinstance(layer, list | tuple):
            waiting += layer
    return None
