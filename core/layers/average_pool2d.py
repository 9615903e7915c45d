"""Pooling of images by the mean: of every window, or of the whole image."""

from __future__ import annotations

import numpy as np

from core.context import Array, Context, Shape
from core.layer import Layer
from core.layers.window import Pair, Window, batch_first, batch_last, pair


class AveragePool2D(Layer):
    """y[n, c, p, q] = mean_{i, j} x[n, c, s p + i, s q + j]

    x (N, C, H, W)   y (N, C, P, Q)      stride s: the window's size where not given

    dx spreads each dy evenly over its window.      (LeCun et al., 1989)

    Raises ValueError where the window is larger than the image.
    """

    def __init__(self, size: int | Pair, stride: int | Pair | None = None) -> None:
        size = pair("size", size)
        self.window = Window(size, size if stride is None else pair("stride", stride))

    def forward(self, x: Array, ctx: Context) -> Array:
        v = batch_last(x, ctx, "x")
        ctx.save(v.shape)
        p, q = self.window.outputs(*x.shape[2:])
        y = ctx.buffer("y", (v.shape[0], p, q, v.shape[3]))
        y.fill(0)
        for part in self._parts(v, p, q):
            np.add(y, part, out=y)
        y *= 1 / (self.window.size[0] * self.window.size[1])
        return batch_first(y)

    def backward(self, dy: Array, ctx: Context) -> Array:
        (shape,) = ctx.saved
        d = batch_last(dy, ctx, "dy")
        share = np.multiply(d, 1 / (self.window.size[0] * self.window.size[1]), out=ctx.buffer("share", d.shape))
        dx = ctx.buffer("dx", shape)
        dx.fill(0)
        for part in self._parts(dx, *d.shape[1:3]):
            np.add(part, share, out=part)
        return batch_first(dx)

    def flops(self, x: Shape, y: Shape) -> int:
        return int(np.prod(y)) * self.window.size[0] * self.window.size[1]

    def _parts(self, v: Array, p: int, q: int) -> list[Array]:
        """Element (i, j) of all windows of (C, H, W, N), for every (i, j)"""
        (k, m), (sp, sq) = self.window.size, self.window.stride
        return [v[:, i : i + sp * (p - 1) + 1 : sp, j : j + sq * (q - 1) + 1 : sq] for i in range(k) for j in range(m)]


class GlobalAveragePool2D(Layer):
    """y[n, c] = mean over the pixels of x[n, c]      dx = dy / (H W) everywhere

    x (N, C, H, W)   y (N, C)      (Lin et al., 2014)
    """

    def forward(self, x: Array, ctx: Context) -> Array:
        v = batch_last(x, ctx, "x")
        ctx.save(v.shape)
        c, h, w, n = v.shape
        y = np.add.reduce(v.reshape(c, h * w, n), axis=1, out=ctx.buffer("y", (c, n)))
        y *= 1 / (h * w)
        return y.T

    def backward(self, dy: Array, ctx: Context) -> Array:
        ((c, h, w, n),) = ctx.saved
        share = np.multiply(dy.T, 1 / (h * w), out=ctx.buffer("share", (c, n)))
        dx = ctx.buffer("dx", (c, h * w, n))
        np.copyto(dx, share[:, None])
        return batch_first(dx.reshape(c, h, w, n))

    def flops(self, x: Shape, y: Shape) -> int:
        return int(np.prod(x))
