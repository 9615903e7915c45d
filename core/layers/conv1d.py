"""Convolution of sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.initializers import Initializer, he_normal, zeros
from core.layer import Layer, Parameter
from core.layers.global_pool1d import steps_of
from core.padded import Padded


class Conv1D(Layer):
    """y[n, t, o] = b[o] + Σ_{j, e} x[n, t + j − p, e] W[j, e, o]

    x (N, T, E), an array or `Padded`   W (K, E, O)   b (O,)   y (N, T, O) for padding "same", where p = ⌊(K − 1) / 2⌋;
    (N, T − K + 1, O) for "valid", where p = 0

    What lies outside of a sequence is zero; its outputs end where it does, or K − 1 steps before for "valid".
    A sequence at a time, its windows are the rows of a matrix that stays in the cache.  (Kim, 2014)

    Raises ValueError where x has other than E features, or is shorter than a "valid" kernel.
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
        y = ctx.buffer("y", (len(v), v.shape[1] - self._less(), outputs))
        matrix = self.weight.value.reshape(-1, outputs)
        for i, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
            if count:
                np.dot(self._windows(v[i, :length], count, ctx), matrix, out=y[i, :count])
        if self.bias is not None:
            y += self.bias.value
        ctx.save(v, lengths, counts)
        return Padded(y, counts) if isinstance(x, Padded) else y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        v, lengths, counts = ctx.saved
        outputs = self.weight.value.shape[2]
        matrix = self.weight.value.reshape(-1, outputs)
        dw, part = ctx.buffer("dw", matrix.shape), ctx.buffer("part", matrix.shape)
        db = ctx.buffer("db", (outputs,))
        dw.fill(0)
        db.fill(0)
        dx = ctx.like("dx", v) if ctx.needs_dx else None
        for i, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
            d = dy[i, :count]
            if count:
                dw += np.dot(self._windows(v[i, :length], count, ctx).T, d, out=part)
                db += np.add.reduce(d, axis=0)
            if dx is not None:
                dx[i, length:] = 0
                self._scatter(d, matrix, dx[i, :length], ctx)
        ctx.add_grad(self.weight, dw.reshape(self.weight.value.shape))
        if self.bias is not None:
            ctx.add_grad(self.bias, db)
        return dx

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * int(np.prod(y)) * self.weight.value[..., 0].size

    def _extent(self, x: Any) -> tuple[Array, Array, Array]:
        """(values (N, T, E), lengths (N,) in, lengths out)"""
        v, lengths = steps_of(self, x)
        kernel, inputs, _ = self.weight.value.shape
        if v.shape[2] != inputs or v.dtype != self.weight.value.dtype:
            raise ValueError(
                f"{self!r} takes {inputs} features of {self.weight.value.dtype} a step, but x is {v.dtype} {v.shape}"
            )
        if v.shape[1] <= self._less():
            raise ValueError(f'{self!r} needs {kernel} steps where padding is "valid", but x has shape {v.shape}')
        return v, lengths, np.maximum(lengths - self._less(), 0)

    def _less(self) -> int:
        """How many steps fewer come out."""
        return 0 if self.padding == "same" else len(self.weight.value) - 1

    def _before(self) -> int:
        """How many zeros stand before a sequence."""
        return 0 if self.padding == "valid" else (len(self.weight.value) - 1) // 2

    def _line(self, steps: Array, count: int, ctx: Context) -> Array:
        """(L, E) → (count + K − 1, E), zeros around"""
        before, length = self._before(), len(steps)
        line = ctx.buffer("line", (count + len(self.weight.value) - 1, steps.shape[1]))
        line[:before] = 0
        line[before : before + length] = steps
        line[before + length :] = 0
        return line

    def _windows(self, steps: Array, count: int, ctx: Context) -> Array:
        """(L, E) → (count, K·E), a window a row"""
        line = self._line(steps, count, ctx)
        windows = ctx.buffer("windows", (count, len(self.weight.value), line.shape[1]))
        for j in range(windows.shape[1]):
            windows[:, j] = line[j : j + count]
        return windows.reshape(count, -1)

    def _scatter(self, d: Array, matrix: Array, dx: Array, ctx: Context) -> None:
        """dx (L, E) from d (count, O): each window's share goes back to the steps that it came from"""
        kernel, inputs, _ = self.weight.value.shape
        dx.fill(0)
        if not len(d) or not len(dx):
            return
        shares = np.dot(d, matrix.T, out=ctx.buffer("windows", (len(d), kernel * inputs)))
        for j in range(kernel):
            shift = j - self._before()  # window t took step t + shift
            first, last = max(0, -shift), min(len(d), len(dx) - shift)
            if first < last:
                dx[first + shift : last + shift] += shares[first:last, j * inputs : (j + 1) * inputs]

    def __repr__(self) -> str:
        kernel, inputs, outputs = self.weight.value.shape
        return f"Conv1D({inputs}, {outputs}, {kernel})"
