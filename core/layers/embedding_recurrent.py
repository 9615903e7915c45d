"""A table of vectors and what reads them step by step, in one."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.context import Array, Context, Shape
from core.layer import Layer
from core.layers.bidirectional import Bidirectional
from core.layers.embedding import Embedding
from core.layers.lookup import checked_ids, distinct_vectors
from core.layers.recurrent import Recurrent
from core.layers.recurrent_input import Words
from core.padded import Padded, lengths_of


class EmbeddingRecurrent(Layer):
    """`reader` after `Embedding`, the reader being an `RNN`, `LSTM` or `GRU`, or two of them in a `Bidirectional`

    x (N, T) ids, an array or `Padded`   y as the reader gives it

    The product x W of a step depends on the word and not on its neighbours, so it is worked out once for each different
    word of a batch, though it may occur often; so are its gradients, from the sum of what arrives at the word's places:
    dW = Vᵀ S and dV = S Wᵀ, V (U, E) the vectors of the U different words, S (U, G) those sums. Texts repeat their
    words (Zipf, 1935), which leaves a third of these products. The vector of id 0, which is padding, counts as zero.

    Raises ValueError where the reader takes other than the vectors' features, and as the layers do.
    """

    takes_padded = True
    fused = True

    def __init__(self, embedding: Embedding, reader: Recurrent | Bidirectional) -> None:
        cells = _cells(reader)
        if type(embedding) is not Embedding or not cells:
            raise ValueError(f"this layer is made of an Embedding and recurrent layers, not of {(embedding, reader)}")
        features = embedding.weight.value.shape[1]
        if any(len(cell.weight.value) != features for cell in cells):
            raise ValueError(f"{embedding!r} needs a reader that takes {features} features, not {reader!r}")
        self.embedding = embedding
        self.reader = reader

    def forward(self, x: Any, ctx: Context) -> Any:
        table = self.embedding.weight.value
        ids, lengths = checked_ids("EmbeddingRecurrent", x, len(table), ctx), lengths_of(x)
        rows, places, vectors, padding = distinct_vectors(ids, table, ctx)
        ctx.save(rows, padding)
        words = Words(vectors, places, np.full(len(ids), ids.shape[1]) if lengths is None else lengths)
        y = self.reader.forward(words, ctx[0])
        return y.values if isinstance(y, Padded) and lengths is None else y

    def backward(self, dy: Array, ctx: Context) -> None:
        """The ids have no gradient."""
        rows, padding = ctx.saved
        ctx[0].needs_dx = not self.embedding.weight.frozen
        dvectors = self.reader.backward(dy, ctx[0])
        if dvectors is not None:
            ctx.add_rows(self.embedding.weight, rows[padding:], dvectors[padding:])

    def flops(self, x: Shape, y: Shape) -> int:
        """Of the layers one by one."""
        vectors = (*x, self.embedding.weight.value.shape[1])
        return sum(cell.flops(vectors, y) for cell in _cells(self.reader))

    def __repr__(self) -> str:
        return f"EmbeddingRecurrent({self.embedding!r}, {self.reader!r})"


def _cells(reader: Layer) -> list[Recurrent]:
    """One or both of those that read; none where any is no recurrent layer."""
    layers = [reader.forwards, reader.backwards] if isinstance(reader, Bidirectional) else [reader]
    cells = [layer for layer in layers if isinstance(layer, Recurrent)]
    return cells if len(cells) == len(layers) else []
