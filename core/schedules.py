"""The learning rate as a function of the step.

A schedule is any `(step: int) -> float`; step 0 is the first update. Those here are frozen values: they
compare, print and pickle. `steps` counts all updates of a training: the last one is step `steps − 1`, so no
update is wasted on the end of a curve, which lies at step `steps` and is 0 or nearly. There the curve stays.
ValueError where a number makes no sense.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, isfinite, pi, pow

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """lr = peak"""

    peak: float

    def __post_init__(self) -> None:
        _positive(peak=self.peak)

    def __call__(self, step: int) -> float:
        return self.peak


@dataclass(frozen=True)
class StepDecay:
    """lr = peak · factor^⌊step / every⌋: stairs"""

    peak: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _positive(peak=self.peak, every=self.every, factor=self.factor)

    def __call__(self, step: int) -> float:
        return self.peak * pow(self.factor, step // self.every)


@dataclass(frozen=True)
class Exponential:
    """lr = peak · factor^(step / every): the smooth curve through the corners of `StepDecay`"""

    peak: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _positive(peak=self.peak, every=self.every, factor=self.factor)

    def __call__(self, step: int) -> float:
        return self.peak * pow(self.factor, step / self.every)


@dataclass(frozen=True)
class Cosine:
    """lr = end + (peak − end) (1 + cos(π step / steps)) / 2   (Loshchilov & Hutter, 2017, no restarts)"""

    peak: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        _positive(peak=self.peak, steps=self.steps)
        if not 0 <= self.end <= self.peak:
            raise ValueError(f"end must lie between 0 and the peak, got {self.end} and {self.peak}")

    def __call__(self, step: int) -> float:
        return _leg(self.peak, self.end, step / self.steps)


@dataclass(frozen=True)
class WarmUp:
    """A straight line up to where another schedule starts, then that schedule from its step 0.

    lr = after(0) · (step + 1) / (steps + 1) before `steps`, then after(step − steps)   (Goyal et al., 2017)

    A fresh network's gradients and Adam's averages are unreliable at first: small steps until they settle.
    """

    after: Schedule
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must not be negative, got {self.steps}")

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return self.after(0) * (step + 1) / (self.steps + 1)
        return self.after(step - self.steps)


@dataclass(frozen=True)
class OneCycle:
    """A cosine leg from peak / start_divisor up to peak, and one down to peak / end_divisor   (Smith, 2018)

    `up` is the part of the steps that climb. Large rates in the middle regularise; the long descent settles.
    """

    peak: float
    steps: int
    up: float = 0.3
    start_divisor: float = 25.0
    end_divisor: float = 1e5

    def __post_init__(self) -> None:
        _positive(peak=self.peak, steps=self.steps)
        if not 0 < self.up < 1:
            raise ValueError(f"up is a part of the steps, between 0 and 1, got {self.up}")
        for divisor in (self.start_divisor, self.end_divisor):
            if not (isfinite(divisor) and divisor >= 1):
                raise ValueError(f"a divisor must be finite and at least 1, got {divisor}")

    def __call__(self, step: int) -> float:
        top = self.up * self.steps
        if step < top:
            return _leg(self.peak / self.start_divisor, self.peak, step / top)
        return _leg(self.peak, self.peak / self.end_divisor, (step - top) / (self.steps - top))


@dataclass(frozen=True)
class FlatCosine:
    """lr = peak for the first part `flat` of the steps, then a cosine leg to 0"""

    peak: float
    steps: int
    flat: float = 0.7

    def __post_init__(self) -> None:
        _positive(peak=self.peak, steps=self.steps)
        if not 0 <= self.flat < 1:
            raise ValueError(f"flat is a part of the steps, from 0 to less than 1, got {self.flat}")

    def __call__(self, step: int) -> float:
        corner = self.flat * self.steps
        return _leg(self.peak, 0.0, (step - corner) / (self.steps - corner))


def _leg(start: float, end: float, progress: float) -> float:
    """Half a cosine from start to end; level before progress 0 and after 1."""
    part = (1 + cos(pi * min(max(progress, 0.0), 1.0))) / 2
    return part * start + (1 - part) * end


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, got {value}")


SCHEDULES: Mapping[str, Callable[[float, int], Schedule]] = {  # name -> (peak, steps) -> schedule
    "constant": lambda peak, steps: Constant(peak),
    "step": lambda peak, steps: StepDecay(peak, every=-(-steps // 3)),  # three stairs
    "exponential": lambda peak, steps: Exponential(peak, every=steps, factor=0.01),
    "cosine": lambda peak, steps: Cosine(peak, steps),
    "warm_up": lambda peak, steps: WarmUp(Cosine(peak, steps - steps // 20), steps // 20),
    "one_cycle": lambda peak, steps: OneCycle(peak, steps),
    "flat_cosine": lambda peak, steps: FlatCosine(peak, steps),
}
