"""Penalties on large weights. What else regularises stands where it acts: dropout is a layer, decoupled weight decay
belongs to the optimizers, early stopping and weight averaging to the training loop."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from core.context import Array


@dataclass(frozen=True)
class Penalty:
    """l1 · Σ |w| + ½ l2 · Σ w²  over the weights (not biases, gains or shifts)

    Its gradient, l1 · sign w + l2 · w, is added to that of the loss. L2 pulls every weight towards zero in proportion
    (Hoerl & Kennard, 1970); L1 pulls all alike, and makes many exactly small (Tibshirani, 1996).

    Raises ValueError for a negative strength.
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        for name, strength in (("l1", self.l1), ("l2", self.l2)):
            if not (isfinite(strength) and strength >= 0):
                raise ValueError(f"{name} is a finite number from 0 up, not {strength}")

    def value(self, w: Array) -> float:
        """The penalty of one array of weights."""
        return float(self.l1 * np.abs(w).sum() + 0.5 * self.l2 * np.square(w).sum())

    def add_gradient(self, w: Array, g: Array, scratch: Array) -> None:
        """g += l1 · sign w + l2 · w"""
        if self.l2:
            g += np.multiply(w, self.l2, out=scratch)
        if self.l1:
            np.sign(w, out=scratch)
            scratch *= self.l1
            g += scratch
