"""One table of cases drives the checks of every layer: layer -> fresh (layer, input) pairs from a generator."""

from collections.abc import Callable

import numpy as np

from core import (
    ELU,
    GELU,
    GRU,
    LSTM,
    RNN,
    AdditiveBins,
    AttentionPooling,
    AveragePool2D,
    BatchNorm,
    Bidirectional,
    ColumnEmbedding,
    Concat,
    Conv1D,
    Conv2D,
    ConvMaxPool1D,
    ConvPool2D,
    Dense,
    Dropout,
    Embedding,
    EmbeddingBag,
    EmbeddingConvMaxPool1D,
    EmbeddingRecurrent,
    Ensemble,
    EnsembleDense,
    Flatten,
    GlobalAveragePool1D,
    GlobalAveragePool2D,
    GlobalMaxPool1D,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool1D,
    MaxPool2D,
    MultiHeadSelfAttention,
    Padded,
    PiecewiseLinear,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    Total,
)

Case = tuple[Layer, np.ndarray | Padded]


def images(r: np.random.Generator, *shape: int) -> np.ndarray:
    """Images laid out batch-last in memory, as convolutions leave them."""
    return np.ascontiguousarray(r.standard_normal(shape).transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)


def sequences(r: np.random.Generator, n: int = 4, t: int = 5, features: int = 4) -> Padded:
    """Sequences of all lengths from 0 to T, with garbage behind their ends."""
    return Padded(r.standard_normal((n, t, features)), np.linspace(t, 0, n).astype(int))


def ids(r: np.random.Generator, n: int = 4, t: int = 7, height: int = 6, weighted: bool = False) -> Padded:
    """Ids from 1, many of them more than once, with garbage behind the ends."""
    lengths = np.linspace(t, 0, n).astype(int)
    weight = r.uniform(0.5, 2, (n, t)) if weighted else None
    return Padded(r.integers(1, height, (n, t)), lengths, weight)


def rows(r: np.random.Generator) -> np.ndarray:
    return r.standard_normal((5, 4))


def coordinates(r: np.random.Generator) -> np.ndarray:
    """Places in bins, beyond them too, and special values."""
    x = r.uniform(0, 4.5, (6, 4))
    x[0, :2], x[1, 1:], x[2, 3] = -1, -2, -3
    return x


def categories(r: np.random.Generator) -> np.ndarray:
    return np.floor(r.uniform(0, (3, 1, 4, 2), (6, 4)))


def _word_filters(r: np.random.Generator, *kernels: int, height: int = 6, **options: object) -> EmbeddingConvMaxPool1D:
    filters = [_with_biases(ConvMaxPool1D(3, 2 + kernel, kernel, rng=r, **options), r) for kernel in kernels]
    return EmbeddingConvMaxPool1D(Embedding(height, 3, rng=r), *filters)


def _words_read(
    r: np.random.Generator, kind: type[RNN | LSTM | GRU], *, both: bool = False, output: str = "sequence"
) -> EmbeddingRecurrent:
    cells = [_with_biases(kind(3, 2 + i, rng=r, output=output), r) for i in range(1 + both)]
    return EmbeddingRecurrent(Embedding(6, 3, rng=r), Bidirectional(*cells) if both else cells[0])


