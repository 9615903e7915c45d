"""One number of a layer as the sum that it is: which products, of what, add up to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from apps.inside.trace import Visit
from core import Array, Context, Conv2D, ConvPool2D, Dense, Total

ELEMENTWISE = ("ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Sigmoid", "Tanh", "Softplus")


@dataclass(frozen=True)
class Sum:
    """value = Σ_i a_i b_i + constant

    what         the number, such as y₃, and symbols: what a and b are
    places (n,)  where each product comes from
    """

    what: str
    symbols: tuple[str, str]
    places: Sequence[str]
    a: Array
    b: Array
    constant: float
    value: float

    @property
    def products(self) -> Array:
        return np.asarray(self.a * self.b)


def output_sum(visit: Visit, unit: int, x_names: Sequence[str], name: str) -> Sum | None:
    """Output `unit` (of the flattened y) as a sum over inputs; None for a layer whose outputs are no such sums

    name: what that output is called.
    """
    layer = visit.layer
    weights = {weight.name: weight.value for weight in visit.weights}
    value = float(visit.y.reshape(-1)[unit])
    if isinstance(layer, Dense) and visit.x.ndim == 1:
        constant = float(weights["bias"][unit]) if "bias" in weights else 0.0
        return Sum(name, ("x", "W"), x_names, visit.x, weights["weight"][:, unit], constant, value)
    if isinstance(layer, Total):
        return Sum(name, ("x", "1"), x_names, visit.x, np.ones(len(visit.x)), float(weights["bias"][0]), value)
    if isinstance(layer, Conv2D) and layer.window.dilation == (1, 1):
        o, p, q = (int(i) for i in np.unravel_index(unit, visit.y.shape))
        windows, kernel = _windows(visit), weights["weight"][..., o]
        if isinstance(layer, ConvPool2D):
            square = windows[:, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2]
            best = int(np.einsum("cpqij,cij->pq", square, kernel).argmax())
            patch = square[:, best // 2, best % 2]
        else:
            patch = windows[:, p, q]
        constant = float(weights["bias"][o]) if "bias" in weights else 0.0
        places = [f"map {c + 1}, row {i + 1}, column {j + 1}" for c, i, j in np.ndindex(kernel.shape)]
        return Sum(name, ("x", "W"), places, patch.reshape(-1), kernel.reshape(-1), constant, value)
    return None


def weight_sum(visit: Visit, at: tuple[int, ...], name: str) -> Sum | None:
    """∂L/∂W at an index as a sum of inputs times gradients of outputs"""
    grads = {weight.name: weight.grad for weight in visit.weights}
    grad = grads.get("weight")
    if grad is None or visit.dy is None:
        return None
    value = float(grad[at])
    if isinstance(visit.layer, Dense) and visit.x.ndim == 1:
        i, j = at
        return Sum(name, ("x", "∂L/∂y"), [""], visit.x[[i]], visit.dy[[j]], 0.0, value)
    if type(visit.layer) is Conv2D and visit.layer.window.dilation == (1, 1):
        c, i, j, o = at
        x, dy = _windows(visit)[c, :, :, i, j], visit.dy[o]
        places = [f"row {p + 1}, column {q + 1}" for p, q in np.ndindex(dy.shape)]
        return Sum(name, ("x", "∂L/∂y"), places, x.reshape(-1), dy.reshape(-1), 0.0, value)
    return None


def input_sum(visit: Visit, unit: int, y_names: Sequence[str], name: str) -> Sum | None:
    """∂L/∂x of one input as a sum over the outputs it goes into"""
    if not isinstance(visit.layer, Dense) or visit.x.ndim != 1 or visit.dy is None or visit.dx is None:
        return None
    (weight,) = (each.value for each in visit.weights if each.name == "weight")
    return Sum(name, ("∂L/∂y", "W"), y_names, visit.dy, weight[unit], 0.0, float(visit.dx[unit]))


def slopes(visit: Visit) -> Array | None:
    """f'(x), the local derivative of a layer that treats every number alike; None for others"""
    if visit.kind not in ELEMENTWISE:
        return None
    ctx = Context(dtype=np.float64, keeps=True)
    y = visit.layer.forward(visit.x[np.newaxis], ctx)
    dx = visit.layer.backward(np.ones_like(y), ctx)
    assert dx is not None
    return np.asarray(dx[0].copy())


def _windows(visit: Visit) -> Array:
    """(C, P', Q', K, K): what a convolution sees at each place"""
    assert isinstance(visit.layer, Conv2D)
    window = visit.layer.window
    padded = np.pad(visit.x, ((0, 0), *window.pads(*visit.x.shape[1:])))
    down, right = window.stride
    windows: Array = sliding_window_view(padded, window.size, axis=(1, 2))[:, ::down, ::right]
    return windows


def strongest(array: Array) -> tuple[int, ...]:
    """Where the largest magnitude stands"""
    return tuple(int(i) for i in np.unravel_index(int(np.abs(array).argmax()), array.shape))
