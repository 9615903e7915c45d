"""A plain convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core import ConvPool2D, Dense, Dropout, Flatten, Layer, ReLU, Sequential


def cnn(
    *,
    side: int = 28,
    inputs: int = 1,
    outputs: int = 10,
    channels: Sequence[int] = (32, 64),
    kernel: int | Sequence[int] = 3,
    hidden: Sequence[int] = (),
    dropout: float = 0.5,
    rng: np.random.Generator,
) -> Sequential:
    """(N, inputs, side, side) → (N, outputs) logits

    A stage for each of `channels` (convolution, 2×2 maximum, ReLU; `kernel` one for all, or one a stage), then dense
    layers of `hidden` units; dropout before every dense layer. With the defaults, the network of Keras's MNIST example
    (34,826 parameters).

    Raises ValueError where the image is too small for so many stages.
    """
    layers: list[Layer] = []
    kernels = (kernel,) * len(channels) if isinstance(kernel, int) else tuple(kernel)
    for before, after, size in zip((inputs, *channels[:-1]), channels, kernels, strict=True):
        side = (side - size + 1) // 2
        if side < 1:
            raise ValueError(f"an image this small has no room for {len(channels)} stages")
        layers += [ConvPool2D(before, after, size, rng=rng), ReLU()]
    layers.append(Flatten())
    units = side * side * channels[-1]
    for after in hidden:
        layers += [Dropout(dropout), Dense(units, after, rng=rng), ReLU()]
        units = after
    return Sequential(*layers, Dropout(dropout), Dense(units, outputs, rng=rng))


def quick_cnn(*, outputs: int = 10, dropout: float = 0.0, rng: np.random.Generator) -> Sequential:
    """(N, 1, 28, 28) → (N, outputs) logits

    5×5 and 3×3 convolutions of 16 and 32 maps, each halved, and one hidden layer of 128 units: the network that learns
    most in the first seconds.
    """
    return cnn(outputs=outputs, channels=(16, 32), kernel=(5, 3), hidden=(128,), dropout=dropout, rng=rng)
