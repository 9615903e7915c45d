"""Self-attention with several heads."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.initializers import glorot_uniform, zeros
from core.layer import Layer, Parameter
from core.layers.global_pool1d import steps_of


class MultiHeadSelfAttention(Layer):
    """y = [head_1 … head_H] W_o + b_o,  head = A v,  A = softmax(q kᵀ / √d),  [q k v] = x W + b, d = F / H a head

    x (N, T, F), an array or `Padded`   W (F, 3 F)   b (3 F,)   W_o (F, F)   b_o (F,)   y (N, T, F)

    No step looks behind an end; where causal, none looks ahead. The scores take N · H · T² numbers.

    dv = Aᵀ do   dS = A (dA − Σ A dA) with dA = do vᵀ   dq = dS k / √d   dk = dSᵀ q / √d      (Vaswani et al., 2017)

    Raises ValueError where x has other than F features, or F is no multiple of H.
    """

    takes_padded = True

    def __init__(self, features: int, heads: int, *, rng: np.random.Generator, causal: bool = False) -> None:
        if heads < 1 or features % heads:
            raise ValueError(f"the features, {features}, are shared out evenly among the heads, not among {heads}")
        self.heads, self.causal = heads, causal
        self.weight = Parameter(np.concatenate([glorot_uniform((features, features), rng) for _ in range(3)], axis=1))
        self.bias = Parameter(zeros((3 * features,)), decays=False)
        self.out_weight = Parameter(glorot_uniform((features, features), rng))
        self.out_bias = Parameter(zeros((features,)), decays=False)

    def forward(self, x: Any, ctx: Context) -> Any:
        v, lengths = steps_of(self, x)
        n, t, f = v.shape
        if f != len(self.weight.value) or v.dtype != self.weight.value.dtype:
            raise ValueError(
                f"{self!r} takes {len(self.weight.value)} features of {self.weight.value.dtype} a step,"
                f" but x is {v.dtype} {v.shape}"
            )
        rows = ctx.buffer("rows", (n * t, f))
        np.copyto(rows.reshape(n, t, f), v)
        qkv = np.dot(rows, self.weight.value, out=ctx.buffer("qkv", (n * t, 3 * f)))
        qkv += self.bias.value
        q, k, value = self._by_head(qkv, n)
        a = np.matmul(q, k.transpose(0, 1, 3, 2), out=ctx.buffer("a", (n, self.heads, t, t)))
        a *= 1 / sqrt(f // self.heads)
        self._mask(a, lengths)
        column = ctx.buffer("column", (n, self.heads, t, 1))
        np.maximum.reduce(a, axis=-1, keepdims=True, out=column)
        a -= np.maximum(column, np.finfo(a.dtype).min, out=column)  # −∞ for an empty sequence
        np.exp(a, out=a)
        np.add.reduce(a, axis=-1, keepdims=True, out=column)
        a /= np.maximum(column, np.finfo(a.dtype).tiny, out=column)
        o = ctx.buffer("o", (n * t, f))
        np.matmul(a, value, out=self._by_head(o, n)[0])
        y = np.dot(o, self.out_weight.value, out=ctx.buffer("y", (n * t, f)))
        y += self.out_bias.value
        ctx.save(rows, qkv, a, o, v.shape)
        y = y.reshape(n, t, f)
        return x.like(y) if hasattr(x, "like") else y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        rows, qkv, a, o, (n, t, f) = ctx.saved
        d = ctx.buffer("dy", (n * t, f))
        np.copyto(d.reshape(n, t, f), dy)
        ctx.add_product(self.out_weight, o.T, d)
        ctx.add_product(self.out_bias, ctx.ones(n * t), d)
        (do,) = self._by_head(np.dot(d, self.out_weight.value.T, out=ctx.buffer("do", (n * t, f))), n)
        q, k, value = self._by_head(qkv, n)
        dqkv = ctx.buffer("dqkv", qkv.shape)
        dq, dk, dvalue = self._by_head(dqkv, n)
        np.matmul(a.transpose(0, 1, 3, 2), do, out=dvalue)
        ds = np.matmul(do, value.transpose(0, 1, 3, 2), out=ctx.buffer("ds", a.shape))
        product = np.multiply(a, ds, out=ctx.buffer("a ds", a.shape))
        ds -= np.add.reduce(product, axis=-1, keepdims=True, out=ctx.buffer("column", (n, self.heads, t, 1)))
        ds *= a
        ds *= 1 / sqrt(f // self.heads)
        np.matmul(ds, k, out=dq)
        np.matmul(ds.transpose(0, 1, 3, 2), q, out=dk)
        ctx.add_product(self.weight, rows.T, dqkv)
        ctx.add_product(self.bias, ctx.ones(n * t), dqkv)
        if not ctx.needs_dx:
            return None
        dx: Array = np.dot(dqkv, self.weight.value.T, out=ctx.buffer("dx", (n * t, f))).reshape(n, t, f)
        return dx

    def flops(self, x: Shape, y: Shape) -> int:
        n, t, f = x
        return 2 * n * t * (4 * f * f + 2 * t * f)

    def _by_head(self, rows: Array, n: int) -> Array:
        """(N·T, M·F) → M arrays (N, H, T, d), views"""
        f = len(self.weight.value)
        apart = rows.reshape(n, -1, rows.shape[1] // f, self.heads, f // self.heads)
        return apart.transpose(2, 0, 3, 1, 4)

    def _mask(self, scores: Array, lengths: Array) -> None:
        """Scores (N, H, T, T) of steps that are not looked at become −∞."""
        for of, length in zip(scores, lengths.tolist(), strict=True):
            of[:, :, length:] = -np.inf
        if self.causal:
            for t in range(scores.shape[2] - 1):
                scores[:, :, t, t + 1 :] = -np.inf

    def __repr__(self) -> str:
        return f"MultiHeadSelfAttention({len(self.weight.value)}, {self.heads})"
