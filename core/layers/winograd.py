"""3×3 convolutions in 2.25 times fewer multiplications (Winograd, 1980; Lavin & Gray, 2016).

Two neighbouring outputs of a filter g of three numbers take four products instead of six:

    y0 = d0 g0 + d1 g1 + d2 g2 = m0 + m1 + m2      m0 = (d0 − d2) g0      m1 = (d1 + d2) (g0 + g1 + g2) / 2
    y1 = d1 g0 + d2 g1 + d3 g2 = m1 − m2 + m3      m3 = (d3 − d1) g2      m2 = (d2 − d1) (g0 − g1 + g2) / 2

Along both axes, a tile of 2×2 outputs takes 16 products instead of 36. So images become 16 matrices of tiles, filters
16 matrices, and the sums over channels 16 matrix products. What is saved is large where channels are many.

Even and odd columns are taken apart first, so that all operations run along contiguous memory. The way back is the same
chain of sums, each turned around.

    C O channels in, out      P Q tiles along the axes      M = P·Q·N tiles      four: the outputs by their place in the
    tile, (2, 2, O, M), which is how pooling by 2×2 wants them
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from core.context import Array, Context, Shape

_FILTER = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_FILTERS = {dtype: np.kron(_FILTER, _FILTER).astype(dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}
_SPREAD = ((np.subtract, 0, 2), (np.add, 1, 2), (np.subtract, 2, 1), (np.subtract, 3, 1))  # of d0 … d3
_CHANNELS, _IMAGES = 16, 4  # with fewer, the transforms cost more than the products save


def pays(weight: Shape, n: int, p: int, q: int) -> bool:
    """Whether a convolution (C, K, K, O), of stride 1, of N images to P × Q outputs is done faster so."""
    c, k, m, o = weight
    return (k, m) == (3, 3) and min(c, o) >= _CHANNELS and n >= _IMAGES and p % 2 == q % 2 == 0


def filters(weight: Array, ctx: Context) -> Array:
    """(C, 3, 3, O) → (16, C, O)"""
    c, _, _, o = weight.shape
    nine = ctx.scratch("nine", (9, c, o))
    np.copyto(nine.reshape(3, 3, c, o), weight.transpose(1, 2, 0, 3))
    u = ctx.buffer("filters", (16, c, o))
    np.dot(_FILTERS[weight.dtype], nine.reshape(9, -1), out=u.reshape(16, -1))
    return u


def filters_back(du: Array, ctx: Context) -> Array:
    """(16, C, O) → (C, 3, 3, O), a view"""
    _, c, o = du.shape
    nine = ctx.scratch("dnine", (9, c, o))
    np.dot(_FILTERS[du.dtype].T, du.reshape(16, -1), out=nine.reshape(9, -1))
    return nine.reshape(3, 3, c, o).transpose(2, 0, 1, 3)


def tiles(v: Array, p: int, q: int, ctx: Context) -> Array:
    """(C, ≥ 2 P + 2, ≥ 2 Q + 2, N) → (16, C, M)"""
    c, n = len(v), v.shape[3]
    pixels, row = ctx.scratch("pixels", (2, c, 2 * p + 2, q + 1, n)), ctx.scratch("row", (2, c, p, q + 1, n))
    made = ctx.buffer("tiles", (4, 4, c, p, q, n))
    np.copyto(pixels, _columns_apart(v, p, q))
    d = [pixels[:, :, i : i + 2 * p - 1 : 2] for i in range(4)]  # the four rows of every tile
    for i, (combine, a, b) in enumerate(_SPREAD):
        even, odd = combine(d[a], d[b], out=row)
        e = even[:, :, :q], odd[:, :, :q], even[:, :, 1:], odd[:, :, 1:]  # the four columns
        for j, (along, a, b) in enumerate(_SPREAD):
            along(e[a], e[b], out=made[i, j])
    return made.reshape(16, c, p * q * n)


def tiles_back(dmade: Array, dv: Array, p: int, q: int, ctx: Context) -> None:
    """(16, C, M) → dv (C, H, W, N), all of it"""
    c, h, w, n = dv.shape
    if h > 2 * p + 2 or w > 2 * q + 2:
        dv.fill(0)
    pixels, rows = ctx.scratch("pixels", (2, c, 2 * p + 2, q + 1, n)), ctx.scratch("drows", (2, 4, c, p, q + 1, n))
    d = dmade.reshape(4, 4, c, p, q, n).swapaxes(0, 1)  # columns first
    _spread_back(d, rows[0], rows[1], ctx.scratch("share", d.shape[1:]), 3)
    _spread_back(
        rows.swapaxes(0, 1), pixels[:, :, 0::2], pixels[:, :, 1::2], ctx.scratch("row", (2, c, p, q + 1, n)), 2
    )
    np.copyto(_columns_apart(dv, p, q), pixels)


def outputs(u: Array, v: Array, four: Array, ctx: Context) -> None:
    """filters (16, C, O), tiles (16, C, M) → four (2, 2, O, M)"""
    o, m = u.shape[2], v.shape[2]
    products = np.matmul(u.transpose(0, 2, 1), v, out=ctx.scratch("products", (16, o, m))).reshape(4, 4, o, m)
    rows = ctx.scratch("sums", (2, 4, o, m))
    _gather(products, rows[0], rows[1])
    _gather(rows.swapaxes(0, 1), four[:, 0], four[:, 1])


def outputs_back(dfour: Array, ctx: Context) -> Array:
    """dfour (2, 2, O, M) → dproducts (16, O, M)"""
    o, m = dfour.shape[2:]
    products, between = ctx.scratch("products", (4, 4, o, m)), ctx.scratch("sums", (2, 2, o, m))
    np.add(dfour[0], dfour[1], out=between[0])
    np.subtract(dfour[0], dfour[1], out=between[1])
    for made, (left, right) in zip(products, (dfour[0], *between, dfour[1]), strict=True):
        np.copyto(made[0], left)
        np.add(left, right, out=made[1])
        np.subtract(left, right, out=made[2])
        np.copyto(made[3], right)
    return products.reshape(16, o, m)


def _spread_back(d: Array, even: Array, odd: Array, share: Array, axis: int) -> None:
    """d (4, …), of what _SPREAD made → of the numbers at even and odd places, one more of each along an axis"""
    here, behind = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
    last = (slice(None),) * axis + (-1,)
    np.add(d[1], d[2], out=share)
    share -= d[0]
    even[here], even[last] = d[0], 0
    even[behind] += share
    np.subtract(d[1], d[2], out=share)
    share -= d[3]
    odd[here], odd[last] = share, 0
    odd[behind] += d[3]


def _gather(m: Array, y0: Array, y1: Array) -> None:
    np.add(m[0], m[1], out=y0)
    y0 += m[2]
    np.subtract(m[1], m[2], out=y1)
    y1 += m[3]


def _columns_apart(v: Array, p: int, q: int) -> Array:
    """(C, H, W, N) → (2, C, 2 P + 2, Q + 1, N), a view: even columns, then odd ones"""
    c, h, w, n = v.strides
    return as_strided(v, (2, len(v), 2 * p + 2, q + 1, v.shape[3]), (w, c, h, 2 * w, n))
