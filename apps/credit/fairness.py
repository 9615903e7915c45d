"""How decisions fall on groups that the model never saw: figures for an auditor, not a verdict of law."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from apps.credit.table import Table
from core.metrics import roc_auc

MOST_GROUPS = 8
LEAST = 50  # rows of a group that is shown
FOUR_FIFTHS = 0.8
AGE_LIKE = 12  # distinct numbers, from which an attribute is cut into quarters


@dataclass(frozen=True)
class Group:
    """One group of an attribute.

    selection  share that is accepted
    missed     share of its good applicants that are refused
    caught     share of its bad applicants that are refused
    expected   mean probability of default, and bad, the share that defaulted
    proxy      AUC with which the score alone tells this group from the others: .5 says nothing
    """

    name: str
    count: int
    selection: float
    missed: float
    caught: float
    expected: float
    bad: float
    proxy: float


@dataclass(frozen=True)
class Audit:
    """One protected attribute.

    parity     lowest selection rate over highest (demographic parity; the four-fifths statistic)
    odds       largest difference between groups, of `missed` or of `caught` (equalised odds: Hardt et al., 2016)
    proxy      the largest distance of a group's proxy AUC from .5, as an AUC
    """

    attribute: str
    groups: list[Group]
    parity: float
    odds: float
    proxy: float


def groups_of(table: Table, attribute: str) -> tuple[list[str], np.ndarray]:
    """(names of groups, the group of each row); numbers of many values are cut into quarters."""
    values, wrong = table.numbers(attribute)
    filled = values[~np.isnan(values)]
    if len(filled) and not wrong and len(np.unique(filled)) >= AGE_LIKE:
        edges = np.unique(np.quantile(filled, [0.25, 0.5, 0.75]))
        at = np.searchsorted(edges, values, side="right")
        at[np.isnan(values)] = len(edges) + 1
        bounds = [f"{edge:g}" for edge in edges]
        between = [f"{low} to below {high}" for low, high in pairwise(bounds)]
        return [f"below {bounds[0]}", *between, f"{bounds[-1]} and more", "missing"], at
    words = table.words(attribute)
    names, at, counts = np.unique(words, return_inverse=True, return_counts=True)
    shown = names[np.argsort(-counts, kind="stable")[:MOST_GROUPS]]
    place = {name: i for i, name in enumerate(shown)}
    labels = [str(name) or "missing" for name in shown]
    return [*labels, "other"], np.array([place.get(word, len(shown)) for word in words])


def audit(table: Table, attribute: str, pd: np.ndarray, t: np.ndarray, cut: float) -> Audit:
    """How accepting below `cut` falls on the groups of an attribute."""
    names, at = groups_of(table, attribute)
    refused = pd >= cut
    groups = []
    for i, name in enumerate(names):
        own = at == i
        if own.sum() < LEAST:
            continue
        good, bad = own & (t == 0), own & (t == 1)
        groups.append(
            Group(
                name,
                int(own.sum()),
                float(1 - refused[own].mean()),
                float(refused[good].mean()) if good.any() else float("nan"),
                float(refused[bad].mean()) if bad.any() else float("nan"),
                float(pd[own].mean()),
                float(t[own].mean()),
                roc_auc(own.astype(np.int64), pd) if 0 < own.sum() < len(own) else 0.5,
            )
        )
    rates = [group.selection for group in groups] or [1.0]
    spread = [np.ptp([v for v in values if not np.isnan(v)] or [0.0]) for values in _columns(groups)]
    parity = min(rates) / max(rates) if max(rates) > 0 else 1.0
    proxy = max((abs(group.proxy - 0.5) for group in groups), default=0.0)
    return Audit(attribute, groups, parity, float(max(spread, default=0.0)), 0.5 + proxy)


def _columns(groups: list[Group]) -> list[list[float]]:
    return [[group.missed for group in groups], [group.caught for group in groups]]
