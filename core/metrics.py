"""How good predictions are: plain functions from arrays to a number.

    t        labels (N,): integers from 0
    p        probabilities: (N, K), each row a distribution over K classes; with two classes (N,), of class 1
    s        scores (N,): any numbers that grow with the belief in class 1
    weights  (N,): how much an example counts; only their ratios matter

Means and sums are taken in float64; logarithms are natural, so units are nats. ValueError where shapes
disagree, labels or probabilities are out of range, a number is not finite, or there is nothing to measure.
"""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

FLOOR = 1e-15  # of a probability under a logarithm: the impossible costs 34.5 nats, not infinitely many


# --- from logits to probabilities -----------------------------------------------------------------


def softmax(logits: ArrayLike, axis: int = -1) -> NDArray[np.floating[Any]]:
    """pᵢ = exp(zᵢ) / Σⱼ exp(zⱼ), shifted by the largest z, which changes nothing and never overflows."""
    z = _floating(logits)
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def sigmoid(logits: ArrayLike) -> NDArray[np.floating[Any]]:
    """p = 1 / (1 + exp(−z)), written with exp(−|z|), which never overflows."""
    z = _floating(logits)
    e = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1, e) / (1 + e))


# --- many classes: p (N, K) -----------------------------------------------------------------------


def accuracy(t: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The part of examples whose most probable class is the true one; logits will do for p."""
    scores = _finite("p", p, 2)
    return _mean(scores.argmax(axis=1) == _labels(t, *scores.shape), weights)


def error(t: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """1 − accuracy"""
    return 1.0 - accuracy(t, p, weights)


def nll(t: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """−mean log p[t], the negative log-likelihood of an example in nats; log K for one who knows nothing."""
    p = _distributions(p)
    t = _labels(t, *p.shape)
    return _mean(-np.log(np.maximum(p[np.arange(len(t)), t], FLOOR)), weights)


def calibration_error(t: ArrayLike, p: ArrayLike, bins: int = 15) -> float:
    """Σ_b |B_b| / N · |accuracy(B_b) − confidence(B_b)|: how far 80 % sure is from 80 % right

    An example's confidence is its largest probability; bin b holds confidences in (b/bins, (b+1)/bins].
    (Guo et al., 2017)
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    p = _distributions(p)
    confidence = p.max(axis=1)
    surplus = (p.argmax(axis=1) == _labels(t, *p.shape)) - confidence
    bin_of = np.ceil(confidence * bins).astype(np.int64).clip(1, bins) - 1
    return float(np.abs(np.bincount(bin_of, surplus, bins)).sum() / len(p))


def confusion_matrix(t: ArrayLike, y: ArrayLike, classes: int) -> Labels:
    """(K, K) counts of examples by their true class t (row) and predicted class y (column), both (N,)."""
    y = _labels(y, np.size(y), classes)
    t = _labels(t, len(y), classes)
    return np.bincount(t * classes + y, minlength=classes**2).reshape(classes, classes)


# --- two classes: p or s (N,) ---------------------------------------------------------------------


def log_loss(t: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """−mean (t log p + (1 − t) log(1 − p)), in nats; log 2 for one who knows nothing."""
    p = _chances(p)
    t = _labels(t, len(p), 2)
    return _mean(-np.log(np.maximum(np.where(t == 1, p, 1 - p), FLOOR)), weights)


def brier(t: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """mean (p − t)², from 0 to 1; 1/4 for one who knows nothing   (Brier, 1950, halved)"""
    p = _chances(p)
    return _mean((p - _labels(t, len(p), 2)) ** 2, weights)


def roc_auc(t: ArrayLike, s: ArrayLike, weights: ArrayLike | None = None) -> float:
    """P(s₁ > s₀) + P(s₁ = s₀) / 2 for one example of each class   (Hanley & McNeil, 1982)

    The area under the ROC curve, ties counted by their mid-ranks. ValueError where t holds one class only.
    """
    false_positives, true_positives = _roc_curve(t, s, weights)
    return float(np.trapezoid(true_positives, false_positives))


def gini(t: ArrayLike, s: ArrayLike, weights: ArrayLike | None = None) -> float:
    """2 AUC − 1: 0 for chance, 1 for a perfect order, as scorecards are rated."""
    return 2.0 * roc_auc(t, s, weights) - 1.0


def ks(t: ArrayLike, s: ArrayLike, weights: ArrayLike | None = None) -> float:
    """max_s |F₀(s) − F₁(s)|, from 0 to 1: the Kolmogorov–Smirnov distance of the two classes' scores"""
    false_positives, true_positives = _roc_curve(t, s, weights)
    return float(np.abs(true_positives - false_positives).max())


def _roc_curve(t: ArrayLike, s: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """The parts of class 0 and of class 1 at or above each score, from none to all; ties move together."""
    s = _finite("s", s, 1)
    t = _labels(t, len(s), 2)
    w = np.ones(len(s)) if weights is None else _weights(weights, len(s))
    order = np.argsort(-s, kind="stable")
    last_of_tie = np.append(np.diff(s[order]) != 0, True)
    curves = [np.append(0.0, np.cumsum((w * (t == c))[order])[last_of_tie]) for c in (0, 1)]
    if not all(curve[-1] > 0 for curve in curves):
        raise ValueError("ranking two classes needs examples of both, found one class only")
    return curves[0] / curves[0][-1], curves[1] / curves[1][-1]


# --- how far an accuracy can be trusted -----------------------------------------------------------


def standard_error(accuracy: float, n: int) -> float:
    """√(a (1 − a) / n): the standard deviation of an accuracy a measured on n examples"""
    _check_accuracy(accuracy, n)
    return sqrt(accuracy * (1 - accuracy) / n)


def wilson_interval(accuracy: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The true accuracies within z standard errors of the one measured: 95 % at 1.96   (Wilson, 1927)

    (a + z²/2n ± z √(a (1 − a) / n + z²/4n²)) / (1 + z²/n): never beyond 0 or 1, and wide where a is 0 or 1.
    """
    _check_accuracy(accuracy, n)
    centre, spread = accuracy + z**2 / (2 * n), z * sqrt(accuracy * (1 - accuracy) / n + (z / (2 * n)) ** 2)
    return max((centre - spread) / (1 + z**2 / n), 0.0), min((centre + spread) / (1 + z**2 / n), 1.0)


def _check_accuracy(accuracy: float, n: int) -> None:
    if not 0 <= accuracy <= 1:
        raise ValueError(f"an accuracy lies between 0 and 1, got {accuracy}")
    if n < 1:
        raise ValueError(f"an accuracy is measured on at least one example, got n = {n}")


# --- what may come in -----------------------------------------------------------------------------


def _floating(z: ArrayLike) -> NDArray[np.floating[Any]]:
    z = np.asarray(z)
    return z if np.issubdtype(z.dtype, np.floating) else z.astype(np.float64)


def _finite(name: str, values: ArrayLike, axes: int) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != axes or array.size == 0:
        raise ValueError(f"{name} must be a {'(N, K)' if axes == 2 else '(N,)'} array, not empty: got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array


def _chances(p: ArrayLike) -> Floats:
    p = _finite("p", p, 1)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"p must lie between 0 and 1, got {p.min():g} to {p.max():g}; `sigmoid` turns logits into p")
    return p


def _distributions(p: ArrayLike) -> Floats:
    p = _finite("p", p, 2)
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("a row of p must be a distribution that sums to 1; `softmax` turns logits into p")
    return p


def _labels(t: ArrayLike, n: int, classes: int) -> Labels:
    t = np.asarray(t)
    if t.shape != (n,) or n == 0:
        raise ValueError(f"labels must have shape ({n},), not empty: got {t.shape}")
    if t.dtype.kind not in "iub":
        raise ValueError(f"labels must be integers, got {t.dtype}")
    if t.min() < 0 or t.max() >= classes:
        raise ValueError(f"labels must lie between 0 and {classes - 1}, got {t.min()} to {t.max()}")
    return t.astype(np.int64)


def _weights(weights: ArrayLike, n: int) -> Floats:
    w = _finite("weights", weights, 1)
    if w.shape != (n,) or w.min() < 0 or w.sum() <= 0:
        raise ValueError(f"weights must have shape ({n},), none negative and not all zero")
    return w


def _mean(values: NDArray[Any], weights: ArrayLike | None) -> float:
    return float(np.average(values, weights=None if weights is None else _weights(weights, len(values))))
