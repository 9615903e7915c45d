"""Digits seen anew at every epoch: shifted, turned, scaled, slanted, bent, and drawn with a thicker or a thinner pen.

Every number behind a distortion is a hash of (seed, epoch, example, which number), so it depends on no generator's
state: a resumed training, or one on other threads, sees the same digits.

Legend: N examples, S = 28 pixels a side, G points a side of the coarse grid of bends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import pi

import numpy as np

from apps.mnist import outliers
from core import Array, Context, Examples

GRID = 6  # G
NUMBERS = 8 + 2 * GRID * GRID  # that a distortion takes
FLAG_NUMBERS = 6  # that a flag takes, the last of them whether there is one


@dataclass(frozen=True)
class Distortion:
    """The largest changes; every image gets its own share of each, from none to all, either way.

    shift   pixels      turn    degrees      scale   share of the size      slant   pixels across per pixel down
    bend    standard deviation of the elastic field, pixels (Simard, Steinkraus & Platt, 2003)
    pen     share of the way to the brightest (thicker) or darkest (thinner) of the neighbouring pixels
    flag    share of the ones that get a flag, half of them a foot too, as most of Europe writes them
    mirror  whether every other image is mirrored

    Raises ValueError for a change that is negative, or too large to make sense.
    """

    shift: float = 2.0
    turn: float = 12.0
    scale: float = 0.1
    slant: float = 0.15
    bend: float = 0.6
    pen: float = 0.35
    flag: float = 0.15
    mirror: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            most = {"scale": 0.9, "pen": 1.0, "flag": 1.0, "mirror": 1}.get(name, 360.0)
            if not 0 <= value <= most:
                raise ValueError(f"{name} is a number from 0 to {most:g}, not {value}")

    def scaled(self, strength: float) -> Distortion:
        """All changes `strength` times as large, up to their limits; flag and mirror as they are."""
        larger = {name: value * strength for name, value in vars(self).items()}
        limits = {"scale": min(larger["scale"], 0.9), "pen": min(larger["pen"], 1.0)}
        kept = {"flag": self.flag, "mirror": self.mirror} if strength > 0 else {"flag": 0.0, "mirror": False}
        return Distortion(**larger | limits | kept)


class Augmented(Examples):
    """Images x (N, 1, S, S), and labels, that are distorted at every visit.

    At a share `outliers` of its visits an image is made into one that is no digit, of class `stranger`.
    """

    def __init__(
        self, examples: Examples, distortion: Distortion, seed: int, outliers: float = 0.0, stranger: int = 10
    ) -> None:
        super().__init__(examples.x, examples.t, examples.weight)
        self.distortion, self.seed, self.outliers, self.stranger = distortion, seed, outliers, stranger

    def take(self, rows: Array, epoch: int, ctx: Context) -> tuple[Array, Array, Array | None]:
        x, t, weight = super().take(rows, epoch, ctx)
        u = uniforms(self.seed, epoch, rows, NUMBERS + 2 + outliers.NUMBERS + FLAG_NUMBERS)
        flagged = np.flatnonzero((t == 1) & (u[:, -1] < 2 * self.distortion.flag - 1))
        if flagged.size:
            x[flagged] = with_flag(x[flagged], u[flagged, -FLAG_NUMBERS:])
        spoilt = np.flatnonzero(u[:, NUMBERS] < 2 * self.outliers - 1)
        if spoilt.size:
            other = self.x[((u[spoilt, NUMBERS + 1] + 1) / 2 * len(self.x)).astype(np.intp)]
            x[spoilt] = outliers.spoil(x[spoilt], t[spoilt], other, u[spoilt, NUMBERS + 2 : -FLAG_NUMBERS])
            t[spoilt] = self.stranger
        return distort(x, self.distortion, u[:, :NUMBERS]), t, weight


def several(x: Array, distortion: Distortion, count: int) -> Iterator[Array]:
    """x (N, 1, S, S) as it is, then the same `count` − 1 distortions of every image, one after the other"""
    yield x
    for view in range(1, count):
        yield distort(x, distortion, uniforms(0, view, np.zeros(1, np.int64), NUMBERS))


def uniforms(seed: int, epoch: int, rows: Array, count: int) -> Array:
    """rows (N,) → (N, count) float32 in [−1, 1), each a hash of (seed, epoch, row, column)

    The finalizer of SplitMix64 (Steele, Lea & Flood, 2014), which turns a counter into bits that pass for random.
    """
    with np.errstate(over="ignore"):  # the products wrap, as they should
        start = _mixed(np.array([seed], np.uint64) * _GOLDEN + np.uint64(epoch))
        key = _mixed(start + rows.astype(np.uint64) * _GOLDEN)  # (N,)
        bits = _mixed(key[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(z: Array) -> Array:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = z ^ (z >> np.uint64(31))
    return mixed


def distort(x: Array, distortion: Distortion, u: Array) -> Array:
    """x (N, 1, S, S), u (N, NUMBERS) in [−1, 1), or (1, NUMBERS) for all → distorted images of the same shape"""
    n, _, side, _ = x.shape
    images = _with_pen(x[:, 0], u[:, 6] * distortion.pen) if distortion.pen else x[:, 0]
    rows, columns = _sources(distortion, u, side)  # (N, S·S) each
    return _sampled(images, rows, columns).reshape(n, 1, side, side)


def _sources(distortion: Distortion, u: Array, side: int) -> tuple[Array, Array]:
    """Where in the old image each pixel of the new one is found: (rows, columns), each (N, S·S)"""
    middle = np.float32((side - 1) / 2)
    angle = u[:, 2] * np.float32(distortion.turn * pi / 180)
    cos, sin = np.cos(angle), np.sin(angle)
    tall, wide = (1 / (1 + u[:, k] * np.float32(distortion.scale)) for k in (3, 4))
    if distortion.mirror:
        wide *= np.where(u[:, NUMBERS - 1] < 0, np.float32(-1), np.float32(1))
    slant = u[:, 5] * np.float32(distortion.slant)
    across = np.stack([wide * (-sin + slant * cos), wide * (cos + slant * sin)], axis=1)  # (N, 2)
    down = np.stack([tall * cos, tall * sin], axis=1)
    grid = _grid(side)
    rows = down @ grid
    rows += u[:, :1] * np.float32(distortion.shift) + middle
    columns = across @ grid
    columns += u[:, 1:2] * np.float32(distortion.shift) + middle
    if distortion.bend:
        field = _smooth(side) * np.float32(distortion.bend * 3**0.5)  # a uniform number has deviation 1/√3
        rows += u[:, 7 : 7 + GRID * GRID] @ field
        columns += u[:, 7 + GRID * GRID : 7 + 2 * GRID * GRID] @ field
    return rows, columns


@lru_cache
def _grid(side: int) -> Array:
    """(2, S·S): how far below and right of the middle each pixel lies"""
    grid: Array = (np.mgrid[:side, :side].reshape(2, -1) - (side - 1) / 2).astype(np.float32)
    return grid


@lru_cache
def _smooth(side: int) -> Array:
    """(G·G, S·S): spreads numbers on a coarse grid smoothly over the pixels, each pixel's squares summing to 1"""
    points = np.linspace(-1, side, GRID, dtype=np.float32)
    pixels = np.arange(side, dtype=np.float32)
    bump = np.exp(-0.5 * ((pixels - points[:, None]) / (0.7 * (points[1] - points[0]))) ** 2)  # (G, S)
    bump /= np.sqrt((bump**2).sum(axis=0))
    field: Array = np.kron(bump, bump).reshape(GRID * GRID, side * side)
    return field


