"""A deeper convolutional network with batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core import BatchNorm, Conv2D, ConvPool2D, Dense, Dropout, Ensemble, Flatten, Layer, ReLU, Sequential


def vgg(
    *,
    side: int = 28,
    inputs: int = 1,
    outputs: int = 10,
    channels: Sequence[int] = (32, 64, 64, 128),
    hidden: int = 128,
    dropout: float = 0.3,
    rng: np.random.Generator,
) -> Sequential:
    """(N, inputs, side, side) → (N, outputs) logits

    5×5 convolution, halved; 3×3 to the same size, 3×3, halved; 3×3; then `hidden` units. The maps of the four
    convolutions are `channels`. Batch normalisation and ReLU after each, after the pooling where there is one, so that
    they meet a quarter of the numbers; dropout before both dense layers.

    In the manner of Simonyan & Zisserman (2015): small kernels, and more maps where the image is smaller.

    Raises ValueError where the image is too small.
    """
    a, b, c, d = channels
    left = ((side - 4) // 2 - 2) // 2 - 2
    if left < 1:
        raise ValueError(f"an image of {side}×{side} is too small: 20×20 is the least")

    def norm(maps: int) -> list[Layer]:
        return [BatchNorm(maps), ReLU()]

    return Sequential(
        *(ConvPool2D(inputs, a, 5, rng=rng), *norm(a)),
        *(Conv2D(a, b, 3, padding=1, rng=rng), *norm(b)),
        *(ConvPool2D(b, c, 3, rng=rng), *norm(c)),
        *(Conv2D(c, d, 3, rng=rng), *norm(d)),
        *(Flatten(), Dropout(dropout), Dense(left * left * d, hidden, rng=rng), *norm(hidden)),
        *(Dropout(dropout), Dense(hidden, outputs, rng=rng)),
    )


def vgg_ensemble(
    *,
    members: int = 3,
    side: int = 28,
    inputs: int = 1,
    outputs: int = 10,
    channels: Sequence[int] = (32, 64, 64, 128),
    hidden: int = 128,
    dropout: float = 0.3,
    rng: np.random.Generator,
) -> Sequential:
    """(N, inputs, side, side) → (N, outputs) logits of the mean of the `members`' probabilities

    Networks as `vgg` makes them, each trained by itself from another seed, then put together.
    """
    return Sequential(
        Ensemble(
            *(
                vgg(
                    side=side,
                    inputs=inputs,
                    outputs=outputs,
                    channels=channels,
                    hidden=hidden,
                    dropout=dropout,
                    rng=rng,
                )
                for _ in range(members)
            )
        )
    )
