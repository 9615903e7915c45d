"""The smallest change with which a refused applicant would be accepted, found through the model itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import numpy as np

from apps.credit.model import CreditModel
from apps.credit.schema import Feature

MOST_FEATURES = 3
CATEGORY_COST = 25.0  # percentiles that another category counts for
STEP = 5  # percentiles between the values that are tried


@dataclass(frozen=True)
class Change:
    """What would have to be otherwise.

    values  {feature's place: its new value}
    cost    the distance of all changes together, in percentiles of the training rows
    pd      of the applicant so changed
    """

    values: dict[int, float]
    cost: float
    pd: float


def smallest_change(model: CreditModel, row: np.ndarray, shortlist: int = 7) -> Change | None:
    """The cheapest change of at most three features that turns a refusal of row (F,), or None where there is none.

    Immutable features stay; one with a direction only moves to where the risk may fall; a missing or special value,
    whose place among the percentiles is unknown, counts as the middle.
    """
    options = [_options(model, i, feature, row[i]) for i, feature in enumerate(model.schema.features)]
    singles = [(i, value, cost) for i, each in enumerate(options) for value, cost in each]
    if not singles:
        return None
    tried = np.repeat(row[None], len(singles), axis=0)
    for n, (i, value, _) in enumerate(singles):
        tried[n, i] = value
    logits = model.logits(model.schema.complete(tried))
    best = _cheapest(model, [({i: value}, cost) for i, value, cost in singles], logits)
    reached: dict[int, list[float]] = {}
    for (i, _, _), logit in zip(singles, logits, strict=True):
        reached.setdefault(i, []).append(float(logit))
    promising = sorted(reached, key=lambda i: min(reached[i]))[:shortlist]
    kept = {i: _frontier(options[i], reached[i]) for i in promising}
    for count in range(2, MOST_FEATURES + 1):
        limit = np.inf if best is None else best.cost
        trials = [
            ({i: kept[i][place][0] for i, place in zip(chosen, places, strict=True)}, float(costs[tuple(places)]))
            for chosen in combinations(promising, count)
            for costs in [reduce(np.add.outer, [np.array([cost for _, cost in kept[i]]) for i in chosen])]
            for places in np.argwhere(costs < limit).tolist()
        ]
        if trials:
            tried = np.repeat(row[None], len(trials), axis=0)
            for n, (values, _) in enumerate(trials):
                tried[n, list(values)] = list(values.values())
            found = _cheapest(model, trials, model.logits(model.schema.complete(tried)))
            best = found if best is None or (found is not None and found.cost < best.cost) else best
    return best


def _cheapest(model: CreditModel, trials: list[tuple[dict[int, float], float]], logits: np.ndarray) -> Change | None:
    accepted = np.flatnonzero(~model.refused(logits))
    if not len(accepted):
        return None
    best = min(accepted, key=lambda n: (trials[n][1], logits[n]))
    return Change(*trials[best], pd=float(1 / (1 + np.exp(-logits[best]))))


def _frontier(options: list[tuple[float, float]], logits: list[float], most: int = 8) -> list[tuple[float, float]]:
    """Those options that lower the risk more than all cheaper ones, thinned out to `most`"""
    order = sorted(range(len(options)), key=lambda n: (options[n][1], logits[n]))
    kept: list[tuple[float, float]] = []
    low = np.inf
    for n in order:
        if logits[n] < low - 1e-6:
            low = logits[n]
            kept.append(options[n])
    places = np.unique(np.linspace(0, len(kept) - 1, min(most, len(kept))).astype(int))
    return [kept[place] for place in places]


def _options(model: CreditModel, i: int, feature: Feature, value: float) -> list[tuple[float, float]]:
    """[(another value, how many percentiles away)] that an applicant could have"""
    if feature.immutable or feature.rule:
        return []
    if feature.kind == "categorical":
        return [(float(k), CATEGORY_COST) for k in range(len(feature.categories)) if k != value]
    grid = model.percentiles[:, i]
    apart = np.isnan(value) or value in feature.codes
    here = 50.0 if apart else float(np.interp(value, *_ranks(grid)))
    options = []
    for percentile in range(STEP, 101 - STEP, STEP):  # what hardly anybody has is no advice
        new = float(grid[percentile])
        if feature.categories or feature.kind == "ordinal":
            new = round(new)
        rises = new > value
        if not apart and (new == value or (feature.direction and rises == (feature.direction > 0))):
            continue
        there = float(np.interp(new, *_ranks(grid)))
        options.append((new, max(1.0, abs(there - here))))
    return list(dict(options).items())


def _ranks(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distinct values, the middle of the percentiles at which each stands)"""
    values, first, counts = np.unique(grid, return_index=True, return_counts=True)
    return values, first + (counts - 1) / 2
