"""The plain recurrence."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy import add, multiply, subtract, tanh  # at every step: a name less to look up

from core.context import Array, Context
from core.layers.recurrent import Gates, Recurrent


class RNN(Recurrent):
    """h' = tanh(x W + h U + b)

    x (N, T, E)   W (E, H)   U (H, H)   b (H,)   y (N, T, H), or the last h (N, H)   state (h,)

    da = dh' (1 − h'²)      dh = da Uᵀ      dx = da Wᵀ      (Elman, 1990)

    Gradients fade, or explode, over many steps: `LSTM` and `GRU` were made against it.

    Raises ValueError where x has other than E features.
    """

    gates: ClassVar[Gates] = ((0, 1),)
    recurrent_gates: ClassVar[Gates] = gates
    blocks: ClassVar[int] = 1

    def _scan(self, z: Array, u: Array, states: list[Array], kept: Array, ctx: Context) -> None:
        (h,) = states
        product = ctx.buffer("product", z.shape[1:])
        h0 = h[0]
        for every, h1 in zip(z, h[1:], strict=True):
            add(every, np.dot(u, h0, product), every)
            h0 = tanh(every, h1)

    def _retrace(
        self,
        first: int,
        z: Array,
        u: Array,
        states: list[Array],
        kept: Array,
        carried: list[Array],
        arrive: Callable[[int], None],
        d: Array,
        ctx: Context,
    ) -> None:
        h, d = states[0][1:], d[:, 0]
        multiply(h, h, d)
        subtract(1, d, d)
        (dh,) = carried
        back = u.T
        for t, every in zip(range(first, first + len(d))[::-1], d[::-1], strict=True):
            arrive(t)
            np.dot(back, multiply(every, dh, every), dh)