def _with_pen(images: Array, share: Array) -> Array:
    """(N, S, S), share (N,) → towards the brightest of each pixel's cross of neighbours, or, below 0, the darkest"""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    cross = (images, wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:])
    brightest, darkest = images, images
    for neighbour in cross[1:]:
        brightest, darkest = np.maximum(brightest, neighbour), np.minimum(darkest, neighbour)
    share = share[:, None, None]
    changed: Array = images + np.maximum(share, 0) * (brightest - images) + np.maximum(-share, 0) * (darkest - images)
    return changed


def with_flag(x: Array, u: Array) -> Array:
    """Strokes x (N, 1, S, S), u (N, FLAG_NUMBERS) in [−1, 1) → with a flag at the top, every other one with a foot

    The flag falls to the left from the highest ink, 4 to 15 pixels long and 20 to 65 degrees off the vertical.
    """
    side = x.shape[-1]
    ink = np.asarray(x[:, 0] > 0.5)
    some = np.asarray(ink.any(axis=2))
    top, bottom = some.argmax(axis=1), side - 1 - some[:, ::-1].argmax(axis=1)
    each = np.arange(len(x))
    columns = np.arange(side, dtype=np.float32)
    head, heel = (
        (ink[each, row] * columns).sum(axis=1) / np.maximum(ink[each, row].sum(axis=1), 1) for row in (top, bottom)
    )
    angle, length = np.radians(42.5 + 22.5 * u[:, 0]), 9.5 + 5.5 * u[:, 1]
    pen = 1.1 + 0.4 * u[:, 2]
    start, end = (
        np.stack([top, head], axis=1),
        np.stack([top + length * np.cos(angle), head - length * np.sin(angle)], 1),
    )
    drawn = np.maximum(x[:, 0], _line(start, end, pen, side))
    width = (2.5 + 2 * u[:, 3])[:, None] * np.array([0, 1])
    foot = np.stack([bottom, heel], axis=1)
    footed = np.maximum(drawn, _line(foot - width, foot + width, pen, side))
    flagged: Array = np.where((u[:, 4] < 0)[:, None, None], footed, drawn)[:, None].astype(x.dtype)
    return flagged


