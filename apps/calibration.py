"""How a classifier's logits are read: probabilities that keep what they promise, and what it takes for a stranger.

Both are fitted on examples that were held out from the training, once it has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from core import Array, CheckpointError
from core.metrics import softmax

COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are tried
KEPT = 0.995  # share of the held-out examples that pass as known: others write in more ways than they do


@dataclass(frozen=True)
class Calibration:
    """z (N, K) logits, or (N, K + 1) where a model has an output for what is of no class

    temperature  T in p = softmax(z / T) over the K classes; it never changes which is largest      (Guo et al., 2017)
    ceiling      an input that is stranger than that is of no class; 1: none is
    """

    temperature: float = 1.0
    ceiling: float = 1.0

    def logits(self, z: Array, classes: int) -> Array:
        """(N, K or K + 1) → (N, K), those of the classes, tempered"""
        tempered: Array = z[:, :classes] / self.temperature
        return tempered

    def probabilities(self, z: Array, classes: int) -> Array:
        """(N, K or K + 1) → (N, K), each row a distribution over the classes"""
        return softmax(self.logits(z, classes))

    def knows(self, z: Array, classes: int) -> Array:
        """(N, K or K + 1) → (N,) bool: is it one of the classes at all?"""
        known: Array = strangeness(z, classes) <= self.ceiling
        return known

    def facts(self) -> dict[str, float]:
        """As model.json keeps it."""
        return asdict(self)


def strangeness(z: Array, classes: int) -> Array:
    """(N, K + 1) → (N,) the probability that it is of no class; (N, K) → 1 − the largest probability

    The latter is little to go by: where a model was never shown a stranger, it knows none (Hendrycks & Gimpel, 2017).
    """
    p = softmax(z.astype(np.float64))
    strange: Array = p[:, classes] if z.shape[1] > classes else 1 - p.max(axis=1)
    return strange


def calibrate(z: Array, t: Array, classes: int) -> Calibration:
    """The temperature of the least negative log-likelihood on held-out examples, and the ceiling that KEPT pass.

    z (N, K or K + 1) logits   t (N,) labels

    With β = 1 / T the log-likelihood of one is β z_t − ln Σ_k e^(β z_k), concave in β. Of a model that errs nowhere it
    would make β = ∞, so a prior holds T near 1: ln T is normal, of deviation 1, which many examples outweigh. The root
    of the slope over ln β, β Σ (z_t − Σ_k p_k z_k) − ln β, is found by bisection.
    """
    ceiling = float(np.quantile(strangeness(z, classes), KEPT))
    z = z[:, :classes].astype(np.float64)
    wanted = z[np.arange(len(t)), t].sum()

    def slope(beta: float) -> float:
        return float(beta * (wanted - (softmax(beta * z) * z).sum()) - np.log(beta))

    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(50):
        beta = (low * high) ** 0.5
        low, high = (beta, high) if slope(beta) > 0 else (low, beta)
    return Calibration(1 / beta, ceiling)


def read_calibration(facts: Mapping[str, Any], name: str) -> Calibration:
    """The calibration in a model.json; one that changes nothing where there is none.

    Raises CheckpointError where it is damaged. name: of the file, for the message.
    """
    kept = facts.get("calibration", {})
    try:
        calibration = Calibration(**{key: float(value) for key, value in kept.items()})
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name}: the file is damaged (calibration: {error})") from None
    if not (isfinite(calibration.temperature) and calibration.temperature > 0 and 0 <= calibration.ceiling <= 1):
        raise CheckpointError(f"{name}: the file is damaged (calibration {kept})")
    return calibration
