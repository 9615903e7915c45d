"""The summary of a model: what it is made of, and what training it will cost."""

import gc
import tracemalloc

import numpy as np
import pytest
from cases import CASES
from networks import SHAPES, cnn, credit, examples, mlp, normed, small

from core import (
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    Conv2D,
    ConvMaxPool1D,
    ConvPool2D,
    Dense,
    Embedding,
    EmbeddingBag,
    EmbeddingConvMaxPool1D,
    Examples,
    Layer,
    MaxPool2D,
    Muon,
    Parameter,
    Recipe,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    fit,
    summary,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("network", "parameters", "flops"),
    [
        (credit, 23 * 64 + 64 + 64 * 32 + 32 + 32 * 2 + 2, 2 * (23 * 64 + 64 * 32 + 32 * 2) + 64 + 32),
        (mlp, 235_146, 2 * (784 * 256 + 256 * 128 + 128 * 10) + 256 + 128),
        (
            cnn,
            (9 * 32 + 32) + (288 * 64 + 64) + (1600 * 10 + 10),
            2 * (9 * 32 * 26 * 26 + 288 * 64 * 10 * 10 + 1600 * 10) + 32 * 13 * 13 + 64 * 5 * 5 + 1600,
        ),
        (
            normed,
            (9 * 8 + 8) + 16 + (72 * 16 + 16) + 32 + (2304 * 10 + 10),  # no running statistics
            2 * (9 * 8 * 28 * 28 + 72 * 16 * 12 * 12 + 2304 * 10)
            + 2 * 8 * 28 * 28  # normalise, rectify
            + 4 * 8 * 14 * 14  # pool
            + 2 * 16 * 12 * 12,
        ),
    ],
)
def test_parameters_and_operations_are_those_counted_by_hand(network, parameters, flops):
    told = summary(network(RNG), SHAPES[network])
    assert told.parameters == parameters
    assert told.flops == flops


def test_a_row_describes_a_layer():
    told = summary(Sequential(Conv2D(3, 8, 3, rng=RNG), BatchNorm(8), MaxPool2D(2)), (3, 10, 12))
    assert [(row.name, row.layer, row.output, row.parameters) for row in told.rows] == [
        ("layers.0", "Conv2D(3, 8, 3)", (8, 8, 10), 3 * 9 * 8 + 8),
        ("layers.1", "BatchNorm(8)", (8, 8, 10), 16),
        ("layers.2", "MaxPool2D(2)", (8, 4, 5), 0),
    ]


def test_the_fused_layer_costs_the_convolution_it_saves_nothing_of():
    fused = summary(ConvPool2D(3, 8, 3, rng=RNG), (3, 10, 10))
    plain = summary(Sequential(Conv2D(3, 8, 3, rng=RNG)), (3, 10, 10))
    assert (fused.parameters, fused.flops) == (plain.parameters, plain.flops)


def test_a_layer_used_twice_has_its_parameters_once_and_its_operations_twice():
    shared = Dense(4, 4, rng=RNG)
    told = summary(Sequential(shared, Tanh(), shared), (4,))
    assert [row.parameters for row in told.rows] == [20, 0, 0]
    assert [row.flops for row in told.rows] == [32, 4, 32]


def test_inner_layers_are_listed_by_their_path():
    told = summary(Sequential(Residual(Sequential(Dense(4, 4, rng=RNG), Tanh()))), (4,))
    assert [row.name for row in told.rows] == ["layers.0.inner.layers.0", "layers.0.inner.layers.1"]
    assert told.parameters == 20


def test_a_fused_layer_is_listed_with_the_parameters_of_the_layers_that_it_holds():
    filters = [ConvMaxPool1D(8, 6, kernel, rng=RNG) for kernel in (2, 3)]
    model = Sequential(EmbeddingConvMaxPool1D(Embedding(50, 8, rng=RNG), *filters), Dense(12, 2, rng=RNG))
    told = summary(model, (60,), dtype=np.int64)
    assert [row.name for row in told.rows] == ["layers.0", "layers.1"]
    assert told.parameters == sum(p.value.size for p in model.parameters())
    assert told.rows[0].flops == 2 * 60 * 8 * 6 * (2 + 3)


