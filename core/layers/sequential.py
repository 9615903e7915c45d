"""Layers one after the other."""

from __future__ import annotations

from typing import Any

from core.context import Array, Context
from core.layer import Layer
from core.padded import call


class Sequential(Layer):
    """y = f_n(… f_2(f_1(x)))

    x as the first layer takes it   y as the last one gives it      (Rumelhart, Hinton & Williams, 1986)

    The chain rule: dx = f_1'ᵀ (f_2'ᵀ (… f_n'ᵀ dy)), so `backward` calls the layers in reverse. Where nobody needs dx,
    it stops at the first layer that has something to learn.

    Raises ValueError where a layer's `backward` returns nothing that the layer before it needs.
    """

    takes_padded = True

    def __init__(self, *layers: Layer) -> None:
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"Sequential takes layers, one after the other, not {type(layer).__name__}")
        self.layers = layers

    def forward(self, x: Any, ctx: Context) -> Any:
        for layer, inner in zip(self.layers, ctx.inner(len(self.layers)), strict=True):
            x = call(layer, x, inner)
        return x

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        first = 0 if ctx.needs_dx else ctx.once("first", self._first_trainable)
        inners = ctx.inner(len(self.layers))
        for i in range(len(self.layers) - 1, first - 1, -1):
            inner = inners[i]
            inner.needs_dx = ctx.needs_dx or i > first
            dx = self.layers[i].backward(dy, inner)
            if dx is None:
                if inner.needs_dx:
                    raise ValueError(f"{self.layers[i]!r}.backward returned no gradient for the layer before it")
                return None
            dy = dx
        return dy if ctx.needs_dx else None

    def _first_trainable(self) -> int:
        return next((i for i, layer in enumerate(self.layers) if layer.trainable()), len(self.layers))

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> Layer:
        return self.layers[i]

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"
