"""Pooling of sequences: the largest number of every window."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.layer import Layer
from core.layers.global_pool1d import steps_of
from core.padded import Padded


class MaxPool1D(Layer):
    """y[n, p, f] = max_i x[n, s p + i, f], i from 0 to K − 1, before the end

    x (N, T, F), an array or `Padded`   y (N, P, F)      stride s: the window's size K where not given

    Windows begin at 0, s, 2 s, … as long as the one before leaves steps over; the last may be cut short by the end, so
    no step is lost. dx sends each dy to the winner; where several are equal, to the first.

    Raises ValueError where size or stride is below 1.
    """

    takes_padded = True

    def __init__(self, size: int, stride: int | None = None) -> None:
        self.size, self.stride = size, size if stride is None else stride
        if min(self.size, self.stride) < 1:
            raise ValueError(f"size and stride are whole numbers of steps from 1 up, not {self.size} and {self.stride}")

    def forward(self, x: Any, ctx: Context) -> Any:
        v, lengths = steps_of(self, x)
        n, t, f = v.shape
        counts = self._counts(lengths)
        y = ctx.buffer("y", (n, max(1, int(self._counts(np.array(t)))), f))
        for i, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
            if count:
                first, *others = self._slices(self._line(v[i, :length], count, ctx), count)
                np.copyto(y[i, :count], first)
                for other in others:
                    np.maximum(y[i, :count], other, out=y[i, :count])
        ctx.save(v, lengths, counts, y)
        return Padded(y, counts) if isinstance(x, Padded) else y

    def backward(self, dy: Array, ctx: Context) -> Array:
        v, lengths, counts, y = ctx.saved
        dx: Array = ctx.like("dx", v)
        dx.fill(0)
        for i, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
            if not count:
                continue
            line = self._line(v[i, :length], count, ctx)
            dline = ctx.buffer("dline", line.shape)
            dline.fill(0)
            left, share = ctx.buffer("left", dy[i, :count].shape), ctx.buffer("share", dy[i, :count].shape)
            won = ctx.buffer("won", left.shape, bool)
            np.copyto(left, dy[i, :count])  # what has found no winner yet
            for source, target in zip(self._slices(line, count), self._slices(dline, count), strict=True):
                np.multiply(left, np.equal(source, y[i, :count], out=won), out=share)
                target += share
                left -= share
            dx[i, :length] = dline[:length]
        return dx

    def _counts(self, lengths: Array) -> Array:
        """How many windows there are in sequences of some lengths."""
        more = np.maximum(0, -((self.size - lengths) // self.stride))  # ⌈(L − K) / s⌉
        counts: Array = np.minimum(1 + more, -(-lengths // self.stride))
        return counts

    def _line(self, steps: Array, count: int, ctx: Context) -> Array:
        """(L, F) → all that the windows reach, −∞ behind the end"""
        line = ctx.buffer("line", (max(len(steps), (count - 1) * self.stride + self.size), steps.shape[1]))
        line[: len(steps)] = steps
        line[len(steps) :] = -np.inf
        return line

    def _slices(self, line: Array, count: int) -> list[Array]:
        """Step i of each window, for every i"""
        return [line[i : i + self.stride * (count - 1) + 1 : self.stride] for i in range(self.size)]

    def flops(self, x: Shape, y: Shape) -> int:
        return int(np.prod(y)) * self.size

    def __repr__(self) -> str:
        return f"MaxPool1D({self.size})" if self.size == self.stride else f"MaxPool1D({self.size}, {self.stride})"