class Scaled(Layer):
    """A layer with a weight of its own around another one."""

    def __init__(self, inner):
        self.inner, self.scale = inner, Parameter(np.ones(4, np.float32))

    def forward(self, x, ctx):
        y = self.inner.forward(x, ctx[0])
        ctx.save(y)
        return y * self.scale.value

    def backward(self, dy, ctx):
        ctx.add_grad(self.scale, (dy * ctx.saved[0]).sum(axis=0))
        return self.inner.backward(dy * self.scale.value, ctx[0])


def test_what_holds_layers_and_has_weights_of_its_own_is_listed_too():
    told = summary(Sequential(Scaled(Dense(4, 4, rng=RNG)), Tanh()), (4,))
    assert [(row.name, row.parameters) for row in told.rows] == [
        ("layers.0.inner", 20),
        ("layers.0", 4),
        ("layers.1", 0),
    ]


@pytest.mark.parametrize("network", SHAPES)
def test_a_summary_changes_nothing(network):
    model = network(RNG)
    for parameter in model.parameters():
        parameter.value.setflags(write=False)
    before = [p.value for p in model.parameters()]
    assert summary(model, SHAPES[network]) == summary(model, SHAPES[network])
    assert all(p.value is value for p, value in zip(model.parameters(), before, strict=True))


PAIRS = [pytest.param(make, id=f"{kind.__name__}-{i}") for kind, made in CASES.items() for i, make in enumerate(made)]


@pytest.mark.parametrize("make", PAIRS)
def test_every_layer_can_be_summarised(make):
    layer, x = make(np.random.default_rng(0))
    told = summary(layer, x.shape[1:], dtype=x.dtype if x.dtype.kind == "i" else None)
    assert told.flops >= 0
    assert told.memory > 0
    assert str(told)


def test_a_layer_it_has_never_seen_can_be_summarised():
    class Lookup(Layer):
        """Tokens (N, T) → (N, T, 3)"""

        def forward(self, x, ctx):
            y = ctx.buffer("y", (*x.shape, 3))
            y[...] = x[..., None]
            return y

        def backward(self, dy, ctx):
            return None

    told = summary(Sequential(Lookup(), Dense(3, 2, rng=RNG)), (7,), dtype=np.int64)
    assert [row.output for row in told.rows] == [(7, 3), (7, 2)]


def test_a_model_in_float64_costs_twice_the_memory():
    single, double = small(RNG), small(RNG)
    for parameter in double.parameters():
        parameter.value = parameter.value.astype(np.float64)
    a, b = (summary(model, (6,), optimizer=Adam(0.1)) for model in (single, double))
    assert (b.weights, b.gradients, b.slots) == (2 * a.weights, 2 * a.gradients, 2 * a.slots)
    assert 1.8 < b.activations / a.activations <= 2


def test_frozen_layers_need_neither_gradients_nor_slots():
    model = mlp(RNG)
    model[0].freeze()
    learning = 256 * 128 + 128 + 128 * 10 + 10
    told = summary(model, (784,), optimizer=Adam(0.1))
    assert told.gradients == 4 * learning
    assert told.slots == 3 * 4 * learning
    assert told.parameters == 235_146


def test_a_wrong_shape_is_refused_in_words():
    with pytest.raises(ValueError, match="takes 784 inputs"):
        summary(mlp(RNG), (28, 28))


def test_a_summary_prints_as_a_table():
    text = str(summary(mlp(RNG), (784,), optimizer=Adam(0.1)))
    lines = text.splitlines()
    assert len(lines) == 1 + 1 + 5 + 1 + 1 + 1
    assert lines[2].split() == ["layers.0", "Dense", "256", "200,960", "401,408"]
    assert lines[-2].split() == ["total", "235,146", "469,888"]
    assert lines[-1].startswith("memory in training: 5.")
    assert len({len(line) for line in lines[1:-1]}) == 1


