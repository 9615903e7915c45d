"""Activations: elementwise, without parameters. All take and return any shape, and keep the memory order of x."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from core.context import Array, Context
from core.layer import Layer

_SCALARS = {dtype: np.zeros((), dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}  # 0-d: cheapest


class Activation(Layer):
    """A function of each number, or of each row."""

    per_step = True


class ReLU(Activation):
    """y = max(x, 0)      dx = dy where y > 0, else 0      (Nair & Hinton, 2010)"""

    def forward(self, x: Array, ctx: Context) -> Array:
        # an array of zeros: the maximum with a scalar runs at a quarter of the speed
        y = np.maximum(x, ctx.like("zeros", x), out=ctx.like("y", x))
        ctx.save(y)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        (y,) = ctx.saved
        dx: Array = ctx.like("dx", y)
        np.copyto(dx, np.greater(y, _SCALARS[y.dtype], out=ctx.like("on", y, bool)))  # 0 and 1: a third of the time
        return np.multiply(dx, dy, out=dx)  # that a product of numbers with truths takes


class LeakyReLU(Activation):
    """y = max(x, a x), 0 ≤ a < 1      dx = dy where x > 0, else a dy      (Maas et al., 2013)

    Raises ValueError for a slope a outside [0, 1).
    """

    def __init__(self, slope: float = 0.01) -> None:
        if not 0 <= slope < 1:
            raise ValueError(f"the slope of a LeakyReLU is from 0 up to, not including, 1; not {slope}")
        self.slope = slope

    def __repr__(self) -> str:
        return f"LeakyReLU({self.slope:g})"

    def forward(self, x: Array, ctx: Context) -> Array:
        ctx.save(x)
        y = np.multiply(x, self.slope, out=ctx.like("y", x))
        return np.maximum(x, y, out=y)

    def backward(self, dy: Array, ctx: Context) -> Array:
        (x,) = ctx.saved
        on = np.greater(x, 0, out=ctx.like("on", x, bool))
        dx: Array = np.multiply(on, x.dtype.type(1 - self.slope), out=ctx.like("dx", x))
        dx += self.slope
        dx *= dy
        return dx


class ELU(Activation):
    """y = x where x > 0, else a (eˣ − 1)      dx = dy where x > 0, else dy (y + a)      (Clevert et al., 2016)"""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __repr__(self) -> str:
        return f"ELU({self.alpha:g})"

    def forward(self, x: Array, ctx: Context) -> Array:
        y = np.minimum(x, 0, out=ctx.like("y", x))
        np.expm1(y, out=y)
        y *= self.alpha
        above = np.maximum(x, 0, out=ctx.like("above", x))
        y += above
        ctx.save(x, y)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        x, y = ctx.saved
        dx: Array = np.add(y, self.alpha, out=ctx.like("dx", x))
        np.copyto(dx, 1, where=np.greater(x, 0, out=ctx.like("on", x, bool)))
        dx *= dy
        return dx


class Sigmoid(Activation):
    """y = 1 / (1 + e⁻ˣ) = ½ tanh(x / 2) + ½      dx = dy y (1 − y)

    The slope is ¼ at most, so a deep stack of sigmoids multiplies gradients away.
    """

    def forward(self, x: Array, ctx: Context) -> Array:
        y = _sigmoid(x, out=ctx.like("y", x))
        ctx.save(y)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        (y,) = ctx.saved
        dx: Array = np.subtract(1, y, out=ctx.like("dx", y))
        dx *= y
        dx *= dy
        return dx


class Tanh(Activation):
    """y = tanh x      dx = dy (1 − y²)"""

    def forward(self, x: Array, ctx: Context) -> Array:
        y = np.tanh(x, out=ctx.like("y", x))
        ctx.save(y)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        (y,) = ctx.saved
        dx: Array = np.multiply(y, y, out=ctx.like("dx", y))
        np.subtract(1, dx, out=dx)
        dx *= dy
        return dx


class SiLU(Activation):
    """y = x σ(x)      dx = dy (σ + y (1 − σ))      (Elfwing et al., 2018; "swish")"""

    def forward(self, x: Array, ctx: Context) -> Array:
        sigmoid = _sigmoid(x, out=ctx.like("sigmoid", x))
        y = np.multiply(x, sigmoid, out=ctx.like("y", x))
        ctx.save(sigmoid, y)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        sigmoid, y = ctx.saved
        dx: Array = np.subtract(1, sigmoid, out=ctx.like("dx", y))
        dx *= y
        dx += sigmoid
        dx *= dy
        return dx


class GELU(Activation):
    """y = ½ x (1 + tanh u),  u = √(2/π) (x + 0.044715 x³)      (Hendrycks & Gimpel, 2016; the tanh form)

    dx = dy (½ (1 + tanh u) + ½ x (1 − tanh² u) u')
    """

    SCALE, CUBIC = sqrt(2 / pi), 0.044715

    def forward(self, x: Array, ctx: Context) -> Array:
        tanh = np.multiply(x, x, out=ctx.like("tanh", x))
        tanh *= self.SCALE * self.CUBIC
        tanh += self.SCALE
        tanh *= x  # u
        np.tanh(tanh, out=tanh)
        y = np.add(tanh, 1, out=ctx.like("y", x))
        y *= x
        y *= 0.5
        ctx.save(x, tanh)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        x, tanh = ctx.saved
        slope = np.multiply(x, x, out=ctx.like("slope", x))
        slope *= 3 * self.SCALE * self.CUBIC
        slope += self.SCALE  # u'
        slope *= x
        dx: Array = np.multiply(tanh, tanh, out=ctx.like("dx", x))
        np.subtract(1, dx, out=dx)
        dx *= slope
        dx += tanh
        dx += 1
        dx *= dy
        dx *= 0.5
        return dx


class Softplus(Activation):
    """y = ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|)      dx = dy σ(x)      (Dugas et al., 2001)"""

    def forward(self, x: Array, ctx: Context) -> Array:
        ctx.save(x)
        y = np.abs(x, out=ctx.like("y", x))
        np.negative(y, out=y)
        np.exp(y, out=y)
        np.log1p(y, out=y)
        above = np.maximum(x, 0, out=ctx.like("above", x))
        y += above
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        (x,) = ctx.saved
        dx = _sigmoid(x, out=ctx.like("dx", x))
        dx *= dy
        return dx


class Softmax(Activation):
    """y_k = e^{x_k} / Σ_j e^{x_j} over the last axis      dx = y (dy − Σ_j dy_j y_j)      (Bridle, 1990)

    For training a classifier, leave it out and use `SoftmaxCrossEntropy`, which is exact where this one rounds.
    """

    def forward(self, x: Array, ctx: Context) -> Array:
        column = ctx.buffer("column", (*x.shape[:-1], 1))
        np.max(x, axis=-1, keepdims=True, out=column)
        y = np.subtract(x, column, out=ctx.like("y", x))
        np.exp(y, out=y)
        y /= np.sum(y, axis=-1, keepdims=True, out=column)
        ctx.save(y)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        (y,) = ctx.saved
        dx: Array = np.multiply(dy, y, out=ctx.like("dx", y))
        inner = np.sum(dx, axis=-1, keepdims=True, out=ctx.buffer("column", (*y.shape[:-1], 1)))
        np.subtract(dy, inner, out=dx)
        dx *= y
        return dx


def _sigmoid(x: Array, out: Array) -> Array:
    np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)  # twice as fast as exp, and never overflows
    out *= 0.5
    out += 0.5
    return out
