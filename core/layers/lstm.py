"""The long short-term memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy import add, exp, multiply, reciprocal, subtract, tanh  # at every step: a name less to look up

from core.context import Array, Context
from core.layers.recurrent import ONES, Gates, Recurrent


class LSTM(Recurrent):
    """i f o = σ(x W + h U + b)   g = tanh(x W + h U + b)      c' = f c + i g      h' = o tanh c'

    x (N, T, E)   W (E, 4 H)   U (H, 4 H)   b (4 H,)   y (N, T, H), or the last h (N, H)   state (h, c)

    The gates stand in the order i, f, g, o in W, U and b, which is PyTorch's (whose two biases add up to b). The bias
    of the forget gate begins at 1, so that memory lasts until training says otherwise (Jozefowicz et al., 2015).

    do = dh' tanh c'   dc' += dh' o (1 − tanh² c')   di = dc' g   df = dc' c   dg = dc' i   dc = dc' f
    (Hochreiter & Schmidhuber, 1997; Gers et al., 2000)

    Raises ValueError where x has other than E features.
    """

    gates: ClassVar[Gates] = ((2, 1), (0, -1), (1, -1), (3, -1))  # g i f o: those of dc and those of σ together
    recurrent_gates: ClassVar[Gates] = gates
    states: ClassVar[int] = 2
    blocks: ClassVar[int] = 4
    kept: ClassVar[int] = 1  # tanh c

    def __init__(self, inputs: int, units: int, *, rng: np.random.Generator, output: str = "sequence") -> None:
        super().__init__(inputs, units, rng=rng, output=output)
        self.bias.value[units : 2 * units] = 1

    def _scan(self, z: Array, u: Array, states: list[Array], kept: Array, ctx: Context) -> None:
        h, c = states
        units, n = self.units, z.shape[2]
        product, fresh = ctx.buffer("product", (4 * units, n)), ctx.buffer("fresh", (units, n))
        one = ONES[z.dtype]
        gates = z.reshape(-1, 4, units, n)
        each = z, z[:, units:], *(gates[:, k] for k in range(4)), h[1:], c[1:], kept[:, 0]
        h0, c0 = h[0], c[0]
        for every, sigmoids, g, i, f, o, h1, c1, tanh_c in zip(*each, strict=True):  # a step, as views
            add(every, np.dot(u, h0, product), every)
            tanh(g, g)
            add(exp(sigmoids, sigmoids), one, sigmoids)
            reciprocal(sigmoids, sigmoids)
            multiply(f, c0, c1)
            add(c1, multiply(i, g, fresh), c1)
            multiply(o, tanh(c1, tanh_c), h1)
            h0, c0 = h1, c1

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
        count, units, n = kept[:, 0].shape
        gates = z.reshape(-1, 4, units, n)
        g, i, f, o = (gates[:, k] for k in range(4))
        tanh_c = kept[:, 0]
        # d is at first what multiplies dc' and dh'
        multiply(gates, gates, d)
        subtract(1, d[:, 0], d[:, 0])
        d[:, 1:] -= gates[:, 1:]  # of a negated row: σ' = −σ (1 − σ)
        d[:, 0] *= i
        d[:, 1] *= g
        d[:, 2] *= states[1][:-1]
        d[:, 3] *= tanh_c
        through = multiply(tanh_c, tanh_c, ctx.buffer("through", tanh_c.shape))  # dh' → dc'
        subtract(1, through, through)
        through *= o
        dh, dc = carried
        share, back = ctx.buffer("share", (units, n)), u.T
        steps = through, d[:, :3], d[:, 3], d.reshape(count, -1, n), f
        each = range(first, first + count)[::-1], *(step[::-1] for step in steps)
        for t, to_c, d_gif, d_o, every, forget in zip(*each, strict=True):
            arrive(t)
            add(dc, multiply(dh, to_c, share), dc)
            multiply(d_gif, dc, d_gif)
            multiply(d_o, dh, d_o)
            np.dot(back, every, dh)
            multiply(dc, forget, dc)
