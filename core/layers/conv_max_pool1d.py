"""Convolution of sequences and the maximum over time, in one."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.layers.conv1d import Conv1D
from core.layers.lookup import distinct


class ConvMaxPool1D(Conv1D):
    """y[n, o] = max_t (b[o] + Σ_{j, e} x[n, t + j − p, e] W[j, e, o]): `GlobalMaxPool1D` after `Conv1D`

    x (N, T, E), an array or `Padded`   W (K, E, O)   b (O,)   y (N, O), 0 where there is no window

    Only the winning windows have a gradient, so the way back costs a fraction of that of the two layers. Rectify
    after it: max(ReLU) = ReLU(max).      (Kim, 2014)

    Raises ValueError as `Conv1D` does.
    """

    def forward(self, x: Any, ctx: Context) -> Array:
        v, lengths, counts = self._extent(x)
        outputs = self.weight.value.shape[2]
        matrix = self.weight.value.reshape(-1, outputs)
        y, winners = ctx.buffer("y", (len(v), outputs)), ctx.buffer("winners", (len(v), outputs), np.int64)
        each = ctx.multiples(outputs, 1)
        for i, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
            if not count:
                y[i] = 0
                continue
            windows = self._windows(v[i, :length], count, ctx)
            line = np.dot(matrix.T, windows.T, out=ctx.buffer("line y", (outputs, count)))  # a maximum runs along t
            np.argmax(line, axis=1, out=winners[i])
            y[i] = line[each, winners[i]]
            if self.bias is not None:
                y[i] += self.bias.value
        ctx.save(v, lengths, counts, winners)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        v, lengths, counts, winners = ctx.saved
        kernel, inputs, outputs = self.weight.value.shape
        matrix = self.weight.value.reshape(-1, outputs)
        dw, part = ctx.buffer("dw", matrix.shape), ctx.buffer("part", matrix.shape)
        dw.fill(0)
        dx = ctx.like("dx", v) if ctx.needs_dx else None
        if dx is not None:
            dx.fill(0)
        each = ctx.multiples(outputs, 1)
        for i, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
            if not count:
                continue
            at, which = distinct(winners[i], count, ctx)  # (U,) windows that won
            d = ctx.buffer("d", (len(at), outputs))
            d.fill(0)
            d[which, each] = dy[i]
            windows = ctx.buffer("windows", (len(at), kernel, inputs))
            line = self._line(v[i, :length], count, ctx)
            for j in range(kernel):
                windows[:, j] = line[at + j]
            dw += np.dot(windows.reshape(len(at), -1).T, d, out=part)
            if dx is None:
                continue
            shares = np.dot(d, matrix.T, out=windows.reshape(len(at), -1)).reshape(windows.shape)
            line.fill(0)
            for j in range(kernel):
                line[at + j] += shares[:, j]
            before = self._before()
            dx[i, :length] = line[before : before + length]
        ctx.add_grad(self.weight, dw.reshape(self.weight.value.shape))
        if self.bias is not None:
            ctx.add_product(self.bias, (counts > 0).astype(dy.dtype), dy)
        return dx

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * x[0] * x[1] * self.weight.value.size

    def __repr__(self) -> str:
        return "ConvMaxPool1D" + super().__repr__().removeprefix("Conv1D")
