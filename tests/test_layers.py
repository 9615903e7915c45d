"""What every layer must do: have the right derivative, leave everything as it was, and cost no memory when warm."""

import copy
import tracemalloc

import numpy as np
import pytest
from cases import CASES, DRAWS_OR_MIXES, READS_CATEGORIES, counted, gradient_for, with_lengths, with_values

from core import (
    LAYERS,
    AdditiveBins,
    Context,
    Conv2D,
    ConvPool2D,
    Dense,
    Dropout,
    EnsembleDense,
    GlobalAveragePool1D,
    GradientError,
    Gradients,
    Layer,
    MaxPool2D,
    Padded,
    PiecewiseLinear,
    ReLU,
    Sequential,
    Tanh,
    gradient_check,
    load_weights,
    predict,
    save_weights,
)
from core.layers import winograd
from core.padded import call, values_of


def pairs(wanted=lambda kind, x: True):
    """A parameter for each case that is wanted, by its layer and input."""
    return [
        pytest.param(make, id=f"{kind.__name__}-{i}")
        for kind, made in CASES.items()
        for i, make in enumerate(made)
        if wanted(kind, make(np.random.default_rng(0))[1])
    ]


# those that neither draw numbers nor mix examples, so that neither cut nor training shows
STEADY = pairs(lambda kind, x: kind not in DRAWS_OR_MIXES)
OF_NUMBERS = pairs(
    lambda kind, x: x.dtype.kind == "f" and kind not in READS_CATEGORIES
)  # not of ids, which no layer makes
PADDED = pairs(lambda kind, x: isinstance(x, Padded) and kind not in DRAWS_OR_MIXES)


@pytest.fixture(params=pairs())
def case(request):
    layer, x = request.param(np.random.default_rng(0))
    return layer, x


def stream(seed=1):
    made = np.random.default_rng(seed)
    return lambda: made


def context(x, grads, dtype=np.float64):
    """Of a training pass that wants all the gradients there are."""
    ctx = Context(True, grads, stream(), dtype)
    ctx.needs_dx = x.dtype.kind == "f"
    return ctx


def run(layer, x, dy=None, grads=None, dtype=np.float64):
    """(y, dx, grads) of one training pass."""
    grads = Gradients(layer.trainable()) if grads is None else grads
    ctx = context(x, grads, dtype)
    grads.start()
    y = call(layer, x, ctx)
    dx = layer.backward(gradient_for(y) if dy is None else dy, ctx)
    grads.finish()
    return y, dx, grads


def in_float64(layer):
    for parameter in layer.parameters():
        parameter.value = parameter.value.astype(np.float64)
    return layer


def test_every_layer_has_a_case():
    assert set(CASES) == set(LAYERS)


def test_backward_is_the_derivative_of_forward(case):
    gradient_check(*case)


@pytest.mark.parametrize("case", OF_NUMBERS, indirect=True)
def test_backward_is_the_derivative_behind_another_layer(case):
    """The input's gradient must be right as well, not only the parameters': a layer in front depends on it."""
    layer, x = case
    rng = np.random.default_rng(2)
    in_front = Dense(x.shape[-1], x.shape[-1], rng=rng)
    gradient_check(Sequential(in_front, layer), x)


def test_a_pass_writes_nothing_but_its_context(case):
    layer, x = case
    in_float64(layer)
    before = copy.deepcopy(vars(layer)), values_of(x).copy()
    for parameter in layer.parameters():
        parameter.value.setflags(write=False)
    values_of(x).setflags(write=False)
    dy = gradient_for(call(layer, x, Context(dtype=np.float64)))  # a serving pass
    dy.setflags(write=False)
    run(layer, x, dy)
    np.testing.assert_array_equal(values_of(x), before[1])
    assert repr(vars(layer)) == repr(before[0])
    for (_, now), (_, then) in zip(layer.named_parameters(), _parameters_in(before[0]), strict=True):
        np.testing.assert_array_equal(now.value, then.value)


