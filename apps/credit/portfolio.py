"""Many applicants at once: scored, and measured where their outcomes are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from apps.credit.model import CreditModel
from apps.credit.reasons import Wording
from apps.credit.schema import Schema
from apps.credit.scoring import ADDED, check_names, score_table
from apps.credit.table import Table, csv_of
from apps.errors import InputError
from core.metrics import sigmoid


@dataclass(frozen=True)
class Portfolio:
    """A table of applicants, those of its rows that could be scored, and what the model says of them.

    whole   all rows, and table, those that were scored (N)
    t       (N,) 1 where an applicant defaulted; None where that is not known of all, or is the same for all
    faults  what is wrong with the other rows, a sentence each
    """

    names: list[str]
    whole: Table
    table: Table
    numbers: np.ndarray
    logits: np.ndarray
    t: np.ndarray | None
    faults: list[str]

    @property
    def pd(self) -> np.ndarray:
        """(N,) probabilities of default"""
        return np.asarray(sigmoid(self.logits))


def open_portfolio(model: CreditModel, name: str, names: list[str], rows: Sequence[Sequence[str]]) -> Portfolio:
    """Score the rows of a file. Raises InputError where it lacks a column, or not one row can be scored."""
    check_names(model, name, names)
    whole = Table(dict(zip(names, zip(*rows, strict=True), strict=True)))
    numbers, faults = model.schema.numbers(whole)
    sound = np.setdiff1d(np.arange(len(whole)), list(faults))
    if not len(sound):
        raise InputError(f"No row of {name} can be scored; {faults[0]}.")
    table = whole.take(sound)
    logits = model.logits(numbers[sound])
    return Portfolio(
        names, whole, table, numbers[sound], logits, _outcomes(model.schema, table), [faults[n] for n in sorted(faults)]
    )


def _outcomes(schema: Schema, table: Table) -> np.ndarray | None:
    if schema.target not in table.columns:
        return None
    words = table.words(schema.target)
    t = np.array([word == schema.positive for word in words]).astype(np.int64)
    return t if "" not in words and 0 < t.sum() < len(t) else None


def with_cut(model: CreditModel, cut: float) -> CreditModel:
    """The same model, refusing from another probability of default on, 0 < cut < 1"""
    return replace(model, cost=(cut, 1 - cut))


def scored_csv(model: CreditModel, portfolio: Portfolio, cut: float) -> bytes:
    """The file with probability, points, decision and reasons added; decisions are at `cut`."""
    cells, _ = score_table(with_cut(model, cut), portfolio.whole, Wording(model))
    columns = [portfolio.whole.columns[name] for name in portfolio.names]
    rows = zip(*columns, strict=True)
    return csv_of([*portfolio.names, *ADDED], ([*row, *more] for row, more in zip(rows, cells, strict=True)))


@dataclass(frozen=True)
class TradeOff:
    """What follows from refusing at a cut-off: mean cost of an applicant, share accepted, share of bad among these."""

    cut: float
    cost: float
    accepted: float
    bad: float


def trade_off(pd: np.ndarray, t: np.ndarray | None, cost: tuple[float, float], cuts: np.ndarray) -> list[TradeOff]:
    """One line a cut-off. t (N,): outcomes; where they are not known, each applicant counts as bad by their own pd."""
    order = np.argsort(pd, kind="stable")
    bad = np.append(0.0, np.cumsum((pd if t is None else t)[order]))  # among the k safest
    lines = []
    for cut in cuts.tolist():
        k = int(np.searchsorted(pd[order], cut, side="left"))
        good_refused = (len(pd) - k) - (bad[-1] - bad[k])
        total = cost[0] * good_refused + cost[1] * bad[k]
        lines.append(TradeOff(cut, float(total / len(pd)), k / len(pd), float(bad[k] / max(1, k))))
    return lines
