"""How a text is read: the answer, what each word contributed to it, and the answer with one word changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from apps.errors import InputError
from apps.pictures import Palette, hexes
from apps.predictor import Predictor
from apps.sentiment.explain import SURE, explain
from apps.sentiment.words import UNKNOWN, check_text
from core import Ragged

MOST_SHOWN = 1500  # words that are shown
AT_ONCE = 64  # texts
LEAST_SCALE = 0.5  # of a logit: the contribution that is shown in full colour is no smaller
TOLD = 0.25  # of it, from which its number is shown below a word
ADDED = "verdict"  # the column that is added to a table; the probabilities follow


@dataclass(frozen=True)
class Verdict:
    """What a text is taken for; uncertain: with too small a probability to say so."""

    label: str
    probabilities: dict[str, float]

    @property
    def uncertain(self) -> bool:
        return self.probabilities[self.label] < SURE


@dataclass(frozen=True)
class Reading:
    """Why: base + Σ contributions = the logit of the label that is explained.

    known  whether each word is in the vocabulary
    """

    explained: str
    base: float
    words: list[str]
    contributions: np.ndarray
    known: np.ndarray

    @property
    def total(self) -> float:
        """What all words contributed together"""
        return float(self.contributions.sum())

    def sums(self) -> tuple[int, int, int]:
        """(base, words, logit) in hundredths: rounded so that the first two add up to the third"""
        base, logit = round(100 * self.base), round(100 * (self.base + self.total))
        return base, logit - base, logit


def answer(predictor: Predictor, text: str) -> Verdict:
    """The answer alone, which takes a small part of the time of its explanation."""
    return Verdict(**predictor.answer(predictor.probabilities([text])[0]))


def read(predictor: Predictor, text: str) -> Reading:
    """The explanation of the answer."""
    told = explain(predictor, text)
    return Reading(
        told["explained"],
        told["base"],
        [each["token"] for each in told["tokens"]],
        np.array([each["contribution"] for each in told["tokens"]], np.float64),
        predictor.encode([text]).values != UNKNOWN,
    )


def changed(predictor: Predictor, text: str, i: int, replacement: str = "") -> Verdict:
    """The answer to the text with its i-th word replaced, by nothing or by other words."""
    ids, new = predictor.encode([text]).values, predictor.encode([replacement]).values
    ids = np.concatenate([ids[:i], new, ids[i + 1 :]])
    z = predictor.logits(Ragged(ids, np.array([0, len(ids)])))
    return Verdict(**predictor.answer(predictor.calibration.probabilities(z, len(predictor.labels))[0]))


def coloured(reading: Reading, palette: Palette) -> list[dict[str, Any]]:
    """The first words as the page shows them: {text, figure, title, ground, ink, unknown}

    The figure says what the colour says; it is left out where there is little to say.
    """
    parts = reading.contributions[:MOST_SHOWN]
    depth = parts / max(LEAST_SCALE, float(np.abs(parts).max(initial=0)))
    colours = {
        1: hexes(depth.clip(0), palette.for_, palette),
        -1: hexes(-depth.clip(None, 0), palette.against, palette),
    }
    shown = []
    for i, (word, part) in enumerate(zip(reading.words, parts.tolist(), strict=False)):
        ground, ink = colours[1 if part >= 0 else -1][i]
        number = f"{part:+.2f}".replace("-", "−")
        known = bool(reading.known[i])
        shown.append(
            {
                "text": word,
                "figure": number if abs(depth[i]) >= TOLD else "",
                "title": f"{word}: {number} for {reading.explained}" + ("" if known else "; not in the vocabulary"),
                "ground": ground if abs(depth[i]) >= 0.02 else "transparent",
                "ink": ink if abs(depth[i]) >= 0.02 else palette.text,
                "unknown": not known,
            }
        )
    return shown


# --- many texts -----------------------------------------------------------------------------------------------------


def read_many(predictor: Predictor, texts: Sequence[str]) -> Iterator[np.ndarray]:
    """(n, K) probabilities of the next n texts, until none is left

    Raises InputError, naming the row, for a text that is too long.
    """
    for start in range(0, len(texts), AT_ONCE):
        some = texts[start : start + AT_ONCE]
        for row, text in enumerate(some, start=start + 1):
            check_text(text, f"Row {row}")
        yield predictor.probabilities(some)


def added_columns(labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """What the columns are called that answers add to a table. Raises InputError where one is there already."""
    columns = [ADDED, *(f"p_{label}" for label in labels)]
    for column in columns:
        if column in names:
            raise InputError(f"There is a column {column!r} already: rename it, since answers are written there.")
    return columns


def cells_of(labels: Sequence[str], p: np.ndarray) -> list[str]:
    """The cells of `added_columns` for one text, p (K,)"""
    return [labels[int(p.argmax())], *(f"{each:.6f}" for each in p.tolist())]


def wordiest(names: Sequence[str], rows: Sequence[Sequence[str]], looked_at: int = 100) -> int:
    """The place of the column with the longest texts in the first rows, which are likely the ones that are meant"""
    return max(range(len(names)), key=lambda i: sum(len(row[i]) for row in rows[:looked_at]))
