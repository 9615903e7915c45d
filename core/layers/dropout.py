"""Dropout."""

from __future__ import annotations

import numpy as np

from core.context import Array, Context
from core.layer import Layer

_BLOCK = 1 << 13  # words of eight bytes drawn at a time


class Dropout(Layer):
    """y = x · m / (1 − p),  m = 0 with probability p, else 1      dx = dy · m / (1 − p)

    Any shape. In training only; when serving, y = x. Each mask costs one random byte, so p is rounded to a multiple of
    1/256, in the scale too: the mean of y is exactly x.      (Srivastava et al., 2014)

    Raises ValueError for p outside [0, 1).
    """

    per_step = True

    def __init__(self, p: float) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"the probability of dropping is from 0 up to, not including, 1; not {p}")
        self.p = p

    def forward(self, x: Array, ctx: Context) -> Array:
        if not ctx.train or not self.p:
            return x
        kept = max(1, round(256 * (1 - self.p)))  # of 256
        keep = ctx.buffer("keep", (x.size,), bool)
        for start in range(0, x.size, 8 * _BLOCK):
            part = keep[start : start + 8 * _BLOCK]
            words = ctx.rng.integers(0, 1 << 64, -(-part.size // 8), np.uint64)  # a tenth of the time of `bytes`
            np.less(words.view(np.uint8)[: part.size], kept, out=part)
        mask = ctx.like("mask", x)
        np.multiply(keep, mask.dtype.type(256 / kept), out=mask.ravel("K"))  # in memory order, a view
        ctx.save(mask)
        return np.multiply(x, mask, out=ctx.like("y", x))

    def backward(self, dy: Array, ctx: Context) -> Array:
        if not ctx.train or not self.p:
            return dy
        (mask,) = ctx.saved
        dx: Array = np.multiply(dy, mask, out=ctx.like("dx", mask))
        return dx

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"
