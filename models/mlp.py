"""Fully connected networks: softmax regression, and the multilayer perceptron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from core import (
    ELU,
    GELU,
    INITIALIZERS,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)

ACTIVATIONS: Mapping[str, type[Layer]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "softplus": Softplus,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
}


def softmax_regression(*, inputs: int, outputs: int, rng: np.random.Generator) -> Sequential:
    """(N, …) of `inputs` numbers an example → (N, outputs) logits: one weight for each pair of input and class.

    Multinomial logistic regression (Cox, 1958; Bridle, 1990). Its loss is convex, so it starts from zeros.
    """
    return Sequential(Flatten(), Dense(inputs, outputs, rng=rng, initializer=INITIALIZERS["zeros"]))


def mlp(
    *,
    inputs: int,
    outputs: int,
    hidden: Sequence[int] = (256, 128),
    activation: str = "relu",
    initializer: str = "he_normal",
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, …) of `inputs` numbers an example → (N, outputs) logits, through layers of `hidden` units

    activation and initializer are names: keys of ACTIVATIONS and of `core.INITIALIZERS`; use glorot_uniform with
    sigmoid and tanh. Dropout follows every activation.      (Rumelhart, Hinton & Williams, 1986)

    Raises ValueError for an unknown name.
    """
    if activation not in ACTIVATIONS or initializer not in INITIALIZERS:
        wrong, known = (activation, ACTIVATIONS) if activation not in ACTIVATIONS else (initializer, INITIALIZERS)
        raise ValueError(f"there is no {wrong}: choose one of {', '.join(known)}")
    layers: list[Layer] = [Flatten()]
    for before, after in pairwise((inputs, *hidden)):
        layers += [Dense(before, after, rng=rng, initializer=INITIALIZERS[initializer]), ACTIVATIONS[activation]()]
        if dropout:
            layers.append(Dropout(dropout))
    return Sequential(*layers, Dense((inputs, *hidden)[-1], outputs, rng=rng, initializer=INITIALIZERS[initializer]))