def held_by_a_training(network, recipe, optimizer, data=None):
    """The bytes of all arrays that a warm training holds beside its examples.

    NumPy's arrays have a domain of their own in tracemalloc; the objects of Python around them, some ten KiB a lane,
    are not what a summary is about.
    """
    validation = examples(network, 10) if recipe.patience else None
    model, data = network(np.random.default_rng(0)), data or examples(network, 3 * recipe.batch_size)
    gc.collect()
    tracemalloc.start()
    try:
        training = fit(model, SoftmaxCrossEntropy(), optimizer, data, recipe, validation=validation, threads=1)
        next(training), next(training)
        arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([arrays]).traces)
    finally:
        tracemalloc.stop()
        training.close()


RECIPES = {
    "one lane": Recipe(batch_size=64, blas_threads=1),
    "averaged": Recipe(batch_size=64, blas_threads=1, average=0.99),
    "patient": Recipe(batch_size=64, blas_threads=1, patience=3),
    "two lanes, small pieces": Recipe(batch_size=64, lanes=2, micro_batch=16),
    "three ragged lanes": Recipe(batch_size=50, lanes=3, average=0.9, patience=1),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("network", SHAPES)
def test_the_memory_told_is_what_a_training_then_holds(network, recipe):
    held = held_by_a_training(network, recipe, Adam(1e-3))
    told = summary(network(RNG), SHAPES[network], recipe=recipe, optimizer=Adam(1e-3))
    assert told.memory == pytest.approx(held, rel=0.05)


@pytest.mark.parametrize("settings", [{"tables": "lazy"}, {"tables": "dense"}, {"tables": "dense", "l2": 1e-4}])
def test_the_memory_told_counts_what_a_table_takes(settings):
    network = lambda rng: Sequential(EmbeddingBag(20_000, 64, rng=rng), Dense(64, 2, rng=rng))  # noqa: E731
    recipe = Recipe(batch_size=64, blas_threads=1, **settings)
    ids = np.arange(1, 1 + 3 * 64 * 8).reshape(-1, 8)  # each once, the most that a batch may meet
    held = held_by_a_training(network, recipe, Adam(1e-3), Examples(ids, np.arange(3 * 64) % 2))
    told = summary(network(RNG), (8,), recipe=recipe, optimizer=Adam(1e-3), dtype=np.int64)
    assert told.memory == pytest.approx(held, rel=0.05)


@pytest.mark.parametrize("optimizer", [SGD(0.1), Muon(0.1), AdamW(0.1)], ids=lambda o: type(o).__name__)
def test_the_memory_told_counts_the_slots_of_the_optimizer(optimizer):
    held = held_by_a_training(mlp, Recipe(blas_threads=1), optimizer)
    told = summary(mlp(RNG), (784,), recipe=Recipe(), optimizer=optimizer)
    assert told.memory == pytest.approx(held, rel=0.05)
    assert told.memory - told.slots < 0.95 * held


def test_memory_does_not_grow_with_data_or_time():
    model, recipe = credit(RNG), Recipe(batch_size=32, epochs=4, average=0.9)
    training = fit(model, SoftmaxCrossEntropy(), Adam(1e-3), examples(credit, 32 * 20), recipe, threads=1)
    tracemalloc.start()
    try:
        sizes = []
        for i, _ in enumerate(training):
            if i % 20 == 19:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[-1] - sizes[0] < 16 * 1024, sizes


@pytest.mark.parametrize("shape", [3, None, (-3,), (3.5,), ("a",), (0,)])
def test_a_shape_is_whole_numbers(shape):
    with pytest.raises(ValueError, match="shape is that of one example"):
        summary(Dense(3, 2, rng=RNG), shape)


def test_another_kind_is_refused_in_words():
    model = Dense(3, 2, rng=RNG)
    with pytest.raises(TypeError, match="a model is a layer that was made"):
        summary(Dense, (3,))
    for others in ({"recipe": Recipe}, {"recipe": "quick"}, {"optimizer": Adam}, {"optimizer": "adam"}):
        with pytest.raises(TypeError, match="recipe and optimizer are made"):
            summary(model, (3,), **others)
