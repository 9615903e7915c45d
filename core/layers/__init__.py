"""The layers. `LAYERS` is the closed list of them, which the tests hold complete."""

from core.layer import Layer
from core.layers.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from core.layers.additive_bins import AdditiveBins
from core.layers.attention_pooling import AttentionPooling
from core.layers.average_pool2d import AveragePool2D, GlobalAveragePool2D
from core.layers.batch_norm import BatchNorm
from core.layers.bidirectional import Bidirectional
from core.layers.column_embedding import ColumnEmbedding
from core.layers.concat import Concat
from core.layers.conv1d import Conv1D
from core.layers.conv2d import Conv2D
from core.layers.conv_max_pool1d import ConvMaxPool1D
from core.layers.conv_pool2d import ConvPool2D
from core.layers.dense import Dense
from core.layers.dropout import Dropout
from core.layers.embedding import Embedding
from core.layers.embedding_bag import EmbeddingBag
from core.layers.embedding_conv_max_pool1d import EmbeddingConvMaxPool1D
from core.layers.embedding_recurrent import EmbeddingRecurrent
from core.layers.ensemble import Ensemble
from core.layers.ensemble_dense import EnsembleDense
from core.layers.global_pool1d import GlobalAveragePool1D, GlobalMaxPool1D
from core.layers.gru import GRU
from core.layers.layer_norm import LayerNorm
from core.layers.lstm import LSTM
from core.layers.max_pool1d import MaxPool1D
from core.layers.max_pool2d import MaxPool2D
from core.layers.piecewise_linear import PiecewiseLinear
from core.layers.residual import Residual
from core.layers.rnn import RNN
from core.layers.self_attention import MultiHeadSelfAttention
from core.layers.sequential import Sequential
from core.layers.shape import Flatten, Reshape
from core.layers.total import Total

LAYERS: tuple[type[Layer], ...] = (
    Dense,
    Conv2D,
    ConvPool2D,
    MaxPool2D,
    AveragePool2D,
    GlobalAveragePool2D,
    Embedding,
    EmbeddingBag,
    Conv1D,
    ConvMaxPool1D,
    EmbeddingConvMaxPool1D,
    MaxPool1D,
    RNN,
    LSTM,
    GRU,
    Bidirectional,
    EmbeddingRecurrent,
    AttentionPooling,
    MultiHeadSelfAttention,
    GlobalMaxPool1D,
    GlobalAveragePool1D,
    BatchNorm,
    LayerNorm,
    Dropout,
    Flatten,
    Reshape,
    ReLU,
    LeakyReLU,
    ELU,
    GELU,
    SiLU,
    Sigmoid,
    Tanh,
    Softplus,
    Softmax,
    Sequential,
    Residual,
    Concat,
    Ensemble,
    PiecewiseLinear,
    ColumnEmbedding,
    EnsembleDense,
    AdditiveBins,
    Total,
)

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LAYERS",
    "LSTM",
    "RNN",
    "AdditiveBins",
    "AttentionPooling",
    "AveragePool2D",
    "BatchNorm",
    "Bidirectional",
    "ColumnEmbedding",
    "Concat",
    "Conv1D",
    "Conv2D",
    "ConvMaxPool1D",
    "ConvPool2D",
    "Dense",
    "Dropout",
    "Embedding",
    "EmbeddingBag",
    "EmbeddingConvMaxPool1D",
    "EmbeddingRecurrent",
    "Ensemble",
    "EnsembleDense",
    "Flatten",
    "GlobalAveragePool1D",
    "GlobalAveragePool2D",
    "GlobalMaxPool1D",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool1D",
    "MaxPool2D",
    "MultiHeadSelfAttention",
    "PiecewiseLinear",
    "ReLU",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Total",
]
