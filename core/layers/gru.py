"""The gated recurrent unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from core.context import Array, Context
from core.initializers import zeros
from core.layer import Parameter
from core.layers.recurrent import ONES, Gates, Recurrent


class GRU(Recurrent):
    """r z = σ(x W + h U + b)   q = h U + b_q   n = tanh(x W + b + r q)      h' = (1 − z) n + z h

    x (N, T, E)   W (E, 3 H)   U (H, 3 H)   b (3 H,)   b_q (H,)   y (N, T, H), or the last h (N, H)   state (h,)

    The variant of PyTorch and cuDNN: the reset gate is applied after the product with U, not to h before it. The gates
    stand in the order r, z, n in W, U and b, which is PyTorch's (whose two biases of r and z add up to b).

    dn = dh' (1 − z)   dz = dh' (h − n)   with da = dn (1 − n²): dr = da q   dq = da r   dh = dh' z + [dr dz dq] Uᵀ
    (Cho et al., 2014)

    Raises ValueError where x has other than E features.
    """

    gates: ClassVar[Gates] = ((2, 1), (0, -1), (1, -1))  # n r z
    recurrent_gates: ClassVar[Gates] = ((0, -1), (1, -1), (2, 1))  # r z q: in n r z q, both are neighbours
    blocks: ClassVar[int] = 4

    def __init__(self, inputs: int, units: int, *, rng: np.random.Generator, output: str = "sequence") -> None:
        super().__init__(inputs, units, rng=rng, output=output)
        self.recurrent_bias = Parameter(zeros((units,)), decays=False)

    def _scan(self, first: int, last: int, z: Array, u: Array, states: list[Array], ctx: Context) -> None:
        (h,) = states
        units, n = self.units, z.shape[2]
        q = ctx.buffer("q", (z.shape[0], units, n))
        product, share = ctx.buffer("product", (3 * units, n)), ctx.buffer("share", (units, n))
        bias = self.recurrent_bias.value[:, None]
        one, both = ONES[z.dtype], 2 * units
        now = slice(first, last)
        gates = z[now, :units], z[now, units:], z[now, units:both], z[now, both:]
        each = *gates, q[now], h[now], h[first + 1 : last + 1]
        for fresh, sigmoids, reset, update, asked, h0, h1 in zip(*each, strict=True):  # a step, as views
            np.dot(u, h0, out=product)
            np.add(sigmoids, product[:both], out=sigmoids)
            np.add(np.exp(sigmoids, out=sigmoids), one, out=sigmoids)
            np.reciprocal(sigmoids, out=sigmoids)
            np.add(product[both:], bias, out=asked)
            np.add(fresh, np.multiply(reset, asked, out=share), out=fresh)
            np.tanh(fresh, out=fresh)
            np.subtract(h0, fresh, out=share)
            np.multiply(share, update, out=share)
            np.add(share, fresh, out=h1)

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
        gates = z[first:last].reshape(-1, 3, units, n)
        fresh, reset, update = (gates[:, k] for k in range(3))
        q = ctx.buffer("q", (z.shape[0], units, n))[first:last]
        # d is at first what multiplies dh', for n, r, z and q
        np.multiply(gates, gates, out=d[:, :3])
        np.subtract(1, d[:, 0], out=d[:, 0])
        d[:, 1:3] -= gates[:, 1:]  # of a negated row: σ' = −σ (1 − σ)
        d[:, 0] *= np.subtract(1, update, out=d[:, 3])
        d[:, 1] *= q
        d[:, 1] *= d[:, 0]
        d[:, 2] *= np.subtract(states[0][first:last], fresh, out=d[:, 3])
        np.multiply(d[:, 0], reset, out=d[:, 3])
        (dh,) = carried
        share = ctx.buffer("share", (units, n))
        for t in range(last - 1, first - 1, -1):
            arrive(t)
            k = t - first
            d[k] *= dh
            np.dot(u.T, d[k, 1:].reshape(-1, n), out=share)
            dh *= update[k]
            dh += share

    def _recurrent_bias(self) -> Parameter:
        return self.recurrent_bias
