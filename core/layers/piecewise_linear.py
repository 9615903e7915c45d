"""Numbers of a table as vectors: a piecewise-linear curve for each column, and a vector for each special value."""

from __future__ import annotations

import numpy as np

from core.context import Array, Context, Shape
from core.layer import Layer, Parameter


class PiecewiseLinear(Layer):
    """y_f = b_f + Σ_b clip(u_f − b, 0, 1) W_f[b] where u_f ≥ 0;   y_f = b_f + V_f[s] where u_f = −1 − s

    x (N, C), of which u = x[:, start : start + F]   W (F, B, E)   V (F, S, E)   b (F, E)   y (N, F·E)

    u_f counts bins: 2.5 lies in the middle of the third. So y_f is a piecewise-linear curve through E dimensions with
    a knot at each whole number up to B, and special values (−1 missing, −2, −3 … codes) stand outside the curve, each
    with a vector of its own. All bins start alike, so the curves start as straight lines.

    dW_f[b] = Σ clip(u_f − b, 0, 1) dy_f      du_f = W_f[⌊u_f⌋] · dy_f      (Gorishniy, Rubachev & Babenko, 2022)

    Raises ValueError where x has too few columns.
    """

    def __init__(
        self, features: int, bins: int, width: int, *, rng: np.random.Generator, specials: int = 1, start: int = 0
    ) -> None:
        check_columns(features, bins, width, start=start, specials=specials)
        slope = rng.standard_normal((features, width))
        codes = rng.standard_normal((features, specials, width))
        self.weight = Parameter(np.repeat(slope[:, None] * (2 / bins), bins, axis=1).astype(np.float32))
        self.codes = Parameter(codes.astype(np.float32))
        self.bias = Parameter((-slope).astype(np.float32), decays=False)
        self.start = start

    def forward(self, x: Array, ctx: Context) -> Array:
        features, bins, width = self.weight.value.shape
        specials = self.codes.value.shape[1]
        if not ctx.keeps:
            y = look_up(x, self.start, self.weight.value, self.codes.value, ctx)
            y += self.bias.value
            return y.reshape(len(x), features * width)
        code = bin_code(x, self.start, features, bins, specials, ctx)  # (F, N, B + S)
        table = ctx.buffer("table", (features, bins + specials, width))
        table[:, :bins], table[:, bins:] = self.weight.value, self.codes.value
        ctx.save(code, table, x.shape)
        curve = np.matmul(code, table, out=ctx.buffer("curve", (features, len(x), width)))
        y = ctx.buffer("y", (len(x), features, width))
        np.add(curve.transpose(1, 0, 2), self.bias.value, out=y)
        return y.reshape(len(x), features * width)

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        code, table, shape = ctx.saved
        features, bins, width = self.weight.value.shape
        ctx.add_product(self.bias, ctx.ones(len(dy)), dy)
        d = ctx.buffer("d", (features, len(dy), width))
        np.copyto(d, dy.reshape(len(dy), features, width).transpose(1, 0, 2))
        dtable = np.matmul(code.transpose(0, 2, 1), d, out=ctx.buffer("dtable", table.shape))
        ctx.add_grad(self.weight, dtable[:, :bins])
        ctx.add_grad(self.codes, dtable[:, bins:])
        if not ctx.needs_dx:
            return None
        dcode = np.matmul(d, table.transpose(0, 2, 1), out=ctx.buffer("dcode", code.shape))
        return bin_code_gradient(dcode, code, bins, self.start, shape, ctx)

    def flops(self, x: Shape, y: Shape) -> int:
        features, bins, width = self.weight.value.shape
        return 2 * x[0] * int(features * width * (bins + self.codes.value.shape[1]))

    def __repr__(self) -> str:
        return "PiecewiseLinear({}, {}, {})".format(*self.weight.value.shape)


def check_columns(*sizes: int, start: int, specials: int) -> None:
    """Raises ValueError for sizes below 1, or a start or number of special values below 0."""
    if min(sizes) < 1 or start < 0 or specials < 0:
        raise ValueError(f"a layer of columns has sizes from 1 up, not {sizes}, start {start}, specials {specials}")


def look_up(x: Array, start: int, steps: Array, codes: Array, ctx: Context) -> Array:
    """Σ_b clip(u_f − b, 0, 1) w_f[b], or v_f[s] where u_f = −1 − s, from the two ends of the bin that u_f lies in

    x (N, C)   u = x[:, start : start + F]   steps w (F, B, E)   codes v (F, S, E)   → (N, F, E)

    What `bin_code` gives by a product, in a time that does not grow with the bins, for when nothing need be saved.
    """
    features, bins, width = steps.shape
    check_read(x, start, features)
    u, specials = x[:, start : start + features], codes.shape[1]
    rows = bins + 1 + specials
    ends = ctx.buffer("ends", (features, rows, width))  # where each bin begins, where the last ends, special values
    ends[:, 0] = 0
    np.cumsum(steps, axis=1, out=ends[:, 1 : bins + 1])
    ends[:, bins + 1 :] = codes
    slopes = ctx.buffer("steps", ends.shape)
    slopes[:, :bins], slopes[:, bins:] = steps, 0
    at = np.clip(np.floor(u), -1 - specials, bins)  # beyond the special values: below
    inside = np.subtract(u, at)
    negative = at < 0
    special = negative & (inside == 0) & (at >= -specials)
    at = np.where(special, bins - at, np.where(negative, 0, at)).astype(np.intp)
    inside[negative] = 0
    at += np.arange(features) * rows
    y = ctx.buffer("y", (len(x), features, width))
    np.take(slopes.reshape(-1, width), at, axis=0, out=y, mode="clip")
    y *= inside[:, :, None]
    y += np.take(ends.reshape(-1, width), at, axis=0, out=ctx.buffer("from", y.shape), mode="clip")
    return y


def check_read(x: Array, start: int, features: int) -> None:
    """Raises ValueError where x has too few columns."""
    if x.ndim != 2 or x.shape[1] < start + features:
        raise ValueError(f"the layer reads columns {start} to {start + features - 1}, but x has shape {x.shape}")


def bin_code(x: Array, start: int, features: int, bins: int, specials: int, ctx: Context) -> Array:
    """u (N, F), columns of x → (F, N, B + S): how far u has come through each bin, then which special value it is"""
    check_read(x, start, features)
    u = ctx.buffer("u", (features, len(x), 1))
    np.copyto(u[:, :, 0], x[:, start : start + features].T)
    code = ctx.buffer("code", (features, len(x), bins + specials))
    np.subtract(u, ctx.once("knots", lambda: np.arange(bins, dtype=ctx.dtype)), out=code[:, :, :bins])
    np.clip(code[:, :, :bins], 0, 1, out=code[:, :, :bins])
    np.equal(u, ctx.once("special", lambda: -1 - np.arange(specials, dtype=ctx.dtype)), out=code[:, :, bins:])
    return code


def bin_code_gradient(dcode: Array, code: Array, bins: int, start: int, shape: Shape, ctx: Context) -> Array:
    """The gradient of the code → that of x: the slope of the bin that u lies in; zero in columns not read"""
    inside, features = code[:, :, :bins], len(code)
    open_bins = np.greater(inside, 0, out=ctx.buffer("open", inside.shape, bool))
    open_bins &= np.less(inside, 1, out=ctx.buffer("below", inside.shape, bool))
    slopes = np.multiply(dcode[:, :, :bins], open_bins, out=ctx.buffer("slopes", inside.shape))
    dx = ctx.buffer("dx", shape)
    dx.fill(0)
    np.sum(slopes, axis=2, out=dx[:, start : start + features].T)
    return dx
