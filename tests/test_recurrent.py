"""Recurrences, attention and convolution over time: against their formulas written out, and what only they can do."""

import numpy as np
import pytest
from cases import counted, ids, sequences
from hypothesis import given
from hypothesis import strategies as st

from core import (
    GRU,
    LSTM,
    RNN,
    Adam,
    AttentionPooling,
    Bidirectional,
    Concat,
    Context,
    Conv1D,
    ConvMaxPool1D,
    Dense,
    Dropout,
    Embedding,
    EmbeddingBag,
    EmbeddingConvMaxPool1D,
    EmbeddingRecurrent,
    GlobalMaxPool1D,
    GradientError,
    Gradients,
    Layer,
    MaxPool1D,
    MultiHeadSelfAttention,
    Padded,
    Recipe,
    ReLU,
    Sequences,
    Sequential,
    SoftmaxCrossEntropy,
    correct,
    evaluate,
    fit,
    gradient_check,
    predict,
)
from core.layers import recurrent
from core.parallel import Crew

KINDS = RNN, LSTM, GRU


def random(layer, seed=0):
    """In float64, with parameters none of which is zero."""
    rng = np.random.default_rng(seed)
    for parameter in layer.parameters():
        parameter.value = parameter.value.astype(np.float64) + rng.uniform(-0.5, 0.5, parameter.value.shape)
    return layer


def serve(layer, x):
    y = layer.forward(x, Context(dtype=np.float64))
    return Padded(y.values.copy(), y.lengths) if isinstance(y, Padded) else y.copy()


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# --- the formulas, a step at a time ---------------------------------------------------------------


def rnn_step(layer, x, h):
    return (np.tanh(x @ layer.weight.value + h @ layer.recurrent.value + layer.bias.value),)


