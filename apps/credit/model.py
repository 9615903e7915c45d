"""A credit model at work: networks that each turn numbers into a logit, blended, calibrated, scaled to points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from apps.credit.encoding import Encoder
from apps.credit.schema import Schema
from apps.run import MOST_WEIGHTS, Facts, description_file, read_description, save_model, weights_file
from core import Array, CheckpointError, Sequential, load_arrays, predict, save_arrays
from core.checkpoint import put_weights
from core.metrics import sigmoid
from models import build

MICRO_BATCH = 512
REFERENCES = 3
LEAST_WEIGHT = 0.1  # of a part of a blend


@dataclass(frozen=True)
class Member:
    """One trained network and the encoder of its own training rows."""

    architecture: str
    arguments: Mapping[str, Any]
    encoder: Encoder
    network: Sequential

    def logits(self, x: Array, threads: int = 1) -> np.ndarray:
        """x (N, C) encoded → (N,) float64 logits"""
        return mean_logit(predict(self.network, x, micro_batch=MICRO_BATCH, threads=threads))


def mean_logit(outputs: Array) -> np.ndarray:
    """(N, K) logits of the members of an ensemble → (N,) float64, their mean

    The odds are then the geometric mean of the members' odds; and a sum of logits has exact contributions.
    """
    return np.asarray(outputs.reshape(len(outputs), -1).mean(axis=1, dtype=np.float64))


@dataclass(frozen=True)
class Points:
    """points = offset − factor · logit;  factor = pdo / ln 2,  offset = base − factor · ln odds      (Siddiqi, 2006)

    `base` points are odds of `odds` good to one bad; every `pdo` more points double them.
    """

    base: float = 600.0
    odds: float = 50.0
    pdo: float = 20.0

    @property
    def factor(self) -> float:
        return self.pdo / log(2)

    @property
    def offset(self) -> float:
        return self.base - self.factor * log(self.odds)

    def __call__(self, logit: np.ndarray) -> np.ndarray:
        """Logits of default → points; the higher the better."""
        return self.offset - self.factor * logit


def cut_off(cost: tuple[float, float]) -> float:
    """The probability of default from which refusing costs less: FP / (FP + FN)      (Elkan, 2001)

    cost: of a refused good applicant and of an accepted bad one.
    """
    return cost[0] / (cost[0] + cost[1])


@dataclass(frozen=True, eq=False)
class CreditModel:
    """logit = intercept + slope · Σ_m weight_m · logit_m

    references   (R, F) numbers of made-up applicants who are just accepted: what a refusal is compared with
    typical      (F,) what is typical of applicants near the cut-off
    percentiles  (101, F) of the training rows' ordinary values: the unit of a change
    facts        what the description says beside
    """

    schema: Schema
    members: tuple[Member, ...]
    weights: tuple[float, ...]
    slope: float
    intercept: float
    cost: tuple[float, float]
    points: Points = field(default_factory=Points)
    references: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    typical: np.ndarray = field(default_factory=lambda: np.empty(0))
    percentiles: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    facts: Facts = field(default_factory=dict)

    def encode(self, numbers: np.ndarray) -> list[Array]:
        """numbers (N, F) → x (N, C) for each network"""
        return [member.encoder(numbers) for member in self.members]

    def logits(self, numbers: np.ndarray, threads: int = 1, encoded: Sequence[Array] | None = None) -> np.ndarray:
        """numbers (N, F) → (N,) calibrated logits of default, float64; encoded: what `encode` made of them, if known"""
        total = np.full(len(numbers), self.intercept)
        encoded = self.encode(numbers) if encoded is None else encoded
        for weight, member, x in zip(self.weights, self.members, encoded, strict=True):
            total += self.slope * weight * member.logits(x, threads)
        return total

    def pd(self, numbers: np.ndarray, threads: int = 1) -> np.ndarray:
        """numbers (N, F) → (N,) probabilities of default"""
        return sigmoid(self.logits(numbers, threads))

    @property
    def cut(self) -> float:
        """The probability of default from which an applicant is refused"""
        return cut_off(self.cost)

    @property
    def cut_logit(self) -> float:
        """The logit of `cut`"""
        return log(self.cost[0] / self.cost[1])

    @property
    def additive(self) -> bool:
        """Whether the logit is a sum of one term a feature"""
        return all(member.architecture in ("neural_additive", "logistic_regression") for member in self.members)

    @property
    def monotone(self) -> bool:
        """Whether the directions of its features hold in it"""
        return all(member.arguments.get("directions") for member in self.members)

    def refused(self, logits: np.ndarray) -> np.ndarray:
        """(N,) bool"""
        return logits >= self.cut_logit

    def save(self, stem: Path, facts: Facts) -> None:
        """Write STEM.safetensors and STEM.json."""
        encoders: list[Facts] = []
        members = []
        for member in self.members:
            encoder = member.encoder.facts()
            if encoder not in encoders:
                encoders.append(encoder)
            at = encoders.index(encoder)
            members.append({"architecture": member.architecture, "arguments": dict(member.arguments), "encoder": at})
        arrays = {
            f"{i}.{name}": parameter.value
            for i, member in enumerate(self.members)
            for name, parameter in member.network.named_parameters()
        }
        arrays |= {"references": self.references, "typical": self.typical, "percentiles": self.percentiles}
        serving = {"members": members, "encoders": encoders, "weights": list(self.weights)}
        serving |= {"slope": self.slope, "intercept": self.intercept, "cost": list(self.cost)}
        serving |= {"points": [self.points.base, self.points.odds, self.points.pdo]}
        save_model(stem, arrays, facts | {"schema": self.schema.facts()})
        save_arrays(weights_file(stem), arrays, {"credit": serving})


def load_credit(stem: Path) -> CreditModel:
    """The model that STEM.json and STEM.safetensors hold.

    Raises CheckpointError where a file is missing, damaged, newer, or of another task.
    """
    path, described = weights_file(stem), description_file(stem)
    facts = read_description(described)
    if facts["task"] != "credit":
        raise CheckpointError(f"{described}: this is a model for {facts['task']}, not for credit")
    schema = Schema.from_facts(facts.get("schema"), described)
    arrays, told = load_arrays(path, most=MOST_WEIGHTS)
    try:
        serving = told["credit"]
        encoders = [Encoder.from_facts(each, schema, path) for each in serving["encoders"]]
        members = tuple(
            _member(path, i, each, encoders[each["encoder"]], arrays) for i, each in enumerate(serving["members"])
        )
        weights = tuple(map(float, serving["weights"]))
        slope, intercept = float(serving["slope"]), float(serving["intercept"])
        cost = (float(serving["cost"][0]), float(serving["cost"][1]))
        points = Points(*map(float, serving["points"]))
        sound = np.isfinite([*weights, slope, intercept, *cost, points.base, points.odds, points.pdo]).all()
        if not (members and sound and len(weights) == len(members) and slope > 0 and min(*cost, points.odds) > 0):
            raise ValueError("its numbers make no sense")
        f = len(schema.features)
        references, usual, percents = arrays["references"], arrays["typical"], arrays["percentiles"]
        if references.shape != (len(references), f) or usual.shape != (f,) or percents.shape != (101, f):
            raise ValueError("its references make no sense")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: the file is damaged ({error})") from None
    return CreditModel(schema, members, weights, slope, intercept, cost, points, references, usual, percents, facts)


def _member(path: Path, i: int, told: Mapping[str, Any], encoder: Encoder, arrays: Mapping[str, Array]) -> Member:
    """The i-th network, built and filled."""
    own = {name.partition(".")[2]: array for name, array in arrays.items() if name.partition(".")[0] == str(i)}
    numbers = sum(array.size for array in own.values())
    network = build(told["architecture"], told["arguments"], rng=np.random.default_rng(0), most=numbers)
    put_weights(path, network, own)
    sizes = encoder.sizes()
    fitting = {**told["arguments"], **sizes}
    if fitting != dict(told["arguments"]):
        raise ValueError(f"network {i} does not fit its encoder")
    return Member(told["architecture"], told["arguments"], encoder, network)


def make_references(model: CreditModel, pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(REFERENCES, F) made-up applicants whom the model just accepts, from the values of a pool of real ones (N, F)

    Each value is another real applicant's, so that none of them is copied; of many such, those are kept whose logit is
    nearest below the cut-off.
    """
    made = np.stack([column[rng.integers(0, len(pool), 4096)] for column in pool.T], axis=1)
    made = model.schema.complete(made)
    below = model.cut_logit - model.logits(made)
    order = np.lexsort([np.abs(below), below <= 0])  # where nobody is accepted, those who come nearest
    return np.asarray(made[order[:REFERENCES]])


