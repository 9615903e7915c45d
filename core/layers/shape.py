"""Layers that only look at the same numbers in another shape."""

from __future__ import annotations

from math import prod

from core.context import Array, Context, Shape
from core.layer import Layer


class Flatten(Layer):
    """(N, …) → (N, F), the features in the order of the axes. A view, of batch-last images too."""

    def forward(self, x: Array, ctx: Context) -> Array:
        ctx.save(x.shape)
        axes = (*range(1, x.ndim), 0)
        last = x.transpose(axes)  # (…, N)
        if last.flags.c_contiguous:
            return last.reshape(prod(x.shape[1:]), len(x)).T
        return x.reshape(len(x), prod(x.shape[1:]))

    def backward(self, dy: Array, ctx: Context) -> Array:
        (shape,) = ctx.saved
        if dy.flags.c_contiguous:
            return dy.reshape(shape)
        return dy.T.reshape(*shape[1:], shape[0]).transpose(len(shape) - 1, *range(len(shape) - 1))

    def flops(self, x: Shape, y: Shape) -> int:
        return 0


class Reshape(Layer):
    """(N, …) → (N, *shape), the features in the order of the axes

    Raises ValueError where the sizes differ.
    """

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def forward(self, x: Array, ctx: Context) -> Array:
        if prod(x.shape[1:]) != prod(self.shape):
            raise ValueError(
                f"Reshape{self.shape} needs {prod(self.shape)} numbers an example, but x has shape {x.shape}"
            )
        ctx.save(x.shape)
        return x.reshape(len(x), *self.shape)

    def backward(self, dy: Array, ctx: Context) -> Array:
        (shape,) = ctx.saved
        return dy.reshape(shape)

    def flops(self, x: Shape, y: Shape) -> int:
        return 0

    def __repr__(self) -> str:
        return f"Reshape{self.shape}"
