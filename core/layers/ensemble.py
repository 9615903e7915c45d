"""Several models as one."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context
from core.layer import Layer
from core.padded import call, values_of


class Ensemble(Layer):
    """y = ln (1 / M · Σ_m p_m),  p_m = softmax(f_m(x)): the mean of the members' probabilities, as logits

    x as every member takes it   f_m(x) (N, K) logits   y (N, K)

    With r_m = p_m / Σ p the members' shares of each class, dz_m = r_m dy − p_m Σ_k r_mk dy_k, and dx = Σ_m f_m'ᵀ dz_m.
    Members that err on different examples are together better than each.      (Hansen & Salamon, 1990)

    Raises ValueError where there is no member, or their logits differ in shape.
    """

    takes_padded = True

    def __init__(self, *members: Layer) -> None:
        if not members:
            raise ValueError("Ensemble needs at least one member")
        self.members = members

    def forward(self, x: Any, ctx: Context) -> Array:
        outputs = [values_of(call(member, x, ctx[i])) for i, member in enumerate(self.members)]
        if len(shapes := {z.shape for z in outputs}) != 1 or outputs[0].ndim != 2:
            raise ValueError(f"the members of an Ensemble give logits of one shape (N, K), not {sorted(shapes)}")
        p = ctx.buffer("p", (len(outputs), *outputs[0].shape))
        column = ctx.buffer("column", (len(x), 1))
        for each, z in zip(p, outputs, strict=True):
            np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True, out=column), out=each)
            np.exp(each, out=each)
            np.divide(each, np.add.reduce(each, axis=1, keepdims=True, out=column), out=each)
        np.maximum(p, np.finfo(p.dtype).tiny, out=p)  # no class is impossible: ln 0 is no number
        total = np.add.reduce(p, axis=0, out=ctx.buffer("total", outputs[0].shape))
        ctx.save(p, total)
        y = np.multiply(total, 1 / len(p), out=ctx.buffer("y", total.shape))
        return np.log(y, out=y)

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        p, total = ctx.saved
        shared = np.divide(dy, total, out=ctx.buffer("shared", dy.shape))
        dx: Array | None = None
        for i, (member, each) in enumerate(zip(self.members, p, strict=True)):
            dz = np.multiply(each, shared, out=ctx.buffer("dz", dy.shape))  # r dy
            each *= np.add.reduce(dz, axis=1, keepdims=True, out=ctx.buffer("column", (len(dy), 1)))
            dz -= each
            ctx[i].needs_dx = ctx.needs_dx
            d = member.backward(dz, ctx[i])
            if d is None:
                continue
            if dx is None:
                dx = ctx.like("dx", d)
                np.copyto(dx, d)
            else:
                dx += d
        return dx

    def __repr__(self) -> str:
        return f"Ensemble({', '.join(map(repr, self.members))})"
