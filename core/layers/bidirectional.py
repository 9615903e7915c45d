"""Reading a sequence both ways."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context
from core.layer import Layer
from core.layers.global_pool1d import steps_of
from core.layers.recurrent_input import Words
from core.padded import Padded, call, values_of


class Bidirectional(Layer):
    """y = [f(x), g(x read from its end)] over the features; outputs at every step are put back in the order of x

    x (N, T, E), an array or `Padded`   y (N, T, F + G), or (N, F + G) where f and g give one output a sequence

    Each sequence is turned around within its own length, so that g begins at the last step that counts.
    (Schuster & Paliwal, 1997)

    Raises ValueError where one of f and g gives an output at every step and the other does not.
    """

    takes_padded = True

    def __init__(self, forwards: Layer, backwards: Layer) -> None:
        self.forwards, self.backwards = forwards, backwards

    def forward(self, x: Any, ctx: Context) -> Any:
        words = isinstance(x, Words)
        v, lengths = (x.values, x.lengths) if words else steps_of(self, x)
        turned = _turned(v, lengths, ctx.like("turned x", v, v.dtype))
        a = call(self.forwards, x, ctx[0])
        b = call(self.backwards, x.like(turned) if isinstance(x, Padded) else turned, ctx[1])
        ahead, behind = values_of(a), values_of(b)
        if ahead.shape[:-1] != behind.shape[:-1]:
            raise ValueError(
                f"Bidirectional joins outputs {ahead.shape} and {behind.shape}: both at every step, or none"
            )
        every_step = behind.ndim == 3
        if every_step:
            behind = _turned(behind, lengths, ctx.like("turned y", behind))
        ctx.save(lengths, ahead.shape[-1], every_step, words)
        shape = (*ahead.shape[:-1], ahead.shape[-1] + behind.shape[-1])
        y = np.concatenate((ahead, behind), axis=-1, out=ctx.like("y", ahead, shape=shape))
        return a.like(y) if isinstance(a, Padded) else y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        lengths, features, every_step, words = ctx.saved
        ahead, behind = dy[..., :features], dy[..., features:]
        if every_step:
            behind = _turned(behind, lengths, ctx.like("turned dy", behind))
        ctx[0].needs_dx = ctx[1].needs_dx = ctx.needs_dx
        a = self.forwards.backward(ctx.packed("ahead", ahead), ctx[0])
        b = self.backwards.backward(ctx.packed("behind", behind), ctx[1])
        if a is None or b is None:
            return None
        dx = ctx.like("dx", b)
        np.copyto(dx, b) if words else _turned(b, lengths, dx)  # words have no order
        dx += a
        return dx

    def __repr__(self) -> str:
        return f"Bidirectional({self.forwards!r}, {self.backwards!r})"


def _turned(v: Array, lengths: Array, out: Array) -> Array:
    """Every sequence from its end to its beginning, and zeros behind, which is its own inverse."""
    for to, sequence, length in zip(out, v, lengths.tolist(), strict=True):
        to[:length] = sequence[:length][::-1]
        to[length:] = 0
    return out