def lstm_step(layer, x, h, c):
    i, f, g, o = np.split(x @ layer.weight.value + h @ layer.recurrent.value + layer.bias.value, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(layer, x, h):
    a_r, a_z, a_n = np.split(x @ layer.weight.value + layer.bias.value, 3)
    u_r, u_z, u_n = np.split(h @ layer.recurrent.value, 3)
    r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
    n = np.tanh(a_n + r * (u_n + layer.recurrent_bias.value))
    return ((1 - z) * n + z * h,)


STEP = {RNN: rnn_step, LSTM: lstm_step, GRU: gru_step}


@pytest.mark.parametrize("kind", KINDS)
def test_a_recurrence_is_its_formula(kind):
    layer, x = random(kind(4, 3, rng=np.random.default_rng(1))), sequences(np.random.default_rng(2))
    (y, final), last = layer.scan(x, Context(dtype=np.float64)), random(kind(4, 3, rng=np.random.default_rng(1)))
    last.output = "last"
    for n, length in enumerate(x.lengths):
        state = (np.zeros(3),) * layer.states
        for t in range(length):
            state = STEP[kind](layer, x.values[n, t], *state)
            np.testing.assert_allclose(y.values[n, t], state[0], rtol=1e-12)
        for ours, expected in zip(final, state, strict=True):
            np.testing.assert_allclose(ours[n], expected, rtol=1e-12)
        np.testing.assert_allclose(serve(last, x)[n], state[0], rtol=1e-12)


@pytest.mark.parametrize("kind", [LSTM, GRU])
@pytest.mark.parametrize("far", [-1e4, 1e4])
def test_gates_far_open_or_closed_are_ones_or_zeros(kind, far):
    layer = kind(3, 2, output="last", rng=np.random.default_rng(0))
    layer.bias.value[:] = far
    gradients = Gradients(layer.trainable())
    ctx = Context(True, gradients)
    gradients.start()
    y = layer.forward(np.ones((2, 5, 3), np.float32), ctx)
    dx = layer.backward(np.ones_like(y), ctx)
    assert np.isin(np.abs(y), (0, np.float32(np.tanh(5)), 1)).all()  # as warnings are errors, none was given either
    assert not dx.any()


def test_a_forget_gate_begins_open():
    layer = LSTM(4, 3, rng=np.random.default_rng(0))
    assert layer.bias.value.tolist() == [0] * 3 + [1] * 3 + [0] * 6


# --- states in and out ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_can_be_read_in_two_parts(kind):
    layer, x = random(kind(4, 3, rng=np.random.default_rng(1))), np.random.default_rng(2).standard_normal((2, 9, 4))
    y, final = layer.scan(x, Context(dtype=np.float64))
    first, between = layer.scan(x[:, :5], Context(dtype=np.float64))
    second, end = layer.scan(x[:, 5:], Context(dtype=np.float64), between)
    np.testing.assert_allclose(np.concatenate((first, second), axis=1), y, rtol=1e-12)
    for ours, expected in zip(end, final, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


class FromState(Layer):
    """The first step of x holds the initial state; the final state is the last step of y."""

    takes_padded = True

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x, ctx):
        units, states = self.inner.units, self.inner.states
        start = x.values[:, 0, : units * states]
        initial = tuple(np.split(start, states, axis=1))
        y, final = self.inner.scan(Padded(x.values[:, 1:], x.lengths), ctx[0], initial)
        y = np.where(np.arange(y.shape[1])[:, None] < x.lengths[:, None, None], y.values, 0)
        return np.concatenate((y.reshape(len(x), -1), *final), axis=1)

    def backward(self, dy, ctx):
        units, states = self.inner.units, self.inner.states
        at = dy.shape[1] - units * states
        d = dy[:, :at].reshape(len(dy), -1, units) * 1.0
        for n, length in enumerate(ctx[0].saved[1]):
            d[n, length:] = 0
        dx, dinitial = self.inner.scan_backward(d, tuple(np.split(dy[:, at:], states, axis=1)), ctx[0])
        whole = np.zeros((len(dx), dx.shape[1] + 1, dx.shape[2]))
        whole[:, 1:] = dx
        whole[:, 0, : units * states] = np.concatenate(dinitial, axis=1)
        return whole


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_states_are_right(kind):
    rng = np.random.default_rng(3)
    layer, x = random(kind(6, 3, rng=rng)), rng.standard_normal((4, 6, 6))
    gradient_check(FromState(layer), Padded(x, np.array([5, 3, 1, 0])))


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_steps_are_no_more_than_chunks(kind, monkeypatch):
    layer, x = random(kind(4, 3, rng=np.random.default_rng(1))), sequences(np.random.default_rng(2), t=11)

    def run():
        grads = Gradients(layer.parameters())
        ctx = Context(True, grads, dtype=np.float64)
        grads.start()
        y = layer.forward(x, ctx)
        dy = np.cos(y.values) * (np.arange(11) < x.lengths[:, None])[:, :, None]
        return counted(y).copy(), layer.backward(dy, ctx).copy(), grads.flat

    whole = run()
    for size in (1, 4 * 4 * 3 * 3):  # a step a chunk; a few
        monkeypatch.setattr(recurrent, "_CHUNK", size)
        for ours, expected in zip(run(), whole, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_serving_holds_the_gates_of_a_chunk_alone_and_answers_the_same(kind, monkeypatch):
    layer, x = random(kind(4, 3, rng=np.random.default_rng(1))), sequences(np.random.default_rng(2), t=50)
    learning, serving = Context(True, dtype=np.float64), Context(dtype=np.float64)
    monkeypatch.setattr(recurrent, "_CHUNK", 4 * 4 * 3 * 3)
    np.testing.assert_array_equal(counted(layer.forward(x, serving)), counted(layer.forward(x, learning)))
    gates = 8 * int(x.lengths.max()) * len(kind.gates) * 3 * len(x)  # bytes, of all steps
    assert learning.nbytes - serving.nbytes > 0.7 * gates


# --- both ways ------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["sequence", "last"])
def test_both_ways_is_one_layer_on_each_sequence_and_one_on_it_turned(output):
    rng = np.random.default_rng(4)
    ahead, behind = (random(GRU(4, 3, rng=rng, output=output), seed) for seed in (1, 2))
    x = sequences(rng)
    y = serve(Bidirectional(ahead, behind), x)
    for n, length in enumerate(x.lengths):
        alone = x.values[n : n + 1, :length]
        a, b = serve(ahead, alone)[0], serve(behind, alone[:, ::-1])[0]
        if output == "sequence":
            np.testing.assert_allclose(y.values[n, :length], np.concatenate((a, b[::-1]), axis=1), rtol=1e-12)
        else:
            np.testing.assert_allclose(y[n], np.concatenate((a, b)), rtol=1e-12)


# --- attention ------------------------------------------------------------------------------------


def test_attention_pooling_is_a_mean_of_the_steps_that_count():
    layer, x = random(AttentionPooling(4, 3, rng=np.random.default_rng(0))), sequences(np.random.default_rng(1))
    x = Padded(np.ones_like(x.values), x.lengths)
    np.testing.assert_allclose(serve(layer, x), (x.lengths > 0)[:, None] * np.ones(4), rtol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_self_attention_is_its_formula(causal):
    layer = random(MultiHeadSelfAttention(4, 2, rng=np.random.default_rng(0), causal=causal))
    x = sequences(np.random.default_rng(1))
    y = serve(layer, x)
    for n, length in enumerate(x.lengths):
        q, k, v = np.split(x.values[n, :length] @ layer.weight.value + layer.bias.value, 3, axis=1)
        heads = []
        for h in (slice(0, 2), slice(2, 4)):
            scores = np.exp(q[:, h] @ k[:, h].T / np.sqrt(2))
            scores = np.tril(scores) if causal else scores
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ v[:, h])
        expected = np.concatenate(heads, axis=1) @ layer.out_weight.value + layer.out_bias.value
        np.testing.assert_allclose(y.values[n, :length], expected, rtol=1e-11)


def test_where_attention_is_causal_the_past_knows_nothing_of_the_future():
    layer = random(MultiHeadSelfAttention(4, 2, rng=np.random.default_rng(0), causal=True))
    x = np.random.default_rng(1).standard_normal((2, 6, 4))
    other = x.copy()
    other[:, 4:] += 1
    np.testing.assert_allclose(serve(layer, other)[:, :4], serve(layer, x)[:, :4], rtol=1e-12)
    assert (serve(layer, other)[:, 4:] != serve(layer, x)[:, 4:]).all()


# --- convolution and pooling ----------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_a_convolution_over_time_is_its_formula(padding, kernel):
    layer = random(Conv1D(4, 3, kernel, rng=np.random.default_rng(0), padding=padding))
    x = sequences(np.random.default_rng(1), t=6)
    y = serve(layer, x)
    before = (kernel - 1) // 2 if padding == "same" else 0
    for n, length in enumerate(x.lengths):
        line = np.zeros((length + 2 * kernel, 4))
        line[before : before + length] = x.values[n, :length]
        assert y.lengths[n] == (length if padding == "same" else max(0, length - kernel + 1))
        for t in range(y.lengths[n]):
            expected = np.einsum("je,jeo->o", line[t : t + kernel], layer.weight.value) + layer.bias.value
            np.testing.assert_allclose(y.values[n, t], expected, rtol=1e-12)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 3, 4])
