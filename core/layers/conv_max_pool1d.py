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
        y, winners = ctx.buffer("y", (len(v), outputs)), ctx.buffer("winners", (len(v), outputs), np.int64)
        y.fill(0)
        for some, count in self.blocks(v.shape[1], counts):
            windows = self._windows(self._lines(v[some], lengths[some], count, ctx), count, ctx)
            made = np.dot(windows, self._matrix(), out=ctx.buffer("made", (len(windows), outputs)))
            self.maxima(made.reshape(-1, count, outputs), counts[some], y[some], winners[some], ctx)
        self.add_bias(y, counts)
        ctx.save(v, lengths, counts, winners)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        v, lengths, counts, winners = ctx.saved
        kernel, inputs, outputs = self.weight.value.shape
        dw, part = ctx.buffer("dw", self._matrix().shape), ctx.buffer("part", self._matrix().shape)
        dw.fill(0)
        dx = ctx.like("dx", v) if ctx.needs_dx else None
        if dx is not None:
            dx.fill(0)
        each = ctx.multiples(outputs, 1)
        for some, count in self.blocks(v.shape[1], counts):
            lines = self._lines(v[some], lengths[some], count, ctx)
            flat = lines.reshape(-1, inputs)
            place = winners[some] + np.arange(0, len(flat), lines.shape[1])[:, None]
            at, which = distinct(place, len(flat), ctx)  # (U,) windows that won
            d = ctx.buffer("d", (len(at), outputs))
            d.fill(0)
            d[which, each] = dy[some] * (counts[some, None] > 0)  # of none where there is no window
            windows = ctx.buffer("windows", (len(at), kernel, inputs))
            piece = ctx.buffer("piece", (len(at), inputs))
            for j in range(kernel):
                windows[:, j] = np.take(flat, at + j, 0, out=piece, mode="clip")
            rows = windows.reshape(len(at), -1)
            dw += np.dot(rows.T, d, out=part)
            if dx is not None:
                np.dot(d, self._matrix().T, out=rows)
                flat.fill(0)
                for j in range(kernel):
                    np.take(flat, at + j, 0, out=piece, mode="clip")
                    piece += windows[:, j]
                    flat[at + j] = piece
                self._put_back(lines, lengths[some], dx[some])
        ctx.add_grad(self.weight, dw.reshape(self.weight.value.shape))
        if self.bias is not None:
            ctx.add_product(self.bias, (counts > 0).astype(dy.dtype), dy)
        return dx

    def maxima(self, steps: Array, counts: Array, y: Array, winners: Array, ctx: Context) -> None:
        """Answers at each step (D, C, O), which are overwritten, of which so many count → y (D, O), and where it was"""
        for line, own in zip(steps, counts.tolist(), strict=True):
            line[own:] = -np.inf
        if not ctx.keeps:
            np.maximum.reduce(steps, axis=1, out=y)
            return
        d, count, outputs = steps.shape
        across = ctx.buffer("across", (d, outputs, count))  # places are found along rows, not columns
        np.copyto(across, steps.transpose(0, 2, 1))
        at = np.argmax(across, axis=2, out=winners)
        at = at + ctx.multiples(at.size, count).reshape(at.shape)
        np.take(across.reshape(-1), at, 0, out=y, mode="clip")

    def add_bias(self, y: Array, counts: Array) -> None:
        """y += b where there was a window; 0 elsewhere"""
        if self.bias is not None:
            y += self.bias.value
        y[counts == 0] = 0

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * x[0] * x[1] * self.weight.value.size

    def __repr__(self) -> str:
        return "ConvMaxPool1D" + super().__repr__().removeprefix("Conv1D")
