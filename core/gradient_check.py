"""Is a backward pass the derivative of its forward pass? Ask the definition of a derivative."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from core.context import Array, Context
from core.gradients import Gradients
from core.layer import Layer, Table, check_model
from core.padded import Padded, call, values_of


class GradientError(AssertionError):
    """A backward pass is not the derivative of its forward pass; the message names the worst element."""


def gradient_check(
    layer: Layer,
    x: Array | Padded,
    *,
    seed: int = 0,
    epsilon: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    most: int = 200,
) -> float:
    """Compare `backward` with central differences, (L(v + ε) − L(v − ε)) / 2ε, for the input and every parameter.

    L = Σ r · y with fixed random r, so all outputs take part. It runs in float64 on a copy of the layer, in training
    mode with a stream that starts afresh at each pass, so dropout repeats itself. Of larger arrays, `most` elements,
    drawn by the seed, are compared. An integer x (tokens, say) has no gradient and is left out, and so is row 0 of a
    table, which is padding. At a kink (ReLU at 0, two equal maxima) the two may differ though both are right: draw x at
    random.

    Returns the largest absolute difference. Raises GradientError where one is larger than atol + rtol · |difference
    quotient|, ValueError where a gradient is missing or of another shape than its array, or where nothing would be
    compared: no examples, an ε that is not positive, `most` below 1; TypeError for what is no layer.
    """
    x = _checked(layer, x, epsilon, most)
    layer = _in_float64(layer)
    v = np.array(values_of(x), np.float64 if x.dtype.kind == "f" else x.dtype)
    given = Padded(v, x.lengths, x.weight) if isinstance(x, Padded) else v
    rng = np.random.default_rng(seed)
    parameters = [(name, p) for name, p in layer.named_parameters() if not p.frozen]
    grads = Gradients(p for _, p in parameters)

    def forward(grads: Gradients | None) -> tuple[Any, Context]:
        stream = np.random.default_rng(seed)
        ctx = Context(True, grads, lambda: stream, np.float64)
        ctx.needs_dx = v.dtype.kind == "f"
        return call(layer, given, ctx), ctx

    grads.start()
    y, ctx = forward(grads)
    r = rng.standard_normal(y.shape)
    if isinstance(y, Padded):  # what stands behind an end counts for nothing
        r[np.arange(y.shape[1]) >= y.lengths[:, None]] = 0
    dx = layer.backward(r.copy(), ctx)
    grads.finish()

    def objective() -> float:
        return float((values_of(forward(None)[0]) * r).sum())

    padding = {name: p.value.shape[1] for name, p in parameters if isinstance(p, Table)}
    checks = [(name, p.value, grads[p]) for name, p in parameters]
    if v.dtype.kind == "f":
        if dx is None:
            raise ValueError(f"{layer!r}.backward returned no gradient of the input, though the context needs it")
        checks.append(("the input", v, dx))
    return max(
        (
            _worst(layer, name, value, np.array(grad), objective, rng, epsilon, atol, rtol, most, padding.get(name, 0))
            for name, value, grad in checks
        ),
        default=0.0,
    )


def _checked(layer: Any, x: Any, epsilon: float, most: int) -> Array | Padded:
    """x, as an array or a padded batch; what would compare nothing, and pass, is refused."""
    check_model(layer)
    given: Array | Padded = x if isinstance(x, Padded) else np.asarray(x)
    if not given.shape or not len(given):
        raise ValueError(f"x is an array (N, …) of one example or more, not {x!r}")
    if not 0 < epsilon < np.inf or most < 1:
        raise ValueError(f"epsilon is positive and most is from 1 up: {epsilon} and {most} would compare nothing")
    return given


def _in_float64(layer: Layer) -> Layer:
    """A copy of the layer, its parameters in float64"""
    layer = copy.deepcopy(layer)
    for parameter in layer.parameters():
        parameter.value = parameter.value.astype(np.float64)
    return layer


def _worst(
    layer: Layer,
    name: str,
    value: Array,
    grad: Array,
    objective: Callable[[], float],
    rng: np.random.Generator,
    epsilon: float,
    atol: float,
    rtol: float,
    most: int,
    padding: int,
) -> float:
    """The largest difference in one array, but for its first `padding` elements, moved one by one and put back."""
    if grad.shape != value.shape:
        raise ValueError(f"{layer!r}: the gradient of {name} has shape {grad.shape}, its array {value.shape}")
    worst = 0.0
    for flat in rng.permutation(value.size - padding)[:most]:
        at = np.unravel_index(padding + flat, value.shape)
        kept = value[at]
        value[at] = kept + epsilon
        above = objective()
        value[at] = kept - epsilon
        below = objective()
        value[at] = kept
        quotient = (above - below) / (2 * epsilon)
        difference = abs(grad[at] - quotient)
        if not difference <= atol + rtol * abs(quotient):
            place = f"{name}[{', '.join(map(str, at))}]"
            raise GradientError(
                f"{layer!r}: backward gives {grad[at]:.6g} for {place}, but the difference quotient is {quotient:.6g}"
            )
        worst = max(worst, float(difference))
    return worst
