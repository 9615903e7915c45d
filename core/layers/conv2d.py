"""Convolution of images."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

from core.context import Array, Context, Shape
from core.initializers import Initializer, he_normal, zeros
from core.layer import Layer, Parameter
from core.layers import winograd
from core.layers.window import Padding, Pair, Window, batch_first, batch_last, check_image, padded, pair


class Conv2D(Layer):
    """y[n, o, p, q] = b[o] + Σ_{c, i, j} x[n, c, s p + d i, s q + d j] W[c, i, j, o]

    x (N, C, H, W)   W (C, K, K, O)   b (O,)   y (N, O, P, Q)      s stride, d dilation, x padded with zeros

    The windows of x become the columns of a matrix (im2col), so that y = Wᵀ columns, dW = columns dyᵀ, and dx adds
    up the columns of W dy where they came from (col2im). (LeCun et al., 1989; Chellapilla et al., 2006) Kernels of 3×3
    between many channels are done in fewer products, see `core/layers/winograd.py`; the numbers are equal to rounding.

    Raises ValueError when x has other than C channels, or is smaller than the kernel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | Pair,
        *,
        rng: np.random.Generator,
        stride: int | Pair = 1,
        padding: Padding = "valid",
        dilation: int | Pair = 1,
        bias: bool = True,
        initializer: Initializer = he_normal,
    ) -> None:
        self.window = Window(pair("kernel", kernel), pair("stride", stride), pair("dilation", dilation), padding)
        self.weight = Parameter(initializer((inputs, *self.window.size, outputs), rng))
        self.bias = Parameter(zeros((outputs,)), decays=False) if bias else None

    def forward(self, x: Array, ctx: Context) -> Array:
        check_image(type(self).__name__, x, self.weight.value)
        n, _, h, w = x.shape
        p, q = self.window.outputs(h, w)
        v = padded(x, self.window.pads(h, w), ctx)
        y = ctx.buffer("y", (self._matrix().shape[1], p * q * n))
        if self._in_tiles(n, p, q):
            four = ctx.scratch("four", (2, 2, len(y), y.shape[1] // 4))
            self._fill(four, v, p // 2, q // 2, x.shape, ctx)
            np.copyto(_tiled(y, p, q, n), four.reshape(2, 2, -1, p // 2, q // 2, n))
        else:
            columns = self._columns(v, p, q, ctx)
            ctx.save(columns, x.shape)
            np.dot(self._matrix().T, columns, out=y)
        if self.bias is not None:
            np.add(y, self.bias.value[:, None], out=y)
        return batch_first(y.reshape(-1, p, q, n))

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        n, o, p, q = dy.shape
        d = batch_last(dy, ctx, "dy").reshape(o, -1)
        if self.bias is not None:
            ctx.add_grad(self.bias, np.add.reduce(d, axis=1, out=ctx.buffer("db", (o,))))
        if self._in_tiles(n, p, q):
            dfour = ctx.scratch("dfour", (2, 2, o, d.shape[1] // 4))
            np.copyto(dfour.reshape(2, 2, o, p // 2, q // 2, n), _tiled(d, p, q, n))
            return self._four_back(dfour, p // 2, q // 2, ctx)
        columns, shape = ctx.saved
        self._add_weight_grad(columns, d, ctx)
        if not ctx.needs_dx:
            return None
        return self._scatter(d, shape, p, q, columns, ctx)

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * int(np.prod(y)) * len(self._matrix())

    def _matrix(self) -> Array:
        """The weight as (C·K·K, O)."""
        weight = self.weight.value
        return weight.reshape(-1, weight.shape[3])

    def _columns(self, v: Array, p: int, q: int, ctx: Context) -> Array:
        """(C, H, W, N) → (C·K·K, P·Q·N), a window a column"""
        c, _, _, n = v.shape
        (k, m), (sp, sq), (di, dj) = self.window.size, self.window.stride, self.window.dilation
        columns = ctx.buffer("columns", (c * k * m, p * q * n))
        sc, sh, sw, sn = v.strides
        windows = as_strided(v, (c, k, m, p, q, n), (sc, di * sh, dj * sw, sp * sh, sq * sw, sn))
        np.copyto(columns.reshape(windows.shape), windows)
        return columns

    def _in_tiles(self, n: int, p: int, q: int) -> bool:
        plain = self.window.stride == self.window.dilation == (1, 1)
        return plain and winograd.pays(self.weight.value.shape, n, p, q)

    def _fill(self, four: Array, v: Array, p: int, q: int, shape: Shape, ctx: Context) -> None:
        """v (C, H, W, N) → four (2, 2, O, P·Q·N), outputs by their place in P × Q tiles"""
        u, made = winograd.filters(self.weight.value, ctx), winograd.tiles(v, p, q, ctx)
        ctx.save(u, made, shape)
        winograd.outputs(u, made, four, ctx)

    def _four_back(self, dfour: Array, p: int, q: int, ctx: Context) -> Array | None:
        """(2, 2, O, P·Q·N) → dx (N, C, H, W)"""
        u, made, (n, c, h, w) = ctx.saved
        ctx.saved = ()  # the tiles are spent, and their memory serves again
        d = winograd.outputs_back(dfour, ctx)
        du = np.matmul(made, d.transpose(0, 2, 1), out=ctx.scratch("du", u.shape))
        ctx.add_grad(self.weight, winograd.filters_back(du, ctx))
        if not ctx.needs_dx:
            return None
        (top, bottom), (left, right) = self.window.pads(h, w)
        dv = ctx.buffer("dx", (c, top + h + bottom, left + w + right, n))
        winograd.tiles_back(np.matmul(u, d, out=made), dv, p, q, ctx)
        return batch_first(dv[:, top : top + h, left : left + w])

    def _add_weight_grad(self, columns: Array, d: Array, ctx: Context) -> None:
        """dW += columns dᵀ;  columns (C·K·K, M)   d (O, M)"""
        rows, total = columns.shape
        block = _block(total) if rows <= 32 else 0
        if not block:
            ctx.add_product(self.weight, columns, d.T)
            return
        # few rows, a long sum: BLAS does many short products two to four times as fast as one long one
        a = columns.reshape(rows, -1, block).transpose(1, 0, 2)
        b = d.reshape(len(d), -1, block).transpose(1, 2, 0)
        parts = np.matmul(a, b, out=ctx.scratch("parts", (len(a), rows, len(d))))
        dw = np.add.reduce(parts, axis=0, out=ctx.buffer("dw", parts.shape[1:]))
        ctx.add_grad(self.weight, dw.reshape(self.weight.value.shape))

    def _scatter(self, d: Array, shape: Shape, p: int, q: int, columns: Array, ctx: Context) -> Array:
        """dx (N, C, H, W) from d (O, P·Q·N): every column of W d is added to the window it came from"""
        ctx.saved = ()  # the columns are spent, and their memory serves again
        n, c, h, w = shape
        k, m = self.window.size
        (top, _), (left, _) = self.window.pads(h, w)
        dcolumns = np.dot(self._matrix(), d, out=columns).reshape(c, k, m, p, q, n)
        dx = ctx.buffer("dx", (c, h, w, n))
        dx.fill(0)
        for i in range(k):
            ps, rows = self.window.span(0, i, h, top, p)
            for j in range(m):
                qs, cols = self.window.span(1, j, w, left, q)
                part = dx[:, rows, cols]
                np.add(part, dcolumns[:, i, j, ps, qs], out=part)
        return batch_first(dx)

    def __repr__(self) -> str:
        c, k, m, o = self.weight.value.shape
        return f"{type(self).__name__}({c}, {o}, {k if k == m else (k, m)})"


def _tiled(y: Array, p: int, q: int, n: int) -> Array:
    """(O, P·Q·N) → (2, 2, O, P / 2, Q / 2, N), a view: the outputs by their place in squares of 2×2"""
    return y.reshape(-1, p // 2, 2, q // 2, 2, n).transpose(2, 4, 0, 1, 3, 5)


@lru_cache
def _block(total: int, near: int = 676, most: int = 2048) -> int:
    """The divisor of `total` nearest to a length that BLAS likes, 0 where there is none (or nothing to cut)."""
    divisors = [b for b in range(near // 4, min(most, total // 2) + 1) if total % b == 0]
    return min(divisors, key=lambda b: abs(b - near), default=0)