def test_the_fused_layer_equals_its_composition(padding, kernel):
    rng = np.random.default_rng(3)
    fused, plain = (random(kind(4, 5, kernel, rng=rng, padding=padding)) for kind in (ConvMaxPool1D, Conv1D))
    for ours, theirs in zip(plain.parameters(), fused.parameters(), strict=True):
        ours.value = theirs.value.copy()
    both, x = Sequential(plain, GlobalMaxPool1D()), sequences(rng, n=7, t=9)
    x.values[0] = 0.5  # ties: the gradient goes to the first of equals in both
    made = []
    for layer in (fused, both):
        grads = Gradients(layer.parameters())
        ctx = Context(True, grads, dtype=np.float64)
        grads.start()
        y = layer.forward(x, ctx)
        dx = layer.backward(np.cos(y), ctx)
        made.append((y.copy(), dx.copy(), grads.flat))
    for ours, expected in zip(*made, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("padding", ["same", "valid"])
@given(kernels=st.lists(st.integers(1, 5), min_size=1, max_size=3), seed=st.integers(0, 999))
def test_filters_of_words_equal_the_layers_one_by_one(padding, kernels, seed):
    rng = np.random.default_rng(seed)
    filters = [random(ConvMaxPool1D(4, 3, kernel, rng=rng, padding=padding)) for kernel in kernels]
    fused = EmbeddingConvMaxPool1D(random(Embedding(8, 4, rng=rng)), *filters)
    fused.embedding.weight.value[0] = 0
    x = ids(rng, n=int(rng.integers(1, 7)), t=int(rng.integers(5, 12)), height=8)
    made = []
    for layer in (fused, Sequential(fused.embedding, Concat(*filters))):
        grads = Gradients(layer.parameters())
        ctx = Context(True, grads, dtype=np.float64)
        ctx.needs_dx = False
        grads.start()
        y = layer.forward(x, ctx)
        layer.backward(np.cos(y), ctx)
        grads.finish()
        made.append([y.copy(), *(np.array(grads[each]) for each in layer.parameters())])
    for ours, expected in zip(*made, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(serve(fused, x), made[0][0], rtol=1e-12)


def passed(layer, x, crew=None):
    """What counts of y in float64, and the gradients from cos(y), perhaps shared by a crew"""
    grads = Gradients(layer.parameters())
    ctx = Context(True, grads, dtype=np.float64)
    ctx.needs_dx, ctx.crew = False, crew
    grads.start()
    y = layer.forward(x, ctx)
    dy = np.cos(y.values if isinstance(y, Padded) else y)
    if isinstance(y, Padded):
        dy[np.arange(dy.shape[1]) >= y.lengths[:, None]] = 0
    told = (counted(y) if isinstance(y, Padded) else y).copy()
    layer.backward(dy, ctx)
    grads.finish()
    return [told, *(np.array(grads[each]) for each in layer.parameters())]


@given(
    kind=st.sampled_from(KINDS),
    both=st.booleans(),
    output=st.sampled_from(["sequence", "last"]),
    padded=st.booleans(),
    chunk=st.sampled_from([1, 60, 1 << 17]),
    seed=st.integers(0, 999),
)
def test_words_read_equal_the_layers_one_by_one(kind, both, output, padded, chunk, seed):
    rng = np.random.default_rng(seed)
    cells = [random(kind(4, 3, rng=rng, output=output), seed) for _ in range(1 + both)]
    fused = EmbeddingRecurrent(random(Embedding(8, 4, rng=rng)), Bidirectional(*cells) if both else cells[0])
    fused.embedding.weight.value[0] = 0
    x = ids(rng, n=int(rng.integers(1, 7)), t=int(rng.integers(1, 12)), height=8)
    x = x if padded else rng.integers(0, 8, x.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recurrent, "_CHUNK", chunk)
        made = [passed(layer, x) for layer in (fused, Sequential(fused.embedding, fused.reader))]
        with Crew(2) as crew:
            shared = passed(fused, x, crew)
    for ours, expected, other in zip(*made, shared, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-11)
        np.testing.assert_array_equal(ours, other)


def test_a_frozen_table_is_left_alone_by_what_reads_its_words():
    rng = np.random.default_rng(0)
    layer = random(EmbeddingRecurrent(Embedding(8, 4, rng=rng), GRU(4, 3, rng=rng)))
    free = passed(layer, ids(rng, height=8))
    layer.embedding.weight.frozen = True
    frozen = passed(layer, ids(np.random.default_rng(0), height=8))
    assert np.abs(free[1]).sum() > 0
    assert not frozen[1].any()


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (2, 3), (1, 1), (9, 1)])
def test_windows_over_time_lose_no_step_and_go_no_further_than_the_end(size, stride):
    x = sequences(np.random.default_rng(0), n=9, t=8)
    y = serve(MaxPool1D(size, stride), x)
    for n, length in enumerate(x.lengths):
        starts = [s for s in range(0, length, stride) if s == 0 or s - stride + size < length]
        expected = [x.values[n, s : min(s + size, length)].max(axis=0) for s in starts]
        assert y.lengths[n] == len(expected)
        if expected:
            np.testing.assert_array_equal(y.values[n, : len(expected)], expected)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (lambda r: LSTM(4, 3, rng=r), (2, 5, 3), r"LSTM\(4, 3\) takes 4 features of float32 a step, but x is float32"),
        (lambda r: GRU(4, 3, rng=r), (2, 4), r"GRU takes sequences \(N, T, F\)"),
        (lambda r: RNN(4, 3, rng=r, output="all"), (), 'output is "sequence" or "last", not "all"'),
        (lambda r: Conv1D(4, 3, 3, rng=r, padding="valid"), (2, 2, 4), "needs 3 steps"),
        (lambda r: Conv1D(4, 3, 0, rng=r), (), "kernel is a whole number of steps"),
        (lambda r: Conv1D(4, 3, 3, rng=r, padding="full"), (), 'padding is "same" or "valid"'),
        (lambda r: Conv1D(4, 3, 3, rng=r), (2, 5, 3), "takes 4 features"),
        (
            lambda r: EmbeddingConvMaxPool1D(Embedding(9, 4, rng=r), ConvMaxPool1D(3, 2, 2, rng=r)),
            (),
            r"Embedding\(9, 4\) needs filters that take 4 features",
        ),
        (lambda r: EmbeddingConvMaxPool1D(Embedding(9, 4, rng=r)), (), "needs filters"),
        (lambda r: EmbeddingConvMaxPool1D(Embedding(9, 4, rng=r), Conv1D(4, 2, 2, rng=r)), (), "and ConvMaxPool1Ds"),
        (lambda r: EmbeddingConvMaxPool1D(Dense(9, 4, rng=r), ConvMaxPool1D(4, 2, 2, rng=r)), (), "of an Embedding"),
        (
            lambda r: EmbeddingRecurrent(Embedding(9, 4, rng=r), GRU(3, 2, rng=r)),
            (),
            r"Embedding\(9, 4\) needs a reader that takes 4 features, not GRU\(3, 2\)",
        ),
        (lambda r: EmbeddingRecurrent(Embedding(9, 4, rng=r), Dense(4, 2, rng=r)), (), "and recurrent layers"),
        (lambda r: EmbeddingRecurrent(Dense(9, 4, rng=r), GRU(4, 2, rng=r)), (), "made of an Embedding"),
        (
            lambda r: EmbeddingRecurrent(Embedding(9, 4, rng=r), Bidirectional(GRU(4, 2, rng=r), Dense(4, 2, rng=r))),
            (),
            "and recurrent layers",
        ),
        (lambda r: MaxPool1D(0), (), "size and stride are whole numbers"),
        (lambda r: MultiHeadSelfAttention(4, 3, rng=r), (), "evenly among the heads, not among 3"),
        (lambda r: MultiHeadSelfAttention(4, 2, rng=r), (2, 5, 3), "takes 4 features"),
        (lambda r: Bidirectional(GRU(4, 3, rng=r), GRU(4, 3, rng=r, output="last")), (2, 5, 4), "both at every step"),
        (lambda r: Concat(Dense(4, 3, rng=r), ReLU()), "padded", "give it axis=-1"),
    ],
)
def test_what_a_layer_cannot_take_is_refused_in_words(layer, shape, message):
    x = sequences(np.random.default_rng(0)) if shape == "padded" else np.zeros(shape, np.float32)
    if shape == "padded":
        x = Padded(x.values.astype(np.float32), x.lengths)
    with pytest.raises(ValueError, match=message):
        layer(np.random.default_rng(0)).forward(x, Context())


