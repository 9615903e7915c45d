"""Convolution of sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.initializers import Initializer, he_normal, zeros
from core.layer import Layer, Parameter
from core.layers.global_pool1d import steps_of
from core.padded import Padded

_STEPS = 600  # of sequences taken together


class Conv1D(Layer):
    """y[n, t, o] = b[o] + Σ_{j, e} x[n, t + j − p, e] W[j, e, o]

    x (N, T, E), an array or `Padded`   W (K, E, O)   b (O,)   y (N, T, O) for padding "same", where p = ⌊(K − 1) / 2⌋;
    (N, T − K + 1, O) for "valid", where p = 0

    What lies outside of a sequence is zero; its outputs end where it does, or K − 1 steps before for "valid".
    A few sequences at a time, their windows are the rows of a matrix that stays in the cache, so that y = windows W,
    dW = windowsᵀ dy, and dx adds up the rows of dy Wᵀ where they came from.      (Waibel et al., 1989; Kim, 2014)

    Raises ValueError where x has other than E features, or is an array shorter than a "valid" kernel; a shorter
    sequence in a `Padded` batch has no outputs.
    """

    takes_padded = True

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        rng: np.random.Generator,
        padding: str = "same",
        bias: bool = True,
        initializer: Initializer = he_normal,
    ) -> None:
        if kernel < 1:
            raise ValueError(f"kernel is a whole number of steps from 1 up, not {kernel}")
        if padding not in ("same", "valid"):
            raise ValueError(f'padding is "same" or "valid", not "{padding}"')
        self.padding = padding
        self.weight = Parameter(initializer((kernel, inputs, outputs), rng))
        self.bias = Parameter(zeros((outputs,)), decays=False) if bias else None

    def forward(self, x: Any, ctx: Context) -> Any:
        v, lengths, counts = self._extent(x)
        outputs = self.weight.value.shape[2]
        y = ctx.buffer("y", (len(v), max(1, v.shape[1] - self._less()), outputs))
        for some, count in self.blocks(v.shape[1], counts):
            windows = self._windows(self._lines(v[some], lengths[some], count, ctx), count, ctx)
            made = np.dot(windows, self._matrix(), out=ctx.buffer("made", (len(windows), outputs)))
            y[some, :count] = made.reshape(-1, count, outputs)
        if self.bias is not None:
            y += self.bias.value
        ctx.save(v, lengths, counts)
        return Padded(y, counts) if isinstance(x, Padded) else y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        v, lengths, counts = ctx.saved
        kernel, inputs, outputs = self.weight.value.shape
        dw, part = ctx.buffer("dw", self._matrix().shape), ctx.buffer("part", self._matrix().shape)
        db = ctx.buffer("db", (outputs,))
        dw.fill(0)
        db.fill(0)
        dx = ctx.like("dx", v) if ctx.needs_dx else None
        if dx is not None:
            dx.fill(0)
        for some, count in self.blocks(v.shape[1], counts):
            lines = self._lines(v[some], lengths[some], count, ctx)
            windows = self._windows(lines, count, ctx)
            d = ctx.buffer("made", (len(windows), outputs))
            np.copyto(d.reshape(-1, count, outputs), dy[some, :count])
            dw += np.dot(windows.T, d, out=part)
            db += np.add.reduce(d, axis=0)
            if dx is not None:
                shares = np.dot(d, self._matrix().T, out=windows).reshape(-1, count, kernel, inputs)
                lines.fill(0)
                for j in range(kernel):
                    lines[:, j : j + count] += shares[:, :, j]
                self._put_back(lines, lengths[some], dx[some])
        ctx.add_grad(self.weight, dw.reshape(self.weight.value.shape))
        if self.bias is not None:
            ctx.add_grad(self.bias, db)
        return dx

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * int(np.prod(y)) * self.weight.value[..., 0].size

    def check_steps(self, x: Any) -> None:
        """Refuse an array (N, T, …) that has no room for a window; of sequences in a `Padded` batch, some have none."""
        if not isinstance(x, Padded) and x.shape[1] <= self._less():
            needed = self._less() + 1
            raise ValueError(f'{self!r} needs {needed} steps, since padding is "{self.padding}", not {x.shape[1]}')

    def counts(self, lengths: Array) -> Array:
        """(N,) lengths in → lengths out"""
        counts: Array = np.maximum(lengths - self._less(), 0)
        return counts

    def before(self) -> int:
        """How many zeros stand before a sequence."""
        return 0 if self.padding == "valid" else (len(self.weight.value) - 1) // 2

    def blocks(self, longest: int, counts: Array) -> Iterator[tuple[slice, int]]:
        """(which sequences, most outputs of any), a few short sequences at a time or a long one alone"""
        height = max(1, _STEPS // max(1, longest))
        for start in range(0, len(counts), height):
            some = slice(start, start + height)
            count = int(counts[some].max())
            if count:
                yield some, count

    def _extent(self, x: Any) -> tuple[Array, Array, Array]:
        """(values (N, T, E), lengths (N,) in, lengths out)"""
        v, lengths = steps_of(self, x)
        inputs = self.weight.value.shape[1]
        if v.shape[2] != inputs or v.dtype != self.weight.value.dtype:
            raise ValueError(
                f"{self!r} takes {inputs} features of {self.weight.value.dtype} a step, but x is {v.dtype} {v.shape}"
            )
        self.check_steps(x)
        return v, lengths, self.counts(lengths)

    def _less(self) -> int:
        """How many steps fewer come out."""
        return 0 if self.padding == "same" else len(self.weight.value) - 1

    def _matrix(self) -> Array:
        """The weight as (K·E, O)."""
        matrix: Array = self.weight.value.reshape(-1, self.weight.value.shape[2])
        return matrix

    def _lines(self, v: Array, lengths: Array, count: int, ctx: Context) -> Array:
        """(D, T, E) → (D, count + K − 1, E), zeros around each sequence"""
        before = self.before()
        lines = ctx.buffer("lines", (len(v), count + len(self.weight.value) - 1, v.shape[2]))
        for line, steps, length in zip(lines, v, lengths.tolist(), strict=True):
            line[:before] = 0
            line[before : before + length] = steps[:length]
            line[before + length :] = 0
        return lines

    def _windows(self, lines: Array, count: int, ctx: Context) -> Array:
        """(D, count + K − 1, E) → (D · count, K · E), a window a row"""
        d, _, inputs = lines.shape
        windows = ctx.buffer("windows", (d, count, len(self.weight.value), inputs))
        for j in range(windows.shape[2]):
            windows[:, :, j] = lines[:, j : j + count]
        return windows.reshape(d * count, -1)

    def _put_back(self, lines: Array, lengths: Array, dx: Array) -> None:
        """What the lines hold at the steps of each sequence: lines (D, count + K − 1, E) → dx (D, T, E)"""
        before = self.before()
        for line, to, length in zip(lines, dx, lengths.tolist(), strict=True):
            to[:length] = line[before : before + length]

    def __repr__(self) -> str:
        kernel, inputs, outputs = self.weight.value.shape
        return f"Conv1D({inputs}, {outputs}, {kernel})"
