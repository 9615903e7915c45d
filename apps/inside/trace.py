"""One example on its way through a network and back, with every number kept; then one step of an optimizer.

A trace is made on a copy of the network in double precision, so that what is shown can be checked to its last digit,
and nobody else's network is touched. It is the engine's own pass that is watched: there is no second one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import (
    OPTIMIZERS,
    Array,
    BinaryCrossEntropy,
    Context,
    Gradients,
    Layer,
    Loss,
    Optimizer,
    Parameter,
    Sequential,
    SoftmaxCrossEntropy,
)
from core.metrics import sigmoid, softmax
from core.observe import inner_layers, observe
from core.padded import Padded, call, values_of

RULES = ("sgd", "momentum", "adagrad", "rmsprop", "adam")  # optimizers that a visitor may take a step with
SHARES = np.linspace(0, 2, 21)  # of a step, at which the loss is looked at


@dataclass(frozen=True)
class Weight:
    """A parameter of one layer. grad: None where it is not learned."""

    name: str
    value: Array
    grad: Array | None


@dataclass(frozen=True)
class Visit:
    """What one layer was given and made, without the axis of the batch; then the same on the way back.

    dy   ∂L/∂y, what the layer after it handed back; None where nobody did
    dx   ∂L/∂x, what it hands on; None where nobody asks
    """

    name: str
    layer: Layer
    x: Array
    y: Array
    dy: Array | None
    dx: Array | None
    weights: Sequence[Weight]

    @property
    def kind(self) -> str:
        return type(self.layer).__name__

    @property
    def holds_layers(self) -> bool:
        return inner_layers(self.layer)


@dataclass(frozen=True)
class Trace:
    """An example's way. visits: in the order of the forward pass   y (K,) outputs   dy (K,) = ∂L/∂y   loss: L"""

    visits: Sequence[Visit]
    y: Array
    loss: float
    dy: Array

    @property
    def backward(self) -> list[Visit]:
        """The visits that gradients came to, from the loss on."""
        return [visit for visit in reversed(self.visits) if visit.dy is not None]

    @property
    def squares(self) -> float:
        """‖∂L/∂θ‖², over all that is learned"""
        grads = [weight.grad for visit in self.visits for weight in visit.weights if weight.grad is not None]
        return float(sum(np.square(grad).sum() for grad in grads))


@dataclass(frozen=True)
class Example:
    """An encoded input x (1, …), or a `Padded` of one, the target t, the loss that compares, and the network."""

    model: Layer
    x: Any
    t: Array
    loss: Loss

    def of(self, model: Layer) -> tuple[Array, float]:
        """(outputs (K,), loss) of another network on the same input and target"""
        y = call(model, self.x, Context(dtype=np.float64))
        return y[0].copy(), self.loss(y, self.t, 1.0, Context(dtype=np.float64))[0]


def example(model: Layer, x: Any, t: Any, loss: Loss) -> Example:
    """The same in double precision, on a copy of the network."""
    values = values_of(x)
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
    t = np.array([t], np.int64) if isinstance(loss, SoftmaxCrossEntropy) else np.array([[t]], np.float64)
    return Example(doubled(model), Padded(values, x.lengths) if isinstance(x, Padded) else values, t, loss)


def doubled(model: Layer) -> Layer:
    """A copy of a network, with parameters of its own in double precision."""
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.value = parameter.value.astype(np.float64)
    return twin


def follow(given: Example) -> Trace:
    """Forward, the loss, and back, as when serving: no dropout, running statistics."""
    went: dict[str, tuple[Layer, Array, Array]] = {}
    came: dict[str, tuple[Array, Array | None]] = {}

    def watch(name: str, layer: Layer, way: str, given: Array, made: Array | None) -> None:
        if way == "forward":
            assert made is not None
            went[name] = layer, given[0].copy(), made[0].copy()
        else:
            came[name] = given[0].copy(), None if made is None else made[0].copy()

    grads = Gradients(given.model.trainable())
    grads.start()
    ctx = Context(grads=grads, dtype=np.float64, keeps=True)
    ctx.needs_dx = values_of(given.x).dtype.kind == "f"
    seen = observe(given.model, watch)
    y = call(seen, given.x, ctx)
    loss, dy = given.loss(y, given.t, 1.0, Context(dtype=np.float64))
    seen.backward(dy, ctx)
    grads.finish()
    own = _owners(given.model, list(went))
    visits = []
    for name, (layer, entered, left) in went.items():
        back, onward = came.get(name, (None, None))
        visits.append(Visit(name, layer, entered, left, back, onward, _weights(own[name], grads)))
    return Trace(visits, y[0].copy(), loss, dy[0].copy())


