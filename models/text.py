"""Networks that read the words of a text in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import (
    GRU,
    LSTM,
    RNN,
    Array,
    AttentionPooling,
    Bidirectional,
    Context,
    ConvMaxPool1D,
    Dense,
    Dropout,
    Embedding,
    EmbeddingConvMaxPool1D,
    Layer,
    Padded,
    ReLU,
    Sequential,
)
from core.padded import lengths_of, values_of
from models.calibrated import calibrated


class Known(Layer):
    """The ids of the first `most` words, those from `vocabulary` up being unknown (id 1)

    x (N, T) ids, an array or `Padded`   y `Padded` (N, min(T, most))

    Words are numbered by their frequency, so a model may know fewer of them than its vocabulary has. Of a longer
    text, the beginning and the end are read, half of `most` each: reviews sum up at their end.
    """

    takes_padded = True

    def __init__(self, vocabulary: int, most: int) -> None:
        self.vocabulary, self.most = vocabulary, most

    def forward(self, x: Any, ctx: Context) -> Padded:
        values, lengths = values_of(x), lengths_of(x)
        if lengths is None:
            lengths = np.full(len(values), values.shape[1])
        if values.shape[1] > self.most:
            values = np.take_along_axis(values, self.places(lengths[:, np.newaxis]), axis=1)
            lengths = np.minimum(lengths, self.most)
        return Padded(np.where(values < self.vocabulary, values, 1), lengths)

    def places(self, lengths: Any) -> Array:
        """Which steps of texts so long are read: (most,) of each, or as many as there are of one."""
        steps = np.arange(self.most if np.ndim(lengths) else min(self.most, lengths))
        skipped = np.maximum(lengths - self.most, 0)
        places: Array = steps + (steps >= self.most // 2) * skipped
        return places

    def backward(self, dy: Array, ctx: Context) -> None:
        """Ids have no gradient."""

    def __repr__(self) -> str:
        return f"Known({self.vocabulary}, {self.most})"


def text_cnn(
    *,
    words: int,
    outputs: int,
    vocabulary: int = 20_000,
    features: int = 64,
    filters: int = 128,
    kernels: Sequence[int] = (1, 2, 3, 4),
    most: int = 400,
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: filters over 1 to 4 words, the strongest answer of each

    Dropout acts on the answers alone: words that are dropped make the strongest ones weaker in training than in use.
    (Kim, 2014; Collobert et al., 2011)
    """
    vocabulary = min(words, vocabulary)
    embedding = Embedding(vocabulary, features, rng=rng)
    kinds = [ConvMaxPool1D(features, filters, kernel, rng=rng) for kernel in kernels]
    return calibrated(
        Known(vocabulary, most),
        EmbeddingConvMaxPool1D(embedding, *kinds),
        ReLU(),
        *_dropped(dropout),
        Dense(filters * len(kernels), outputs, rng=rng),
    )


def text_rnn(
    *,
    words: int,
    outputs: int,
    vocabulary: int = 20_000,
    features: int = 64,
    units: int = 64,
    most: int = 300,
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: a recurrent network, and attention over its steps

    The plain recurrence forgets within some ten words.      (Elman, 1990)
    """
    embedded = _embedded(words, vocabulary, features, most, dropout / 2, rng)
    return _attended([*embedded, RNN(features, units, rng=rng)], units, outputs, dropout, rng)


def text_lstm(
    *,
    words: int,
    outputs: int,
    vocabulary: int = 20_000,
    features: int = 64,
    units: int = 64,
    most: int = 300,
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: a long short-term memory, and attention over its steps

    (Hochreiter & Schmidhuber, 1997; Yang et al., 2016)
    """
    embedded = _embedded(words, vocabulary, features, most, dropout / 2, rng)
    return _attended([*embedded, LSTM(features, units, rng=rng)], units, outputs, dropout, rng)


def text_gru(
    *,
    words: int,
    outputs: int,
    vocabulary: int = 20_000,
    features: int = 64,
    units: int = 64,
    most: int = 300,
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: gated recurrent units, and attention over their steps

    (Cho et al., 2014; Yang et al., 2016)
    """
    embedded = _embedded(words, vocabulary, features, most, dropout / 2, rng)
    return _attended([*embedded, GRU(features, units, rng=rng)], units, outputs, dropout, rng)


def text_bigru(
    *,
    words: int,
    outputs: int,
    vocabulary: int = 20_000,
    features: int = 64,
    units: int = 64,
    most: int = 300,
    dropout: float = 0.0,
    rng: np.random.Generator,
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: gated recurrent units both ways, and attention over their steps

    (Schuster & Paliwal, 1997; Cho et al., 2014; Yang et al., 2016)
    """
    embedded = _embedded(words, vocabulary, features, most, dropout / 2, rng)
    both = Bidirectional(GRU(features, units, rng=rng), GRU(features, units, rng=rng))
    return _attended([*embedded, both], 2 * units, outputs, dropout, rng)


def _embedded(
    words: int, vocabulary: int, features: int, most: int, dropout: float, rng: np.random.Generator
) -> list[Layer]:
    """ids → vectors of words"""
    vocabulary = min(words, vocabulary)
    return [Known(vocabulary, most), Embedding(vocabulary, features, rng=rng), *_dropped(dropout)]


def _attended(layers: list[Layer], units: int, outputs: int, dropout: float, rng: np.random.Generator) -> Sequential:
    """Vectors of steps → logits"""
    pooled = AttentionPooling(units, units, rng=rng)
    return calibrated(*layers, pooled, *_dropped(dropout), Dense(units, outputs, rng=rng))


def _dropped(share: float) -> list[Layer]:
    return [Dropout(share)] if share else []
