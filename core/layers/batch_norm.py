"""Batch normalisation."""

from __future__ import annotations

import numpy as np

from core.context import Array, Context
from core.initializers import ones, zeros
from core.layer import Layer, Parameter, Statistic
from core.layers.window import batch_first, batch_last, check_image


class BatchNorm(Layer):
    """x̂ = (x − mean) / √(variance + ε)      y = γ x̂ + β

    x (N, F) or images (N, C, H, W): each feature, or channel, over all else      γ β (F,) or (C,)

    dγ = Σ dy x̂      dβ = Σ dy      dx = γ / √(variance + ε) · (dy − dβ / M − x̂ dγ / M), M numbers a feature

    In training, mean and variance are those of the micro-batch (a ghost batch: Hoffer et al., 2017), and the running
    statistics move towards them between steps: by `rate` of the way, the variance unbiased. When serving, or when
    frozen, the running ones are used, and dx = γ / √(variance + ε) · dy.      (Ioffe & Szegedy, 2015)

    Raises ValueError for another number of features, or a micro-batch with one number a feature in training.
    """

    def __init__(self, features: int, *, rate: float = 0.1, epsilon: float = 1e-5) -> None:
        self.gain = Parameter(ones((features,)), decays=False)
        self.shift = Parameter(zeros((features,)), decays=False)
        self.mean = Statistic(zeros((features,)), rate=rate)
        self.variance = Statistic(ones((features,)), rate=rate)
        self.epsilon = epsilon

    def forward(self, x: Array, ctx: Context) -> Array:
        v, axis = self._matrix(x, ctx, "x")
        observing = ctx.train and not self.gain.frozen
        mean = self._mean(v, axis, ctx) if observing else np.expand_dims(self.mean.value, axis)
        centred = np.subtract(v, mean, out=ctx.buffer("centred", v.shape))
        if observing:
            variance = self._observe(mean, centred, axis, ctx)
        else:
            variance = np.expand_dims(self.variance.value, axis)
        inverse = 1 / np.sqrt(variance + self.epsilon)
        y = np.multiply(centred, inverse * np.expand_dims(self.gain.value, axis), out=ctx.buffer("y", v.shape))
        y += np.expand_dims(self.shift.value, axis)
        ctx.save(centred, inverse, axis, observing)
        return y if x.ndim == 2 else batch_first(y.reshape(x.shape[1], *x.shape[2:], len(x)))

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        centred, inverse, axis, observing = ctx.saved
        d, _ = self._matrix(dy, ctx, "dy")
        dgain = _inner(d, centred, axis, ctx) * inverse
        dshift = _sum(d, axis, ctx)
        ctx.add_grad(self.gain, dgain.reshape(-1))
        ctx.add_grad(self.shift, dshift.reshape(-1))
        if not ctx.needs_dx:
            return None
        ctx.saved = ()  # what was centred is spent, and its memory serves again
        dx, scale = centred, inverse * np.expand_dims(self.gain.value, axis)
        if observing:
            m = d.shape[axis]
            np.multiply(centred, inverse * dgain / m, out=dx)
            np.subtract(d, dx, out=dx)
            dx -= dshift / m
            dx *= scale
        else:
            np.multiply(d, scale, out=dx)
        return dx if dy.ndim == 2 else batch_first(dx.reshape(dy.shape[1], *dy.shape[2:], len(dy)))

    def _matrix(self, x: Array, ctx: Context, name: str) -> tuple[Array, int]:
        """(N, F) as it is, summed over axis 0; images as (C, H·W·N), summed over axis 1"""
        features = len(self.gain.value)
        if x.ndim == 2:
            if x.shape[1] != features:
                raise ValueError(f"BatchNorm takes {features} features, but x has shape {x.shape}")
            return x, 0
        check_image("BatchNorm", x, self.gain.value)
        return batch_last(x, ctx, name).reshape(features, -1), 1

    def _mean(self, v: Array, axis: int, ctx: Context) -> Array:
        m = v.shape[axis]
        if m < 2:
            raise ValueError("BatchNorm cannot learn from one number a feature: use a larger batch")
        mean: Array = _sum(v, axis, ctx) / m
        return mean

    def _observe(self, mean: Array, centred: Array, axis: int, ctx: Context) -> Array:
        """The variance; it is reported with the mean."""
        m = centred.shape[axis]
        variance: Array = _inner(centred, centred, axis, ctx) / m
        ctx.report(self.mean, mean.reshape(-1), m)
        ctx.report(self.variance, variance.reshape(-1) * (m / (m - 1)), m)
        return variance

    def __repr__(self) -> str:
        return f"BatchNorm({len(self.gain.value)})"


def _sum(v: Array, axis: int, ctx: Context) -> Array:
    """Σ v along an axis, which is kept: a product with ones"""
    ones = ctx.ones(v.shape[axis])
    total: Array = np.dot(v, ones) if axis else np.dot(ones, v)
    return np.expand_dims(total, axis)


def _inner(a: Array, b: Array, axis: int, ctx: Context) -> Array:
    """Σ a b along an axis, which is kept"""
    if not axis:
        return _sum(np.multiply(a, b, out=ctx.buffer("product", a.shape)), axis, ctx)
    return np.array([np.dot(row, other) for row, other in zip(a, b, strict=True)], a.dtype)[:, None]  # reads them once