def _owners(model: Layer, names: Sequence[str]) -> dict[str, dict[str, Parameter]]:
    """{layer: {what its parameter is called in it: parameter}}: each belongs to the innermost layer that has it"""
    own: dict[str, dict[str, Parameter]] = {name: {} for name in names}
    for path, parameter in model.named_parameters():
        holders = [name for name in names if path.startswith(f"{name}.")]
        if holders:
            name = max(holders, key=len)
            own[name][path.removeprefix(f"{name}.")] = parameter
        elif len(names) == 1:  # a single layer, which has no path
            own[names[0]][path] = parameter
    return own


def _weights(parameters: Mapping[str, Parameter], grads: Gradients) -> tuple[Weight, ...]:
    return tuple(
        Weight(name, p.value.copy(), grads[p].copy() if p in grads else None) for name, p in parameters.items()
    )


# --- what outputs mean ----------------------------------------------------------------------------------------------


def belief(y: Array, loss: Loss) -> Array:
    """Outputs (K,) → what they say: probabilities of K classes; of one logit (1 − p, p); else the outputs themselves"""
    if isinstance(loss, SoftmaxCrossEntropy):
        return np.asarray(softmax(y[np.newaxis])[0])
    if isinstance(loss, BinaryCrossEntropy):
        p = float(sigmoid(y)[0])
        return np.array([1 - p, p])
    return y


# --- one step -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A parameter before and after a step."""

    name: str
    before: Array
    grad: Array
    after: Array

    @property
    def delta(self) -> Array:
        return np.asarray(self.after - self.before)


@dataclass(frozen=True)
class Step:
    """What one step of an optimizer did.

    foretold   Σ ∂L/∂θ · Δθ, how much the slopes say that the loss changes; of plain descent −lr ‖∂L/∂θ‖²
    curve      (S, 2): a share of the step, and the loss there
    """

    changes: Sequence[Change]
    y: Array
    loss: float
    foretold: float
    curve: Array


def step(given: Example, trace: Trace, rule: str, lr: float) -> Step:
    """The first step of an optimizer whose memory is empty, on another copy.

    Raises ValueError for a rule that is none of RULES, or a rate that is not above 0.
    """
    if rule not in RULES or not lr > 0:
        raise ValueError(f"a step is one of {', '.join(RULES)}, at a rate above 0; not {rule}, {lr}")
    model = copy.deepcopy(given.model)
    grads = {f"{visit.name}.{w.name}": w.grad for visit in trace.visits for w in visit.weights if w.grad is not None}
    changes = []
    for name, parameter in _named(model, trace):
        before = parameter.value.copy()
        _update(OPTIMIZERS[rule](lr), parameter.value, grads[name])
        changes.append((parameter, Change(name, before, grads[name], parameter.value.copy())))
    y, loss = given.of(model)
    curve = []
    for share in SHARES:
        for parameter, change in changes:
            parameter.value[...] = change.before + share * change.delta
        curve.append((share, given.of(model)[1]))
    foretold = sum(float((change.grad * change.delta).sum()) for _, change in changes)
    return Step([change for _, change in changes], y, loss, foretold, np.array(curve))


def _named(model: Layer, trace: Trace) -> list[tuple[str, Parameter]]:
    """The parameters that have a gradient, called as in the trace."""
    own = _owners(model, [visit.name for visit in trace.visits])
    return [
        (f"{name}.{part}", parameter)
        for name, parameters in own.items()
        for part, parameter in parameters.items()
        if not parameter.frozen
    ]


def _update(optimizer: Optimizer, w: Array, g: Array) -> None:
    slots = {name: np.zeros(w.size) for name in optimizer.slots}
    optimizer.update(w.reshape(-1), g.reshape(-1), slots, optimizer.lr(0), 1, np.empty(w.size))


# --- the network of the page “One step of learning, by hand” ----------------------------------------------------------


def nine_numbers() -> Sequential:
    """Two inputs, two sigmoid units, one output: the network of docs/backpropagation.md."""
    from core import Dense, Sigmoid

    rng = np.random.default_rng(0)
    model = Sequential(Dense(2, 2, rng=rng), Sigmoid(), Dense(2, 1, rng=rng))
    hidden, _, output = model.layers
    for layer, weight, bias in ((hidden, [[0.4, -0.6], [0.8, 0.2]], [0.1, 0.2]), (output, [[0.5], [-0.7]], [0.3])):
        assert isinstance(layer, Dense)
        assert layer.bias is not None
        layer.weight.value = np.array(weight)
        layer.bias.value = np.array(bias)
    return model
