"""A table of vectors, convolutions over them and their maxima over time, in one."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.layer import Layer
from core.layers.conv_max_pool1d import ConvMaxPool1D
from core.layers.embedding import Embedding
from core.layers.lookup import checked_ids, distinct_vectors
from core.padded import lengths_of


class EmbeddingConvMaxPool1D(Layer):
    """`Concat` of `ConvMaxPool1D` after `Embedding`: y[n, o] = max_t (b[o] + Σ_j A[x[n, t + j − p], j, o]), A = V W

    x (N, T) ids, an array or `Padded`   y (N, Σ O), the filters one after the other   V (U, E) the vectors of the U
    different words of the batch   W (E, K, O) of each filter

    What a word adds to a filter's answer depends on its place in the window and not on its neighbours, so it is worked
    out once for each different word, though it may occur often; a window is then a sum of K rows of A. The gradient of
    A is zero but for the winners: dW = Vᵀ dA, dV = dA Wᵀ. Texts repeat their words (Zipf, 1935), which leaves a half
    to a fifth of the products that the layers one by one need; where nearly all words of a batch differ, a training
    step takes half as long again as theirs. The vector of id 0, which is padding, counts as zero.      (Kim, 2014)

    Raises ValueError where the filters take other than the vectors' features, and as the layers do.
    """

    takes_padded = True
    fused = True

    def __init__(self, embedding: Embedding, *filters: ConvMaxPool1D) -> None:
        if type(embedding) is not Embedding or any(type(each) is not ConvMaxPool1D for each in filters):
            raise ValueError(f"this layer is made of an Embedding and ConvMaxPool1Ds, not of {(embedding, *filters)}")
        features = embedding.weight.value.shape[1]
        if not filters or any(each.weight.value.shape[1] != features for each in filters):
            raise ValueError(f"{embedding!r} needs filters that take {features} features, not {filters}")
        self.embedding = embedding
        self.filters = filters

    def forward(self, x: Any, ctx: Context) -> Array:
        table = self.embedding.weight.value
        ids = checked_ids("EmbeddingConvMaxPool1D", x, len(table), ctx)
        lengths = lengths_of(x)
        if lengths is None:
            lengths = np.full(len(ids), ids.shape[1])
        rows, places, words, padding = distinct_vectors(self._lines(ids, ctx), table, ctx)
        y = ctx.buffer("y", (len(ids), sum(each.weight.value.shape[2] for each in self.filters)))
        end, first = 0, self._before()
        for i, each in enumerate(self.filters):
            each.check_steps(x)
            start, end = end, end + each.weight.value.shape[2]
            y[:, start:end] = _forward(each, words, places[:, first - each.before() :], lengths, ctx[i])
        ctx.save(rows, places, words, padding)
        return y

    def backward(self, dy: Array, ctx: Context) -> None:
        """The ids have no gradient."""
        rows, places, words, padding = ctx.saved
        whole, part = ctx.buffer("whole", words.shape), ctx.buffer("part", words.shape)
        whole.fill(0)
        end, first = 0, self._before()
        for i, each in enumerate(self.filters):
            start, end = end, end + each.weight.value.shape[2]
            d, matrix = _backward(each, words, places[:, first - each.before() :], dy[:, start:end], ctx[i])
            if not self.embedding.weight.frozen:
                whole += np.dot(d, matrix.T, out=part)
        ctx.add_rows(self.embedding.weight, rows[padding:], whole[padding:])

    def _lines(self, ids: Array, ctx: Context) -> Array:
        """(N, T) ids → (N, before + T + after): zeros around each text, for the windows that reach over its ends"""
        n, t = ids.shape
        before = self._before()
        after = max(len(each.weight.value) - 1 - each.before() for each in self.filters)
        lines = ctx.buffer("lines", (n, before + t + after), np.int64)
        lines[:, :before], lines[:, before + t :] = 0, 0
        lines[:, before : before + t] = ids
        return lines

    def _before(self) -> int:
        return max(each.before() for each in self.filters)

    def flops(self, x: Shape, y: Shape) -> int:
        """Of the layers one by one."""
        return sum(2 * int(np.prod(x)) * each.weight.value.size for each in self.filters)

    def __repr__(self) -> str:
        return f"EmbeddingConvMaxPool1D({', '.join(map(repr, (self.embedding, *self.filters)))})"


def _forward(layer: ConvMaxPool1D, words: Array, places: Array, lengths: Array, ctx: Context) -> Array:
    """(N, O) answers of one filter to windows that begin at each of the places (N, ≥ T), rows of words (U, E)"""
    kernel, inputs, outputs = layer.weight.value.shape
    matrix = ctx.buffer("matrix", (inputs, kernel, outputs))
    np.copyto(matrix, layer.weight.value.transpose(1, 0, 2))
    answers = ctx.buffer("answers", (len(words), kernel * outputs))
    flat = np.dot(words, matrix.reshape(inputs, -1), out=answers).reshape(-1, outputs)  # a row a word and place
    at = np.multiply(places, kernel, out=ctx.buffer("at", places.shape, np.int64))
    counts = layer.counts(lengths)
    y, winners = ctx.buffer("y", (len(places), outputs)), ctx.buffer("winners", (len(places), outputs), np.int64)
    y.fill(0)
    winners.fill(0)  # also where there is no window
    for some, count in layer.blocks(int(lengths.max(initial=1)), counts):
        shape = (len(counts[some]), count, outputs)
        steps, piece = ctx.buffer("steps", shape), ctx.buffer("piece", shape)
        for j in range(kernel):
            at_j = np.add(at[some, j : j + count], j, out=ctx.buffer("at_j", shape[:2], np.int64))
            np.take(flat, at_j, 0, out=piece if j else steps, mode="clip")
            if j:
                steps += piece
        layer.maxima(steps, counts[some], y[some], winners[some], ctx)
    layer.add_bias(y, counts)
    ctx.save(counts, winners)
    return y


def _backward(layer: ConvMaxPool1D, words: Array, places: Array, dy: Array, ctx: Context) -> tuple[Array, Array]:
    """(dA (U, K · O), the matrix (E, K · O) that made A); adds the gradients of the filter"""
    counts, winners = ctx.saved
    kernel, inputs, outputs = layer.weight.value.shape
    d = ctx.buffer("answers", (len(words), kernel * outputs))
    d.fill(0)
    given = np.multiply(dy, (counts > 0)[:, None], out=ctx.buffer("given", dy.shape))
    each = ctx.multiples(outputs, 1)
    for j in range(kernel):
        word = np.take_along_axis(places, winners + j, axis=1)  # (N, O) the j-th of the window that won
        at = (word * kernel + j) * outputs + each
        np.add.at(d.reshape(-1), at.reshape(-1), given.reshape(-1))
    dw = np.dot(words.T, d, out=ctx.buffer("dw", (inputs, kernel * outputs)))
    ctx.add_grad(layer.weight, dw.reshape(inputs, kernel, outputs).transpose(1, 0, 2))
    if layer.bias is not None:
        ctx.add_product(layer.bias, (counts > 0).astype(dy.dtype), dy)
    return d, ctx.buffer("matrix", (inputs, kernel, outputs)).reshape(inputs, -1)
