"""The fully connected layer."""

from __future__ import annotations

import numpy as np

from core.context import Array, Context, Shape
from core.initializers import Initializer, he_normal, zeros
from core.layer import Layer, Parameter


class Dense(Layer):
    """y = x W + b

    x (..., I)   W (I, O)   b (O,)   y (..., O)

    dW = xᵀ dy      db = Σ dy      dx = dy Wᵀ      (Rumelhart, Hinton & Williams, 1986)

    Raises ValueError when the last axis of x is not I, or its type is not the weights'.
    """

    per_step = True

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rng: np.random.Generator,
        bias: bool = True,
        initializer: Initializer = he_normal,
    ) -> None:
        self.weight = Parameter(initializer((inputs, outputs), rng))
        self.bias = Parameter(zeros((outputs,)), decays=False) if bias else None

    def forward(self, x: Array, ctx: Context) -> Array:
        weight = self.weight.value
        if x.shape[-1] != len(weight):
            raise ValueError(f"Dense takes {len(weight)} inputs, but x has shape {x.shape}")
        if x.dtype != weight.dtype:
            raise ValueError(f"Dense has weights of {weight.dtype}, but x is {x.dtype}: convert x")
        rows = x if x.ndim == 2 else _in_order(x, "x", ctx).reshape(-1, len(weight))
        ctx.save(rows, x.shape)
        y = ctx.buffer("y", (len(rows), weight.shape[1]))
        np.dot(rows, weight, out=y)
        if self.bias is not None:
            np.add(y, self.bias.value, out=y)
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], -1)

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        rows, shape = ctx.saved
        weight = self.weight.value
        if dy.ndim != 2:
            dy = _in_order(dy, "dy", ctx).reshape(-1, weight.shape[1])
        ctx.add_product(self.weight, rows.T, dy)
        if self.bias is not None:
            ctx.add_product(self.bias, ctx.ones(len(dy)), dy)
        if not ctx.needs_dx:
            return None
        if rows.flags.c_contiguous:
            dx = np.dot(dy, weight.T, out=ctx.buffer("dx", rows.shape))
            return dx if len(shape) == 2 else dx.reshape(shape)
        return np.dot(weight, dy.T, out=ctx.buffer("dx", rows.shape[::-1])).T.reshape(shape)  # batch-last, as x is

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * int(np.prod(y)) * len(self.weight.value)

    def __repr__(self) -> str:
        return "Dense({}, {})".format(*self.weight.value.shape)


def _in_order(x: Array, name: str, ctx: Context) -> Array:
    """x in C order, so that it can be seen as rows: itself, or a copy in a buffer."""
    if x.flags.c_contiguous:
        return x
    copy = ctx.buffer(name, x.shape)
    np.copyto(copy, x)
    return copy