def _line(start: Array, end: Array, pen: Array, side: int) -> Array:
    """From start (N, 2) to end (N, 2), (row, column), with a round pen of radius (N,) → (N, S, S) in [0, 1]"""
    places = np.mgrid[:side, :side].reshape(2, -1).T  # (P, 2)
    along = end - start
    off = places - start[:, None]  # (N, P, 2)
    share = (off @ along[:, :, None])[..., 0] / np.maximum((along**2).sum(axis=1), 1e-6)[:, None]
    distance = np.linalg.norm(off - share.clip(0, 1)[..., None] * along[:, None], axis=2)
    line: Array = (pen[:, None] + 0.5 - distance).clip(0, 1).reshape(-1, side, side)
    return line


def _sampled(images: Array, rows: Array, columns: Array) -> Array:
    """(N, S, S) at fractional places (N, P), or (1, P) for all, between the four pixels around each → (N, P)

    Beyond the border all is 0.
    """
    n, side, _ = images.shape
    wide = side + 2
    flat = np.pad(images, ((0, 0), (1, 1), (1, 1))).reshape(-1)
    for v in (rows, columns):
        np.add(v, 1, out=v)
        np.clip(v, 0, np.float32(wide - 1.001), out=v)
    top, left = np.floor(rows), np.floor(columns)
    at = (top * wide + left).astype(np.intp)
    at = at + np.arange(0, n * wide * wide, wide * wide)[:, None]
    rows -= top  # the share of the lower pixels
    columns -= left  # the share of the right ones
    upper, lower = _between(flat, at, columns), _between(flat, at + wide, columns)
    lower -= upper
    lower *= rows
    lower += upper
    return lower


def _between(flat: Array, at: Array, share: Array) -> Array:
    """flat[at] + share · (flat[at + 1] − flat[at])"""
    left: Array = flat.take(at)
    right: Array = flat.take(at + 1)
    right -= left
    right *= share
    right += left
    return right
