"""Why an applicant is refused: what each feature adds to the logit, against applicants who are just accepted.

Σ_f contribution_f(x) = logit(x) − mean over the references of logit(r), never rescaled. For a model that adds up one
term a feature the contributions are those terms, exactly. For a network they are integrated gradients (Sundararajan,
Taly & Yan, 2017), averaged over the references: along the straight line between the vectors that the first layer makes
of x and of r. Where one hidden layer is all that follows, the integral has a closed form. Where there are more, the
network is smooth on that line, so that Gauss–Legendre quadrature of few points is enough; where it is not, for some
row, the number of points is doubled until it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from apps.credit.model import CreditModel, Member, mean_logit
from core import Array, Context, Dense, Dropout, EnsembleDense, Flatten, Layer, Reshape, Sequential, SiLU
from core.metrics import sigmoid

MOST_REASONS = 4
TOLERANCE = 1e-3  # of the sum of contributions, in logits
POINTS = 4  # of the quadrature, at first
MOST_POINTS = 192
ROWS = 256  # at a time
NEAR = 1e-2  # hidden numbers whose difference would be of few digits


def contributions(model: CreditModel, numbers: np.ndarray, encoded: Sequence[Array] | None = None) -> np.ndarray:
    """numbers (N, F) → (N, F): what each feature adds to the calibrated logit, against the references

    encoded: what `model.encode` made of the numbers, where that is known already.
    """
    encoded = model.encode(numbers) if encoded is None else encoded
    total, paths = np.zeros(numbers.shape), []
    for weight, member, x, start in zip(model.weights, model.members, encoded, _starts(model), strict=True):
        share = model.slope * weight
        if isinstance(start, _Path):
            if share:
                paths.append((share, start, x))
        else:
            total += share * (terms(member, x, numbers.shape[1]) - start)
    rows, points = np.arange(len(numbers) if paths else 0), POINTS
    sums = total.copy()
    while len(rows) and points <= MOST_POINTS:
        gaps = np.zeros(len(rows))
        total[rows] = sums[rows]
        for a in range(0, len(rows), ROWS):
            part = rows[a : a + ROWS]
            for share, path, x in paths:
                found, gap = path(x[part], points)
                total[part] += share * found
                gaps[a : a + ROWS] += share * gap
        rows, points = rows[np.abs(gaps) > TOLERANCE], points * 2
    return total


@lru_cache(8)
def _starts(model: CreditModel) -> tuple[_Path | np.ndarray, ...]:
    """What each network makes of the references, which is the same for all rows"""
    features = len(model.schema.features)
    return tuple(
        terms(member, member.encoder(model.references), features).mean(axis=0)
        if is_sum(member)
        else _Path(member, model.references)
        for member in model.members
    )


def is_sum(member: Member) -> bool:
    """Whether a network adds up one term a feature"""
    return member.architecture in ("neural_additive", "logistic_regression")


def terms(member: Member, x: Array, features: int) -> np.ndarray:
    """x (N, C) encoded → (N, F): the terms that a network which is a sum adds up, its constant left out"""
    first = member.network.layers[0]
    if member.architecture == "neural_additive":
        columns = first.forward(x, Context()).astype(np.float64)
    else:
        columns = x.astype(np.float64) * next(iter(first.parameters())).value[:, 0]
    return by_feature(columns, member.encoder.owner, features)


def by_feature(columns: np.ndarray, owner: np.ndarray, features: int) -> np.ndarray:
    """(N, C) → (N, F): the sums of the columns that belong to each feature"""
    hot = np.zeros((len(owner), features), columns.dtype)
    hot[np.arange(len(owner)), owner] = 1
    return np.asarray(columns @ hot)


@lru_cache(16)
def quadrature(points: int) -> tuple[tuple[float, float], ...]:
    """(place, weight) of Gauss–Legendre quadrature on [0, 1]"""
    x, w = np.polynomial.legendre.leggauss(points)
    return tuple(zip(((x + 1) / 2).tolist(), (w / 2).tolist(), strict=True))


class _Path:
    """Integrated gradients of one network, from each reference to each row.

    The second layer is affine, hidden = A · vectors + a, so its output moves on a straight line too: only what follows
    it is run at every point of the quadrature. With G_r, the mean gradient there on the way from reference r,

        contribution_f = Σ over the vector numbers e of f of  (end_e − start_re) (G_r A)_e,   averaged over r,

    of which end ∘ (Σ_r G_r) A is one product for all references, and A ∘ start_r, summed for each f, is made once.
    """

    def __init__(self, member: Member, references: np.ndarray) -> None:
        layers = [layer for layer in member.network.layers if not isinstance(layer, Dropout | Flatten)]
        embeds = member.encoder.form == "bins"
        self.embed: Layer = layers[0] if embeds else Sequential()
        affine = layers[1 if embeds else 0]
        self.tail = Sequential(*layers[2 if embeds else 1 :])
        self.features = references.shape[1]
        starts = self._vectors(member.encoder(references))
        self.owner = np.repeat(member.encoder.owner, starts.shape[1] // len(member.encoder.owner))
        self.hidden = affine.forward(starts, Context()).copy()
        self.start_logits = mean_logit(self.tail.forward(self.hidden, Context()))
        self.back, self.constant = _matrix(affine, starts.shape[1:])
        dtype = self.back.dtype
        self.back_starts = [by_feature(self.back * start, self.owner, self.features).astype(dtype) for start in starts]
        first, *rest = self.tail.layers
        closed = isinstance(first, SiLU) and all(isinstance(layer, Dense | EnsembleDense | Reshape) for layer in rest)
        self.last = _matrix(Sequential(*rest), self.hidden.shape[1:])[0].mean(axis=0) if closed else None

    def _vectors(self, x: Array) -> Array:
        vectors: Array = self.embed.forward(x, Context()).copy()
        return vectors

    def __call__(self, x: Array, points: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, F) contributions, (N,) how much more they add up to than the logit less that of the references

        x (N, C) as the network reads it.
        """
        ends = self._vectors(x)
        hidden = (ends @ self.back.T + self.constant).reshape(len(x), *self.hidden.shape[1:])
        logits = mean_logit(self.tail.forward(hidden, Context()))
        found = np.zeros((len(x), self.features))
        total = np.zeros((len(x), len(self.back)), ends.dtype)
        for gradient, back_start in zip(self._mean_gradients(hidden, points), self.back_starts, strict=True):
            found -= gradient @ back_start
            total += gradient
        found += by_feature(ends * (total @ self.back), self.owner, self.features)
        found /= len(self.hidden)
        return found, found.sum(axis=1) - (logits - self.start_logits.mean())

    def _mean_gradients(self, end: Array, points: int) -> Iterator[Array]:
        """For each reference ∫ ∂logit/∂hidden (start + u · (end − start)) du, (N, M)"""
        if self.last is not None:
            flat = end.reshape(len(end), -1)
            at_end = _silu(flat)
            for start in self.hidden:
                yield _mean_slope_of_silu(start.reshape(-1), flat, at_end) * self.last
            return
        at_tail = Context(train=True)  # one's own: others may ask at the same time
        for start in self.hidden:
            total, way = np.zeros_like(end), end - start
            for place, weight in quadrature(points):
                y = self.tail.forward(start + way.dtype.type(place) * way, at_tail)
                gradient = self.tail.backward(np.full_like(y, weight / y.shape[1]), at_tail)
                assert gradient is not None
                total += gradient
            yield total.reshape(len(end), -1)


