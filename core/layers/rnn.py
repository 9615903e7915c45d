"""The plain recurrence."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

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

    def _scan(self, first: int, last: int, z: Array, u: Array, states: list[Array], ctx: Context) -> None:
        (h,) = states
        product = ctx.buffer("product", z.shape[1:])
        for t in range(first, last):
            z[t] += np.dot(u, h[t], out=product)
            np.tanh(z[t], out=h[t + 1])

    def _retrace(
        self,
        first: int,
        last: int,
        z: Array,
        u: Array,
        states: list[Array],
        carried: list[Array],
        arrive: Callable[[int], None],
        d: Array,
        ctx: Context,
    ) -> None:
        h = states[0][first + 1 : last + 1]
        d = d[:, 0]
        np.multiply(h, h, out=d)
        np.subtract(1, d, out=d)
        (dh,) = carried
        for t in range(last - 1, first - 1, -1):
            arrive(t)
            d[t - first] *= dh
            np.dot(u.T, d[t - first], out=dh)