CASES: dict[type[Layer], list[Callable[[np.random.Generator], Case]]] = {
    Dense: [
        lambda r: (Dense(4, 3, rng=r), rows(r)),
        lambda r: (Dense(4, 3, rng=r), r.standard_normal((5, 2, 4))),
        lambda r: (Dense(4, 3, rng=r, bias=False), np.asfortranarray(rows(r))),
        lambda r: (Dense(4, 3, rng=r), sequences(r)),
        lambda r: (Dense(4, 3, rng=r), r.standard_normal((30, 4, 3)).transpose(2, 0, 1)),
    ],
    Conv2D: [
        lambda r: (Conv2D(2, 3, 3, rng=r), images(r, 4, 2, 6, 5)),
        lambda r: (Conv2D(2, 3, 3, rng=r, padding="same", bias=False), r.standard_normal((4, 2, 6, 5))),
        lambda r: (Conv2D(2, 3, (3, 2), rng=r, padding="same", stride=2), images(r, 4, 2, 7, 6)),
        lambda r: (Conv2D(2, 3, 2, rng=r, padding=((2, 1), (0, 3)), stride=(1, 2)), images(r, 4, 2, 4, 5)),
        lambda r: (Conv2D(2, 3, 3, rng=r, padding=2, dilation=2), images(r, 4, 2, 6, 6)),
        lambda r: (Conv2D(3, 2, 1, rng=r), images(r, 4, 3, 5, 5)),
        lambda r: (Conv2D(1, 2, 2, rng=r), images(r, 32, 1, 14, 27)),  # blocks of the weight's product
        lambda r: (Conv2D(16, 16, 3, rng=r, padding=((1, 0), (2, 1))), images(r, 4, 16, 3, 5)),  # in tiles
        lambda r: (Conv2D(2, 2, 5, rng=r, padding=4, stride=3), images(r, 4, 2, 3, 3)),  # windows in the padding
    ],
    ConvPool2D: [
        lambda r: (ConvPool2D(2, 3, 3, rng=r), images(r, 4, 2, 6, 8)),
        lambda r: (ConvPool2D(2, 3, 3, rng=r), r.standard_normal((4, 2, 7, 5))),  # pooling drops a row and a column
        lambda r: (ConvPool2D(16, 16, 3, rng=r), images(r, 4, 16, 5, 4)),  # in tiles
        lambda r: (ConvPool2D(2, 3, (3, 2), rng=r, padding="same", bias=False), images(r, 4, 2, 4, 5)),
    ],
    MaxPool2D: [
        lambda r: (MaxPool2D(2), images(r, 4, 2, 6, 4)),
        lambda r: (MaxPool2D(2), r.standard_normal((4, 2, 5, 7))),
        lambda r: (MaxPool2D(3, stride=2), images(r, 4, 2, 7, 8)),
        lambda r: (MaxPool2D((1, 3)), images(r, 4, 2, 3, 6)),
    ],
    AveragePool2D: [
        lambda r: (AveragePool2D(2), images(r, 4, 2, 6, 4)),
        lambda r: (AveragePool2D(3, stride=2), r.standard_normal((4, 2, 7, 8))),
    ],
    GlobalAveragePool2D: [lambda r: (GlobalAveragePool2D(), images(r, 4, 3, 5, 2))],
    Embedding: [
        lambda r: (Embedding(6, 3, rng=r), ids(r)),
        lambda r: (Embedding(6, 3, rng=r), r.integers(1, 6, (4, 3))),
        lambda r: (Embedding(3, 2, rng=r), r.integers(1, 3, (4, 50))),  # some ids occur often
        lambda r: (Embedding(70_000, 2, rng=r), ids(r, height=70_000)),
    ],
    EmbeddingBag: [
        lambda r: (EmbeddingBag(6, 3, rng=r), ids(r)),
        lambda r: (EmbeddingBag(6, 3, rng=r, mode="sum", bias=True), ids(r, weighted=True)),
        lambda r: (EmbeddingBag(6, 3, rng=r), ids(r, weighted=True)),
        lambda r: (EmbeddingBag(6, 1, rng=r, mode="sum", bias=True), ids(r)),
        lambda r: (EmbeddingBag(6, 3, rng=r), r.integers(0, 6, (4, 3))),
        lambda r: (EmbeddingBag(6, 4, rng=r), ids(r, t=9000)),  # in several blocks
    ],
    Conv1D: [
        lambda r: (Conv1D(4, 3, 3, rng=r), sequences(r)),
        lambda r: (Conv1D(4, 3, 3, rng=r), r.standard_normal((3, 30, 4))),
        lambda r: (Conv1D(4, 3, 4, rng=r, bias=False), r.standard_normal((3, 4, 30)).transpose(0, 2, 1)),
        lambda r: (Conv1D(4, 3, 2, rng=r, padding="valid"), sequences(r)),
        lambda r: (Conv1D(4, 3, 1, rng=r), sequences(r)),
        lambda r: (Conv1D(4, 2, 9, rng=r), sequences(r)),  # wider than the sequences
    ],
    ConvMaxPool1D: [
        lambda r: (_with_biases(ConvMaxPool1D(4, 3, 3, rng=r), r), sequences(r)),
        lambda r: (ConvMaxPool1D(4, 3, 3, rng=r, bias=False), r.standard_normal((3, 30, 4))),
        lambda r: (_with_biases(ConvMaxPool1D(4, 3, 2, rng=r, padding="valid"), r), sequences(r)),
        lambda r: (ConvMaxPool1D(4, 9, 4, rng=r), sequences(r, t=3)),
    ],
    EmbeddingConvMaxPool1D: [
        lambda r: (_word_filters(r, 1, 3), ids(r)),
        lambda r: (_word_filters(r, 2, 4, padding="valid"), ids(r)),
        lambda r: (_word_filters(r, 3, bias=False), r.integers(0, 6, (3, 5))),
        lambda r: (_word_filters(r, 4, height=2000), ids(r, t=900, height=2000)),  # in several blocks
    ],
    MaxPool1D: [
        lambda r: (MaxPool1D(2), sequences(r)),
        lambda r: (MaxPool1D(3, 2), sequences(r, t=8)),
        lambda r: (MaxPool1D(2, 3), r.standard_normal((3, 30, 4))),
        lambda r: (MaxPool1D(40), r.standard_normal((3, 30, 4))),
    ],
    RNN: [
        lambda r: (RNN(4, 3, rng=r), sequences(r)),
        lambda r: (RNN(4, 3, rng=r, output="last"), sequences(r)),
        lambda r: (RNN(4, 3, rng=r), r.standard_normal((3, 30, 4))),
    ],
    LSTM: [
        lambda r: (_with_biases(LSTM(4, 3, rng=r), r), sequences(r)),
        lambda r: (_with_biases(LSTM(4, 3, rng=r, output="last"), r), sequences(r)),
        lambda r: (LSTM(4, 3, rng=r), r.standard_normal((3, 30, 4))),
        lambda r: (LSTM(4, 3, rng=r), r.standard_normal((30, 4, 3)).transpose(2, 0, 1)),  # as another one leaves it
    ],
    GRU: [
        lambda r: (_with_biases(GRU(4, 3, rng=r), r), sequences(r)),
        lambda r: (_with_biases(GRU(4, 3, rng=r, output="last"), r), sequences(r)),
        lambda r: (GRU(4, 3, rng=r), r.standard_normal((3, 30, 4))),
        lambda r: (GRU(4, 3, rng=r), r.standard_normal((30, 4, 3)).transpose(2, 0, 1)),
    ],
    Bidirectional: [
        lambda r: (Bidirectional(LSTM(4, 3, rng=r), GRU(4, 2, rng=r)), sequences(r)),
        lambda r: (Bidirectional(RNN(4, 3, rng=r, output="last"), GRU(4, 2, rng=r, output="last")), sequences(r)),
        lambda r: (Bidirectional(GRU(4, 3, rng=r), GRU(4, 3, rng=r)), r.standard_normal((3, 30, 4))),
    ],
    EmbeddingRecurrent: [
        lambda r: (_words_read(r, RNN), ids(r)),
        lambda r: (_words_read(r, LSTM, output="last"), ids(r)),
        lambda r: (_words_read(r, GRU, both=True), ids(r)),
        lambda r: (_words_read(r, LSTM, both=True, output="last"), r.integers(1, 6, (3, 30))),
        lambda r: (_words_read(r, GRU), r.integers(1, 6, (1, 7))),
    ],
    AttentionPooling: [
        lambda r: (AttentionPooling(4, 3, rng=r), sequences(r)),
        lambda r: (AttentionPooling(4, 3, rng=r), r.standard_normal((3, 30, 4))),
        lambda r: (AttentionPooling(4, 3, rng=r), r.standard_normal((30, 4, 3)).transpose(2, 0, 1)),
    ],
    MultiHeadSelfAttention: [
        lambda r: (_with_biases(MultiHeadSelfAttention(4, 2, rng=r), r), sequences(r)),
        lambda r: (_with_biases(MultiHeadSelfAttention(4, 1, rng=r, causal=True), r), sequences(r)),
        lambda r: (MultiHeadSelfAttention(4, 4, rng=r), r.standard_normal((3, 30, 4))),
        lambda r: (MultiHeadSelfAttention(4, 2, rng=r, causal=True), r.standard_normal((7, 4, 3)).transpose(2, 0, 1)),
    ],
    GlobalMaxPool1D: [
        lambda r: (GlobalMaxPool1D(), sequences(r)),
        lambda r: (GlobalMaxPool1D(), r.standard_normal((3, 30, 4))),
        lambda r: (GlobalMaxPool1D(), r.standard_normal((3, 4, 30)).transpose(0, 2, 1)),
    ],
    GlobalAveragePool1D: [
        lambda r: (GlobalAveragePool1D(), sequences(r)),
        lambda r: (GlobalAveragePool1D(), r.standard_normal((3, 30, 4))),
    ],
    BatchNorm: [
        lambda r: (_with_statistics(BatchNorm(4), r), rows(r)),
        lambda r: (_with_statistics(BatchNorm(3), r), images(r, 4, 3, 2, 5)),
        lambda r: (_frozen(_with_statistics(BatchNorm(3), r)), r.standard_normal((4, 3, 2, 5))),
    ],
    LayerNorm: [
        lambda r: (_with_statistics(LayerNorm(4), r), sequences(r)),
        lambda r: (_with_statistics(LayerNorm(4), r), rows(r)),
        lambda r: (_with_statistics(LayerNorm(4), r), r.standard_normal((3, 2, 4))),
    ],
    Dropout: [
        lambda r: (Dropout(0.3), rows(r)),
        lambda r: (Dropout(0.5), images(r, 4, 2, 3, 5)),
        lambda r: (Dropout(0.0), rows(r)),
        lambda r: (Dropout(0.3), sequences(r)),
    ],
    Flatten: [
        lambda r: (Flatten(), images(r, 4, 2, 3, 5)),
        lambda r: (Flatten(), r.standard_normal((4, 2, 3))),
    ],
    Reshape: [lambda r: (Reshape(2, 3, 1), r.standard_normal((4, 6)))],
    ReLU: [lambda r: (ReLU(), rows(r)), lambda r: (ReLU(), images(r, 4, 2, 3, 5))],
    LeakyReLU: [lambda r: (LeakyReLU(0.1), rows(r))],
    ELU: [lambda r: (ELU(), rows(r)), lambda r: (ELU(0.5), images(r, 4, 2, 3, 5))],
    GELU: [lambda r: (GELU(), rows(r))],
    SiLU: [lambda r: (SiLU(), rows(r))],
    Sigmoid: [lambda r: (Sigmoid(), rows(r))],
    Tanh: [lambda r: (Tanh(), images(r, 4, 2, 3, 5))],
    Softplus: [lambda r: (Softplus(), rows(r))],
    Softmax: [lambda r: (Softmax(), rows(r)), lambda r: (Softmax(), r.standard_normal((2, 3, 4)))],
    Sequential: [
        lambda r: (Sequential(Dense(4, 6, rng=r), Tanh(), Dense(6, 2, rng=r)), rows(r)),
        lambda r: (Sequential(), rows(r)),
        lambda r: (_tied(Dense(4, 4, rng=r)), rows(r)),
        lambda r: (Sequential(Embedding(6, 4, rng=r), Dense(4, 3, rng=r), Tanh(), GlobalMaxPool1D()), ids(r)),
    ],
    PiecewiseLinear: [
        lambda r: (PiecewiseLinear(4, 3, 2, rng=r), coordinates(r)),
        lambda r: (PiecewiseLinear(2, 3, 5, rng=r, specials=2, start=1), coordinates(r)),
    ],
    AdditiveBins: [
        lambda r: (_with_statistics(AdditiveBins(4, 3, specials=2, directions=(1, 0, -1, 0)), r), coordinates(r)),
        lambda r: (_with_statistics(AdditiveBins(2, 4, start=2), r), coordinates(r)),
    ],
    ColumnEmbedding: [
        lambda r: (ColumnEmbedding((4, 2, 5, 3), 3, rng=r), categories(r)),
        lambda r: (ColumnEmbedding((5, 3), 1, rng=r, start=2), categories(r)),
    ],
    EnsembleDense: [
        lambda r: (_with_statistics(EnsembleDense(4, 3, 2, rng=r, diverse=True), r), rows(r)),
        lambda r: (_with_statistics(EnsembleDense(4, 3, 2, rng=r), r), r.standard_normal((5, 2, 4))),
    ],
    Total: [lambda r: (Total(), rows(r))],
    Residual: [
        lambda r: (Residual(Sequential(Dense(4, 4, rng=r), Tanh())), rows(r)),
        lambda r: (Residual(Sequential(Dense(4, 4, rng=r), Tanh())), sequences(r)),
        lambda r: (Residual(Conv2D(2, 3, 3, rng=r, padding="same"), Conv2D(2, 3, 1, rng=r)), images(r, 4, 2, 5, 5)),
    ],
    Concat: [
        lambda r: (Concat(Dense(4, 3, rng=r), Tanh()), rows(r)),
        lambda r: (Concat(Dense(4, 3, rng=r), Tanh(), axis=-1), sequences(r)),
        lambda r: (Concat(GlobalMaxPool1D(), GlobalAveragePool1D()), sequences(r)),
        lambda r: (Concat(Conv2D(2, 3, 3, rng=r, padding="same"), MaxPool2D(1)), images(r, 4, 2, 4, 5)),
    ],
    Ensemble: [
        lambda r: (Ensemble(*(Sequential(Dense(4, 5, rng=r), Tanh(), Dense(5, 3, rng=r)) for _ in range(3))), rows(r)),
        lambda r: (Ensemble(Dense(4, 3, rng=r)), rows(r)),
        lambda r: (Ensemble(GRU(4, 4, rng=r, output="last"), GlobalMaxPool1D()), sequences(r)),
    ],
}

