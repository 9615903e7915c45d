"""Optimizers: how a gradient changes a weight. One rule each, written for any stretch of the flat parameter vector.

`lr` is a number or a schedule. `weight_decay` is decoupled: w ← w − lr · weight_decay · w, beside the rule and for
weights alone (Loshchilov & Hutter, 2019). The training loop calls `update` on cache-sized chunks, from several threads
at a time, so a rule reads and writes nothing but its arguments. In the formulas t is 1 at the first update.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, sqrt
from typing import ClassVar

import numpy as np

from core.context import Array
from core.schedules import Constant, Schedule

Slots = Mapping[str, Array]


class Optimizer:
    """w ← w − lr · direction(g)

    slots   the names of what the rule remembers per weight (zeros at first), saved by parameter name
    """

    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, lr: float | Schedule, *, weight_decay: float = 0.0) -> None:
        self.schedule: Schedule = lr if callable(lr) else Constant(lr)
        self.weight_decay = _at_least_zero("weight_decay", weight_decay)

    def lr(self, step: int) -> float:
        """The learning rate of update `step`, 0-based."""
        return self.schedule(step)

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int, scratch: Array) -> None:
        """Change w and the slots in place, and leave g as it is.

        w is any stretch (n,) of the parameters, or a matrix where `takes_matrix`; g, scratch (of any content) and the
        slots have its shape; t is 1 at the first update.
        """
        raise NotImplementedError

    def update_table(self, w: Array, rows: Array, g: Array, slots: Slots, lr: float, t: int, scratch: Array) -> None:
        """`update` of a block w (R, E) of a table whose gradient is g (U, E) in some rows (U,), and zero elsewhere.

        Changes w and the slots, which have its shape, in place, and leaves g as it is; scratch (2, R, E) is of any
        content.
        """
        scratch[0].fill(0)
        scratch[0][rows] = g
        held = {name: slot.reshape(-1) for name, slot in slots.items()}
        self.update(w.reshape(-1), scratch[0].reshape(-1), held, lr, t, scratch[1].reshape(-1))

    def takes_matrix(self, shape: tuple[int, ...]) -> bool:
        """Whether the rule must see a parameter of this shape whole, as a matrix (its last axis against the others)."""
        return False


class SGD(Optimizer):
    """w ← w − lr g      (Robbins & Monro, 1951)"""

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int, scratch: Array) -> None:
        w -= np.multiply(g, lr, out=scratch)


class Momentum(Optimizer):
    """v ← μ v + g      w ← w − lr v      (Polyak, 1964)"""

    slots = ("v",)

    def __init__(self, lr: float | Schedule, mu: float = 0.9, *, weight_decay: float = 0.0) -> None:
        super().__init__(lr, weight_decay=weight_decay)
        self.mu = _fraction("mu", mu)

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int, scratch: Array) -> None:
        v = slots["v"]
        v *= self.mu
        v += g
        w -= np.multiply(v, lr, out=scratch)


class Nesterov(Momentum):
    """v ← μ v + g      w ← w − lr (g + μ v)      (Nesterov, 1983; Sutskever et al., 2013)"""

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int, scratch: Array) -> None:
        v = slots["v"]
        v *= self.mu
        v += g
        np.multiply(v, self.mu, out=scratch)
        scratch += g
        scratch *= lr
        w -= scratch


class AdaGrad(Optimizer):
    """s ← s + g²      w ← w − lr g / (√s + ε)      (Duchi et al., 2011)"""

    slots = ("s",)

    def __init__(self, lr: float | Schedule, epsilon: float = 1e-10, *, weight_decay: float = 0.0) -> None:
        super().__init__(lr, weight_decay=weight_decay)
        self.epsilon = _at_least_zero("epsilon", epsilon)

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int, scratch: Array) -> None:
        s = slots["s"]
        s += np.multiply(g, g, out=scratch)
        np.sqrt(s, out=scratch)
        scratch += self.epsilon
        np.divide(g, scratch, out=scratch)
        scratch *= lr
        w -= scratch


class RMSprop(Optimizer):
    """s ← ρ s + (1 − ρ) g²      w ← w − lr g / (√s + ε)      (Tieleman & Hinton, 2012)"""

    slots = ("s",)

    def __init__(
        self, lr: float | Schedule, rho: float = 0.9, epsilon: float = 1e-8, *, weight_decay: float = 0.0
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay)
        self.rho = _fraction("rho", rho)
        self.epsilon = _at_least_zero("epsilon", epsilon)

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int, scratch: Array) -> None:
        s = slots["s"]
        np.multiply(g, g, out=scratch)
        scratch *= 1 - self.rho
        s *= self.rho
        s += scratch
        np.sqrt(s, out=scratch)
        scratch += self.epsilon
        np.divide(g, scratch, out=scratch)
        scratch *= lr
        w -= scratch


class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g      v ← β₂ v + (1 − β₂) g²      w ← w − lr m̂ / (√v̂ + ε)      (Kingma & Ba, 2015)

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) undo the start from zero. The slots hold m / (1 − β₁) and v / (1 − β₂): all
    four constants are folded into lr and ε, which saves two passes over the memory.
    """

    slots = ("m", "v")

    def __init__(
        self,
        lr: float | Schedule,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay)
        self.betas = _fraction("betas[0]", betas[0]), _fraction("betas[1]", betas[1])
        self.epsilon = _at_least_zero("epsilon", epsilon)

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int, scratch: Array) -> None:
        m, v = slots["m"], slots["v"]
        np.multiply(m, self.betas[0], out=m)
        np.add(m, g, out=m)
        np.multiply(g, g, out=scratch)
        np.multiply(v, self.betas[1], out=v)
        np.add(v, scratch, out=v)
        self._move(w, m, v, lr, t, scratch)

    def update_table(self, w: Array, rows: Array, g: Array, slots: Slots, lr: float, t: int, scratch: Array) -> None:
        """The same bits as `update`, but g need not be spread out: where it is zero, m and v just shrink."""
        m, v = slots["m"], slots["v"]
        some, squares = scratch[0][: len(rows)], scratch[1][: len(rows)]
        np.multiply(m, self.betas[0], out=m)
        np.add(np.take(m, rows, 0, out=some, mode="clip"), g, out=some)
        m[rows] = some
        np.multiply(g, g, out=squares)
        np.multiply(v, self.betas[1], out=v)
        np.add(np.take(v, rows, 0, out=some, mode="clip"), squares, out=some)
        v[rows] = some
        self._move(w, m, v, lr, t, scratch[0])

    def _move(self, w: Array, m: Array, v: Array, lr: float, t: int, scratch: Array) -> None:
        """w ← w − lr m̂ / (√v̂ + ε)"""
        beta1, beta2 = self.betas
        spread = sqrt((1 - beta2**t) / (1 - beta2))
        np.sqrt(v, out=scratch)
        np.add(scratch, self.epsilon * spread, out=scratch)
        np.divide(m, scratch, out=scratch)
        np.multiply(scratch, lr * spread * (1 - beta1) / (1 - beta1**t), out=scratch)
        np.subtract(w, scratch, out=w)


