"""Pooling over time by attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.initializers import glorot_uniform, zeros
from core.layer import Layer, Parameter
from core.layers.global_pool1d import steps_of


class AttentionPooling(Layer):
    """y = Σ_t a_t x_t,  a = softmax over t of s,  s_t = tanh(x_t W + b) · v

    x (N, T, F), an array or `Padded`   W (F, A)   b (A,)   v (A,)   y (N, F), 0 for an empty sequence

    ds = a (da − Σ_t a_t da_t) with da_t = x_t · dy;   dx_t = a_t dy + (ds_t v (1 − tanh²)) Wᵀ; behind the end a is 0.
    (Yang et al., 2016)

    Raises ValueError where x has other than three axes.
    """

    takes_padded = True

    def __init__(self, features: int, attention: int, *, rng: np.random.Generator) -> None:
        self.weight = Parameter(glorot_uniform((features, attention), rng))
        self.bias = Parameter(zeros((attention,)), decays=False)
        self.query = Parameter(glorot_uniform((attention, 1), rng)[:, 0])

    def forward(self, x: Any, ctx: Context) -> Array:
        v, lengths = steps_of(self, x)
        n, t, f = v.shape
        if not v.flags.c_contiguous:
            v, given = ctx.buffer("x", v.shape), v
            np.copyto(v, given)
        rows = v.reshape(n * t, f)
        hidden = np.dot(rows, self.weight.value, out=ctx.buffer("hidden", (n * t, self.weight.value.shape[1])))
        hidden += self.bias.value
        np.tanh(hidden, out=hidden)
        a = np.dot(hidden, self.query.value, out=ctx.buffer("a", (n * t,))).reshape(n, t)
        for scores, length in zip(a, lengths.tolist(), strict=True):
            scores[length:] = -np.inf
        a -= np.maximum(a.max(axis=1, keepdims=True), np.finfo(a.dtype).min)  # −∞ for an empty sequence
        np.exp(a, out=a)
        total = a.sum(axis=1, keepdims=True)
        a /= total + (total == 0)
        ctx.save(v, rows, hidden, a)
        y: Array = np.matmul(a[:, None], v, out=ctx.buffer("y", (n, 1, f)))[:, 0]
        return y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        v, rows, hidden, a = ctx.saved
        n, t, f = v.shape
        ds = np.matmul(v, dy[:, :, None], out=ctx.buffer("ds", (n, t, 1)))[:, :, 0]
        ds -= np.einsum("nt,nt->n", a, ds)[:, None]
        ds *= a
        column = ds.reshape(n * t, 1)
        ctx.add_grad(self.query, np.dot(hidden.T, column, out=ctx.buffer("dv", (hidden.shape[1], 1)))[:, 0])
        dhidden = np.multiply(hidden, hidden, out=ctx.buffer("dhidden", hidden.shape))
        np.subtract(1, dhidden, out=dhidden)
        dhidden *= self.query.value
        dhidden *= column
        ctx.add_product(self.weight, rows.T, dhidden)
        ctx.add_product(self.bias, ctx.ones(n * t), dhidden)
        if not ctx.needs_dx:
            return None
        dx: Array = np.dot(dhidden, self.weight.value.T, out=ctx.buffer("dx", (n * t, f))).reshape(n, t, f)
        direct = ctx.buffer("direct", (t, f))
        for i in range(n):
            dx[i] += np.multiply(a[i, :, None], dy[i], out=direct)
        return dx

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * x[0] * x[1] * (self.weight.value.size + 2 * x[2])

    def __repr__(self) -> str:
        return "AttentionPooling({}, {})".format(*self.weight.value.shape)