def test_a_state_of_another_shape_is_refused_in_words():
    with pytest.raises(ValueError, match=r"takes a state \(2, 3\), not \(3,\)"):
        RNN(4, 3, rng=np.random.default_rng(0)).scan(np.zeros((2, 5, 4), np.float32), Context(), (np.zeros(3),))


# --- faults are noticed ---------------------------------------------------------------------------


class Flipped(Layer):
    """A layer whose gradient of one parameter has the wrong sign."""

    takes_padded = True

    def __init__(self, inner, name):
        self.inner, self.name = inner, name

    def forward(self, x, ctx):
        ctx[0].grads = Gradients(self.inner.parameters())  # before the inner contexts are made, which share it
        return self.inner.forward(x, ctx[0])

    def backward(self, dy, ctx):
        grads = ctx[0].grads
        dx = self.inner.backward(dy, ctx[0])
        for name, parameter in self.inner.named_parameters():
            ctx.add_grad(parameter, -grads[parameter] if name == self.name else grads[parameter])
        return dx


MUTANTS = [
    (lambda r: Embedding(6, 3, rng=r), ("weight",)),
    (lambda r: EmbeddingBag(6, 3, rng=r, bias=True), ("weight", "bias")),
    (lambda r: LSTM(4, 3, rng=r), ("weight", "recurrent", "bias")),
    (lambda r: GRU(4, 3, rng=r), ("weight", "recurrent", "bias", "recurrent_bias")),
    (lambda r: RNN(4, 3, rng=r), ("weight", "recurrent", "bias")),
    (lambda r: Conv1D(4, 3, 3, rng=r), ("weight", "bias")),
    (lambda r: ConvMaxPool1D(4, 3, 3, rng=r), ("weight", "bias")),
    (
        lambda r: EmbeddingConvMaxPool1D(Embedding(6, 4, rng=r), ConvMaxPool1D(4, 3, 2, rng=r)),
        ("embedding.weight", "filters.0.weight", "filters.0.bias"),
    ),
    (
        lambda r: EmbeddingRecurrent(Embedding(6, 4, rng=r), Bidirectional(GRU(4, 3, rng=r), LSTM(4, 3, rng=r))),
        ("embedding.weight", "reader.forwards.weight", "reader.backwards.weight", "reader.backwards.bias"),
    ),
    (lambda r: AttentionPooling(4, 3, rng=r), ("weight", "bias", "query")),
    (lambda r: MultiHeadSelfAttention(4, 2, rng=r), ("weight", "bias", "out_weight", "out_bias")),
]


