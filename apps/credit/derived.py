"""Features that follow from columns by a rule: the worst of several months, the share of a limit that is used.

Scorecards are built on them, and an additive model knows nothing of columns together without them. A rule also says how
its value moves when a column rises, so that a direction told for a column holds for all that follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rule:
    """How a value follows from K columns.

    words     in which it is told
    value     x (N, K) → (N,)
    last      −1 where it falls as its last column rises, 1 where it rises as it does with all others, 0 where it may
              do either with any of them
    least     columns that it needs
    counted   whether the value counts columns
    """

    words: str
    value: Callable[[np.ndarray], np.ndarray]
    last: int = 1
    least: int = 1
    counted: bool = False

    def sign(self, k: int, columns: int) -> int:
        """1 where a higher k-th column never lowers the value, −1 where it never raises it, 0 where it may do either"""
        return self.last if k == columns - 1 or not self.last else 1


def _share(amounts: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """amounts / whole, NaN where the whole is not above 0"""
    above = whole > 0
    return np.where(above, amounts / np.where(above, whole, 1.0), np.nan)


RULES: Mapping[str, Rule] = {
    "highest": Rule("the highest of {}, or 0", lambda x: np.maximum(x, 0).max(axis=1)),
    "positive": Rule("how many of {} are above 0", lambda x: (x > 0).sum(axis=1), counted=True),
    "zero": Rule("how many of {} are 0", lambda x: (x == 0).sum(axis=1), last=0, counted=True),
    "difference": Rule("{}: the first less the second", lambda x: x[:, 0] - x[:, 1], last=-1, least=2),
    "mean_share": Rule(
        "{}: the mean of all but the last, those below 0 as 0, over the last",
        lambda x: _share(np.maximum(x[:, :-1], 0).mean(axis=1), x[:, -1]),
        last=-1,
        least=2,
    ),
    "lowest_share": Rule(
        "{}: the lowest of all but the last, or 0, over the last",
        lambda x: _share(np.maximum(x[:, :-1], 0).min(axis=1), x[:, -1]),
        last=-1,
        least=2,
    ),
}


def derive(rule: str, columns: Sequence[np.ndarray]) -> np.ndarray:
    """K columns (N,) → (N,) float64; NaN where one of them is missing, or the rule has no value"""
    x = np.stack(columns, axis=1)
    return np.where(np.isnan(x).any(axis=1), np.nan, RULES[rule].value(x))
