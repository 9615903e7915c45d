"""Pooling of sequences: one number a feature, whatever the length."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.layer import Layer
from core.padded import lengths_of, values_of


class GlobalMaxPool1D(Layer):
    """y[n, f] = max_t x[n, t, f], t before the end

    x (N, T, F), an array or `Padded`   y (N, F), 0 for an empty sequence

    dx sends each dy to the winner; where several are equal, to the first.      (Collobert et al., 2011)

    Raises ValueError where x has other than three axes.
    """

    takes_padded = True

    def forward(self, x: Any, ctx: Context) -> Array:
        v, lengths = steps_of(self, x)
        y = ctx.buffer("y", (len(v), v.shape[2]))
        for i, length in enumerate(lengths.tolist()):
            if length:
                np.maximum.reduce(v[i, :length], axis=0, out=y[i])
            else:
                y[i] = 0
        ctx.save(v, lengths)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        v, lengths = ctx.saved
        dx: Array = ctx.like("dx", v)
        dx.fill(0)
        winner, features = ctx.buffer("winner", (v.shape[2],), np.int64), ctx.multiples(v.shape[2], 1)
        for i, length in enumerate(lengths.tolist()):
            if length:
                np.argmax(v[i, :length], axis=0, out=winner)
                dx[i, winner, features] = dy[i]
        return dx

    def flops(self, x: Shape, y: Shape) -> int:
        return int(np.prod(x))


class GlobalAveragePool1D(Layer):
    """y[n, f] = mean over t of x[n, t, f], t before the end      dx = dy / length there

    x (N, T, F), an array or `Padded`   y (N, F), 0 for an empty sequence

    Raises ValueError where x has other than three axes.
    """

    takes_padded = True

    def forward(self, x: Any, ctx: Context) -> Array:
        v, lengths = steps_of(self, x)
        y = ctx.buffer("y", (len(v), v.shape[2]))
        for i, length in enumerate(lengths.tolist()):
            np.add.reduce(v[i, :length], axis=0, out=y[i])
            y[i] /= length or 1
        ctx.save(v, lengths)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        v, lengths = ctx.saved
        dx: Array = ctx.like("dx", v)
        for i, length in enumerate(lengths.tolist()):
            np.divide(dy[i], length or 1, out=dx[i, :length])
            dx[i, length:] = 0
        return dx

    def flops(self, x: Shape, y: Shape) -> int:
        return int(np.prod(x))


def steps_of(layer: Layer, x: Any) -> tuple[Array, Array]:
    """(values (N, T, F), lengths (N,)) of a padded batch, or of an array, whose sequences have all T steps."""
    v, lengths = values_of(x), lengths_of(x)
    if v.ndim != 3:
        raise ValueError(f"{type(layer).__name__} takes sequences (N, T, F), but x has shape {v.shape}")
    return v, np.full(len(v), v.shape[1]) if lengths is None else lengths