@pytest.mark.parametrize(("make", "name"), [(make, name) for make, names in MUTANTS for name in names])
def test_a_planted_wrong_sign_is_caught(make, name):
    layer = random(make(np.random.default_rng(1)))
    reads_ids = isinstance(layer, Embedding | EmbeddingBag | EmbeddingConvMaxPool1D | EmbeddingRecurrent)
    x = (ids if reads_ids else sequences)(np.random.default_rng(0))
    gradient_check(Flipped(layer, "none"), x)
    with pytest.raises(GradientError, match="difference quotient"):
        gradient_check(Flipped(layer, name), x)


def test_padding_is_no_fault_of_a_table():
    layer = random(Embedding(6, 3, rng=np.random.default_rng(1)))
    gradient_check(layer, np.array([[0, 2, 0], [5, 1, 2]]))


class _ForgetsTheEnd(GlobalMaxPool1D):
    """Looks at what stands behind the end."""

    def forward(self, x, ctx):
        return super().forward(x.values, ctx)


class _LeaksBehindTheEnd(Conv1D):
    """Reads behind the end, as if all sequences had all steps."""

    def forward(self, x, ctx):
        return x.like(super().forward(x.values, ctx))


class _WrongState(LSTM):
    def _retrace(self, first, z, u, states, kept, carried, *rest):
        super()._retrace(first, z, u, states, kept, carried, *rest)
        carried[1] *= -1


