"""Where a training stands: all that it takes to go on to the same bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any

import numpy as np

from core.context import Array
from core.flat import FlatParameters

Facts = dict[str, Any]

_SUMS = ("loss", "weight", "examples", "seconds")


class StateError(ValueError):
    """A saved state is damaged, or belongs to another model, optimizer, recipe or data."""


class State:
    """Position, weights, optimizer slots, averages, best weights and patience of a training.

    `fit` fills it and keeps it up to date; between two events it can be saved: `arrays()` gives named arrays, views
    that the next step writes (copy what is kept in memory), and `facts()` numbers that go through JSON unharmed.
    `State(arrays, facts)`, given to `fit` with the same model, optimizer, data and recipe, goes on from there.

    Raises StateError for facts that make no sense.

    epoch, batch, step   epochs finished, batches finished in this epoch, updates made
    """

    def __init__(self, arrays: Mapping[str, Array] | None = None, facts: Facts | None = None) -> None:
        facts = _checked(facts or {})
        self._saved = dict(arrays or {})
        self.epoch: int = facts.get("epoch", 0)
        self.batch: int = facts.get("batch", 0)
        self.step: int = facts.get("step", 0)
        self.best_epoch: int = facts.get("best_epoch", -1)
        self.best_score: float | None = facts.get("best_score")
        self._sums: dict[str, float] = dict(facts.get("sums") or dict.fromkeys(_SUMS, 0.0))  # of the epoch so far
        self._flat: FlatParameters | None = None
        self.average: Array | None = None
        self.best: Array | None = None
        self.slots: dict[str, Array] = {}

    def bind(self, flat: FlatParameters, slots: tuple[str, ...], *, averages: bool, keeps_best: bool) -> None:
        """Make room for a model's vectors, and fill them from what was saved.

        Raises StateError where what was saved belongs to another model or optimizer, or is not finite.
        """
        if self._flat is not None:  # used before: go on from where it stands
            self._saved = {name: array.copy() for name, array in self.arrays().items()}
        self._flat = flat
        learning = flat.vector[: flat.learning]
        self.slots = {name: np.zeros_like(learning) for name in slots}
        self.average = flat.vector.copy() if averages else None
        self.best = flat.vector.copy() if keeps_best else None
        if not self._saved:
            return
        arrays = self.arrays()
        differing = sorted(arrays.keys() ^ self._saved.keys())
        if differing:
            raise StateError(f"the saved state is of another model or optimizer: it differs in {differing[0]}")
        for name, array in arrays.items():
            if array.shape != self._saved[name].shape or array.dtype != self._saved[name].dtype:
                raise StateError(
                    f"the saved state is of another model: {name} is {self._saved[name].dtype}"
                    f" {self._saved[name].shape}, not {array.dtype} {array.shape}"
                )
            array[...] = self._saved[name]
        self._saved = {}
        if not self.is_finite():
            raise StateError("the saved state is damaged: its weights are not finite")

    def check_position(self, epochs: int, batches: int) -> None:
        """Raises StateError where the position is not one of a training of so many epochs and batches an epoch."""
        inside = self.epoch <= epochs and self.batch < batches + (self.epoch < epochs) and self.best_epoch < epochs
        if not inside or self.step != self.epoch * batches + self.batch or (self.epoch == epochs and self.batch):
            raise StateError(
                f"the saved state stands at epoch {self.epoch}, batch {self.batch}, which this recipe has not"
            )

    def arrays(self) -> dict[str, Array]:
        """{"weights/NAME", "slots/SLOT/NAME", "average/NAME", "best/NAME": views}"""
        flat = self._bound()
        vectors = {"weights": flat.vector, "average": self.average, "best": self.best}
        vectors |= {f"slots/{name}": vector for name, vector in self.slots.items()}
        return {f"weights/{name}": value for name, value in flat.frozen.items()} | {
            f"{kind}/{name}": view
            for kind, vector in vectors.items()
            if vector is not None
            for name, view in flat.named(vector).items()
        }

    def facts(self) -> Facts:
        """Position, best score, and the sums of the epoch so far, as JSON can hold them."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            "sums": dict(self._sums),
        }

    def advance(self, loss: float, weight: float, sums: Mapping[str, float], examples: int, seconds: float) -> None:
        """Count one update and add what it saw to the epoch's sums."""
        total = self._sums
        total["loss"] += loss
        total["weight"] += weight
        total["examples"] += examples
        total["seconds"] += seconds
        for name, value in sums.items():
            total[f"metric {name}"] = total.get(f"metric {name}", 0.0) + value
        self.batch += 1
        self.step += 1

    def close_epoch(self) -> tuple[float, dict[str, float], float]:
        """(mean loss, mean metrics, seconds) of the epoch; the state then stands at the start of the next."""
        sums, self._sums = self._sums, dict.fromkeys(_SUMS, 0.0)
        self.epoch, self.batch = self.epoch + 1, 0
        means = {
            name.removeprefix("metric "): value / sums["examples"]
            for name, value in sums.items()
            if name.startswith("metric ")
        }
        return sums["loss"] / (sums["weight"] or 1.0), means, sums["seconds"]

    def judge(self, score: float) -> bool:
        """Whether a score (more is better) is the best so far; the weights of the best are kept."""
        if not score > (-inf if self.best_score is None else self.best_score):  # what is not a number is never best
            return False
        self.best_score, self.best_epoch = score, self.epoch - 1
        if self.best is not None:
            self.best[...] = self._bound().vector if self.average is None else self.average
        return True

    def stopped(self, patience: int) -> bool:
        """Whether patience has run out: the last `patience` epochs brought nothing better."""
        return bool(patience) and self.best_score is not None and self.epoch - 1 - self.best_epoch >= patience

    @contextmanager
    def at_average(self) -> Iterator[None]:
        """Inside, the model has its averaged weights, where there are any."""
        if self.average is None:
            yield
            return
        vector = self._bound().vector
        weights = vector.copy()
        vector[...] = self.average
        try:
            yield
        finally:
            vector[...] = weights

    def result(self) -> dict[str, Array]:
        """{name: weights} a training that ended now would end with: the best, else averaged, else last ones."""
        flat = self._bound()
        vectors = (self.best if self.best_score is not None else None, self.average, flat.vector)
        return flat.frozen | flat.named(next(vector for vector in vectors if vector is not None))

    def finish(self) -> None:
        """Give the model its result: `fit` does so at its end; call it yourself after a `break`."""
        flat, result = self._bound(), self.result()
        for name, view in flat.named(flat.vector).items():
            np.copyto(view, result[name])

    def is_finite(self) -> bool:
        """Whether all weights are finite numbers: others are not worth saving."""
        flat = self._bound()
        return bool(np.isfinite(flat.vector[: flat.learning]).all())

    def _bound(self) -> FlatParameters:
        if self._flat is None:
            raise ValueError("this state belongs to no training yet: give it to `fit`, and ask for its first event")
        return self._flat


def _checked(facts: Facts) -> Facts:
    """Refuse facts that no `State.facts` gave: they may come from a file."""
    counts = [facts.get(name, 0) for name in ("epoch", "batch", "step")]
    numbers = facts.get("sums", {})
    if (
        any(type(count) is not int or count < 0 for count in counts)
        or type(facts.get("best_epoch", -1)) is not int
        or not isinstance(facts.get("best_score"), float | None)
        or not isinstance(numbers, dict)
        or not all(isinstance(number, float) for number in numbers.values())
        or (numbers and not numbers.keys() >= set(_SUMS))
    ):
        raise StateError("the saved state is damaged: its position makes no sense")
    return facts
