"""Windows that slide over images, and the memory order in which they are fast.

Images are (N, C, H, W) outside. Inside, the layers here lay them out batch-last, (C, H, W, N): a window's elements are
then long contiguous runs of N, and no product needs a transposition. A batch-last image is an ordinary array whose
axes are permuted, so every other layer works on it unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.context import Array, Context

Pair = tuple[int, int]
Padding = str | int | tuple[Pair, Pair]


def pair(name: str, value: int | Pair) -> Pair:
    """(value, value), or the pair given; ValueError unless both are whole numbers from 1 up."""
    first, second = (value, value) if isinstance(value, int | np.integer) else value
    if min(first, second) < 1:
        raise ValueError(f"{name} is a whole number from 1 up, or a pair of them, not {value}")
    return first, second


@dataclass(frozen=True)
class Window:
    """size, stride and dilation as (rows, columns); padding "valid" (none), "same", a number, or ((top, bottom),
    (left, right)).

    outputs = ⌊(inputs + padding − dilation · (size − 1) − 1) / stride⌋ + 1; "same" pads so that this is
    ⌈inputs / stride⌉, with the odd one after.
    """

    size: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        if isinstance(self.padding, str) and self.padding not in ("valid", "same"):
            raise ValueError(f'padding is "valid", "same", a number or two pairs, not "{self.padding}"')
        if min(sum(self.pads(99, 99), ())) < 0:
            raise ValueError(f"padding cannot be negative: {self.padding}")

    def pads(self, height: int, width: int) -> tuple[Pair, Pair]:
        """((top, bottom), (left, right)) for an image of this size"""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        if isinstance(self.padding, int):
            return (self.padding, self.padding), (self.padding, self.padding)
        if not isinstance(self.padding, str):
            return self.padding

        def same(n: int, axis: int) -> Pair:
            reach = self.dilation[axis] * (self.size[axis] - 1) + 1
            short = max(0, (-(-n // self.stride[axis]) - 1) * self.stride[axis] + reach - n)
            return short // 2, short - short // 2

        return same(height, 0), same(width, 1)

    def outputs(self, height: int, width: int) -> Pair:
        """How many windows fit, (rows, columns). Raises ValueError where none does."""
        counts = []
        for axis, (n, (before, after)) in enumerate(zip((height, width), self.pads(height, width), strict=True)):
            reach = self.dilation[axis] * (self.size[axis] - 1) + 1
            counts.append((n + before + after - reach) // self.stride[axis] + 1)
        if min(counts) < 1:
            raise ValueError(f"a window of {self.size} does not fit an image of {(height, width)}")
        return counts[0], counts[1]

    def span(self, axis: int, offset: int, n: int, before: int, count: int) -> tuple[slice, slice]:
        """Where element `offset` of the windows lies along an axis: (windows, pixels), without those in the padding."""
        stride, first = self.stride[axis], self.dilation[axis] * offset - before
        low = max(0, -(first // stride)) if first < 0 else 0
        high = max(low, min(count, (n - 1 - first) // stride + 1))
        start = first + stride * low
        return slice(low, high), slice(start, start + stride * (high - low - 1) + 1 if high > low else start, stride)


def batch_last(x: Array, ctx: Context, name: str) -> Array:
    """(N, C, H, W) → (C, H, W, N), contiguous: x itself where it is laid out so, else a copy in a buffer."""
    if x.ndim != 4:
        raise ValueError(f"images have shape (N, C, H, W), not {x.shape}")
    v = x.transpose(1, 2, 3, 0)
    if v.flags.c_contiguous:
        return v
    copy = ctx.buffer(name, v.shape)
    np.copyto(copy, v)
    return copy


def padded(x: Array, pads: tuple[Pair, Pair], ctx: Context) -> Array:
    """(N, C, H, W) → (C, top + H + bottom, left + W + right, N), zeros around, contiguous, in scratch memory"""
    (top, bottom), (left, right) = pads
    if not (top or bottom or left or right):
        return batch_last(x, ctx, "x")
    n, c, h, w = x.shape
    v = ctx.scratch("x", (c, top + h + bottom, left + w + right, n))
    v[:, :top], v[:, top + h :], v[:, :, :left], v[:, :, left + w :] = 0, 0, 0, 0
    np.copyto(v[:, top : top + h, left : left + w], x.transpose(1, 2, 3, 0))
    return v


def batch_first(v: Array) -> Array:
    """(C, H, W, N) → (N, C, H, W), a view"""
    return v.transpose(3, 0, 1, 2)


def check_image(layer: str, x: Array, weight: Array) -> None:
    """Refuse an image with other channels, or of another type, than the weights (C, …) of a layer."""
    if x.ndim != 4 or x.shape[1] != len(weight):
        raise ValueError(f"{layer} takes images (N, {len(weight)}, H, W), but x has shape {x.shape}")
    if x.dtype != weight.dtype:
        raise ValueError(f"{layer} has weights of {weight.dtype}, but x is {x.dtype}: convert x")
