"""What recurrent layers read: a vector at every step, or words of which many occur more than once.

Legend: N sequences, T steps, E features, G rows of all gates, C steps of a chunk, U different words.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from core.context import Array, Context
from core.layers.lookup import sum_by_row
from core.padded import Padded
from core.parallel import even_cuts

_PAD = 16  # a cache line: rows a power of two apart fall into the same few places of the cache


class Words(Padded):
    """A padded batch whose steps are rows of `vectors`: values (N, T), which row each step is.

    vectors  (U, E)   A layer that reads it returns the gradient of these, (U, E).
    """

    __slots__ = ("vectors",)

    def __init__(self, vectors: Array, places: Array, lengths: Array) -> None:
        super().__init__(places, lengths)
        self.vectors = vectors

    def like(self, values: Array) -> Words:
        """The same vectors in another order."""
        return Words(self.vectors, values, self.lengths)


class VectorInput:
    """W x + b of x (N, T, E), W (G, E), b (G, 1), and the way back, a chunk of steps at a time"""

    def __init__(self, x: Array, w: Array, bias: Array, ctx: Context) -> None:
        self.x, self.w, self.bias = x, w, bias

    def read(self, first: int, last: int, z: Array, ctx: Context) -> None:
        """Some steps → z (C, G, N)"""
        if z.shape[2] == 1:  # one product of matrices, not one with a vector for every step
            np.dot(self.x[0, first:last], self.w.T, out=z[:, :, 0])
        else:
            np.matmul(self.w, self.x[:, first:last].transpose(1, 2, 0), out=z)
        z += self.bias

    def start_back(self, steps: int, ctx: Context) -> None:
        """Before `learn`, of `steps` steps in all."""
        self.dx = ctx.like("dx", self.x) if ctx.needs_dx else None
        if self.dx is not None:
            self.dx[:, steps:] = 0

    def learn(self, first: int, last: int, d: Array, flat: Array, dw: Array, ctx: Context) -> None:
        """d (C, G, N), also as flat (G, C·N) → dw (G, E) grows"""
        c, _, n = d.shape
        rows = ctx.buffer("rows", (c, n, self.x.shape[2]))
        np.copyto(rows, self.x[:, first:last].transpose(1, 0, 2))
        dw += np.dot(flat, rows.reshape(c * n, -1), out=ctx.buffer("dw part", dw.shape))
        if self.dx is not None:
            np.matmul(d.transpose(0, 2, 1), self.w, out=self.dx.transpose(1, 0, 2)[first:last])

    def finish_back(self, dw: Array, ctx: Context) -> Array | None:
        """dx (N, T, E), after all steps"""
        return self.dx


class WordInput:
    """The same of `Words`, with products once for each word, those of the way back from the sum over its places"""

    def __init__(self, x: Words, w: Array, bias: Array, ctx: Context) -> None:
        self.vectors, self.w = x.vectors, w
        self.answers = ctx.buffer("answers", (len(self.vectors), len(w) + _PAD))

        def answer(first: int, last: int) -> None:
            some = np.matmul(self.vectors[first:last], w.T, out=self.answers[first:last, : len(w)])
            some += bias[:, 0]

        ctx.side_by_side([partial(answer, *half) for half in even_cuts(len(self.vectors), 2)])
        self.places = ctx.buffer("places in time", x.values.T.shape, np.int64)
        np.copyto(self.places, x.values.T)

    def read(self, first: int, last: int, z: Array, ctx: Context) -> None:
        c, g, n = z.shape
        some = ctx.buffer("some", (c, n, g + _PAD))
        np.take(self.answers, self.places[first:last], 0, out=some, mode="clip")
        np.copyto(z, some[:, :, :g].transpose(0, 2, 1))

    def start_back(self, steps: int, ctx: Context) -> None:
        self.d = ctx.buffer("d of words", (steps, self.places.shape[1], len(self.w)))

    def learn(self, first: int, last: int, d: Array, flat: Array, dw: Array, ctx: Context) -> None:
        np.copyto(self.d[first:last], d.transpose(0, 2, 1))

    def finish_back(self, dw: Array, ctx: Context) -> Array | None:
        counted = ctx.multiples(len(self.vectors), 1) + 1  # from 1, since `sum_by_row` leaves out a row 0
        words, sums = sum_by_row(counted, self.places[: len(self.d)], self.d, ctx)
        words -= 1
        some = ctx.buffer("some vectors", (len(words), self.vectors.shape[1]))
        np.take(self.vectors, words, 0, out=some, mode="clip")
        dvectors = ctx.buffer("dvectors", self.vectors.shape) if ctx.needs_dx else None

        def learn() -> None:
            np.add(dw, np.dot(sums.T, some, out=ctx[0].buffer("dw part", dw.shape)), out=dw)

        def hand_back() -> None:
            if dvectors is not None:
                dvectors.fill(0)
                dvectors[words] = np.dot(sums, self.w, out=ctx[1].buffer("d some", some.shape))

        ctx.side_by_side((learn, hand_back))
        return dvectors


def input_of(x: Any, v: Array, w: Array, bias: Array, ctx: Context) -> VectorInput | WordInput:
    """Of x, whose values are v."""
    return WordInput(x, w, bias, ctx) if isinstance(x, Words) else VectorInput(v, w, bias, ctx)
