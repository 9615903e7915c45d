"""The sum, or the mean, of the vectors that stand for ids, without making them one by one."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.initializers import Initializer, uniform, zeros
from core.layer import Layer, Parameter, Table
from core.layers.lookup import checked_ids, distinct
from core.padded import Padded
from core.parallel import even_cuts

_BLOCK = 1 << 17  # numbers gathered at a time: some bags, so that calls are few, and yet near when they are added up


class EmbeddingBag(Layer):
    """y[n] = b + Σ_t w[n, t] W[x[n, t]], for "mean" divided by Σ_t w[n, t]

    x (N, T) ids from 0 to V − 1, an array or `Padded`   w its weight, 1 where it has none   W (V, E)   b (E,) if asked
    for   y (N, E)

    dW[v] = Σ w[n, t] dy[n] over the places where x[n, t] = v, for the rows v that occur; the weights w are data, and
    have no gradient. With E = 1 it is a linear model of features that mostly are absent. (Joulin et al., 2017)

    Id 0 is padding, and is in no bag: its row is zero, and stays zero. An empty bag is b.

    Raises ValueError for ids out of range, or that are no whole numbers.
    """

    takes_padded = True

    def __init__(
        self,
        vocabulary: int,
        features: int,
        *,
        rng: np.random.Generator,
        mode: str = "mean",
        bias: bool = False,
        initializer: Initializer = uniform,
    ) -> None:
        if mode not in ("mean", "sum"):
            raise ValueError(f'mode is "mean" or "sum", not "{mode}"')
        self.mode = mode
        self.weight = Table(initializer((vocabulary, features), rng))
        self.weight.value[0] = 0
        self.bias = Parameter(zeros((features,)), decays=False) if bias else None

    def forward(self, x: Any, ctx: Context) -> Array:
        table = self.weight.value
        ids = checked_ids("EmbeddingBag", x, len(table), ctx)
        w = self._weights(x, ids, ctx)
        ctx.save(ids, w)
        n, t = ids.shape
        y = ctx.buffer("y", (n, table.shape[1]))
        some = max(1, _BLOCK // (t * table.shape[1]))

        def add_up(hand: int, first: int, last: int) -> None:
            for a in range(first, last, some):
                part = slice(a, min(a + some, last))
                rows = ctx[hand].buffer("rows", (*ids[part].shape, table.shape[1]))
                table.take(ids[part], 0, rows, "clip")
                np.matmul(w[part, None], rows, out=y[part, None])

        ctx.side_by_side([partial(add_up, hand, *half) for hand, half in enumerate(even_cuts(n, 2))])
        if self.bias is not None:
            y += self.bias.value
        return y

    def backward(self, dy: Array, ctx: Context) -> None:
        """The ids have no gradient."""
        ids, w = ctx.saved
        if self.bias is not None:
            ctx.add_product(self.bias, ctx.ones(len(dy)), dy)
        if self.weight.frozen:
            return
        rows, places = distinct(ids, len(self.weight.value), ctx)
        sums = (self._sums_of_one if dy.shape[1] == 1 else self._sums)(places, len(rows), w, dy, ctx)
        start = int(rows[0] == 0)  # padding
        ctx.add_rows(self.weight, rows[start:], sums[start:])

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * int(np.prod(x)) * int(self.weight.value.shape[1])

    def _weights(self, x: Any, ids: Array, ctx: Context) -> Array:
        """(N, T) what each occurrence counts, 0 for padding"""
        present = np.not_equal(ids, 0, out=ctx.buffer("present", ids.shape, bool))
        w = ctx.buffer("w", ids.shape)
        given = x.weight if isinstance(x, Padded) else None
        if given is None:
            np.copyto(w, present)
        else:
            w.fill(0)
            np.copyto(w, given[:, : ids.shape[1]], where=present, casting="same_kind")
        if self.mode == "mean":
            total = np.add.reduce(w, axis=1, keepdims=True, out=ctx.buffer("total", (len(w), 1)))
            total += total == 0
            w /= total
        return w

    def _sums(self, places: Array, count: int, w: Array, dy: Array, ctx: Context) -> Array:
        """(U, E): how much of each bag each row is, as a matrix (U, N), times dy (N, E)"""
        n = len(dy)
        share = ctx.buffer("share", (count, n))
        share.fill(0)
        places *= n
        places += ctx.multiples(n, 1)[:, None]
        np.add.at(share.reshape(-1), places.reshape(-1), w.reshape(-1))
        sums: Array = ctx.buffer("sums", (count, dy.shape[1]))

        def add_up(first: int, last: int) -> None:
            np.dot(share[first:last], dy, out=sums[first:last])

        ctx.side_by_side([partial(add_up, *half) for half in even_cuts(count, 2)])
        return sums

    def _sums_of_one(self, places: Array, count: int, w: Array, dy: Array, ctx: Context) -> Array:
        """(U, 1): the same for one column, which needs no matrix"""
        sums = ctx.buffer("sums", (count, 1))
        sums.fill(0)
        np.add.at(sums.reshape(-1), places.reshape(-1), np.multiply(w, dy, out=ctx.buffer("d", w.shape)).reshape(-1))
        return sums

    def __repr__(self) -> str:
        return "EmbeddingBag({}, {})".format(*self.weight.value.shape)
