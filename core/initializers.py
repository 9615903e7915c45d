"""The first values of a weight: large enough for a signal to survive the depth, too small for it to explode.

An initializer is a function `(shape, rng) -> array`. What else it may know is a keyword with a default, so a
layer calls all alike, and `functools.partial(normal, std=0.1)` is an initializer again. Values are drawn in
float64 and then rounded: models of both precisions start from the same numbers. Every function raises
ValueError for a shape or a keyword that makes no sense.
"""

from collections.abc import Mapping
from math import isfinite, prod, sqrt
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from core.context import Array

Shape = int | tuple[int, ...]  # 3 is (3,)


class Initializer(Protocol):
    """`(shape, rng) -> array`, float32 unless `dtype` says otherwise."""

    def __call__(self, shape: Shape, rng: np.random.Generator, /, *, dtype: DTypeLike = ...) -> Array: ...


def fans(shape: Shape) -> tuple[int, int]:
    """How many inputs feed one output of a weight, and how many outputs one input feeds: (fan_in, fan_out).

    The last axis is the output, all others are the input; axes between the first and the last are the
    receptive field, which each input channel meets once per output.

        Dense        (I, O)         fan_in = I          fan_out = O
        convolution  (C, K, K, O)   fan_in = C·K·K      fan_out = O·K·K

    A weight that holds several maps side by side, as the four gates of an LSTM, is drawn map by map.
    ValueError where the shape has fewer than two axes, or an empty one.
    """
    if isinstance(shape, int) or len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"fans need a shape of two or more axes, none empty, such as (I, O): got {shape}")
    *inputs, outputs = shape
    return prod(inputs), prod(inputs[1:]) * outputs


# --- constants; they draw nothing, so the generator may be left out -------------------------------


def constant(
    shape: Shape, rng: np.random.Generator | None = None, *, value: float, dtype: DTypeLike = np.float32
) -> Array:
    """w = value"""
    return np.full(shape, value, dtype)


def zeros(shape: Shape, rng: np.random.Generator | None = None, *, dtype: DTypeLike = np.float32) -> Array:
    """w = 0: biases. Never a weight: equal units would have equal gradients, and stay equal for ever."""
    return np.zeros(shape, dtype)


def ones(shape: Shape, rng: np.random.Generator | None = None, *, dtype: DTypeLike = np.float32) -> Array:
    """w = 1: the scale of a normalisation."""
    return np.ones(shape, dtype)


# --- a given spread -------------------------------------------------------------------------------


def uniform(shape: Shape, rng: np.random.Generator, *, limit: float = 0.05, dtype: DTypeLike = np.float32) -> Array:
    """w ~ U(−limit, limit), whose variance is limit² / 3"""
    return rng.uniform(-_spread("limit", limit), limit, shape).astype(dtype)


def normal(shape: Shape, rng: np.random.Generator, *, std: float = 0.02, dtype: DTypeLike = np.float32) -> Array:
    """w ~ N(0, std²); 0.02 is what BERT and GPT-2 start their tables from (Devlin et al., 2019)."""
    return (_spread("std", std) * rng.standard_normal(shape)).astype(dtype)


def _spread(name: str, value: float) -> float:
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {value}")
    return value


# --- a spread that keeps the variance of the signal -----------------------------------------------


def glorot_uniform(shape: Shape, rng: np.random.Generator, *, dtype: DTypeLike = np.float32) -> Array:
    """w ~ U(−a, a), a = √(6 / (fan_in + fan_out)): `glorot_normal`'s variance   (Glorot & Bengio, 2010)"""
    return uniform(shape, rng, limit=sqrt(6 / sum(fans(shape))), dtype=dtype)


def glorot_normal(shape: Shape, rng: np.random.Generator, *, dtype: DTypeLike = np.float32) -> Array:
    """w ~ N(0, 2 / (fan_in + fan_out)): before tanh or sigmoid   (Glorot & Bengio, 2010)

    Var y = fan_in · Var w · Var x forward and Var dx = fan_out · Var w · Var dy backward; the mean of the two
    fans is the compromise.
    """
    return normal(shape, rng, std=sqrt(2 / sum(fans(shape))), dtype=dtype)


def he_uniform(shape: Shape, rng: np.random.Generator, *, slope: float = 0.0, dtype: DTypeLike = np.float32) -> Array:
    """w ~ U(−a, a), a = √(6 / ((1 + slope²) fan_in)): `he_normal`'s variance   (He et al., 2015)"""
    return uniform(shape, rng, limit=sqrt(6 / ((1 + slope**2) * fans(shape)[0])), dtype=dtype)


def he_normal(shape: Shape, rng: np.random.Generator, *, slope: float = 0.0, dtype: DTypeLike = np.float32) -> Array:
    """w ~ N(0, 2 / ((1 + slope²) fan_in)): before a ReLU, leaky with that slope   (He et al., 2015)

    A ReLU drops half of the signal's power; the 2 gives it back.
    """
    return normal(shape, rng, std=sqrt(2 / ((1 + slope**2) * fans(shape)[0])), dtype=dtype)


def lecun_normal(shape: Shape, rng: np.random.Generator, *, dtype: DTypeLike = np.float32) -> Array:
    """w ~ N(0, 1 / fan_in): before a SELU, or where nothing follows   (LeCun et al., 1998)"""
    return normal(shape, rng, std=sqrt(1 / fans(shape)[0]), dtype=dtype)


def orthogonal(shape: Shape, rng: np.random.Generator, *, gain: float = 1.0, dtype: DTypeLike = np.float32) -> Array:
    """w as a matrix (fan_in, O): wᵀw = gain² · 1, or wwᵀ = gain² · 1 where it is wide   (Saxe et al., 2014)

    Such a matrix turns a signal without stretching it: what a recurrence needs, which meets it at every step.
    The Q of a normal matrix's QR decomposition is uniform over all of them once R's diagonal is positive
    (Mezzadri, 2007).
    """
    fan_in, _ = fans(shape)
    draw = rng.standard_normal(shape).reshape(fan_in, -1)  # (fan_in, O)
    wide = fan_in < draw.shape[1]
    q, r = np.linalg.qr(draw.T if wide else draw)
    q *= np.copysign(_spread("gain", gain), np.diagonal(r))
    return (q.T if wide else q).reshape(shape).astype(dtype, order="C")


INITIALIZERS: Mapping[str, Initializer] = {
    "zeros": zeros,
    "ones": ones,
    "uniform": uniform,
    "normal": normal,
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "lecun_normal": lecun_normal,
    "orthogonal": orthogonal,
}  # `constant` needs a value: pass partial(constant, value=1.0)
