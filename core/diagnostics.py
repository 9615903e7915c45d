"""What goes on inside a network in training, which layer suffers from it, and what to change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from core.context import Array, Context
from core.gradients import Gradients
from core.layer import Layer, check_input, dtype_of
from core.layers.activations import ReLU, Sigmoid, Tanh
from core.losses import Loss
from core.observe import inner_layers, observe
from core.padded import Padded, call


class NonFiniteLoss(ArithmeticError):
    """The loss of a step is infinite or not a number. The weights are those from before the step.

    step, epoch   0-based
    where         what was not finite first
    """

    def __init__(self, step: int, epoch: int, where: str) -> None:
        self.step, self.epoch, self.where = step, epoch, where
        data = where.startswith("the input of")
        remedy = (
            "look for infinities or missing values in the data"
            if data
            else "try a learning rate a tenth as large, a warm-up, or clipping the gradient's norm at 1"
        )
        super().__init__(f"the loss is not finite at step {step} (epoch {epoch}); first not finite: {where}; {remedy}")


@dataclass(frozen=True)
class LayerStatistics:
    """The last gradient of one layer's parameters, against the parameters themselves.

    gradient, weight   root mean squares; their ratio tells how fast a layer learns, whatever its size
    """

    name: str
    gradient: float
    weight: float


def layer_statistics(model: Layer, grads: Gradients) -> list[LayerStatistics]:
    """One entry a layer that learns, in order, its parameters taken together."""
    together: dict[str, list[tuple[Array, Array]]] = {}
    for name, parameter in model.named_parameters():
        if parameter in grads:
            layer = name.rpartition(".")[0] or type(model).__name__
            together.setdefault(layer, []).append((grads[parameter], parameter.value))
    return [
        LayerStatistics(
            name,
            rms(*(g for g, _ in pairs), size=sum(w.size for _, w in pairs)),  # rows that did not occur are zero
            rms(*(w for _, w in pairs)),
        )
        for name, pairs in together.items()
    ]


def rms(*arrays: Array, size: int | None = None) -> float:
    """√ mean of the squares of all elements; 0 for none. With a size, all that is missing of it are zeros."""
    size = sum(a.size for a in arrays) if size is None else size
    return float(np.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in arrays) / size)) if size else 0.0


@dataclass(frozen=True)
class LayerReport:
    """What one layer did in one pass forward and backward.

    mean, deviation   of its outputs
    zeros             the share of outputs that are exactly 0
    dead              the share of units (features, channels) whose output is 0 for every example
    saturated         the share of outputs on the flat ends of a sigmoid or tanh
    gradient          root mean square of the gradient that arrived at its output
    weight_gradient   root mean square of the gradient of its parameters (None without parameters)
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    mean: float
    deviation: float
    zeros: float
    dead: float
    saturated: float
    gradient: float
    weight_gradient: float | None


@np.errstate(all="ignore")  # what overflows shows in the report
def inspect(model: Layer, loss: Loss, x: Array | Padded, t: Array, *, seed: int = 0) -> list[LayerReport]:
    """Run one batch forward and backward, and report on each layer, in the order of the pass. Nothing is changed.

    Raises ValueError where x and t do not fit the model.
    """
    check_input(x, model)
    outputs: list[dict[str, Any]] = []
    arrived: dict[str, float] = {}

    def watch(name: str, layer: Layer, way: str, given: Array, made: Array | None) -> None:
        if inner_layers(layer):
            return
        if way == "backward":
            arrived[name] = rms(given)
        elif made is not None:
            outputs.append({"name": name, "layer": repr(layer), **_activity(layer, made)})

    grads = Gradients(model.trainable())
    stream = np.random.Generator(np.random.SFC64(seed))
    ctx = Context(True, grads, lambda: stream, dtype_of(model))
    ctx.needs_dx = x.dtype.kind == "f"
    watched = observe(model, watch)
    grads.start()
    y = call(watched, x, ctx)
    _, dy = loss(y, t, 1 / loss.total_weight(t), Context(True, dtype=y.dtype))
    watched.backward(dy, ctx)
    grads.finish()
    learned = {entry.name: entry.gradient for entry in layer_statistics(model, grads)}
    return [
        LayerReport(
            **entry, gradient=arrived.get(str(entry["name"]), 0.0), weight_gradient=learned.get(str(entry["name"]))
        )
        for entry in outputs
    ]


def _activity(layer: Layer, y: Array) -> dict[str, Any]:
    silent = y == 0
    units = 1 if y.ndim == 4 else y.ndim - 1  # the axis of channels, or of features
    others = tuple(axis for axis in range(y.ndim) if axis != units)
    flat = 0.0
    if isinstance(layer, Sigmoid | Tanh):
        slope = y * (1 - y) * 4 if isinstance(layer, Sigmoid) else 1 - y * y  # 1 where steepest
        flat = float((slope < 0.05).mean())
    return {
        "shape": y.shape,
        "mean": float(y.mean()),
        "deviation": float(y.std()),
        "zeros": float(silent.mean()),
        "dead": float(silent.all(axis=others).mean()) if isinstance(layer, _RECTIFIERS) else 0.0,
        "saturated": flat,
    }


_RECTIFIERS = (ReLU,)


@dataclass(frozen=True)
class Finding:
    """Something that keeps a network from learning: where, what, the number that shows it, and what to change."""

    layer: str
    kind: str  # "vanishing", "exploding", "dead", "saturated"
    evidence: str
    remedy: str


def diagnose(reports: Iterable[LayerReport]) -> list[Finding]:
    """Name the layers that suffer, by these rules of thumb:

    vanishing   the gradient arriving at a layer is under a thousandth of the one arriving at the last layer
    exploding   it is over a thousand times as large, or an output is not finite
    dead        over half of a rectifier's units are 0 for every example
    saturated   over half of a sigmoid's or tanh's outputs are on its flat ends

    For the first two, the layer that learns nearest to the input speaks: there it is worst.
    """
    reports = list(reports)
    smaller = "draw smaller weights (He, Glorot), clip the gradient's norm, or lower the learning rate"
    overflowing = next((r for r in reports if not isfinite(r.mean)), None)
    if overflowing is not None:
        return [Finding(overflowing.name, "exploding", "its output is not finite", smaller)]
    findings: list[Finding] = []
    last = next((r.gradient for r in reversed(reports) if r.gradient > 0), 0.0)
    learning = [r for r in reports if r.weight_gradient is not None]
    if learning and last > 0:
        first = learning[0]
        ratio = first.gradient / last
        if ratio < 1e-3:
            findings.append(
                Finding(
                    first.name,
                    "vanishing",
                    f"its gradient is {ratio:.1e} of the last layer's",
                    "use ReLU with He initialization, normalisation, or residual paths; or fewer layers",
                )
            )
        if not ratio <= 1e3:
            evidence = f"its gradient is {ratio:.1e} times the last layer's"
            findings.append(Finding(first.name, "exploding", evidence, smaller))
    for r in reports:
        if r.dead > 0.5:
            remedy = "lower the learning rate, use LeakyReLU, or start from He initialization"
            findings.append(Finding(r.name, "dead", f"{r.dead:.0%} of its units are 0 for every example", remedy))
        if r.saturated > 0.5:
            remedy = "scale the inputs, draw smaller weights (Glorot), or use ReLU"
            findings.append(Finding(r.name, "saturated", f"{r.saturated:.0%} of its outputs are on a flat end", remedy))
    return findings