READS_CATEGORIES = (ColumnEmbedding,)  # whose input has no derivative: nothing stands in front of them
DRAWS_OR_MIXES = (Dropout, BatchNorm)  # whose results depend on how a batch is cut, by design


def _with_statistics(layer: Layer, r: np.random.Generator) -> Layer:
    for parameter in layer.parameters():
        parameter.value = r.uniform(0.5, 1.5, parameter.value.shape).astype(np.float32)
    return layer


def _with_biases(layer: Layer, r: np.random.Generator) -> Layer:
    for name, parameter in layer.named_parameters():
        if name.endswith("bias"):
            parameter.value = r.uniform(-1, 1, parameter.value.shape).astype(np.float32)
    return layer


def _frozen(layer: Layer) -> Layer:
    layer.freeze()
    return layer


def _tied(layer: Layer) -> Layer:
    return Sequential(layer, Tanh(), layer)  # used twice: its gradients add


# --- batches of arrays and of padded sequences, alike ----------------------------------------------


def with_values(x: np.ndarray | Padded, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | Padded:
    """The same batch with changed values."""
    return Padded(change(x.values), x.lengths, x.weight) if isinstance(x, Padded) else change(x)


def with_lengths(x: np.ndarray | Padded, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | Padded:
    """The same change made to all that has an entry for each example."""
    if not isinstance(x, Padded):
        return change(x)
    return Padded(change(x.values), change(x.lengths), None if x.weight is None else change(x.weight))


def counted(y: np.ndarray | Padded) -> np.ndarray:
    """The numbers that count: all of an array, of sequences those before their ends, one after the other."""
    if not isinstance(y, Padded):
        return y
    return np.concatenate([v[:length] for v, length in zip(y.values, y.lengths, strict=True)])


def gradient_for(y: np.ndarray | Padded, of: Callable[[np.ndarray], np.ndarray] = np.ones_like) -> np.ndarray:
    """A gradient made of the values of y, zero behind the ends."""
    if not isinstance(y, Padded):
        return of(y)
    return of(y.values) * (np.arange(y.shape[1]) < y.lengths[:, None])[:, :, None].astype(y.dtype)
