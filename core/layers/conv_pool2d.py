"""Convolution and 2×2 max pooling in one layer: the same numbers as one after the other, in half the time."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from core.context import Array, Context, Shape
from core.initializers import Initializer, he_normal
from core.layers.conv2d import Conv2D
from core.layers.window import Padding, Pair, batch_first, batch_last, check_image, padded


class ConvPool2D(Conv2D):
    """y = maxpool2×2(conv(x, W)) + b, equal to MaxPool2D(2) after Conv2D, stride 1

    x (N, C, H, W)   W (C, K, K, O)   b (O,)   y (N, O, ⌊P / 2⌋, ⌊Q / 2⌋)

    The columns are ordered by their place in the pooling square, so pooling is a maximum of four contiguous blocks,
    and what pooling would drop is not computed. The bias, equal for all four, is added after the maximum. Where two
    are equal, the gradient goes to the first.

    Raises ValueError when x has other than C channels, or is smaller than the kernel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | Pair,
        *,
        rng: np.random.Generator,
        padding: Padding = "valid",
        bias: bool = True,
        initializer: Initializer = he_normal,
    ) -> None:
        super().__init__(inputs, outputs, kernel, rng=rng, padding=padding, bias=bias, initializer=initializer)

    def forward(self, x: Array, ctx: Context) -> Array:
        check_image("ConvPool2D", x, self.weight.value)
        n, _, h, w = x.shape
        p, q = (count // 2 for count in self.window.outputs(h, w))
        if min(p, q) < 1:
            raise ValueError(f"ConvPool2D needs room for a 2×2 square after its kernel, but x has shape {x.shape}")
        v = padded(x, self.window.pads(h, w), ctx)
        o, m = self._matrix().shape[1], p * q * n
        if self._in_tiles(n, 2 * p, 2 * q):
            four = ctx.scratch("four", (4, o, m))
            self._fill(four.reshape(2, 2, o, m), v, p, q, x.shape, ctx)
        else:
            columns = self._phased_columns(v, p, q, ctx)
            ctx.save(columns, x.shape)
            four = np.dot(self._matrix().T, columns, out=ctx.scratch("four", (o, 4 * m)))
            four = four.reshape(o, 4, m).swapaxes(0, 1)
        y = self._pool(four, ctx)
        if self.bias is not None:
            np.add(y, self.bias.value[:, None], out=y)
        return batch_first(y.reshape(o, p, q, n))

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        n, o, p, q = dy.shape
        in_tiles = self._in_tiles(n, 2 * p, 2 * q)
        d = batch_last(dy, ctx, "dy").reshape(o, -1)
        if self.bias is not None:
            ctx.add_grad(self.bias, np.add.reduce(d, axis=1, out=ctx.buffer("db", (o,))))
        *saved, won = ctx.saved
        ctx.saved = tuple(saved)
        dfour = self._unpool(d, won, in_tiles, ctx)  # (4, O, M)
        if in_tiles:
            return self._four_back(dfour.reshape(2, 2, o, -1), p, q, ctx)
        columns, shape = ctx.saved
        dfour = dfour.swapaxes(0, 1)
        self._add_weight_grad(columns, dfour.reshape(o, -1), ctx)
        if not ctx.needs_dx:
            return None
        # back from the order of pooling to the order of pixels: (O, 2, 2, P, Q, N) → (O, P, 2, Q, 2, N)
        full = ctx.scratch("full", (o, p, 2, q, 2, n))
        np.copyto(full.transpose(0, 2, 4, 1, 3, 5), dfour.reshape(o, 2, 2, p, q, n))
        return self._scatter(full.reshape(o, -1), shape, 2 * p, 2 * q, columns, ctx)

    def flops(self, x: Shape, y: Shape) -> int:
        return 4 * super().flops(x, y)

    def _phased_columns(self, v: Array, p: int, q: int, ctx: Context) -> Array:
        """(C, H, W, N) → (C·K·K, 2·2·P·Q·N): all windows at the top left of a square, then top right, …"""
        c, _, _, n = v.shape
        k, m = self.window.size
        columns = ctx.buffer("columns", (c * k * m, 4 * p * q * n))
        sc, sh, sw, sn = v.strides
        windows = as_strided(v, (c, k, m, 2, 2, p, q, n), (sc, sh, sw, sh, sw, 2 * sh, 2 * sw, sn))
        np.copyto(columns.reshape(windows.shape), windows)
        return columns

    def _pool(self, four: Array, ctx: Context) -> Array:
        """four (4, O, M) → y (O, M), the maxima; saves which of two won, of the pairs above, below, and of these."""
        _, o, m = four.shape
        top, low, y = ctx.scratch("top", (o, m)), ctx.scratch("low", (o, m)), ctx.buffer("y", (o, m))
        np.maximum(four[0], four[1], out=top)
        np.maximum(four[2], four[3], out=low)
        np.maximum(top, low, out=y)
        if ctx.keeps:
            won = ctx.buffer("won", (3, o, m), bool)
            np.greater_equal(four[0], four[1], out=won[0])
            np.greater_equal(four[2], four[3], out=won[1])
            np.greater_equal(top, low, out=won[2])
            ctx.save(*ctx.saved, won)
        return y

    def _unpool(self, d: Array, won: Array, in_tiles: bool, ctx: Context) -> Array:
        """d (O, M) → (4, O, M): all to the winner. A product and a difference per pair leave exactly one."""
        o, m = d.shape
        dtop, dlow = ctx.scratch("top", (o, m)), ctx.scratch("low", (o, m))
        dfour = ctx.scratch("four", (4, o, m) if in_tiles else (o, 4, m))
        dfour = dfour if in_tiles else dfour.swapaxes(0, 1)
        for whole, first, da, db in (
            (d, won[2], dtop, dlow),
            (dtop, won[0], dfour[0], dfour[1]),
            (dlow, won[1], dfour[2], dfour[3]),
        ):
            np.copyto(da, first)
            np.multiply(da, whole, out=da)
            np.subtract(whole, da, out=db)
        return dfour
