"""A path beside a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context
from core.layer import Layer
from core.padded import Padded, call, values_of


class Residual(Layer):
    """y = f(x) + g(x), g the identity where not given      dx = f'ᵀ dy + g'ᵀ dy

    x as f takes it   y as f and g give it

    The identity carries the gradient past f undiminished, so depth does not make it vanish.      (He et al., 2016)

    Raises ValueError where f(x) and g(x) differ in shape.
    """

    takes_padded = True

    def __init__(self, inner: Layer, shortcut: Layer | None = None) -> None:
        self.inner = inner
        self.shortcut = shortcut

    def forward(self, x: Any, ctx: Context) -> Any:
        y = call(self.inner, x, ctx[0])
        a, b = values_of(y), values_of(x if self.shortcut is None else call(self.shortcut, x, ctx[1]))
        if a.shape != b.shape:
            raise ValueError(f"Residual adds {a.shape} and {b.shape}: give it a shortcut that makes them equal")
        total = np.add(a, b, out=ctx.like("y", a))
        return y.like(total) if isinstance(y, Padded) else total

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        ctx[0].needs_dx = ctx[1].needs_dx = ctx.needs_dx
        a = self.inner.backward(dy, ctx[0])
        b = dy if self.shortcut is None else self.shortcut.backward(dy, ctx[1])
        if a is None or b is None:
            return None
        return np.add(a, b, out=ctx.like("dx", a))

    def __repr__(self) -> str:
        return f"Residual({self.inner!r}{'' if self.shortcut is None else f', {self.shortcut!r}'})"
