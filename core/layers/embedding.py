"""The table of vectors that stand for ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.initializers import Initializer, uniform
from core.layer import Layer, Table
from core.layers.lookup import checked_ids, distinct, sum_by_row
from core.padded import Padded


class Embedding(Layer):
    """y[n, t] = W[x[n, t]]

    x (N, T) ids from 0 to V − 1, an array or `Padded`   W (V, E)   y (N, T, E), T the longest length

    dW[v] = Σ dy[n, t] over the places where x[n, t] = v, for the rows v that occur.      (Bengio et al., 2003)

    Id 0 is padding: its row is zero, and stays zero. Behind the end of a sequence y is zero.

    Raises ValueError for ids out of range, or that are no whole numbers.
    """

    takes_padded = True

    def __init__(
        self, vocabulary: int, features: int, *, rng: np.random.Generator, initializer: Initializer = uniform
    ) -> None:
        self.weight = Table(initializer((vocabulary, features), rng))
        self.weight.value[0] = 0

    def forward(self, x: Any, ctx: Context) -> Any:
        table = self.weight.value
        ids = checked_ids("Embedding", x, len(table), ctx)
        ctx.save(ids)
        y = table.take(ids, 0, ctx.buffer("y", (*ids.shape, table.shape[1])), "clip")
        return Padded(y, x.lengths) if isinstance(x, Padded) else y

    def backward(self, dy: Array, ctx: Context) -> None:
        """The ids have no gradient."""
        (ids,) = ctx.saved
        if self.weight.frozen:
            return
        rows, places = distinct(ids, len(self.weight.value), ctx)
        ctx.add_rows(self.weight, *sum_by_row(rows, places, ctx.packed("dy", dy), ctx))

    def flops(self, x: Shape, y: Shape) -> int:
        return 0

    def __repr__(self) -> str:
        return "Embedding({}, {})".format(*self.weight.value.shape)
