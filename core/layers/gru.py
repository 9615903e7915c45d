"""The gated recurrent unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy import add, exp, multiply, reciprocal, subtract, tanh  # at every step: a name less to look up

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
    kept: ClassVar[int] = 1  # q

    def __init__(self, inputs: int, units: int, *, rng: np.random.Generator, output: str = "sequence") -> None:
        super().__init__(inputs, units, rng=rng, output=output)
        self.recurrent_bias = Parameter(zeros((units,)), decays=False)

    def _scan(self, z: Array, u: Array, states: list[Array], kept: Array, ctx: Context) -> None:
        (h,) = states
        units, n = self.units, z.shape[2]
        product, share = ctx.buffer("product", (3 * units, n)), ctx.buffer("share", (units, n))
        bias = self.recurrent_bias.value[:, None]
        one, both = ONES[z.dtype], 2 * units
        of_sigmoids, of_q = product[:both], product[both:]
        each = z[:, :units], z[:, units:], z[:, units:both], z[:, both:], kept[:, 0], h[1:]
        h0 = h[0]
        for fresh, sigmoids, reset, update, q, h1 in zip(*each, strict=True):  # a step, as views
            np.dot(u, h0, product)
            add(sigmoids, of_sigmoids, sigmoids)
            add(exp(sigmoids, sigmoids), one, sigmoids)
            reciprocal(sigmoids, sigmoids)
            add(of_q, bias, q)
            add(fresh, multiply(reset, q, share), fresh)
            tanh(fresh, fresh)
            subtract(h0, fresh, share)
            multiply(share, update, share)
            h0 = add(share, fresh, h1)

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
        gates = z.reshape(-1, 3, units, n)
        fresh, reset, update = (gates[:, k] for k in range(3))
        # d is at first what multiplies dh', for n, r, z and q
        multiply(gates, gates, d[:, :3])
        subtract(1, d[:, 0], d[:, 0])
        d[:, 1:3] -= gates[:, 1:]  # of a negated row: σ' = −σ (1 − σ)
        d[:, 0] *= subtract(1, update, d[:, 3])
        d[:, 1] *= kept[:, 0]
        d[:, 1] *= d[:, 0]
        d[:, 2] *= subtract(states[0][:-1], fresh, d[:, 3])
        multiply(d[:, 0], reset, d[:, 3])
        (dh,) = carried
        share, back = ctx.buffer("share", (units, n)), u.T
        each = d[::-1], d[::-1, 1:].reshape(count, -1, n), update[::-1]
        for t, every, of_product, stays in zip(range(first, first + count)[::-1], *each, strict=True):
            arrive(t)
            multiply(every, dh, every)
            np.dot(back, of_product, share)
            multiply(dh, stays, dh)
            add(dh, share, dh)

    def _recurrent_bias(self) -> Parameter:
        return self.recurrent_bias