def typical(pool: np.ndarray, schema: Schema) -> np.ndarray:
    """(F,): the median of each number, or the most frequent of categories, levels, codes and missing"""
    values = np.empty(pool.shape[1])
    for i, feature in enumerate(schema.features):
        found, counts = np.unique(pool[:, i], return_counts=True)
        ordinary = pool[~np.isnan(pool[:, i]) & ~np.isin(pool[:, i], feature.codes), i]
        numeric = feature.kind == "numeric" and len(ordinary) > len(pool) / 2
        values[i] = np.sort(ordinary)[len(ordinary) // 2] if numeric else found[counts.argmax()]
    return values


def percentiles(numbers: np.ndarray, schema: Schema) -> np.ndarray:
    """(101, F): the 0th to 100th percentile of each feature's ordinary values; zeros for categories"""
    table = np.zeros((101, len(schema.features)))
    for i, feature in enumerate(schema.features):
        values = numbers[:, i]
        ordinary = values[~np.isnan(values) & ~np.isin(values, feature.codes)]
        if feature.kind != "categorical" and len(ordinary):
            table[:, i] = np.quantile(ordinary, np.linspace(0, 1, 101))
    return table


def log_loss_of(logits: np.ndarray, t: np.ndarray) -> float:
    """mean of ln(1 + eᶻ) − t z"""
    return float(np.mean(np.logaddexp(0, logits) - t * logits))


def calibrate(logits: np.ndarray, t: np.ndarray, steps: int = 100) -> tuple[float, float]:
    """(slope, intercept) that minimise the log-loss of intercept + slope · logit      (Platt, 1999)

    By Newton's method, whose step is halved until it helps. A slope of 1 and an intercept of 0 say that the logits
    were calibrated already.
    """
    x = np.stack([logits, np.ones_like(logits)], axis=1)
    w = np.zeros(2)
    loss = log_loss_of(x @ w, t)
    for _ in range(steps):
        p = sigmoid(x @ w)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, x.T @ (p - t))
        while (lower := log_loss_of(x @ (w - step), t)) > loss and np.abs(step).max() > 1e-12:
            step /= 2
        w, loss = w - step, lower
        if np.abs(step).max() < 1e-10:
            break
    return float(w[0]), float(w[1])


def blend_weights(parts: Sequence[np.ndarray], t: np.ndarray, grid: int = 21) -> tuple[float, ...]:
    """Weights from 0 to 1 that add up to 1 and minimise the calibrated log-loss of Σ w_i · logit_i

    Two parts at a time: the next one is blended into what was blended before; a part that ends with less than
    LEAST_WEIGHT is not worth its time, and left out.      (stacking: Wolpert, 1992)
    """
    weights, total = [1.0], parts[0]
    for part in parts[1:]:
        losses = []
        for w in np.linspace(0, 1, grid):
            mixed = (1 - w) * total + w * part
            slope, intercept = calibrate(mixed, t)
            losses.append(log_loss_of(intercept + slope * mixed, t))
        w = float(np.linspace(0, 1, grid)[int(np.argmin(losses))])
        weights = [each * (1 - w) for each in weights] + [w]
        total = (1 - w) * total + w * part
    kept = [w if w >= LEAST_WEIGHT else 0.0 for w in weights]
    return tuple(w / sum(kept) for w in kept)