def _mean_slope_of_silu(start: Array, end: Array, silu_of_end: Array) -> Array:
    """start (M,), end (N, M) → the mean of silu' between them, (silu(end) − silu(start)) / (end − start), (N, M)

    Where they nearly meet, silu' halfway, which is right to the square of their distance and rounds no difference.
    """
    way = end - start
    near = np.flatnonzero(np.abs(way) < NEAR)
    half = end.take(near) - way.take(near) / 2
    np.put(way, near, 1)
    mean = silu_of_end - _silu(start)
    mean /= way
    share = sigmoid(half)
    np.put(mean, near, share * (1 + half * (1 - share)))
    return mean


def _silu(h: Array) -> Array:
    """h σ(h) = (h / 2) (1 + tanh(h / 2))"""
    half = h * h.dtype.type(0.5)
    return np.asarray(half + half * np.tanh(half))


def _matrix(layer: Layer, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """(A (M, I), a (M,)) of an affine layer that makes M numbers, A · x + a, of inputs of that shape, I numbers"""
    ctx = Context(train=True)
    constant = layer.forward(np.zeros((1, *shape), np.float32), ctx).copy()
    layer.forward(np.zeros((constant.size, *shape), np.float32), ctx)
    units = np.eye(constant.size, dtype=np.float32).reshape(-1, *constant.shape[1:])
    matrix = layer.backward(units, ctx)
    assert matrix is not None
    return matrix.reshape(constant.size, -1).copy(), constant.reshape(-1)


def top_reasons(contributed: np.ndarray, most: int = MOST_REASONS) -> np.ndarray:
    """(N, F) contributions → (N, most): the features that add most to the risk, −1 where none adds any more"""
    most = min(most, contributed.shape[1])
    order = np.argsort(-contributed, axis=1, kind="stable")[:, :most]
    return np.where(np.take_along_axis(contributed, order, axis=1) > 0, order, -1)


class Wording:
    """Reasons in plain words: the applicant's value, and what is typical of those just accepted."""

    def __init__(self, model: CreditModel) -> None:
        self.features = model.schema.features
        self.typical = [f.show(value) for f, value in zip(self.features, model.typical, strict=True)]
        self.known: dict[tuple[int, float], str] = {}

    def __call__(self, i: int, value: float) -> str:
        """The sentence for feature i with this value."""
        key = i, value if value == value else -np.inf
        if key not in self.known:
            if len(self.known) > 100_000:
                self.known.clear()
            feature = self.features[i]
            shown = feature.show(value)
            versus = "" if shown == self.typical[i] else f" (of those just accepted, typically {self.typical[i]})"
            self.known[key] = f"{feature.words or feature.name}: {shown}{versus}"
        return self.known[key]

    def sentences(self, chosen: Sequence[int], row: np.ndarray) -> list[str]:
        """The reasons of one applicant, the strongest first."""
        return [self(int(i), float(row[i])) for i in chosen if i >= 0]


def resetting_helps(
    model: CreditModel, numbers: np.ndarray, chosen: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(N,) whether setting the reported features to those of the references lowers the risk more than random others

    As many others as were reported are set; logits are means over the references.
    """
    features = numbers.shape[1]
    own, other = numbers.copy(), numbers.copy()
    picked = np.zeros(numbers.shape, bool)
    random = np.zeros(numbers.shape, bool)
    for n, row in enumerate(chosen):
        reported = row[row >= 0]
        picked[n, reported] = True
        rest = np.setdiff1d(np.arange(features), reported)
        random[n, rng.permutation(rest)[: len(reported)]] = True
    lowered = np.zeros(len(numbers)), np.zeros(len(numbers))
    for reference in model.references:
        own = np.where(picked, reference, numbers)
        other = np.where(random, reference, numbers)
        for total, changed in zip(lowered, (own, other), strict=True):
            total += model.logits(changed)
    return np.asarray(lowered[0] < lowered[1])
