"""What a validator asks of a score: its order, its calibration, its stability, its cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from apps.credit.encoding import information_value, weight_of_evidence
from apps.credit.model import calibrate
from apps.credit.schema import Feature
from core.metrics import brier, gini, ks, log_loss, roc_auc, sigmoid

STABLE, SHIFTED = 0.10, 0.25  # population stability index: below the first stable, above the second shifted


def score(logits: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """roc_auc, gini, ks, brier and log_loss of logits of default (N,)"""
    p = sigmoid(logits)
    return {
        "roc_auc": roc_auc(t, logits),
        "gini": gini(t, logits),
        "ks": ks(t, logits),
        "brier": brier(t, p),
        "log_loss": log_loss(t, p),
    }


def auc_interval(t: np.ndarray, s: np.ndarray, z: float = 1.96) -> tuple[float, float]:
    """The AUCs within z standard errors of the one measured      (DeLong, DeLong & Clarke-Pearson, 1988)

    The variance of the mean over the bad of the share of the good that each outranks, and the other way round.
    """
    auc = roc_auc(t, s)
    bad, good = s[t == 1], s[t == 0]
    if min(len(bad), len(good)) < 2:
        return 0.0, 1.0
    above = _share_below(good, bad)  # for each bad one, the share of good ones below it
    under = 1 - _share_below(bad, good)
    spread = sqrt(above.var(ddof=1) / len(bad) + under.var(ddof=1) / len(good))
    return max(0.0, auc - z * spread), min(1.0, auc + z * spread)


def _share_below(of: np.ndarray, at: np.ndarray) -> np.ndarray:
    """For each of `at`, the share of `of` below it, those equal counted half"""
    ordered = np.sort(of)
    left, right = (np.searchsorted(ordered, at, side=side) for side in ("left", "right"))
    return np.asarray((left + right) / (2 * len(of)))


def roc_curve(t: np.ndarray, s: np.ndarray, most: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """(share of the good refused, share of the bad refused) at up to `most` cut-offs, from nobody to everybody"""
    order = np.argsort(-s, kind="stable")
    bad = np.append(0, np.cumsum(t[order])) / max(1, t.sum())
    good = np.append(0, np.cumsum(1 - t[order])) / max(1, (1 - t).sum())
    thin = np.unique(np.linspace(0, len(bad) - 1, most).astype(int))
    return good[thin], bad[thin]


def calibration_line(logits: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """(slope, intercept) of the logistic regression of t on the logits: 1 and 0 where calibrated      (Cox, 1958)"""
    return calibrate(logits, t)


@dataclass(frozen=True)
class Decile:
    """One tenth of the applicants by score; the first is the safest."""

    count: int
    bad: int
    lowest: float
    highest: float
    expected: float
    captured: float

    @property
    def rate(self) -> float:
        return self.bad / self.count


def deciles(pd: np.ndarray, t: np.ndarray, parts: int = 10) -> list[Decile]:
    """Applicants by probability of default, cut into parts of equal counts."""
    order = np.argsort(pd, kind="stable")
    seen = 0
    rows = []
    for part in np.array_split(order, min(parts, len(order))):
        seen += int(t[part].sum())
        p = pd[part]
        captured = seen / max(1, int(t.sum()))
        rows.append(Decile(len(part), int(t[part].sum()), float(p[0]), float(p[-1]), float(p.mean()), captured))
    return rows


def cost_at(pd: np.ndarray, t: np.ndarray, cost: tuple[float, float], cut: float) -> float:
    """Mean cost of an applicant: cost[0] for a refused good one, cost[1] for an accepted bad one"""
    refused = pd >= cut
    return float((cost[0] * (refused & (t == 0)) + cost[1] * (~refused & (t == 1))).mean())


def stability(expected: np.ndarray, actual: np.ndarray) -> float:
    """PSI = Σ (a − e) ln(a / e) over bins, of shares; a share of nothing counts as 1 / 10,000      (Lewis, 1994)

    expected, actual: counts in the same bins.
    """
    e, a = (np.maximum(counts / max(1, counts.sum()), 1e-4) for counts in (expected, actual))
    return float(((a - e) * np.log(a / e)).sum())


def score_stability(expected: np.ndarray, actual: np.ndarray, bins: int = 10) -> float:
    """PSI of a score, in bins of equal counts of the expected ones"""
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, bins + 1)[1:-1]))
    size = len(edges) + 1
    counts = [np.bincount(np.searchsorted(edges, s, side="right"), minlength=size) for s in (expected, actual)]
    return stability(*counts)


def distinct(values: np.ndarray) -> np.ndarray:
    """np.unique of numbers (N,), which would load numpy.ma for it: 0.05 s more at the first visit to a page"""
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] > ordered[:-1])] if len(ordered) else ordered


def bins_of(feature: Feature, base: np.ndarray, bins: int = 10) -> tuple[list[str], Any]:
    """(what the bins of a feature are called, a function from values (N,) to their bin)

    Missing first, then each special code, then bins of equal counts of `base`, or categories.
    """
    codes = feature.codes
    names = ["missing", *(feature.show(code) for code in codes)]
    if feature.kind == "categorical":
        names += [feature.names.get(category, category) for category in feature.categories]
        return names, lambda values: np.where(np.isnan(values), 0, 1 + np.nan_to_num(values)).astype(np.int64)
    ordinary = base[~np.isnan(base) & ~np.isin(base, codes)]
    edges = distinct(ordinary)
    few = len(edges) <= bins
    if not few:
        edges = distinct(np.quantile(ordinary, np.linspace(0, 1, bins + 1)[:-1], method="nearest"))
    cuts = edges[1:]
    for i, low in enumerate(edges):
        if i + 1 == len(edges):
            names.append(feature.show(low) if few else f"{feature.show(low)} and more")
        elif few:
            names.append(feature.show(low))
        else:
            names.append(f"{feature.show(low)} up to {feature.show(edges[i + 1])}")
    if not len(edges):
        names.append("any")

    def place(values: np.ndarray) -> np.ndarray:
        at = np.searchsorted(cuts, values, side="right") + 1 + len(codes)
        for s, code in enumerate(codes):
            at[values == code] = 1 + s
        at[np.isnan(values)] = 0
        return np.asarray(at)

    return names, place


@dataclass(frozen=True)
class FeatureTable:
    """The bins of one feature: rows and bad ones of the base, weight of evidence; IV, and PSI of other rows."""

    feature: Feature
    names: list[str]
    counts: np.ndarray
    bad: np.ndarray
    woe: np.ndarray
    iv: float
    psi: float
    place: Any


def feature_table(feature: Feature, base: np.ndarray, t: np.ndarray, other: np.ndarray) -> FeatureTable:
    """What the bins of a feature say of default in the base (N,), and how far other rows are from it."""
    names, place = bins_of(feature, base)
    at = place(base)
    counts, bad = np.bincount(at, minlength=len(names)), np.bincount(at, t, minlength=len(names))
    good = counts - bad
    psi = stability(counts, np.bincount(place(other), minlength=len(names)))
    iv = information_value(good, bad)
    return FeatureTable(feature, names, counts, bad, weight_of_evidence(good, bad), iv, psi, place)


def corrected_interval(differences: np.ndarray, share_tested: float, level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of paired differences over repeated cross-validation      (Nadeau & Bengio, 2003)

    mean ± t_{J−1} · √(s² (1 / J + n_test / n_train)): the training sets of the J differences overlap, so s² / J alone
    would be far too sure.

    Raises ValueError for fewer than two differences, or a share outside (0, 1).
    """
    from scipy.stats import t as student

    count = len(differences)
    if count < 2 or not 0 < share_tested < 1:
        raise ValueError(f"an interval needs two differences and a share between 0 and 1: {count}, {share_tested}")
    mean = float(differences.mean())
    spread = sqrt(float(differences.var(ddof=1)) * (1 / count + share_tested / (1 - share_tested)))
    reach = float(student.ppf(0.5 + level / 2, count - 1)) * spread
    return mean, mean - reach, mean + reach
