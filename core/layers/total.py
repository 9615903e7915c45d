"""The sum of what each column adds."""

from __future__ import annotations

import numpy as np

from core.context import Array, Context
from core.initializers import zeros
from core.layer import Layer, Parameter


class Total(Layer):
    """y = b + Σ_f x_f

    x (N, F)   b (1,)   y (N, 1)

    db = Σ dy      dx_f = dy      (the last step of an additive model: Hastie & Tibshirani, 1986)

    Raises ValueError where x has more axes.
    """

    def __init__(self) -> None:
        self.bias = Parameter(zeros((1,)), decays=False)

    def forward(self, x: Array, ctx: Context) -> Array:
        if x.ndim != 2:
            raise ValueError(f"Total adds up the columns of (N, F), but x has shape {x.shape}")
        ctx.save(x.shape)
        y = np.sum(x, axis=1, keepdims=True, out=ctx.buffer("y", (len(x), 1)))
        y += self.bias.value
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        (shape,) = ctx.saved
        ctx.add_product(self.bias, ctx.ones(len(dy)), dy)
        dx = ctx.buffer("dx", shape)
        np.copyto(dx, dy)
        return dx
