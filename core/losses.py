"""Losses: how wrong the outputs of a batch are, and the gradient that starts the way back.

A loss is called with the outputs, the targets and a scale, and returns (value, dy). The loop passes
scale = 1 / total weight of the batch, so values and gradients of the parts of a batch add up to those of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.context import Array, Context

_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


class Loss:
    """value = scale · Σ_n weight_n · loss(y_n, t_n), and its gradient"""

    class_weights: Array | None = None

    def __call__(
        self, y: Array, t: Array, scale: float, ctx: Context, weight: Array | None = None
    ) -> tuple[float, Array]:
        """(value, dy) for outputs y (N, …), targets t and weight (N,); both times `scale`.

        dy has the shape of y, and is valid until the next call with this ctx.

        Raises ValueError where shapes or targets do not fit.
        """
        raise NotImplementedError

    def total_weight(self, t: Array, weight: Array | None = None) -> float:
        """What the scale of a batch is one over: the sum of its weights, class weights included.

        The loop asks only where there are weights of examples or of classes; else it is the number of examples.
        """
        return float(len(t)) if weight is None else float(weight.sum(dtype=np.float64))


class SoftmaxCrossEntropy(Loss):
    """loss = −Σ_k q_k ln p_k,  p = softmax(z)      dz = p Σ_k q_k − q

    z (N, K) logits   t (N,) integers in [0, K), or (N, K) floats, a distribution q each   weight (N,)

    Of an integer, q puts 1 on the target; with label smoothing ε (Szegedy et al., 2016), q becomes (1 − ε) q + ε / K.
    With class weights w, each −ln p_k counts w_k times, and the total weight of a batch is Σ_n Σ_k w_k q_nk, q before
    smoothing. (Bridle, 1990; distributions that another model gives: Hinton, Vinyals & Dean, 2015)

    Raises ValueError for targets out of range, or rows that are no distribution.
    """

    def __init__(self, *, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label smoothing is from 0 up to, not including, 1; not {label_smoothing}")
        self.label_smoothing = label_smoothing
        self.class_weights = _class_weights(class_weights)

    def total_weight(self, t: Array, weight: Array | None = None) -> float:
        if self.class_weights is None:
            return super().total_weight(t, weight)
        if _are_distributions(t, len(self.class_weights)):
            each = t @ self.class_weights
        else:
            _check_classes(t, len(t), len(self.class_weights))
            each = self.class_weights[t]
        return float(each.sum() if weight is None else (each * weight).sum())

    def __call__(
        self, y: Array, t: Array, scale: float, ctx: Context, weight: Array | None = None
    ) -> tuple[float, Array]:
        n, k = y.shape
        soft = _are_distributions(t, k)
        if soft:
            _check_distributions(t)
        at = None if soft else _flat_index(t, n, k, ctx)
        column = ctx.buffer("column", (n, 1))
        z = ctx.buffer("dz", (n, k))
        if k == 2:  # a reduction of rows so short costs eight times as much
            np.maximum(y[:, :1], y[:, 1:], out=column)
        else:
            np.maximum.reduce(y, axis=1, keepdims=True, out=column)
        np.subtract(y, column, out=z)
        if soft or weight is not None or self.class_weights is not None or self.label_smoothing:
            return self._weighted(z, t, at, scale, ctx, weight)
        flat = z.reshape(-1)
        picked = flat[at]
        np.exp(z, out=z)
        np.dot(z, ctx.ones(k)[:, None], out=column)  # a reduction of short rows costs three times as much
        np.divide(z, column, out=z)  # p
        value = float(np.add.reduce(np.log(column, out=column), axis=None) - np.add.reduce(picked))
        flat[at] -= 1
        np.multiply(z, scale, out=z)
        return value * scale, z

    def _weighted(
        self, z: Array, t: Array, at: Array | None, scale: float, ctx: Context, weight: Array | None
    ) -> tuple[float, Array]:
        n, k = z.shape
        if self.class_weights is not None and len(self.class_weights) != k:
            raise ValueError(f"there are {len(self.class_weights)} class weights, but the model has {k} outputs")
        p = np.exp(z, out=ctx.buffer("p", (n, k)))
        total = np.add.reduce(p, axis=1, keepdims=True, out=ctx.buffer("column", (n, 1)))
        p /= total
        z -= np.log(total, out=total)  # ln p
        each = np.ones(k) if self.class_weights is None else self.class_weights
        q = ctx.buffer("q", (n, k))
        q[...] = each * (self.label_smoothing / k)
        if at is None:
            q += t * (each * (1 - self.label_smoothing))
        else:
            q.reshape(-1)[at] += each[t] * (1 - self.label_smoothing)
        if weight is not None:
            q *= weight[:, None]
        free = np.equal(q, 0, out=ctx.buffer("free", (n, k), bool))
        np.copyto(z, 0, where=free)  # a logit of −∞, on which no weight lies, costs nothing
        z *= q
        value = -float(z.sum())
        np.multiply(p, np.add.reduce(q, axis=1, keepdims=True, out=total), out=z)
        z -= q
        z *= scale
        return value * scale, z


def _class_weights(weights: Sequence[float] | None) -> Array | None:
    if weights is None:
        return None
    each = np.asarray(weights, np.float64)
    if not (np.isfinite(each).all() and (each >= 0).all()):
        raise ValueError(f"class weights are finite numbers from 0 up, not {tuple(weights)}")
    return each


def _flat_index(t: Array, n: int, k: int, ctx: Context) -> Array:
    """Where the targets stand in the flat (N · K) array."""
    _check_classes(t, n, k)
    rows = ctx.multiples(n, k)
    return np.add(rows, t, out=ctx.buffer("at", (n,), np.int64))


def _are_distributions(t: Array, k: int) -> bool:
    """Whether the targets are floats (N, K), not integers (N,)."""
    return t.ndim == 2 and t.shape[1] == k and t.dtype.kind == "f"


def _check_distributions(t: Array) -> None:
    """Refuse rows that are no distributions."""
    wrong = ~(np.abs(np.add.reduce(t, axis=1) - 1) < 1e-3) | (np.minimum.reduce(t, axis=1) < 0)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"the targets of example {row} are no distribution: numbers from 0 up whose sum is 1")


def _check_classes(t: Array, n: int, k: int) -> None:
    """Refuse targets that are not n integers in [0, k)."""
    if t.shape != (n,) or t.dtype.kind not in "iu":
        raise ValueError(f"for logits of shape {(n, k)} the targets are {n} integers, not {t.dtype} {t.shape}")
    if n and np.maximum.reduce(t.view(_UNSIGNED[t.itemsize])) >= k:  # seen as unsigned, a negative is enormous
        raise ValueError(f"the targets run from {t.min()} to {t.max()}, but the model has {k} outputs")


class _Elementwise(Loss):
    """A loss that is a mean over the outputs of an example: y and t of one shape (N, …), weight (N,)."""

    def __call__(
        self, y: Array, t: Array, scale: float, ctx: Context, weight: Array | None = None
    ) -> tuple[float, Array]:
        if t.shape != y.shape:
            t = _in_shape(t, y)
        value, dy = ctx.like("value", y), ctx.like("dy", y)
        self.terms(y, t, value, dy, ctx)
        if weight is not None:
            column = weight.reshape(-1, *[1] * (y.ndim - 1)).astype(y.dtype, copy=False)
            value *= column
            dy *= column
        scale *= len(y) / y.size if y.size else 1.0
        dy *= scale
        return float(value.sum(dtype=np.float64)) * scale, dy

    def terms(self, y: Array, t: Array, value: Array, dy: Array, ctx: Context) -> None:
        """Write the loss of each element into value and its derivative into dy."""
        raise NotImplementedError


def _in_shape(t: Array, y: Array) -> Array:
    if t.shape[:1] != y.shape[:1] or [n for n in t.shape if n > 1] != [n for n in y.shape if n > 1]:
        raise ValueError(f"the targets have shape {t.shape}, the outputs {y.shape}")
    return t.reshape(y.shape)  # (N,) for (N, 1)


class BinaryCrossEntropy(_Elementwise):
    """loss = −t ln p − (1 − t) ln(1 − p),  p = σ(z)      dz = p − t

    z (N,) or (N, O) logits   t of the same size, in [0, 1]   weight (N,)

    Computed as max(z, 0) − t z + ln(1 + e^−|z|), which never overflows. With label smoothing ε, t becomes
    (1 − ε) t + ε / 2. Class weights (w_0, w_1) multiply the two terms.

    Raises ValueError for targets out of range.
    """

    def __init__(self, *, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label smoothing is from 0 up to, not including, 1; not {label_smoothing}")
        if class_weights is not None and len(class_weights) != 2:
            raise ValueError(f"binary class weights are two numbers, not {len(class_weights)}")
        self.label_smoothing = label_smoothing
        self.class_weights = _class_weights(class_weights)

    def total_weight(self, t: Array, weight: Array | None = None) -> float:
        if self.class_weights is None:
            return super().total_weight(t, weight)
        w0, w1 = self.class_weights
        each = (w0 + (w1 - w0) * t).reshape(len(t), -1).mean(axis=1)
        return float(each.sum() if weight is None else (each * weight).sum())

    def terms(self, y: Array, t: Array, value: Array, dy: Array, ctx: Context) -> None:
        if t.size and not (t.min() >= 0 and t.max() <= 1):
            raise ValueError(f"the targets of a binary loss lie from 0 to 1, but run from {t.min()} to {t.max()}")
        soft = np.multiply(t, 1 - self.label_smoothing, out=ctx.like("soft", y))
        soft += self.label_smoothing / 2
        np.abs(y, out=dy)
        np.negative(dy, out=dy)
        np.exp(dy, out=dy)
        np.log1p(dy, out=value)
        np.maximum(y, 0, out=dy)
        value += dy  # ln(1 + eᶻ) = −ln(1 − p)
        np.multiply(y, 0.5, out=dy)
        np.tanh(dy, out=dy)
        dy *= 0.5
        dy += 0.5  # p
        if self.class_weights is None:
            value -= np.multiply(soft, y, out=ctx.like("product", y))
            dy -= soft
            return
        # Σ of both terms: a = w_1 t and b = w_0 (1 − t) give (a + b) ln(1 + eᶻ) − a z, and slope (a + b) p − a
        w0, w1 = map(float, self.class_weights)
        both = np.multiply(soft, w1 - w0, out=ctx.like("both", y))
        both += w0
        soft *= w1
        value *= both
        value -= np.multiply(soft, y, out=ctx.like("product", y))
        dy *= both
        dy -= soft


class MeanSquaredError(_Elementwise):
    """loss = mean over the O outputs of an example of (y − t)²      dy = 2 (y − t) / O      (Gauss, 1809)

    y (N, …)   t of the same size   weight (N,)

    Raises ValueError where the shapes differ.
    """

    def terms(self, y: Array, t: Array, value: Array, dy: Array, ctx: Context) -> None:
        np.subtract(y, t, out=dy)
        np.multiply(dy, dy, out=value)
        dy *= 2


class MeanAbsoluteError(_Elementwise):
    """loss = mean over the O outputs of an example of |y − t|      dy = sign(y − t) / O      (Boscovich, 1757)

    y (N, …)   t of the same size   weight (N,)

    Raises ValueError where the shapes differ.
    """

    def terms(self, y: Array, t: Array, value: Array, dy: Array, ctx: Context) -> None:
        np.subtract(y, t, out=dy)
        np.abs(dy, out=value)
        np.sign(dy, out=dy)


class Huber(_Elementwise):
    """loss = mean over the O outputs of ½ e² where |e| ≤ δ, else δ (|e| − ½ δ),  e = y − t      dy = clip(e, −δ, δ) / O

    y (N, …)   t of the same size   weight (N,)      (Huber, 1964)

    Raises ValueError where the shapes differ, or δ is not positive.
    """

    def __init__(self, delta: float = 1.0) -> None:
        if not delta > 0:
            raise ValueError(f"delta is a positive number, not {delta}")
        self.delta = delta

    def terms(self, y: Array, t: Array, value: Array, dy: Array, ctx: Context) -> None:
        error = np.subtract(y, t, out=value)
        np.clip(error, -self.delta, self.delta, out=dy)
        half = np.multiply(dy, 0.5, out=ctx.like("half", y))
        error -= half
        error *= dy  # c (e − ½ c), c the clipped error


LOSSES: tuple[type[Loss], ...] = (SoftmaxCrossEntropy, BinaryCrossEntropy, MeanSquaredError, MeanAbsoluteError, Huber)
