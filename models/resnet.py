"""A small residual network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core import BatchNorm, Conv2D, ConvPool2D, Dense, Dropout, GlobalAveragePool2D, Layer, ReLU, Residual, Sequential


def resnet(
    *,
    inputs: int = 1,
    outputs: int = 10,
    channels: Sequence[int] = (24, 48, 96),
    blocks: int = 1,
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, inputs, H, W) → (N, outputs) logits; images of any size from about 12×12 up

    A 3×3 convolution with 2×2 maximum, then for each of `channels` so many `blocks` of two 3×3 convolutions beside a
    shortcut; a stage after the first begins by halving the image. Batch normalisation after every convolution, the mean
    over all places at the end.      (He, Zhang, Ren & Sun, 2016)
    """
    before = channels[0]
    layers: list[Layer] = [ConvPool2D(inputs, before, 3, padding=1, rng=rng), BatchNorm(before), ReLU()]
    for stage, after in enumerate(channels):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers += [Residual(*_paths(before, after, stride, rng)), ReLU()]
            before = after
    return Sequential(*layers, GlobalAveragePool2D(), Dropout(dropout), Dense(before, outputs, rng=rng))


def _paths(before: int, after: int, stride: int, rng: np.random.Generator) -> tuple[Layer, Layer | None]:
    """Two convolutions, and the shortcut beside them: a 1×1 convolution where shapes change, else the identity."""
    inner = Sequential(
        *(Conv2D(before, after, 3, stride=stride, padding=1, bias=False, rng=rng), BatchNorm(after), ReLU()),
        *(Conv2D(after, after, 3, padding=1, bias=False, rng=rng), BatchNorm(after)),
    )
    if stride == 1 and before == after:
        return inner, None
    return inner, Sequential(Conv2D(before, after, 1, stride=stride, bias=False, rng=rng), BatchNorm(after))
