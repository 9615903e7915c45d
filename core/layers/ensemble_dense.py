"""A dense layer that many members of an ensemble share."""

from __future__ import annotations

import numpy as np

from core.context import Array, Context, Shape
from core.initializers import Initializer, he_normal, ones, zeros
from core.layer import Layer, Parameter


class EnsembleDense(Layer):
    """y_k = ((x_k ∘ r_k) W) ∘ s_k + b_k,  for K members with one weight

    x (N, K, I), or (N, I) for all members alike   W (I, O)   r (K, I)   s b (K, O)   y (N, K, O)

    With h = (x ∘ r) W:  db = Σ dy   ds = Σ dy h   dh = dy s   dW = (x ∘ r)ᵀ dh   dz = dh Wᵀ   dr = Σ dz x   dx = dz r

    `diverse` draws r from {−1, 1}, which lets the members differ from the start: for the first layer and the last.
    Elsewhere r starts at 1; s always does.      (Wen, Tran & Ba, 2020; Gorishniy, Kotelnikov & Babenko, 2025)

    Raises ValueError where x has another number of inputs or members.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        members: int,
        *,
        rng: np.random.Generator,
        diverse: bool = False,
        initializer: Initializer = he_normal,
    ) -> None:
        self.weight = Parameter(initializer((inputs, outputs), rng))
        r = ones((members, inputs))
        if diverse:
            np.copysign(r, rng.standard_normal((members, inputs)), out=r, casting="same_kind")
        self.r = Parameter(r, decays=False)
        self.s = Parameter(ones((members, outputs)), decays=False)
        self.bias = Parameter(zeros((members, outputs)), decays=False)

    def forward(self, x: Array, ctx: Context) -> Array:
        members, inputs = self.r.value.shape
        if x.shape[1:] not in ((inputs,), (members, inputs)):
            raise ValueError(f"EnsembleDense takes (N, {inputs}) or (N, {members}, {inputs}), not {x.shape}")
        if x.ndim == 2 and not ctx.keeps:
            return self._all_alike(x, ctx)
        each = x[:, None] if x.ndim == 2 else x  # (N, 1 or K, I)
        z = np.multiply(each, self.r.value, out=ctx.buffer("z", (len(x), members, inputs)))
        h = ctx.buffer("h", (len(x), members, self.s.value.shape[1]))
        np.dot(z.reshape(-1, inputs), self.weight.value, out=h.reshape(-1, h.shape[2]))
        ctx.save(each, z, h, x.ndim)
        y: Array = np.multiply(h, self.s.value, out=ctx.buffer("y", h.shape))
        y += self.bias.value
        return y

    def _all_alike(self, x: Array, ctx: Context) -> Array:
        """The same from one product with r_k ∘ W ∘ s_k side by side, where nothing need be saved."""
        r, s = self.r.value, self.s.value
        table = ctx.buffer("table", (r.shape[1], *s.shape))  # (I, K, O)
        np.multiply(self.weight.value[:, None], s, out=table)
        table *= r.T[:, :, None]
        y = ctx.buffer("y", (len(x), *s.shape))
        np.dot(x, table.reshape(len(table), -1), out=y.reshape(len(x), -1))
        y += self.bias.value
        return y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        each, z, h, axes = ctx.saved
        n, (members, inputs) = len(dy), self.r.value.shape
        over = ctx.ones(n)  # sums over the batch are products with it
        dh = ctx.buffer("dh", h.shape)
        if ctx.grads is not None:
            ctx.add_product(self.bias, over, dy.reshape(n, -1))
            ctx.add_product(self.s, over, np.multiply(dy, h, out=dh).reshape(n, -1))
        drows = np.multiply(dy, self.s.value, out=dh).reshape(-1, dh.shape[2])
        dz = np.dot(drows, self.weight.value.T, out=ctx.buffer("dz", (n * members, inputs))).reshape(z.shape)
        if ctx.grads is not None:
            ctx.add_product(self.weight, z.reshape(-1, inputs).T, drows)
            dr = np.multiply(dz, each, out=ctx.buffer("dr", z.shape))
            ctx.add_product(self.r, over, dr.reshape(n, -1))
        if not ctx.needs_dx:
            return None
        dz *= self.r.value
        return dz if axes == 3 else np.sum(dz, axis=1, out=ctx.buffer("dx", (n, inputs)))

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * int(np.prod(y)) * len(self.weight.value)

    def __repr__(self) -> str:
        return "EnsembleDense({}, {}, members={})".format(*self.weight.value.shape, len(self.r.value))
