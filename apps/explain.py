"""Looking into a network that answers: what every layer made of an input, and which inputs the answer hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core import Array, Context, Layer, Sequential
from core.layer import dtype_of
from core.observe import inner_layers, observe

UNCHANGING = ("Flatten", "Dropout")  # when serving
ACTIVATIONS = ("ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Softplus", "Sigmoid", "Tanh")


@dataclass(frozen=True)
class Activation:
    """What one layer made of one example.

    name    the layer's path in the model, such as "layers.0"
    layer   what it is, such as "ReLU()"
    output  (F,) or (C, H, W)
    """

    name: str
    layer: str
    output: Array

    @property
    def kind(self) -> str:
        """The layer without its sizes."""
        return self.layer.partition("(")[0]


def activations(model: Sequential, x: Array) -> list[Activation]:
    """The output of every layer for x (1, …), in the order of the pass, as when serving."""
    found: list[Activation] = []

    def watch(name: str, layer: Layer, way: str, given: Array, made: Array | None) -> None:
        if made is not None and not inner_layers(layer):
            found.append(Activation(name, repr(layer), made[0].copy()))

    observe(model, watch).forward(x, Context(dtype=dtype_of(model)))
    return found


def stages(found: Sequence[Activation], every: bool = False) -> list[tuple[str, Array]]:
    """[(title, output)] of every layer, or of the last one of each stage, titled "Conv2D → BatchNorm → ReLU"

    A stage ends with an activation, and with the last layer. Layers that change nothing when serving are left out.
    """
    shown, kinds = [], []
    for each in found:
        if each.kind in UNCHANGING:
            continue
        kinds.append(each.layer if every else each.kind)
        if every or each.kind in ACTIVATIONS or each is found[-1]:
            shown.append((" → ".join(kinds), each.output))
            kinds = []
    return shown


def saliency(model: Sequential, x: Array, k: int) -> Array:
    """∂z_k / ∂x for x (N, …): how much one logit would rise for a little more of each input.

    By backpropagation as when serving: no dropout, running statistics.      (Simonyan, Vedaldi & Zisserman, 2014)

    Raises ValueError where the model has no output k.
    """
    ctx = Context(dtype=dtype_of(model), keeps=True)
    z = model.forward(x, ctx)
    if not 0 <= k < z.shape[1]:
        raise ValueError(f"the model has outputs 0 to {z.shape[1] - 1}, not {k}")
    dz = np.zeros_like(z)
    dz[:, k] = 1
    dx = model.backward(dz, ctx)
    assert dx is not None  # needs_dx is true
    return dx.copy()
