"""Layer normalisation."""

from __future__ import annotations

import numpy as np

from core.context import Array, Context
from core.initializers import ones, zeros
from core.layer import Layer, Parameter


class LayerNorm(Layer):
    """x̂ = (x − mean) / √(variance + ε), over the features of each row      y = γ x̂ + β

    x (…, F)   γ β (F,)   y (…, F)

    dγ = Σ dy x̂      dβ = Σ dy      dx = (γ dy − mean(γ dy) − x̂ mean(γ dy x̂)) / √(variance + ε)

    The same in training and when serving: a row knows nothing of the others.      (Ba, Kiros & Hinton, 2016)

    Raises ValueError when the last axis of x is not F.
    """

    per_step = True

    def __init__(self, features: int, *, epsilon: float = 1e-5) -> None:
        self.gain = Parameter(ones((features,)), decays=False)
        self.shift = Parameter(zeros((features,)), decays=False)
        self.epsilon = epsilon

    def forward(self, x: Array, ctx: Context) -> Array:
        if x.shape[-1] != len(self.gain.value):
            raise ValueError(f"LayerNorm takes {len(self.gain.value)} features, but x has shape {x.shape}")
        column = (*x.shape[:-1], 1)
        mean = np.mean(x, axis=-1, keepdims=True, out=ctx.buffer("mean", column))
        hat = np.subtract(x, mean, out=ctx.like("hat", x))
        y = np.multiply(hat, hat, out=ctx.like("y", x))
        inverse = np.mean(y, axis=-1, keepdims=True, out=ctx.buffer("inverse", column))
        inverse += self.epsilon
        np.sqrt(inverse, out=inverse)
        np.reciprocal(inverse, out=inverse)
        hat *= inverse
        np.multiply(hat, self.gain.value, out=y)
        y += self.shift.value
        ctx.save(hat, inverse)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        hat, inverse = ctx.saved
        rows = tuple(range(dy.ndim - 1))
        dx: Array = np.multiply(dy, hat, out=ctx.like("dx", hat))
        ctx.add_grad(self.gain, dx.sum(axis=rows))
        ctx.add_grad(self.shift, dy.sum(axis=rows))
        if not ctx.needs_dx:
            return None
        column = ctx.buffer("mean", inverse.shape)
        d = np.multiply(dy, self.gain.value, out=ctx.like("d", hat))
        np.multiply(d, hat, out=dx)
        np.multiply(hat, np.mean(dx, axis=-1, keepdims=True, out=column), out=dx)
        np.subtract(d, dx, out=dx)
        dx -= np.mean(d, axis=-1, keepdims=True, out=column)
        dx *= inverse
        return dx

    def __repr__(self) -> str:
        return f"LayerNorm({len(self.gain.value)})"
