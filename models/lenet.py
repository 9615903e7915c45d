"""LeNet-5, the network that read America's cheques."""

from __future__ import annotations

import numpy as np

from core import (
    INITIALIZERS,
    AveragePool2D,
    Conv2D,
    ConvPool2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    ReLU,
    Sequential,
    Tanh,
)


def lenet5(*, outputs: int = 10, modern: bool = False, dropout: float = 0.0, rng: np.random.Generator) -> Sequential:
    """(N, 1, 28, 28) → (N, outputs) logits

    5×5×6 (padded by 2), halved, 5×5×16, halved, 120, 84, outputs      (LeCun, Bottou, Bengio & Haffner, 1998)

    As published, with tanh and average pooling, but for three details of its time: pooling has no weights of its own,
    every second map sees all first ones, and the output is linear instead of radial. `modern` takes ReLU and maximum
    pooling. Dropout acts before the last two layers.
    """
    glorot, he = INITIALIZERS["glorot_uniform"], INITIALIZERS["he_normal"]
    initializer = he if modern else glorot

    def stage(inputs: int, maps: int, padding: int) -> list[Layer]:
        if modern:
            return [ConvPool2D(inputs, maps, 5, rng=rng, padding=padding, initializer=initializer), ReLU()]
        return [Conv2D(inputs, maps, 5, rng=rng, padding=padding, initializer=initializer), Tanh(), AveragePool2D(2)]

    def dense(inputs: int, units: int) -> list[Layer]:
        layers: list[Layer] = [Dense(inputs, units, rng=rng, initializer=initializer), ReLU() if modern else Tanh()]
        return [*layers, Dropout(dropout)] if dropout else layers

    return Sequential(
        *stage(1, 6, 2),
        *stage(6, 16, 0),
        Flatten(),
        *dense(400, 120),
        *dense(120, 84),
        Dense(84, outputs, rng=rng, initializer=glorot),
    )
