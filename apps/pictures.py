"""Arrays as pictures: numbers to colours, many small maps to one mosaic."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from core import Array

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """What colours mean, on light and on dark ground.

    ground   where nothing is; the colour of 0
    ink      the most there is
    for_     what speaks for an answer, and the answer itself
    against  what speaks against it, and what is held out
    soft     what is there but not meant
    text     words and figures on the ground
    """

    ground: str
    ink: str
    for_: str
    against: str
    soft: str
    text: str


LIGHT = Palette(ground="#f1eee6", ink="#0b2538", for_="#24618a", against="#c2542f", soft="#a9b3bb", text="#22303c")
DARK = Palette(ground="#1e2a35", ink="#f4f1ea", for_="#86bfe2", against="#ee9a78", soft="#5f707d", text="#e9edf0")


def shades(values: Array, palette: Palette) -> Array:
    """values in [0, 1], any shape (…) → (…, 4) uint8: ground, over the answer's colour, to ink"""
    return _blend(values, (palette.ground, palette.for_, palette.ink))


def signed(values: Array, palette: Palette) -> Array:
    """values in [−1, 1], any shape (…) → (…, 4) uint8: against, over ground, to for"""
    return _blend((values + 1) / 2, (palette.against, palette.ground, palette.for_))


def _blend(values: Array, stops: tuple[str, ...]) -> Array:
    """values in [0, 1], any shape (…) → (…, 4) uint8; what is not a number is transparent"""
    colours = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in stops], np.float64)
    at = np.nan_to_num(values, nan=0.0).clip(0, 1) * (len(stops) - 1)
    rgb = np.stack([np.interp(at, range(len(stops)), colours[:, c]) for c in range(3)], axis=-1)
    alpha = np.where(np.isnan(values), 0, 255)[..., None]
    blended: Array = np.concatenate([rgb, alpha], axis=-1).round().astype(np.uint8)
    return blended


def hexes(values: Array, top: str, palette: Palette) -> list[tuple[str, str]]:
    """values (M,) in [0, 1] → (colour from ground to `top`, black or white, whichever is read better on it)"""
    found = []
    for red, green, blue, _ in _blend(values, (palette.ground, top)):
        linear = np.where((v := np.array([red, green, blue]) / 255) <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
        bright = float(linear @ (0.2126, 0.7152, 0.0722)) > 0.179  # relative luminance, WCAG 2
        found.append((f"#{red:02x}{green:02x}{blue:02x}", "#000000" if bright else "#ffffff"))
    return found


def enlarged(picture: Array, width: int) -> Array:
    """(H, W, 4) → at least `width` pixels wide, every pixel a square"""
    times = max(1, -(-width // picture.shape[1]))
    large: Array = picture.repeat(times, axis=0).repeat(times, axis=1)
    return large


def of_activations(output: Array, palette: Palette, most: int = 16, across: int = 8) -> Array:
    """(C, H, W) or (F,) → RGBA: the `most` strongest maps side by side, or the numbers of a vector as squares

    All to one scale. Where nothing is negative, from ground to ink; otherwise negative numbers are `against`.
    """
    if output.ndim == 1:
        fill = np.full(-len(output) % min(len(output), 32), np.nan, output.dtype)
        picture = np.concatenate([output, fill]).reshape(-1, min(len(output), 32))
    else:
        picture = mosaic(output[strongest(output, most)], across)
    largest = np.nanmax(np.abs(picture)) or 1.0
    return (signed if np.nanmin(picture) < 0 else shades)(picture / largest, palette)


def of_weights(array: Array, palette: Palette) -> Array:
    """A parameter of any shape → RGBA: kernels (C, K, K, O) side by side, all else as a matrix

    Of a large matrix, each square is the strongest of some neighbours.
    """
    if array.ndim == 4:
        kernels = array.transpose(0, 3, 1, 2).reshape(-1, *array.shape[1:3])
        return of_activations(kernels, palette, most=64, across=16)
    matrix = array.reshape(1, -1) if array.ndim < 2 else array.reshape(-1, array.shape[-1])
    if matrix.shape[1] == 1 or len(matrix) == 1:
        return of_activations(matrix.reshape(-1), palette)
    matrix = pooled(matrix, 64, 128)
    return signed(matrix / (float(np.abs(matrix).max()) or 1.0), palette)


def pooled(matrix: Array, rows: int, columns: int) -> Array:
    """(I, O) → at most (rows, columns): of each block of neighbours, the one of the largest magnitude"""
    height, width = -(-len(matrix) // rows), -(-matrix.shape[1] // columns)
    padded = np.pad(matrix, ((0, -len(matrix) % height), (0, -matrix.shape[1] % width)))
    tiles = padded.reshape(len(padded) // height, height, -1, width).transpose(0, 2, 1, 3)
    blocks = tiles.reshape(*tiles.shape[:2], -1)
    at = np.abs(blocks).argmax(axis=2)[..., None]
    strongest_of: Array = np.take_along_axis(blocks, at, axis=2)[..., 0]
    return strongest_of


def mosaic(maps: Array, across: int, gap: int = 1) -> Array:
    """(C, H, W) → one array, `across` maps a row; NaN between them"""
    c, h, w = maps.shape
    down, across = -(-c // across), min(c, across)
    picture = np.full((down * (h + gap) - gap, across * (w + gap) - gap), np.nan, np.float32)
    for i, one in enumerate(maps):
        y, x = i // across * (h + gap), i % across * (w + gap)
        picture[y : y + h, x : x + w] = one
    return picture


def strongest(maps: Array, most: int) -> Array:
    """(C, H, W) → the indices of the `most` maps with the largest sums of squares, in their order"""
    order = np.argsort(-np.square(maps, dtype=np.float64).sum(axis=(1, 2)), kind="stable")[:most]
    chosen: Array = np.sort(order)
    return chosen


def percent(p: float) -> str:
    """0.9947 → "99.5 %"; what rounding would make certain or impossible is not called so"""
    return "over 99.9 %" if p >= 0.9995 else "under 0.1 %" if 0 < p < 0.0005 else f"{100 * p:.1f} %"


def address(picture: Array, width: int = 0) -> str:
    """(H, W, 4) uint8 → the address of a picture, at least `width` pixels wide, that holds all of it

    Nothing is left on the server, to be fetched in time or to be found by others.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(enlarged(picture, width)).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
