"""Layers side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context
from core.layer import Layer
from core.padded import Padded, call, values_of


class Concat(Layer):
    """y = [f_1(x), f_2(x), …] along an axis: features (…, F) or, with axis 1, channels (N, C, H, W)

    x as every f_i takes it   y with the sum of their sizes along the axis

    dx = Σ f_i'ᵀ dy_i, dy_i the share of dy that belongs to f_i      (Szegedy et al., 2015)

    Raises ValueError where the outputs differ in another axis, or a layer's `backward` returns nothing.
    """

    takes_padded = True

    def __init__(self, *layers: Layer, axis: int = 1) -> None:
        if not layers:
            raise ValueError("Concat needs at least one layer")
        self.layers = layers
        self.axis = axis

    def forward(self, x: Any, ctx: Context) -> Any:
        made = [call(layer, x, ctx[i]) for i, layer in enumerate(self.layers)]
        parts = [values_of(part) for part in made]
        if isinstance(made[0], Padded) and self.axis % parts[0].ndim < 2:
            raise ValueError("Concat joins the features of sequences: give it axis=-1")
        ends = np.cumsum([part.shape[self.axis] for part in parts])
        ctx.save(ends[:-1])
        shape = list(parts[0].shape)
        shape[self.axis] = int(ends[-1])
        y = np.concatenate(parts, self.axis, out=ctx.like("y", parts[0], shape=tuple(shape)))
        return made[0].like(y) if isinstance(made[0], Padded) else y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        (ends,) = ctx.saved
        dx: Array | None = None
        for i, part in enumerate(np.split(dy, ends, self.axis)):
            ctx[i].needs_dx = ctx.needs_dx
            d = self.layers[i].backward(ctx.packed(f"dy{i}", part), ctx[i])
            if d is None:
                if ctx.needs_dx:
                    raise ValueError(f"{self.layers[i]!r}.backward returned no gradient, though it is needed")
                continue
            if dx is None:
                dx = ctx.like("dx", d)
                np.copyto(dx, d)
            else:
                dx += d
        return dx

    def __repr__(self) -> str:
        return f"Concat({', '.join(map(repr, self.layers))})"
