"""Images that are no digit, made from digits, for a network to learn where its knowledge ends.

A network that has seen digits alone gives everything a digit's name. Shown some images that are none, as a class of
their own, it learns to tell other kinds of them too (outlier exposure: Hendrycks, Mazeika & Dietterich, 2019). What is
made here keeps the strokes of a hand, and takes away what makes them a digit.

Legend: N images, S = 28 pixels a side.
"""

from __future__ import annotations

from math import pi

import numpy as np

from core import Array

TURNED = (2, 3, 4, 5, 6, 7, 8, 9)  # no digits any more when they lie on their side
MIRRORED = (3, 4, 6, 7, 9)  # nor these in a mirror: a 2 there is nearly a 5, and 0, 1 and 8 remain
FLIPPED = (4, 6, 7, 9)  # nor these upside down in a mirror
ORDERS = ((1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0), (3, 0, 1, 2))  # of the quarters of an image
NUMBERS = 5  # that an outlier takes


def spoil(x: Array, t: Array, other: Array, u: Array) -> Array:
    """Digits x (N, 1, S, S) with labels t, others like them, u (N, NUMBERS) in [−1, 1) → as many that are no digits

    Half of them are turned on their side, mirrored or flipped, or, if a 0, opened. The rest are cut into four tiles
    that change places, or are two digits over each other, or beside or above each other, as are those that stay digits
    however they are turned.
    """
    share = (u[:, 0] + 1) / 2
    changed = share < 0.5
    opened = changed & (t == 0)
    turned = changed & (u[:, 1] < 0) & np.isin(t, TURNED)
    flipped = changed & ~turned & (u[:, 2] < 0) & np.isin(t, FLIPPED)
    mirrored = changed & ~turned & ~flipped & np.isin(t, MIRRORED)
    alone = opened | turned | flipped | mirrored
    tiled = ~alone & (share >= 0.85) & (t != 1)
    paired = ~alone & ~tiled & (u[:, 2] < 0)
    upright = u[:, 3] < 0
    place = ((u[:, 3] + 1) / 2 * len(ORDERS)).astype(np.intp)
    spoilt = np.empty_like(x)
    for rows, made in (
        (opened, _opened(x, u[:, 3], u[:, 4])),
        (turned & upright, x.swapaxes(2, 3)),
        (turned & ~upright, x.swapaxes(2, 3)[:, :, ::-1]),
        (flipped, x[:, :, ::-1]),
        (mirrored, x[..., ::-1]),
        *((tiled & (place == which), _tiled(x, order)) for which, order in enumerate(ORDERS)),
        (paired & upright, _side_by_side(x, other)),
        (paired & ~upright, _side_by_side(x.swapaxes(2, 3), other.swapaxes(2, 3)).swapaxes(2, 3)),
        (~alone & ~tiled & ~paired, _overlaid(x, other)),
    ):
        spoilt[rows] = made[rows]
    return spoilt


def _opened(x: Array, where: Array, width: Array) -> Array:
    """A ring without 80 to 160 degrees of it.  where, width (N,) in [−1, 1)"""
    side = x.shape[-1]
    rows, columns = np.mgrid[:side, :side] - np.float32((side - 1) / 2)
    angle = np.arctan2(rows, columns).astype(np.float32)
    middle, half = (where * np.float32(pi))[:, None, None], np.radians(60 + 20 * width)[:, None, None]
    away = np.abs((angle - middle + np.float32(pi)) % np.float32(2 * pi) - np.float32(pi))
    opened: Array = x * (away > half)[:, None]
    return opened


def _tiled(x: Array, order: tuple[int, ...]) -> Array:
    """The quarters of each image in another order."""
    n, _, side, _ = x.shape
    half = side // 2
    quarters = x.reshape(n, 2, half, 2, half).swapaxes(2, 3).reshape(n, 4, half, half)[:, order]
    return quarters.reshape(n, 2, 2, half, half).swapaxes(2, 3).reshape(x.shape)


def _overlaid(x: Array, other: Array) -> Array:
    """Two digits over each other, a little apart, so that two equal ones are none."""
    overlaid: Array = np.maximum(np.roll(x, (-2, -4), axis=(2, 3)), np.roll(other, (2, 4), axis=(2, 3)))
    return overlaid


def _side_by_side(x: Array, other: Array) -> Array:
    """Two digits, each squeezed to half its width."""
    halves = [np.maximum(v[..., 0::2], v[..., 1::2]) for v in (x[..., 2:-2], other[..., 2:-2])]
    pair: Array = np.zeros_like(x)
    middle = x.shape[-1] // 2
    width = halves[0].shape[-1]
    pair[..., middle - width : middle], pair[..., middle : middle + width] = halves
    return pair
