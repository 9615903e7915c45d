"""Watching a network at work: a copy of its structure, on the same parameters, that reports every pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from core.context import Array, Context
from core.layer import Layer
from core.layers.sequential import Sequential
from core.padded import values_of

Watcher = Callable[[str, Layer, str, Array, Array | None], None]
"""(name, layer, "forward" or "backward", what went in, what came out), called after each call of each layer"""


class Observed(Layer):
    """A layer, and somebody who is told of what goes through it."""

    def __init__(self, layer: Layer, name: str, watcher: Watcher) -> None:
        self.layer, self.name, self.watcher = layer, name, watcher
        self.per_step, self.takes_padded = layer.per_step, layer.takes_padded  # type: ignore[misc]

    def __getattr__(self, name: str) -> Any:  # a container may read what belongs to a layer in it
        if name == "layer":
            raise AttributeError(name)
        return getattr(self.layer, name)

    def forward(self, x: Any, ctx: Context) -> Any:
        y = self.layer.forward(x, ctx)
        self.watcher(self.name, self.layer, "forward", values_of(x), values_of(y))
        return y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        dx = self.layer.backward(dy, ctx)
        self.watcher(self.name, self.layer, "backward", dy, dx)
        return dx


def observe(model: Layer, watcher: Watcher) -> Layer:
    """A model that computes the same with the same parameters, and tells `watcher` of every call of every layer.

    The model itself is not touched. Layers are named by their path, such as "layers.0", as their parameters are.
    `Sequential` is mere order and goes unmentioned. What a watcher is given is valid during its call only.
    """
    observed: Layer = _watched(model, "", watcher)
    return observed


def inner_layers(layer: Layer) -> bool:
    """Whether a layer holds other layers that it calls."""
    if layer.fused:
        return False
    parts: list[Any] = []
    for value in vars(layer).values():
        parts += value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    return any(isinstance(part, Layer) for part in parts)


def _watched(node: Any, path: str, watcher: Watcher) -> Any:
    if type(node) in (list, tuple):
        return type(node)(_watched(value, f"{path}.{i}" if path else str(i), watcher) for i, value in enumerate(node))
    if isinstance(node, dict):
        return {key: _watched(value, f"{path}.{key}", watcher) for key, value in node.items()}
    if not isinstance(node, Layer):
        return node
    if node.fused:
        return Observed(node, path or type(node).__name__, watcher)
    outside = copy.copy(node)
    for name, value in vars(node).items():
        setattr(outside, name, _watched(value, f"{path}.{name}" if path else name, watcher))
    return outside if isinstance(node, Sequential) else Observed(outside, path or type(node).__name__, watcher)


class NonFiniteValue(ArithmeticError):
    """Says where a number first was not finite."""


def stop_at_nonfinite(name: str, layer: Layer, way: str, given: Array, made: Array | None) -> None:
    """A watcher that raises NonFiniteValue at the first layer whose input, weights or output are not finite."""
    if way != "forward" or made is None:
        return
    title = f"{name} ({layer!r})"
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise NonFiniteValue(f"the input of {title}")
    for path, parameter in layer.named_parameters():
        if not np.isfinite(parameter.value).all():
            raise NonFiniteValue(f"the {path} of {title}")
    if not np.isfinite(made).all():
        raise NonFiniteValue(f"the output of {title}")
