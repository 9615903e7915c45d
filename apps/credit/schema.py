"""What the columns of a table mean: inferred from the table, saved with the run, and the way from cells to numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from apps.credit.derived import RULES, derive
from apps.credit.table import Table
from apps.errors import InputError
from core import CheckpointError

KINDS = ("numeric", "ordinal", "categorical")
MOST_FEATURES = 500
MOST_CATEGORIES = 100
FEW = 20  # distinct whole numbers, up to which a column is ordinal
SENTINELS = (9, 99, 999, 9999, 99999, 999999, 9999999, 99999999)


@dataclass(frozen=True)
class Feature:
    """One column that enters the model.

    kind        numeric; ordinal: few ordered levels; categorical: levels without an order
    specials    codes among its numbers that mean something of their own, such as −9: outside any order
    categories  levels of a categorical feature, or of an ordinal one that is written in words, lowest first
    apart       levels of an ordinal feature in words that stand outside its order
    direction   1 where a higher value may only raise the risk, −1 where it may only lower it, 0 where it is free
    immutable   whether an applicant can do nothing about it
    words       what it is called in reasons
    names       what its codes or categories are called in reasons
    rule        by which it follows from other features, one of `RULES`; empty: it is a column of the table
    sources     names of the features that it follows from
    """

    name: str
    kind: str
    specials: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    direction: int = 0
    immutable: bool = False
    words: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    rule: str = ""
    sources: tuple[str, ...] = ()

    @property
    def codes(self) -> tuple[float, ...]:
        """Numbers outside the order: special codes, or −1, −2 … for the levels that stand apart"""
        return self.specials + tuple(-1.0 - i for i in range(len(self.apart)))

    def cell(self, value: float) -> str:
        """A number of the feature as a CSV file has it."""
        if np.isnan(value):
            return ""
        if self.categories:
            return self.apart[-1 - int(value)] if value < 0 else self.categories[int(value)]
        return f"{value:.12g}"

    def show(self, value: float) -> str:
        """A number of the feature as a person reads it."""
        if np.isnan(value):
            return "missing"
        text = f"{value:.0f}" if value == round(value) else f"{value:.4g}"
        if self.categories:
            at = int(value)
            text = self.apart[-1 - at] if at < 0 else self.categories[at]
        elif abs(value) >= 1e4:
            text = f"{value:,.0f}"
        return self.names.get(text, text)


@dataclass(frozen=True)
class Schema:
    """Which columns enter the model and how, which is predicted, and which are kept for the audit alone.

    positive   the value of the target that means default
    protected  columns that never enter the model, and by which its decisions are audited
    dropped    {column: why it is left out}
    """

    features: tuple[Feature, ...]
    target: str
    positive: str
    protected: tuple[str, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        leaked = sorted({*names} & {self.target, *self.protected, *self.dropped})
        if leaked:
            raise ValueError(f"{leaked[0]} is kept out of the model, and cannot be one of its features")
        if not names or len({*names}) < len(names) or len(names) > MOST_FEATURES:
            raise ValueError(f"a model has 1 to {MOST_FEATURES} features, each once; here are {len(names)}")
        asked = {feature.name: feature for feature in self.asked}
        for feature in self.features:
            if feature.rule and _direction(feature, asked) != feature.direction:
                raise ValueError(f"the direction of {feature.name} is not that of the columns it follows from")

    @property
    def asked(self) -> list[Feature]:
        """The features that are columns of a table; the others follow from them"""
        return [feature for feature in self.features if not feature.rule]

    def facts(self) -> dict[str, Any]:
        """The schema as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Any, path: object) -> Schema:
        """The schema that `facts` gave. Raises CheckpointError where it is damaged."""
        try:
            features = []
            for each in facts["features"]:
                feature = Feature(
                    str(each["name"]),
                    str(each["kind"]),
                    tuple(map(float, each["specials"])),
                    tuple(map(str, each["categories"])),
                    tuple(map(str, each["apart"])),
                    int(each["direction"]),
                    bool(each["immutable"]),
                    str(each["words"]),
                    {str(k): str(v) for k, v in each["names"].items()},
                    str(each.get("rule", "")),
                    tuple(map(str, each.get("sources", ()))),
                )
                if feature.kind not in KINDS or feature.direction not in (-1, 0, 1):
                    raise ValueError(f"{feature.name} is damaged")
                features.append(feature)
            protected = tuple(str(name) for name in facts["protected"])
            return cls(tuple(features), str(facts["target"]), str(facts["positive"]), protected, dict(facts["dropped"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path}: the file is damaged: its schema ({error})") from None

    def numbers(self, table: Table) -> tuple[np.ndarray, dict[int, str]]:
        """Cells → (N, F) float64, NaN where a value is missing; and {row index: what is wrong, with row and column}

        Numbers stay themselves, levels become their place in the list. A row with a fault is NaN throughout.

        Raises InputError where a column is missing.
        """
        absent = [feature.name for feature in self.asked if feature.name not in table.columns]
        if absent:
            raise InputError(f"The column {absent[0]!r} is missing{_more(absent)}: give every column of the model.")
        values = np.empty((len(table), len(self.features)))
        faults: dict[int, str] = {}
        for column, feature in enumerate(self.features):
            wrong: Mapping[int, str]
            if feature.rule:
                continue
            if feature.categories:
                values[:, column], wrong, trouble = *_levels(table, feature), "a value not seen in training"
            else:
                values[:, column], wrong = table.numbers(feature.name)
                trouble = "not a finite number"
            for row, text in wrong.items():
                faults.setdefault(row, f"row {table.first + row}, column {feature.name}: {text[:40]!r} is {trouble}")
        values[list(faults)] = np.nan
        self._fill(values)
        return values, faults

    def complete(self, numbers: np.ndarray) -> np.ndarray:
        """numbers (N, F), of which some were changed → the same with all that follows from them"""
        values = numbers.copy()
        self._fill(values)
        return values

    def _fill(self, values: np.ndarray) -> None:
        """Set the columns of the features that follow from others."""
        at = {feature.name: i for i, feature in enumerate(self.features)}
        for i, feature in enumerate(self.features):
            if feature.rule:
                values[:, i] = derive(feature.rule, [values[:, at[name]] for name in feature.sources])


def _direction(feature: Feature, asked: Mapping[str, Feature]) -> int:
    """The direction of a derived feature with which those of the columns it follows from hold; its own if it is free to

    Raises ValueError where there is none, or it cannot follow from such columns.
    """
    if feature.rule not in RULES or len(feature.sources) < RULES[feature.rule].least:
        known = ", ".join(f"{name} (of {rule.least} columns or more)" for name, rule in RULES.items())
        raise ValueError(f"{feature.name} does not follow by a rule: they are {known}")
    wanted = set()
    for k, name in enumerate(feature.sources):
        source = asked.get(name)
        if source is None or source.categories:
            raise ValueError(f"{feature.name} cannot follow from {name}, which is no column of numbers in the model")
        sign = RULES[feature.rule].sign(k, len(feature.sources))
        if source.direction and sign:
            wanted.add(source.direction * sign)
        elif source.direction and not (feature.rule == "zero" and 0 in source.codes):
            raise ValueError(f"{feature.name} may rise and fall with {name}, which has a direction")
    if len(wanted) > 1:
        raise ValueError(f"the directions of the columns that {feature.name} follows from pull it both ways")
    return wanted.pop() if wanted else feature.direction


def _more(names: Sequence[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""


def _levels(table: Table, feature: Feature) -> tuple[np.ndarray, dict[int, str]]:
    """A column of levels → their numbers, and {index: text} of those unknown"""
    known = {text: float(i) for i, text in enumerate(feature.categories)}
    known |= dict(zip(feature.apart, feature.codes, strict=True)) | {"": float("nan")}
    words = table.words(feature.name)
    values = np.array([known.get(text, np.inf) for text in words])
    wrong = {int(i): words[i] for i in np.flatnonzero(np.isinf(values))}
    values[list(wrong)] = np.nan
    return values, wrong


def infer(
    table: Table,
    target: str,
    *,
    positive: str | None = None,
    protected: Collection[str] = (),
    excluded: Mapping[str, str] | Collection[str] = (),
    directions: Mapping[str, int] | None = None,
    known: Mapping[str, Feature] | None = None,
    derived: Sequence[Feature] = (),
) -> tuple[Schema, np.ndarray]:
    """The schema of a table, and its target (N,) int64, 1 where an applicant defaulted.

    positive: the target's value that means default; by default 1, yes, true, bad or default, whichever occurs.
    known: what is already known of some features.
    derived: features that follow from columns by a rule; those whose columns do not enter the model are left out.

    Raises InputError where a column is not there, the target does not have two classes, no feature is left, or a rule
    does not fit its columns.
    """
    why = dict(excluded) if isinstance(excluded, Mapping) else dict.fromkeys(excluded, "excluded by the user")
    directions, known = directions or {}, known or {}
    own = [feature.name for feature in derived]
    if twice := {name for name in own if own.count(name) > 1}:
        raise InputError(f"{twice.pop()} is derived twice: give each feature a name of its own.")
    for name in (target, *protected, *why, *(name for name in directions if name not in own)):
        if name not in table.columns:
            raise InputError(f"There is no column {name!r}: the table has {', '.join(list(table.columns)[:30])}.")
    t, positive = _target(table, target, positive)
    features: list[Feature] = []
    for name in table.columns:
        if name in (target, *protected) or name in why:
            continue
        feature = known.get(name) or _infer(table, name)
        if isinstance(feature, str):
            why[name] = feature
            continue
        features.append(replace(feature, direction=directions.get(name, feature.direction)))
    features += _follow(derived, features, table, directions)
    unordered = [f.name for f in features if f.direction and f.kind == "categorical"]
    if unordered or (lost := sorted(directions.keys() - {f.name for f in features})):
        name = unordered[0] if unordered else lost[0]
        reason = "its values have no order" if unordered else "it does not enter the model"
        raise InputError(f"{name} cannot be monotone: {reason}. Leave it out of --monotone.")
    if not features or len(features) > MOST_FEATURES:
        raise InputError(f"{len(features)} columns are left to learn from: give 1 to {MOST_FEATURES}.")
    return Schema(tuple(features), target, positive, tuple(protected), why), t


def _follow(
    derived: Sequence[Feature], features: Sequence[Feature], table: Table, directions: Mapping[str, int]
) -> list[Feature]:
    """Derived features, with the direction that follows from their columns"""
    asked = {feature.name: feature for feature in features}
    found: list[Feature] = []
    for feature in derived:
        missing = [name for name in feature.sources if name not in table.columns]
        if missing or feature.name in table.columns:
            fault = f"has no column {missing[0]!r}" if missing else "has a column of that name"
            raise InputError(f"{feature.name} cannot be derived: the table {fault}.")
        if not {*feature.sources} <= asked.keys():
            continue  # it would bring back what is kept out of the model
        told = replace(feature, direction=directions.get(feature.name, feature.direction), immutable=True)
        try:
            direction = _direction(told, asked)
        except ValueError as error:
            raise InputError(f"{error}.") from None
        if told.direction not in (0, direction):
            raise InputError(f"{told.name} must have the direction that follows from its columns: leave it out.")
        kind = "ordinal" if RULES[told.rule].counted else "numeric"
        found.append(replace(told, kind=kind, direction=direction))
    return found


def _target(table: Table, target: str, positive: str | None) -> tuple[np.ndarray, str]:
    words = table.words(target)
    if "" in words:
        raise InputError(f"Row {table.first + words.index('')} has no value in the target {target}: remove such rows.")
    classes = sorted(set(words))
    if len(classes) != 2:
        shown = ", ".join(classes[:5])
        count = f"{len(classes)} class{'es' if len(classes) != 1 else ''}"
        raise InputError(f"The target {target} has {count} ({shown}), but two are needed.")
    if positive is None:
        likely = [c for c in classes if c.lower() in {"1", "yes", "true", "bad", "default", "y", "t", "charged off"}]
        if len(likely) != 1:
            raise InputError(f"Which value of {target} means default, {' or '.join(classes)}? Give --positive VALUE.")
        positive = likely[0]
    positive = canonical_of(positive, classes, target)
    return np.array([word == positive for word in words]).astype(np.int64), positive


def canonical_of(positive: str, classes: Sequence[str], target: str) -> str:
    """The class that a user named. Raises InputError where there is none."""
    from apps.credit.table import canonical

    if canonical(positive) not in classes:
        raise InputError(f"The target {target} is never {positive!r}: --positive is one of {', '.join(classes)}.")
    return canonical(positive)


def _infer(table: Table, name: str) -> Feature | str:
    """What a column holds, or why it is of no use."""
    values, wrong = table.numbers(name)
    filled = values[np.isfinite(values)]
    if len(wrong) > 0.2 * (len(filled) + len(wrong)):
        return _categories(table, name)
    if wrong:
        row, text = next(iter(wrong.items()))
        told = f"Row {table.first + row}, column {name}: {text[:40]!r} is not a finite number up to 1e100"
        raise InputError(f"{told}, as others there are; mend it, or give --exclude.")
    if not len(filled):
        return "always missing"
    distinct, counts = np.unique(filled, return_counts=True)
    if len(distinct) == 1 and len(filled) == len(values):
        return "always the same"
    whole = (distinct == np.round(distinct)).all()
    steps = np.diff(filled)
    if whole and len(distinct) == len(values) and len(values) > FEW and (steps == 1).all():
        return "a number that counts the rows"
    specials = _specials(distinct, counts) if whole else ()
    kind = "ordinal" if whole and len(distinct) - len(specials) <= FEW else "numeric"
    return Feature(name, kind, specials)


def _specials(distinct: np.ndarray, counts: np.ndarray) -> tuple[float, ...]:
    """Codes among whole numbers: a few negatives below numbers that are none, or nines far above all others"""
    negative = distinct[distinct < 0]
    found = [float(v) for v in negative] if 0 < len(negative) <= 3 < len(distinct) - len(negative) else []
    if len(negative) and counts[: len(negative)].min() < 3:
        found = []
    ordinary = distinct[distinct >= 0]
    while len(ordinary) > 4 and ordinary[-1] in SENTINELS and ordinary[-1] > 3 * ordinary[-2]:
        found.append(float(ordinary[-1]))
        ordinary = ordinary[:-1]
    return tuple(found)


def _categories(table: Table, name: str) -> Feature | str:
    counts = Counter(word for word in table.words(name) if word)
    if len(counts) > MOST_CATEGORIES:
        return f"{len(counts)} different texts"
    if len(counts) == 1 and counts.total() == len(table):
        return "always the same"
    return Feature(name, "categorical", categories=tuple(sorted(counts)))
