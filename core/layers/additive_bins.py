"""A curve for each column of a table, rising or falling throughout where it is told to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.context import Array, Context, Shape
from core.layer import Layer, Parameter
from core.layers.piecewise_linear import bin_code, bin_code_gradient, check_columns, look_up


class AdditiveBins(Layer):
    """y_f = Σ_b clip(u_f − b, 0, 1) w_f[b] where u_f ≥ 0;   y_f = v_f[s] where u_f = −1 − s

    w_f = θ_f   where direction f is 0;   +ln(1 + e^θ_f)   where it is +1;   −ln(1 + e^θ_f)   where it is −1

    x (N, C), of which u = x[:, start : start + F]   θ (F, B)   v (F, S)   y (N, F): what each column adds

    u_f counts bins, as in `PiecewiseLinear`. A curve made of steps that are never negative never falls, for any θ:
    the constraint holds exactly, in training too. Special values stand outside it.

    dθ_f[b] = w'(θ_f[b]) Σ clip(u_f − b, 0, 1) dy_f      dv_f[s] = Σ dy_f over the rows that hold s
    (Agarwal et al., 2021; steps as in Sill, 1998)

    Raises ValueError where x has too few columns, or a direction is none of −1, 0, 1.
    """

    def __init__(
        self, features: int, bins: int, *, specials: int = 1, directions: Sequence[int] = (), start: int = 0
    ) -> None:
        check_columns(features, bins, start=start, specials=specials)
        signs = [int(sign) for sign in directions] or [0] * features
        if len(signs) != features or not {*signs} <= {-1, 0, 1}:
            raise ValueError(f"directions are {features} of −1, 0 and 1, not {tuple(directions)}")
        self.free_columns = np.flatnonzero(np.equal(signs, 0))
        self.bound_columns = np.flatnonzero(signs)
        self.signs = np.array([sign for sign in signs if sign], np.float32)[:, None]
        self.free = Parameter(np.zeros((len(self.free_columns), bins), np.float32))
        low = np.float32(np.log(np.expm1(0.5 / bins)))  # steps that add up to a half
        self.bound = Parameter(np.full((len(self.bound_columns), bins), low), decays=False)
        self.codes = Parameter(np.zeros((features, specials), np.float32))
        self.bins, self.start = bins, start

    def steps(self) -> Array:
        """w (F, B): how much each bin adds from its left end to its right"""
        w = np.empty((len(self.codes.value), self.bins), self.codes.value.dtype)
        w[self.free_columns] = self.free.value
        w[self.bound_columns] = self.signs * np.logaddexp(self.bound.value, self.bound.value.dtype.type(0))
        return w

    def forward(self, x: Array, ctx: Context) -> Array:
        features, specials = self.codes.value.shape
        if not ctx.keeps:
            return look_up(x, self.start, self.steps()[:, :, None], self.codes.value[:, :, None], ctx)[:, :, 0]
        code = bin_code(x, self.start, features, self.bins, specials, ctx)  # (F, N, B + S)
        table = ctx.buffer("table", (features, self.bins + specials, 1))
        table[:, : self.bins, 0], table[:, self.bins :, 0] = self.steps(), self.codes.value
        ctx.save(code, table, x.shape)
        sums = np.matmul(code, table, out=ctx.buffer("sums", (features, len(x), 1)))
        y = ctx.buffer("y", (len(x), features))
        np.copyto(y, sums[:, :, 0].T)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        code, table, shape = ctx.saved
        d = ctx.buffer("d", (len(code), len(dy), 1))
        np.copyto(d[:, :, 0], dy.T)
        dtable = np.matmul(code.transpose(0, 2, 1), d, out=ctx.buffer("dtable", table.shape))[:, :, 0]
        ctx.add_grad(self.codes, dtable[:, self.bins :])
        ctx.add_grad(self.free, dtable[self.free_columns, : self.bins])
        slope = self.signs / (1 + np.exp(-self.bound.value))
        ctx.add_grad(self.bound, dtable[self.bound_columns, : self.bins] * slope)
        if not ctx.needs_dx:
            return None
        dcode = np.multiply(d, table.transpose(0, 2, 1), out=ctx.buffer("dcode", code.shape))
        return bin_code_gradient(dcode, code, self.bins, self.start, shape, ctx)

    def flops(self, x: Shape, y: Shape) -> int:
        features, specials = self.codes.value.shape
        return 2 * x[0] * int(features) * (self.bins + int(specials))

    def __repr__(self) -> str:
        return f"AdditiveBins({len(self.codes.value)}, {self.bins})"
