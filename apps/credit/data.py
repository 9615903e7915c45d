"""Applicants: Taiwan's credit cards, German credit, the simulated sample, or any CSV of the user's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from apps.credit.schema import Feature, Schema, infer
from apps.credit.simulate import KEY, ROWS, simulate
from apps.credit.table import Column, Table, read_csv
from apps.errors import InputError
from apps.source import Source, find_source, load_split

TEST = 0.2  # share of the applicants that is kept for the test
MONTHS = ("September", "August", "July", "June", "May", "April")  # of 2005, the latest first


@dataclass(frozen=True)
class Known:
    """What is known of a data set beside its columns.

    protected  columns for the audit alone
    dropped    {column: why it is left out}
    cost       of a refused good applicant and of an accepted bad one
    derived    features that follow from its columns
    """

    repository: str
    target: str
    protected: tuple[str, ...]
    dropped: Mapping[str, str]
    features: tuple[Feature, ...]
    cost: tuple[float, float]
    purpose: str
    derived: tuple[Feature, ...] = ()


LATE = {"1": "1 month late"} | {str(n): f"{n} months late" for n in range(2, 10)}


def _taiwan() -> tuple[Feature, ...]:
    status = {"-2": "no use of the card", "-1": "paid in full", "0": "minimum paid"} | LATE
    schools = {"1": "graduate school", "2": "university", "3": "high school", "4": "other", "0": "unknown"}
    features = [
        Feature("LIMIT_BAL", "numeric", direction=-1, immutable=True, words="credit limit"),
        Feature("EDUCATION", "categorical", (), tuple("0123456"), immutable=True, words="education", names=schools),
    ]
    for i, month in enumerate(MONTHS):
        name, words = f"PAY_{i + bool(i)}", f"payment status in {month}"
        features += [
            Feature(name, "ordinal", (-2.0, -1.0, 0.0), direction=1, words=words, names=status),
            Feature(f"BILL_AMT{i + 1}", "numeric", words=f"amount billed in {month}"),
            Feature(f"PAY_AMT{i + 1}", "numeric", direction=-1, words=f"amount paid in {month}"),
        ]
    return tuple(features)


def _taiwan_derived() -> tuple[Feature, ...]:
    def follow(name: str, rule: str, sources: Sequence[str], words: str, names: Mapping[str, str] = {}) -> Feature:
        return Feature(name, "numeric", words=words, names=names, rule=rule, sources=tuple(sources))

    status = ["PAY_0", *(f"PAY_{i}" for i in range(2, 7))]
    billed = [f"BILL_AMT{i}" for i in range(1, 7)]
    paid = [f"PAY_AMT{i}" for i in range(1, 7)]
    names = {"0": "never late"} | LATE
    return (
        follow("worst_status", "highest", status, "worst payment status of six months", names),
        follow("months_late", "positive", status, "months paid late, of six"),
        follow("months_minimum", "zero", status, "months with the minimum paid, of six"),
        follow("months_paid", "positive", paid, "months with a payment, of six"),
        follow("limit_used", "mean_share", [*billed, "LIMIT_BAL"], "share of the limit used, mean of six months"),
        follow(
            "limit_used_least", "lowest_share", [*billed, "LIMIT_BAL"], "share of the limit used, least of six months"
        ),
        follow("limit_left", "difference", ["LIMIT_BAL", "BILL_AMT1"], "credit limit left in September"),
        follow("bill_rise", "difference", ["BILL_AMT1", "BILL_AMT6"], "rise of the amount billed since April"),
    )


def _german() -> tuple[Feature, ...]:
    def ordered(name: str, words: str, levels: str, apart: str = "") -> Feature:
        outside = (apart,) if apart else ()
        return Feature(name, "ordinal", categories=tuple(levels.split("|")), apart=outside, direction=-1, words=words)

    return (
        ordered(
            "checking_status",
            "checking account",
            "<0 DM|0<=X<200 DM|>=200 DM or salary assigned >=1 year",
            "no checking account",
        ),
        ordered(
            "savings_status", "savings", "<100 DM|100<=X<500 DM|500<=X<1000 DM|>=1000 DM", "unknown/no savings account"
        ),
        ordered(
            "employment_since", "time in the present job", "unemployed|<1 year|1<=X<4 years|4<=X<7 years|>=7 years"
        ),
        Feature("duration_months", "numeric", direction=1, words="duration in months"),
        Feature("credit_amount", "numeric", words="amount of the credit"),
        Feature("installment_rate_percent", "ordinal", direction=1, words="instalment rate"),
    )


DATASETS: Mapping[str, Known] = {
    "taiwan": Known(
        repository="scikit-learn/credit-card-clients",
        target="default.payment.next.month",
        protected=("SEX", "MARRIAGE", "AGE"),
        dropped={"ID": "a number that counts the rows"},
        features=_taiwan(),
        cost=(1.0, 5.0),
        purpose="default on a credit card in the next month, Taiwan 2005",
        derived=_taiwan_derived(),
    ),
    "german": Known(
        repository="uci/statlog-german-credit",
        target="class",
        protected=("personal_status_sex", "age_years", "foreign_worker"),
        dropped={},
        features=_german(),
        cost=(1.0, 5.0),
        purpose="a bad loan, Germany 1973 to 1975",
    ),
}
SAMPLE = Known(
    repository="",
    target="default",
    protected=("sex", "region"),
    dropped={},
    features=(
        Feature("income", "numeric", words="monthly income"),
        Feature(
            "late_payments", "ordinal", specials=(-9.0,), direction=1, words="late payments", names={"-9": "no record"}
        ),
        Feature("utilisation", "numeric", direction=1, words="use of the limit in percent"),
        Feature("file_years", "numeric", words="age of the credit file in years", immutable=True),
    ),
    cost=(1.0, 5.0),
    purpose="default of a made-up applicant",
)


@dataclass(frozen=True)
class Applicants:
    """A table whose defaults are known, and what its columns mean.

    name      of the data set, as shown beside every result
    t         (N,) int64, 1 where an applicant defaulted
    train, test  rows, apart for good
    best      the true probability of default (N,) where it is known
    cost      of a refused good applicant and of an accepted bad one
    weight    (N,) how much a row counts in training, where a column says so
    """

    name: str
    dataset: str
    table: Table
    schema: Schema
    t: np.ndarray
    train: np.ndarray
    test: np.ndarray
    cost: tuple[float, float]
    purpose: str
    notice: str | None = None
    best: np.ndarray | None = None
    weight: np.ndarray | None = None

    def numbers(self) -> np.ndarray:
        """(N, F), every cell sound. Raises InputError that names the first one that is not."""
        values, faults = self.schema.numbers(self.table)
        if faults:
            more = f" ({len(faults)} such rows)" if len(faults) > 1 else ""
            raise InputError(f"{self.name}, {faults[min(faults)]}{more}: mend it, or leave the column out.")
        return values

    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell these applicants and this split from others."""
        digest = hashlib.sha256()
        for name in (*(feature.name for feature in self.schema.asked), self.schema.target):
            column = self.table.columns[name]
            content = column.tobytes() if isinstance(column, np.ndarray) else "\0".join(column).encode()
            digest.update(f"{name}\0{len(column)}\0".encode() + content)
        digest.update(self.test.astype(np.int64).tobytes())
        if self.weight is not None:
            digest.update(self.weight.tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Choices:
    """What a user says of a table, on the command line.

    score   a column with an incumbent's score, to compare with
    weight  a column that says how much a row counts in training
    derived features that follow from columns
    """

    csv: Path | None = None
    target: str | None = None
    positive: str | None = None
    protected: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    monotone: Mapping[str, int] = field(default_factory=dict)
    cost: tuple[float, float] | None = None
    score: str | None = None
    weight: str | None = None
    derived: Sequence[Feature] = ()


def load(data: str | None, dataset: str = "taiwan", choices: Choices | None = None) -> Applicants:
    """Applicants to learn from and to test on.

    data: "hub", "sample", a folder or None, as `find_source` takes it; not asked for a CSV.
    Raises InputError where they cannot be had or used.
    """
    choices = choices or Choices()
    if choices.csv is not None:
        if choices.target is None:
            raise InputError("Which column of the CSV file says who defaulted? Give --target COLUMN.")
        known = Known("", choices.target, (), {}, (), (1.0, 1.0), f"default, by the column {choices.target}")
        return _assemble(read_csv(choices.csv), known, choices, str(choices.csv), "csv")
    if dataset not in DATASETS:
        raise InputError(f"There is no data set {dataset!r} for credit: give one of {', '.join(DATASETS)}.")
    known = DATASETS[dataset]
    source = _source(data, dataset, known)
    if source.kind == "sample":
        if dataset != "taiwan":
            raise InputError(f"{dataset} comes without a sample: give --data FOLDER with FOLDER/{known.repository}.")
        columns, best = simulate(ROWS, rng=np.random.default_rng(KEY))
        return _assemble(Table(columns), SAMPLE, choices, "sample (simulated applicants)", dataset, source.notice, best)
    table = _read(source)
    return _assemble(table, known, choices, known.repository, dataset, source.notice)


def _source(data: str | None, dataset: str, known: Known) -> Source:
    on_hub = not (data or os.environ.get("ZOO_DATA")) or data == "hub"
    if dataset == "german" and on_hub:
        raise InputError(
            f"{dataset} has no place on the hub: give --data FOLDER, with a copy in FOLDER/{known.repository}."
        )
    return find_source(data, known.repository)


def _read(source: Source) -> Table:
    """The only split of a data set, as a table."""
    arrow = load_split(source, "train").with_format("arrow")[:]
    columns: dict[str, Column] = {}
    for name in arrow.column_names:
        column = arrow.column(name)
        if str(column.type).startswith(("int", "float", "double", "uint")):
            columns[name] = column.to_numpy().astype(np.float64)
        else:
            columns[name] = ["" if value is None else str(value) for value in column.to_pylist()]
    return Table(columns)


def _assemble(
    table: Table,
    known: Known,
    choices: Choices,
    name: str,
    dataset: str,
    notice: str | None = None,
    best: np.ndarray | None = None,
) -> Applicants:
    """Apply what is known and what the user says, and set the test rows apart."""
    protected = known.protected if choices.protected is None else tuple(choices.protected)
    dropped = dict(known.dropped) | dict.fromkeys(choices.exclude, "excluded by the user")
    if choices.score is not None:
        dropped[choices.score] = "the score to compare with"
    if choices.weight is not None:
        dropped[choices.weight] = "the weights of the rows"
    if lost := [column for column in (known.target, *known.dropped) if column not in table.columns]:
        raise InputError(f"{name} has no column {lost[0]!r}: give a whole copy.")
    schema, t = infer(
        table,
        choices.target or known.target,
        positive=choices.positive or (None if dataset == "csv" else "1"),
        protected=[column for column in protected if column not in choices.exclude],
        excluded=dropped,
        directions=choices.monotone,
        known={feature.name: feature for feature in known.features},
        derived=(*known.derived, *choices.derived),
    )
    train, test = stratified(t, TEST, np.random.default_rng(0))
    cost = choices.cost or known.cost
    weight = _weights(table, choices.weight) if choices.weight is not None else None
    return Applicants(name, dataset, table, schema, t, train, test, cost, known.purpose, notice, best, weight)


def _weights(table: Table, column: str) -> np.ndarray:
    """A column of numbers from 0 to 1e12, not all zero. Raises InputError for others."""
    values, wrong = table.numbers(column)
    bad = np.flatnonzero(~((values >= 0) & (values <= 1e12)))
    if wrong or len(bad) or not values.sum() > 0:
        row = min([*wrong, *map(int, bad), len(values)])
        raise InputError(
            f"Row {table.first + row}, column {column}: weights are numbers from 0 up to 1e12, not all zero."
        )
    return values


def stratified(t: np.ndarray, fraction: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(rows to learn from, rows kept apart), sorted; both with the same share of defaults.

    Raises InputError where a class has fewer than ten rows.
    """
    least = int(np.bincount(t, minlength=2).min())
    if least < 10:
        raise InputError(f"There are only {least} rows of one class: at least 10 are needed.")
    kept = np.concatenate([rng.permutation(np.flatnonzero(t == c))[: round(fraction * (t == c).sum())] for c in (0, 1)])
    apart = np.zeros(len(t), bool)
    apart[kept] = True
    return np.flatnonzero(~apart), np.flatnonzero(apart)


def folds(t: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) the fold of each row, 0 … count − 1, each with the same share of defaults"""
    fold = np.empty(len(t), np.int64)
    for c in (0, 1):
        rows = rng.permutation(np.flatnonzero(t == c))
        fold[rows] = np.arange(len(rows)) % count
    return fold
