"""Pooling of images: the largest number of every window."""

from __future__ import annotations

import numpy as np

from core.context import Array, Context, Shape
from core.layer import Layer
from core.layers.window import Pair, Window, batch_first, batch_last, pair


class MaxPool2D(Layer):
    """y[n, c, p, q] = max_{i, j} x[n, c, s p + i, s q + j]

    x (N, C, H, W)   y (N, C, P, Q)      stride s: the window's size where not given

    Maximum along rows, then along columns. dx sends each dy to the winner; where several are equal, to the first.
    (Zhou & Chellappa, 1988)

    Raises ValueError where the window is larger than the image.
    """

    def __init__(self, size: int | Pair, stride: int | Pair | None = None) -> None:
        size = pair("size", size)
        self.window = Window(size, size if stride is None else pair("stride", stride))

    def forward(self, x: Array, ctx: Context) -> Array:
        v = batch_last(x, ctx, "x")
        self.window.outputs(*x.shape[2:])
        rows = self._largest(v, 1, ctx, "rows")
        y = self._largest(rows, 2, ctx, "y")
        ctx.save(v, rows, y)
        return batch_first(y)

    def backward(self, dy: Array, ctx: Context) -> Array:
        v, rows, y = ctx.saved
        d = batch_last(dy, ctx, "dy")
        drows = self._to_winners(d, rows, y, 2, ctx, "drows")
        return batch_first(self._to_winners(drows, v, rows, 1, ctx, "dx"))

    def flops(self, x: Shape, y: Shape) -> int:
        return int(np.prod(y)) * self.window.size[0] * self.window.size[1]

    def _slices(self, v: Array, axis: int, count: int) -> list[Array]:
        """Element i of each window along an axis of (C, H, W, N), for every i"""
        size, stride = self.window.size[axis - 1], self.window.stride[axis - 1]
        ahead = (slice(None),) * axis
        return [v[(*ahead, slice(i, i + stride * (count - 1) + 1, stride))] for i in range(size)]

    def _largest(self, v: Array, axis: int, ctx: Context, name: str) -> Array:
        count = (v.shape[axis] - self.window.size[axis - 1]) // self.window.stride[axis - 1] + 1
        first, *others = self._slices(v, axis, count)
        y = ctx.buffer(name, first.shape)
        if not others:
            np.copyto(y, first)
        for i, other in enumerate(others):
            np.maximum(y if i else first, other, out=y)
        return y

    def _to_winners(self, d: Array, v: Array, y: Array, axis: int, ctx: Context, name: str) -> Array:
        size, stride = self.window.size[axis - 1], self.window.stride[axis - 1]
        dv = ctx.buffer(name, v.shape)
        tiles = size == stride and v.shape[axis] == stride * d.shape[axis]
        if not tiles:
            dv.fill(0)
        won, share = ctx.buffer("won" + name, d.shape, bool), ctx.buffer("share" + name, d.shape)
        left = d  # what has found no winner yet
        sources, targets = self._slices(v, axis, d.shape[axis]), self._slices(dv, axis, d.shape[axis])
        for source, target in zip(sources[:-1], targets[:-1], strict=True):
            np.copyto(share, np.greater_equal(source, y, out=won))
            np.multiply(share, left, out=share)
            left = np.subtract(left, share, out=ctx.buffer("left" + name, d.shape))
            if tiles:
                np.copyto(target, share)
            else:
                np.add(target, share, out=target)
        if tiles:
            np.copyto(targets[-1], left)
        else:
            np.add(targets[-1], left, out=targets[-1])
        return dv

    def __repr__(self) -> str:
        return f"MaxPool2D({self.window.size[0] if self.window.size[0] == self.window.size[1] else self.window.size})"