class AdamW(Adam):
    """Adam, with decoupled weight decay on by default      (Loshchilov & Hutter, 2019)"""

    def __init__(
        self,
        lr: float | Schedule,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(lr, betas, epsilon, weight_decay=weight_decay)


class Muon(AdamW):
    """Matrices: m ← μ m + g      w ← w − lr · 0.2 √max(I, O) · orthogonal(g + μ m)      (Jordan et al., 2024)

    orthogonal(G) is the nearest matrix whose singular values are all about 1, by five Newton–Schulz steps
    X ← a X + (b A + c A²) X with A = X Xᵀ; the factor gives steps of Adam's size (Liu et al., 2025), so one learning
    rate serves both. A convolution's weight is a matrix of C·K·K rows and O columns. Biases, gains and everything else
    with fewer than two axes follow AdamW.
    """

    COEFFICIENTS = 3.4445, -4.7750, 2.0315

    def __init__(
        self,
        lr: float | Schedule,
        mu: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(lr, betas, epsilon, weight_decay=weight_decay)
        self.mu = _fraction("mu", mu)

    def takes_matrix(self, shape: tuple[int, ...]) -> bool:
        return len(shape) >= 2

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int, scratch: Array) -> None:
        if w.ndim < 2:
            super().update(w, g, slots, lr, t, scratch)
            return
        m = slots["m"]
        m *= self.mu
        m += g
        np.multiply(m, self.mu, out=scratch)
        scratch += g
        step = self.orthogonal(scratch)
        step *= lr * 0.2 * sqrt(max(w.shape))
        w -= step

    def orthogonal(self, g: Array) -> Array:
        """g (I, O) → a matrix of the same shape with the same singular vectors and singular values near 1"""
        a, b, c = self.COEFFICIENTS
        x: Array = g.T if g.shape[0] > g.shape[1] else g
        x = x / (np.linalg.norm(x) + 1e-7)
        for _ in range(5):
            gram = x @ x.T
            x = a * x + (b * gram + c * (gram @ gram)) @ x
        return x.T if g.shape[0] > g.shape[1] else x


def _fraction(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{name} is from 0 up to, not including, 1; not {value}")
    return value


def _at_least_zero(name: str, value: float) -> float:
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"{name} is a finite number from 0 up, not {value}")
    return value


OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "muon": Muon,
}
