"""Categories of a table as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from core.context import Array, Context, Shape
from core.initializers import Initializer, normal
from core.layer import Layer, Parameter


class ColumnEmbedding(Layer):
    """y_f = T_f[k_f]

    x (N, C), of which k = x[:, start : start + F], rounded, holds k_f in [0, sizes[f])
    T (Σ sizes, E), the tables of the columns one below the other   y (N, F·E)

    dT_f[k] = Σ dy_f over the rows that hold k; categories have no derivative      (Guo & Berkhahn, 2016)

    Raises ValueError where x has too few columns, or a number is no category.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        width: int,
        *,
        rng: np.random.Generator,
        start: int = 0,
        initializer: Initializer = normal,
    ) -> None:
        if not sizes or min(*sizes, width) < 1 or start < 0:
            raise ValueError(f"columns have categories, and vectors numbers, from 1 up: not {tuple(sizes)}, {width}")
        self.table = Parameter(initializer((sum(sizes), width), rng))
        self.sizes, self.start = tuple(sizes), start
        self.ends = tuple(np.cumsum([0, *sizes]).tolist())

    def forward(self, x: Array, ctx: Context) -> Array:
        n, features = len(x), len(self.sizes)
        if x.ndim != 2 or x.shape[1] < self.start + features:
            raise ValueError(f"the layer reads {features} columns from {self.start}, but x has shape {x.shape}")
        k = ctx.buffer("k", (n, features), np.int64)
        np.rint(x[:, self.start : self.start + features], out=k, casting="unsafe")
        sizes = ctx.once("sizes", lambda: np.array(self.sizes, np.uint64))
        wrong = np.greater_equal(k.view(np.uint64), sizes, out=ctx.buffer("wrong", k.shape, bool))  # a negative is huge
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(f"column {column} has categories 0 to {self.sizes[column] - 1}, not {k[row, column]}")
        k += ctx.once("offsets", lambda: np.array(self.ends[:-1]))
        ctx.save(k, x.shape)
        y = ctx.buffer("y", (n, features, self.table.value.shape[1]))
        self.table.value.take(k, 0, y, "clip")
        return y.reshape(n, -1)

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        k, shape = ctx.saved
        n, width = len(k), self.table.value.shape[1]
        hot = ctx.buffer("hot", (n, self.ends[-1]))
        hot.fill(0)
        at = np.add(k, ctx.multiples(n, self.ends[-1])[:, None], out=ctx.buffer("at", k.shape, np.int64))
        hot.reshape(-1)[at.reshape(-1)] = 1
        dtable = ctx.buffer("dtable", self.table.value.shape)
        for f, (a, b) in enumerate(pairwise(self.ends)):
            np.matmul(hot[:, a:b].T, dy[:, f * width : (f + 1) * width], out=dtable[a:b])
        ctx.add_grad(self.table, dtable)
        if not ctx.needs_dx:
            return None
        dx = ctx.buffer("dx", shape)
        dx.fill(0)
        return dx

    def flops(self, x: Shape, y: Shape) -> int:
        return 0

    def __repr__(self) -> str:
        return f"ColumnEmbedding({self.sizes}, {self.table.value.shape[1]})"