@pytest.mark.parametrize("make", [lambda r: _ForgetsTheEnd(), lambda r: _LeaksBehindTheEnd(4, 3, 3, rng=r)])
def test_a_layer_that_looks_behind_the_end_gives_itself_away(make):
    x, layer = sequences(np.random.default_rng(0)), random(make(np.random.default_rng(1)))
    other = Padded(np.where((np.arange(5) < x.lengths[:, None])[:, :, None], x.values, 9.0), x.lengths)
    assert not np.allclose(counted(serve(layer, x)), counted(serve(layer, other)))


def test_a_wrong_sign_in_the_walk_back_is_caught(monkeypatch):
    monkeypatch.setattr(recurrent, "_CHUNK", 1)
    layer = random(_WrongState(4, 3, rng=np.random.default_rng(1)))
    with pytest.raises(GradientError, match="difference quotient"):
        gradient_check(layer, sequences(np.random.default_rng(0)))


# --- learning -------------------------------------------------------------------------------------

E = 6


def stacked(r):
    layers = Embedding(12, E, rng=r), GRU(E, 12, rng=r), Dropout(0.1), LSTM(12, 12, rng=r, output="last")
    return Sequential(*layers, Dense(12, 2, rng=r))


def both_ways(r):
    inner = Bidirectional(GRU(E, 8, rng=r), GRU(E, 8, rng=r))
    return Sequential(Embedding(12, E, rng=r), inner, AttentionPooling(16, 8, rng=r), Dense(16, 2, rng=r))


def text_cnn(r):
    words = EmbeddingConvMaxPool1D(Embedding(12, E, rng=r), *(ConvMaxPool1D(E, 8, k, rng=r) for k in (2, 3)))
    return Sequential(words, ReLU(), Dropout(0.1), Dense(16, 2, rng=r))


def order(n, seed):
    """Whether a 1 comes right before a 2 somewhere, which no bag can tell."""
    rng, texts, t = np.random.default_rng(seed), [], rng_labels(n, seed)
    for label in t:
        text = rng.integers(3, 12, rng.integers(2, 9)).tolist()
        at = int(rng.integers(0, len(text)))
        text[at:at] = [1, 2] if label else [2, 1]
        texts.append(text)
    return Sequences(texts, t)


def rng_labels(n, seed):
    return np.random.default_rng(seed + 100).integers(0, 2, n)


@pytest.mark.parametrize("network", [stacked, both_ways, text_cnn])
def test_the_order_of_words_can_be_learned(network):
    model, recipe = network(np.random.default_rng(0)), Recipe(epochs=15, batch_size=32, lanes=2, clip_norm=1.0)
    for _ in fit(model, SoftmaxCrossEntropy(), Adam(0.01), order(500, 0), recipe, threads=2):
        pass
    scores = evaluate(model, order(200, 1), SoftmaxCrossEntropy(), {"accuracy": correct})
    assert scores["accuracy"] > 0.95
    assert predict(model, order(5, 2).x).shape == (5, 2)
