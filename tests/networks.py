"""The networks that the tests train: small copies of what the tasks use, and the arrays they take."""

import numpy as np

from core import BatchNorm, Conv2D, ConvPool2D, Dense, Dropout, Examples, Flatten, MaxPool2D, ReLU, Sequential


def credit(rng):
    return Sequential(Dense(23, 64, rng=rng), ReLU(), Dense(64, 32, rng=rng), ReLU(), Dense(32, 2, rng=rng))


def mlp(rng):
    return Sequential(Dense(784, 256, rng=rng), ReLU(), Dense(256, 128, rng=rng), ReLU(), Dense(128, 10, rng=rng))


def cnn(rng):
    return Sequential(
        *(ConvPool2D(1, 32, 3, rng=rng), ReLU(), ConvPool2D(32, 64, 3, rng=rng), ReLU()),
        *(Flatten(), Dropout(0.5), Dense(1600, 10, rng=rng)),
    )


def normed(rng):
    return Sequential(
        *(Conv2D(1, 8, 3, rng=rng, padding="same"), BatchNorm(8), ReLU(), MaxPool2D(2)),
        *(Conv2D(8, 16, 3, rng=rng), BatchNorm(16), ReLU(), Flatten(), Dense(2304, 10, rng=rng)),
    )


SHAPES = {credit: (23,), mlp: (784,), cnn: (1, 28, 28), normed: (1, 28, 28)}


def examples(network, n, seed=0):
    """Random inputs and targets of the right shapes, in float32."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, *SHAPES[network])).astype(np.float32)
    return Examples(x, rng.integers(0, 2 if network is credit else 10, n))


def small(rng):
    """Something of everything that could go wrong in a resumed training: it draws, it observes, it decays."""
    return Sequential(Dense(6, 12, rng=rng), BatchNorm(12), ReLU(), Dropout(0.25), Dense(12, 3, rng=rng))


def separable(n=90, dtype=np.float32, seed=1):
    """Three clouds of points that a line or two could tell apart."""
    rng = np.random.default_rng(seed)
    t = rng.integers(0, 3, n)
    centres = 2 * np.eye(3, 6)
    return Examples((centres[t] + 0.5 * rng.standard_normal((n, 6))).astype(dtype), t)
