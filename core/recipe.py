"""What a training does, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from core.data import batch_cuts
from core.regularizers import Penalty


@dataclass(frozen=True)
class Recipe:
    """What a training does, beside model, loss, optimizer and data.

    A state goes on to the same bits only with the recipe and the data it was begun with: whoever saves it should save
    `dataclasses.asdict(recipe)` and `data.fingerprint()` beside it, and compare, as `apps` does.

    epochs         passes over the data
    batch_size     examples an update
    lanes          shares of a batch that threads may run side by side; part of the recipe, so that threads change
                   the time and never the bits
    micro_batch    examples that go through the model at once: a lane runs its share in pieces of this size at most
    blas_threads   threads of BLAS in a one-lane training (with more lanes, each has one)
    l1             strength of the penalty l1 · Σ |w| on the weights; 0: off
    l2             strength of the penalty ½ l2 · Σ w² on the weights; 0: off
    clip_norm      the gradient is scaled down to this length where it is longer (Pascanu et al., 2013); 0: off
    clip_value     each element of the gradient is cut to ± this; 0: off
    tables         how embedding tables learn: "lazy", only the rows that occur in a batch (only they decay, or move on
                   by momentum), or "dense", every row at every update, which is slower
    average        decay of a running average of the weights, with which validation and the end result are computed
                   (Polyak & Juditsky, 1992), .999 say; 0: off
    patience       stop after so many epochs without a better validation, and go back to the best weights; 0: never
    monitor        what must get better: "loss", or a metric, of which more is better
    seed           chooses the order of the examples, what dropout drops, and how examples are augmented

    Raises ValueError for a value out of range.
    """

    epochs: int = 10
    batch_size: int = 128
    lanes: int = 1
    micro_batch: int = 128
    blas_threads: int = 1
    l1: float = 0.0
    l2: float = 0.0
    clip_norm: float = 0.0
    clip_value: float = 0.0
    tables: str = "lazy"
    average: float = 0.0
    patience: int = 0
    monitor: str = "loss"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lanes", "micro_batch", "blas_threads", "patience", "seed"):
            value, least = getattr(self, name), int(name not in ("patience", "seed"))
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is a whole number from {least} up, not {value}")
            most = {"lanes": 256, "blas_threads": 256}.get(name, 2**53)
            if value > most:
                raise ValueError(f"{name} is {most} at most, not {value}")
        for name in ("clip_norm", "clip_value"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} is a finite number from 0 up, not {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average is from 0 up to, not including, 1; not {self.average}")
        if self.tables not in ("lazy", "dense"):
            raise ValueError(f'tables is "lazy" or "dense", not {self.tables!r}')
        if not isinstance(self.monitor, str):
            raise ValueError(f"monitor is a name, not {self.monitor}")
        Penalty(self.l1, self.l2)

    @property
    def by_row(self) -> bool:
        """Whether only the rows that occur of a table have a gradient; a penalty gives one to every row that learns."""
        return self.tables == "lazy" or not (self.l1 or self.l2)

    def steps(self, examples: int) -> int:
        """How many updates a training on so many examples makes: what schedules are stretched over."""
        return self.epochs * len(batch_cuts(examples, self.batch_size))
