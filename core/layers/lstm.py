"""The long short-term memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

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

    def __init__(self, inputs: int, units: int, *, rng: np.random.Generator, output: str = "sequence") -> None:
        super().__init__(inputs, units, rng=rng, output=output)
        self.bias.value[units : 2 * units] = 1

    def _scan(self, first: int, last: int, z: Array, u: Array, states: list[Array], ctx: Context) -> None:
        h, c = states
        units, n = self.units, z.shape[2]
        tanh = ctx.buffer("tanh", (z.shape[0], units, n))
        product, fresh = ctx.buffer("product", (4 * units, n)), ctx.buffer("fresh", (units, n))
        one = ONES[z.dtype]
        now, after = slice(first, last), slice(first + 1, last + 1)
        gates = z[now].reshape(-1, 4, units, n)
        each = z[now], z[now, units:], *(gates[:, k] for k in range(4)), h[now], h[after], c[now], c[after], tanh[now]
        for every, sigmoids, g, i, f, o, h0, h1, c0, c1, squashed in zip(*each, strict=True):  # a step, as views
            np.add(every, np.dot(u, h0, out=product), out=every)
            np.tanh(g, out=g)
            np.add(np.exp(sigmoids, out=sigmoids), one, out=sigmoids)
            np.reciprocal(sigmoids, out=sigmoids)
            np.multiply(f, c0, out=c1)
            np.add(c1, np.multiply(i, g, out=fresh), out=c1)
            np.multiply(o, np.tanh(c1, out=squashed), out=h1)

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
        units, n = self.units, z.shape[2]
        shape = last - first, units, n
        gates = z[first:last].reshape(-1, 4, units, n)
        g, i, f, o = (gates[:, k] for k in range(4))
        tanh = ctx.buffer("tanh", (z.shape[0], units, n))[first:last]
        # d is at first what multiplies dc' and dh'
        np.multiply(gates, gates, out=d)
        np.subtract(1, d[:, 0], out=d[:, 0])
        d[:, 1:] -= gates[:, 1:]  # of a negated row: σ' = −σ (1 − σ)
        d[:, 0] *= i
        d[:, 1] *= g
        d[:, 2] *= states[1][first:last]
        d[:, 3] *= tanh
        through = np.multiply(tanh, tanh, out=ctx.buffer("through", shape))  # dh' → dc'
        np.subtract(1, through, out=through)
        through *= o
        dh, dc = carried
        share = ctx.buffer("share", (units, n))
        for t in range(last - 1, first - 1, -1):
            arrive(t)
            k = t - first
            dc += np.multiply(dh, through[k], out=share)
            d[k, :3] *= dc
            d[k, 3] *= dh
            np.dot(u.T, d[k].reshape(-1, n), out=dh)
            dc *= f[k]
