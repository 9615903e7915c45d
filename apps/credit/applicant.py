"""One applicant: what a form asks for, and all that is said of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from apps.credit.model import CreditModel
from apps.credit.reasons import Wording, contributions, top_reasons
from apps.credit.schema import Feature
from apps.credit.stability import ordinary_values
from apps.credit.what_if import Change


@dataclass(frozen=True)
class Field:
    """How a feature is asked for: {what is shown: number}, missing and special codes first.

    place  of the feature in an applicant (F,)
    """

    place: int
    feature: Feature
    options: Mapping[str, float]

    @property
    def name(self) -> str:
        words = self.feature.words or self.feature.name
        return words[:1].upper() + words[1:]

    @property
    def slides(self) -> bool:
        """Whether it is a number on a scale"""
        return self.feature.kind == "numeric"

    def nearest(self, value: float) -> str:
        """The option that shows a value; the nearest one where none does"""
        if (shown := self.feature.show(value)) in self.options:
            return shown
        return min(self.options, key=lambda each: abs(np.nan_to_num(self.options[each] - value, nan=np.inf)))


def fields(model: CreditModel) -> list[Field]:
    """A field for each feature that does not follow from others; numbers go by the percentiles of the training rows,
    one step a percent of them."""
    found = []
    for i, feature in enumerate(model.schema.features):
        if feature.rule:
            continue
        options: dict[str, float] = {}
        for value in (np.nan, *feature.codes, *ordinary_values(model, i).tolist()):
            options.setdefault(feature.show(value), float(value))
        found.append(Field(i, feature, options))
    return found


def filled(model: CreditModel, asked: list[Field], told: Mapping[str, float]) -> np.ndarray:
    """The applicant (F,) of a form, told {name of a feature: number}, with all that follows from it"""
    row = np.full((1, len(model.schema.features)), np.nan)
    for field in asked:
        row[0, field.place] = told[field.feature.name]
    return np.asarray(model.schema.complete(row)[0])


@dataclass(frozen=True)
class Answer:
    """What the model says of one applicant.

    moved    (F,) points that each feature adds to the score, against applicants who are just accepted
    reasons  at most four for a refusal, in plain words, the strongest first; none for an acceptance
    """

    refused: bool
    pd: float
    points: float
    moved: np.ndarray
    reasons: list[str]


def answer(model: CreditModel, row: np.ndarray) -> Answer:
    """The answer to one applicant (F,)."""
    encoded = model.encode(row[None])
    logit = model.logits(row[None], encoded=encoded)
    added = contributions(model, row[None], encoded)
    refused = bool(model.refused(logit)[0])
    reasons = Wording(model).sentences(top_reasons(added)[0].tolist(), row) if refused else []
    pd = float(1 / (1 + np.exp(-logit[0])))
    return Answer(refused, pd, float(model.points(logit)[0]), -model.points.factor * added[0], reasons)


def in_words(model: CreditModel, row: np.ndarray, change: Change) -> list[str]:
    """What would have to be otherwise, a phrase each."""
    features = model.schema.features
    return [
        f"{features[i].words or features[i].name}: {features[i].show(value)} instead of {features[i].show(row[i])}"
        for i, value in change.values.items()
    ]