def _parameters_in(attributes):
    holder = Layer()
    vars(holder).update(attributes)
    return holder.named_parameters()


@pytest.mark.parametrize("case", STEADY, indirect=True)
def test_the_cut_of_a_batch_changes_nothing(case):
    layer, x = case
    in_float64(layer)
    y, dx, grads = run(layer, x)
    y, dx, whole = counted(y).copy(), None if dx is None else dx.copy(), grads.flat.copy()
    ctx = context(x, grads)
    grads.start()
    outputs, inputs = [], []
    for part in (slice(0, 1), slice(1, len(x))):  # two micro-batches of one lane
        made = call(layer, x[part], ctx)
        outputs.append(counted(made).copy())
        d = layer.backward(gradient_for(made), ctx)
        inputs.append(None if d is None else d.copy())
    grads.finish()
    np.testing.assert_allclose(np.concatenate(outputs), y, rtol=1e-12, atol=1e-12)
    if dx is not None:
        np.testing.assert_allclose(np.concatenate(inputs), dx, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grads.flat, whole, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("case", STEADY, indirect=True)
def test_serving_and_training_agree_where_nothing_is_drawn(case):
    layer, x = case
    in_float64(layer)
    served, trained = counted(call(layer, x, Context(dtype=np.float64))), counted(run(layer, x)[0])
    if isinstance(layer, AdditiveBins | EnsembleDense | PiecewiseLinear):  # which serve by a shorter way
        np.testing.assert_allclose(served, trained, rtol=1e-12, atol=1e-12)
    else:
        np.testing.assert_array_equal(served, trained)


@pytest.mark.parametrize("case", OF_NUMBERS, indirect=True)
def test_a_warm_pass_allocates_nothing_that_grows(case):
    """64 KiB: what NumPy's own casting buffers take. A batch of any of these is larger."""
    layer, x = case
    x = with_values(x, lambda v: v.astype(np.float32))
    if isinstance(x, Padded):  # few and long, rather than many and short
        x = Padded(np.repeat(x.values, 40, axis=1), 40 * x.lengths)
    times = -(-400_000 // values_of(x).size)
    x = with_lengths(x, lambda a: np.repeat(a, times, axis=0))
    grads = Gradients(layer.trainable())
    ctx = Context(True, grads, stream())

    def step():
        grads.start()
        call(layer, x, ctx)
        layer.backward(dy, ctx)
        grads.finish()

    dy = gradient_for(call(layer, x, ctx))
    step()
    step()
    tracemalloc.start()
    try:
        step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 256 * 1024, f"{peak} bytes for an input of {values_of(x).nbytes}"


def test_weights_survive_a_file(case, tmp_path):
    layer, x = case
    x = with_values(x, lambda v: v.astype(np.float32) if v.dtype.kind == "f" else v)
    if isinstance(call(layer, x, Context()), Padded):
        layer = Sequential(layer, GlobalAveragePool1D())
    expected = predict(layer, x)
    save_weights(tmp_path / "w.safetensors", layer)
    other = copy.deepcopy(layer)
    for parameter in other.parameters():
        parameter.value = np.zeros_like(parameter.value)
    load_weights(tmp_path / "w.safetensors", other)
    np.testing.assert_array_equal(predict(other, x), expected)


def test_another_batch_size_leaves_no_trace(case):
    """Buffers grow and stay; what a larger batch left in them must not show."""
    layer, x = case
    in_float64(layer)
    grads = Gradients(layer.trainable())

    def pass_over(x, ctx):
        grads.start()
        y = call(layer, x, ctx)
        made = counted(y).copy()
        dx = layer.backward(gradient_for(y, np.cos), ctx)
        grads.finish()
        return made, np.zeros(1) if dx is None else dx.copy(), grads.flat.copy()

    fresh = pass_over(x[:3], context(x, grads))
    ctx = context(x, grads)
    other = with_values(x, lambda v: v + 1 if v.dtype.kind == "f" else v[::-1])
    pass_over(x, ctx)
    pass_over(with_lengths(other, lambda a: np.concatenate([a, a[::-1]])), ctx)
    ctx._stream = stream()  # the same draws again
    for inner in ctx._inner:
        inner._stream = ctx._stream
    for now, then in zip(pass_over(x[:3], ctx), fresh, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("case", PADDED, indirect=True)
@pytest.mark.parametrize("more", [0, 1, 6])
def test_padding_never_changes_a_result(case, more):
    """Outputs, and the gradients of parameters and input: with more padding, and with other garbage in it."""
    layer, x = case
    in_float64(layer)
    y, dx, grads = run(layer, x, None)
    expected = counted(y).copy(), grads.flat.copy(), dx

    def padded(v, fill):
        longer = np.full((v.shape[0], v.shape[1] + more, *v.shape[2:]), fill, v.dtype)
        for to, sequence, length in zip(longer, v, x.lengths, strict=True):
            to[:length] = sequence[:length]
        return longer

    weight = None if x.weight is None else padded(x.weight, 1e9)
    y, longer_dx, grads = run(layer, Padded(padded(x.values, -1 if x.dtype.kind == "i" else 1e3), x.lengths, weight))
    np.testing.assert_allclose(counted(y), expected[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grads.flat, expected[1], rtol=1e-11, atol=1e-11)
    if dx is not None:
        behind = np.arange(longer_dx.shape[1]) >= x.lengths[:, None]
        assert not longer_dx[behind].any()
        np.testing.assert_allclose(counted(Padded(longer_dx, x.lengths)), counted(Padded(dx, x.lengths)), rtol=1e-11)


@pytest.mark.parametrize("padding", ["valid", "same", 2])
@pytest.mark.parametrize("shape", [(3, 2, 8, 8), (5, 2, 9, 7)])
def test_the_fused_layer_equals_its_composition(padding, shape):
    rng = np.random.default_rng(3)
    fused = in_float64(ConvPool2D(2, 4, 3, rng=rng, padding=padding))
    plain = in_float64(Conv2D(2, 4, 3, rng=rng, padding=padding))
    plain.weight.value[...] = fused.weight.value
    plain.bias.value[...] = fused.bias.value = rng.standard_normal(4)
    both = Sequential(plain, MaxPool2D(2))
    x = np.round(rng.standard_normal(shape), 1)
    x[0] = 0.5  # ties: the gradient goes to the first of equals in both
    y, _, _ = run(both, x)
    dy = np.cos(y)
    for a, b in zip(_numbers(fused, x, dy), _numbers(both, x, dy), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [Conv2D, ConvPool2D])
@pytest.mark.parametrize(("padding", "size"), [("valid", (6, 8)), ("same", (4, 6)), (((1, 0), (0, 3)), (7, 5))])
def test_fewer_products_give_the_same_numbers(kind, padding, size, monkeypatch):
    rng = np.random.default_rng(4)
    layer = in_float64(kind(16, 18, 3, rng=rng, padding=padding))
    x = rng.standard_normal((5, 16, *size))
    y, _, _ = run(layer, x)
    dy = np.cos(y)
    tiled = _numbers(layer, x, dy)
    monkeypatch.setattr(winograd, "pays", lambda *shape: False)
    for a, b in zip(tiled, _numbers(layer, x, dy), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def _numbers(layer, x, dy):
    y, dx, grads = run(layer, x, dy)
    return y.copy(), dx.copy(), *(grads[p].copy() for p in layer.parameters())


class _WrongSign(Tanh):
    def backward(self, dy, ctx):
        return -super().backward(dy, ctx)


class _ForgetsBias(Dense):
    def backward(self, dy, ctx):
        bias, self.bias = self.bias, None
        try:
            return super().backward(dy, ctx)
        finally:
            self.bias = bias


class _WrongInput(Dense):
    def backward(self, dy, ctx):
        dx = super().backward(dy, ctx)
        return dx * 1.01


class _LeaksDropout(Dropout):
    def backward(self, dy, ctx):
        return dy


@pytest.mark.parametrize(
    "mutant",
    [
        lambda r: _WrongSign(),
        lambda r: _ForgetsBias(4, 3, rng=r),
        lambda r: _WrongInput(4, 3, rng=r),
        lambda r: _LeaksDropout(0.5),
        lambda r: Sequential(Dense(4, 4, rng=r), _WrongSign()),
        lambda r: Sequential(Dense(4, 4, rng=r), _WrongInput(4, 4, rng=r), ReLU()),
    ],
)
def test_a_planted_wrong_gradient_is_caught(mutant):
    rng = np.random.default_rng(5)
    with pytest.raises(GradientError, match="difference quotient"):
        gradient_check(mutant(rng), rng.standard_normal((5, 4)))


@pytest.mark.parametrize("offset", [1e-4, -1e-4])
def test_a_gradient_check_is_not_blind_to_small_faults(offset):
    class SlightlyOff(Tanh):
        def backward(self, dy, ctx):
            return super().backward(dy, ctx) + offset

    with pytest.raises(GradientError):
        gradient_check(SlightlyOff(), np.random.default_rng(6).standard_normal((3, 4)))


@pytest.mark.parametrize(
    ("x", "settings", "message"),
    [
        (np.ones((0, 4)), {}, "one example or more"),
        (3.0, {}, "one example or more"),
        (np.ones((2, 4)), {"most": 0}, "would compare nothing"),
        (np.ones((2, 4)), {"epsilon": 0}, "would compare nothing"),
        (np.ones((2, 4)), {"epsilon": float("nan")}, "would compare nothing"),
    ],
)
def test_a_gradient_check_that_would_compare_nothing_is_refused(x, settings, message):
    with pytest.raises(ValueError, match=message):
        gradient_check(Tanh(), x, **settings)


def test_a_gradient_check_takes_rows_of_numbers_and_no_class():
    assert gradient_check(Tanh(), [[0.5, -0.2]]) < 1e-6
    with pytest.raises(TypeError, match="a model is a layer that was made"):
        gradient_check(Tanh, np.ones((2, 4)))


def test_the_first_layer_computes_no_gradient_of_the_examples():
    rng = np.random.default_rng(7)
    model = Sequential(Tanh(), Dense(4, 3, rng=rng), ReLU(), Dense(3, 2, rng=rng))
    ctx = Context(True, Gradients(model.trainable()))
    ctx.needs_dx = False
    y = model.forward(rng.standard_normal((5, 4)).astype(np.float32), ctx)
    assert model.backward(np.ones_like(y), ctx) is None
    assert "dx" not in ctx[1]._held
    assert "dx" in ctx[3]._held


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Dense(4, 3, rng=np.random.default_rng(0)), (5, 6), "takes 4 inputs"),
        (Conv2D(2, 3, 3, rng=np.random.default_rng(0)), (5, 1, 8, 8), "images \\(N, 2, H, W\\)"),
        (Conv2D(2, 3, 3, rng=np.random.default_rng(0)), (5, 2, 2, 8), "does not fit"),
        (ConvPool2D(2, 3, 3, rng=np.random.default_rng(0)), (5, 2, 3, 3), "2×2 square"),
        (MaxPool2D(4), (5, 2, 3, 8), "does not fit"),
    ],
)
def test_a_wrong_shape_is_refused_in_words(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(np.zeros(shape, np.float32), Context())


def test_mixed_floating_types_are_refused():
    model = Dense(4, 3, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"astype\(np.float32\)"):
        predict(model, np.zeros((2, 4)))
    model.bias.value = model.bias.value.astype(np.float64)
    with pytest.raises(ValueError, match="mix float32 and float64"):
        predict(model, np.zeros((2, 4)))
