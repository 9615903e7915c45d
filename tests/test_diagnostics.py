"""Looking inside: what is watched computes the same, and what is ill is named with a remedy."""

from functools import partial

import numpy as np
import pytest
from cases import CASES, counted, gradient_for, with_values
from networks import SHAPES, cnn, credit, examples, mlp, normed, small

from core import (
    SGD,
    BatchNorm,
    Context,
    Conv2D,
    Dense,
    Dropout,
    Examples,
    Flatten,
    Gradients,
    LeakyReLU,
    NonFiniteLoss,
    Recipe,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
    diagnose,
    fit,
    inspect,
)
from core.diagnostics import LayerReport, layer_statistics, rms
from core.initializers import glorot_normal, he_normal, normal
from core.observe import observe
from core.padded import call

LOSS = SoftmaxCrossEntropy()


def deep(depth, activation, initializer, *, width=32, seed=0):
    rng = np.random.default_rng(seed)
    pairs = [[Dense(width, width, rng=rng, initializer=initializer), activation()] for _ in range(depth)]
    return Sequential(*(layer for pair in pairs for layer in pair), Dense(width, 3, rng=rng))


def batch(shape=(32,), n=64, classes=3):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, *shape)).astype(np.float32), rng.integers(0, classes, n)


def findings(model, x=None, t=None):
    if x is None:
        x, t = batch()
    return [(finding.layer, finding.kind) for finding in diagnose(inspect(model, LOSS, x, t))]


# --- what is ill ----------------------------------------------------------------------------------


@pytest.mark.parametrize("initializer", [glorot_normal, he_normal])
def test_twenty_sigmoids_are_found_to_vanish_at_the_first_layer(initializer):
    assert findings(deep(20, Sigmoid, initializer)) == [("layers.0", "vanishing")]


def test_large_weights_are_found_to_explode():
    assert findings(deep(8, ReLU, partial(normal, std=1.0))) == [("layers.0", "exploding")]


def test_weights_that_overflow_are_found_to_explode_where_they_do():
    assert findings(deep(8, ReLU, partial(normal, std=1e8))) == [("layers.8", "exploding")]


def test_small_weights_are_found_to_vanish():
    assert findings(deep(8, ReLU, partial(normal, std=0.02))) == [("layers.0", "vanishing")]


def test_rectifiers_pushed_below_zero_are_found_dead():
    model = deep(3, ReLU, he_normal)
    model[2].bias.value[:20] = -100
    assert findings(model) == [("layers.3", "dead")]
    model[2].bias.value[:20] = 0
    model[2].bias.value[:12] = -100  # fewer than half
    assert findings(model) == []


def test_dead_channels_of_an_image_and_dead_features_of_a_sequence_are_counted():
    rng = np.random.default_rng(2)
    convolution = Conv2D(1, 4, 3, rng=rng)
    convolution.bias.value[:3] = -100
    model = Sequential(convolution, ReLU(), Flatten(), Dense(64, 3, rng=rng))
    report = inspect(model, LOSS, *batch((1, 6, 6)))[1]
    assert (report.shape, report.dead) == ((64, 4, 4, 4), 0.75)
    over_time = Dense(5, 4, rng=rng)
    over_time.bias.value[:3] = -100
    model = Sequential(over_time, ReLU(), Flatten(), Dense(28, 3, rng=rng))
    report = inspect(model, LOSS, *batch((7, 5)))[1]
    assert (report.shape, report.dead) == ((64, 7, 4), 0.75)


@pytest.mark.parametrize("activation", [Tanh, Sigmoid])
def test_an_activation_on_its_flat_ends_is_found_saturated(activation):
    model = deep(2, activation, glorot_normal)
    model[2].weight.value *= 100
    found = findings(model)
    assert ("layers.3", "saturated") in found
    assert ("layers.1", "saturated") not in found


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (lambda r: deep(20, ReLU, he_normal, width=64), (64,)),
        (lambda r: deep(4, Tanh, glorot_normal), (32,)),
        (lambda r: deep(3, Sigmoid, glorot_normal), (32,)),
        (lambda r: deep(10, LeakyReLU, he_normal), (32,)),
        *((network, SHAPES[network]) for network in (credit, mlp, cnn, normed)),
    ],
)
def test_a_healthy_network_gives_no_finding(model, shape):
    assert findings(model(np.random.default_rng(3)), *batch(shape, classes=2)) == []


def test_a_path_beside_the_layers_cures_vanishing_gradients():
    rng = np.random.default_rng(4)
    blocks = [Residual(Sequential(Dense(32, 32, rng=rng, initializer=glorot_normal), Sigmoid())) for _ in range(20)]
    assert "vanishing" not in {kind for _, kind in findings(Sequential(*blocks, Dense(32, 3, rng=rng)))}


def test_every_finding_comes_with_its_number_and_a_remedy():
    (finding,) = diagnose(inspect(deep(20, Sigmoid, glorot_normal), LOSS, *batch()))
    assert "of the last layer's" in finding.evidence
    assert "ReLU with He initialization" in finding.remedy


def report(name="layers.0", *, gradient=1.0, learns=True, dead=0.0, saturated=0.0, mean=0.0):
    return LayerReport(name, "Layer()", (1,), mean, 1.0, 0.0, dead, saturated, gradient, 1.0 if learns else None)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([], []),
        ([report()], []),
        ([report(gradient=2e-3), report("b")], []),
        ([report(gradient=5e-4), report("b")], [("layers.0", "vanishing")]),
        ([report(gradient=0.0), report("b")], [("layers.0", "vanishing")]),
        ([report(gradient=5e-4, learns=False), report("b")], []),  # no one learns from it
        ([report(gradient=5e2), report("b")], []),
        ([report(gradient=2e3), report("b")], [("layers.0", "exploding")]),
        ([report(gradient=float("nan")), report("b")], [("layers.0", "exploding")]),
        ([report(), report("b", mean=float("inf")), report("c", mean=float("nan"))], [("b", "exploding")]),
        ([report(dead=0.5), report("b", dead=0.6)], [("b", "dead")]),
        ([report(saturated=0.6), report("b", saturated=0.5)], [("layers.0", "saturated")]),
    ],
)
def test_the_rules_of_thumb_are_these(reports, expected):
    assert [(finding.layer, finding.kind) for finding in diagnose(iter(reports))] == expected


# --- the numbers ----------------------------------------------------------------------------------


def test_a_report_says_what_happened():
    dense = Dense(2, 2, rng=np.random.default_rng(0))
    dense.weight.value[...] = [[1, -1], [0, 0]]
    x, t = np.array([[1, 5], [3, 5]], np.float32), np.array([0, 1])
    first, second = inspect(Sequential(dense, ReLU()), LOSS, x, t)
    assert (first.name, first.layer, first.shape) == ("layers.0", "Dense(2, 2)", (2, 2))
    assert (first.mean, first.deviation) == (0, pytest.approx(np.std([1, -1, 3, -3])))
    assert (second.name, second.mean, second.zeros, second.dead) == ("layers.1", 1, 0.5, 0.5)
    assert (first.dead, first.zeros, second.weight_gradient) == (0, 0, None)
    p = 1 / (1 + np.exp([1.0, 3.0]))  # of class 1
    dz = np.array([[-p[0], p[0]], [1 - p[1], p[1] - 1]]) / 2
    assert second.gradient == pytest.approx(rms(dz), rel=1e-6)
    dy = dz * [[1, 0], [1, 0]]
    assert first.gradient == pytest.approx(rms(dy), rel=1e-6)
    assert first.weight_gradient == pytest.approx(rms(x.T @ dy, dy.sum(0)), rel=1e-6)


@pytest.mark.parametrize("network", [credit, cnn, normed])
def test_an_inspection_changes_nothing_and_repeats_itself(network):
    model, data = network(np.random.default_rng(0)), examples(network, 16)
    for parameter in model.parameters():
        parameter.value.setflags(write=False)
    data.x.setflags(write=False)
    before = {name: p.value.copy() for name, p in model.named_parameters()}
    layers = tuple(model.layers)
    assert inspect(model, LOSS, data.x, data.t) == inspect(model, LOSS, data.x, data.t)
    assert model.layers == layers
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.value, before[name])


def test_an_inspection_names_every_layer_that_computes():
    rng = np.random.default_rng(0)
    model = Sequential(Residual(Sequential(Dense(4, 4, rng=rng), Tanh())), Dropout(0.5), Dense(4, 3, rng=rng))
    reports = inspect(model, LOSS, *batch((4,)))
    assert [r.name for r in reports] == ["layers.0.inner.layers.0", "layers.0.inner.layers.1", "layers.1", "layers.2"]
    assert all(r.gradient > 0 for r in reports)
    assert [r.weight_gradient is None for r in reports] == [False, True, True, False]


def test_a_model_of_one_layer_is_inspected_by_its_type():
    (only,) = inspect(Dense(4, 3, rng=np.random.default_rng(0)), LOSS, *batch((4,)))
    assert only.name == "Dense"
    assert only.weight_gradient > 0


def test_inputs_of_another_type_are_refused_in_words():
    x, t = batch((4,))
    with pytest.raises(ValueError, match="the input is float64"):
        inspect(Dense(4, 3, rng=np.random.default_rng(0)), LOSS, x.astype(np.float64), t)


def test_layer_statistics_take_the_parameters_of_a_layer_together():
    model = small(np.random.default_rng(0))
    model[0].freeze()
    grads = Gradients(model.trainable())
    grads.flat[...] = np.arange(len(grads.flat))
    norm, dense = layer_statistics(model, grads)
    assert (norm.name, dense.name) == ("layers.1", "layers.4")  # not the frozen one, not the running statistics
    assert norm.gradient == pytest.approx(rms(np.arange(24)))
    assert norm.weight == pytest.approx(np.sqrt(0.5))  # twelve gains of 1, twelve shifts of 0
    assert dense.gradient == pytest.approx(rms(np.arange(24, 24 + 39)))
    assert dense.weight == pytest.approx(rms(model[4].weight.value, model[4].bias.value))


def test_a_root_mean_square_neither_overflows_nor_needs_an_element():
    assert rms() == rms(np.zeros(0)) == 0
    assert rms(np.full(3, 1e30, np.float32), np.full((2, 2), -1e30, np.float32)) == pytest.approx(1e30)


# --- watching -------------------------------------------------------------------------------------

PAIRS = [pytest.param(make, id=f"{kind.__name__}-{i}") for kind, made in CASES.items() for i, make in enumerate(made)]


def one_pass(layer, x):
    """(y, dx, gradients) of a training pass."""
    grads, stream = Gradients(layer.trainable()), np.random.default_rng(1)
    ctx = Context(True, grads, lambda: stream)
    ctx.needs_dx = x.dtype.kind == "f"
    grads.start()
    y = call(layer, x, ctx)
    made = counted(y).copy()
    dx = layer.backward(gradient_for(y, np.cos), ctx)
    grads.finish()
    assert np.isfinite(made).all()
    assert np.isfinite(grads.flat).all()
    return (
        made,
        np.zeros(1) if dx is None else dx.copy(),
        grads.flat,
        [(statistic, value.tolist()) for statistic, value, _ in grads.reports],
    )


@pytest.mark.parametrize("make", PAIRS)
def test_a_watched_layer_computes_the_same_bits(make):
    layer, x = make(np.random.default_rng(0))
    x, calls = with_values(x, lambda v: v.astype(np.float32) if v.dtype.kind == "f" else v), []
    watched = observe(layer, lambda name, layer, way, given, made: calls.append((name, way)))
    *plain, plain_reports = one_pass(layer, x)
    *seen, seen_reports = one_pass(watched, x)
    for a, b in zip(seen, plain, strict=True):
        np.testing.assert_array_equal(a, b)
    assert seen_reports == plain_reports
    assert {id(p) for p in watched.parameters()} == {id(p) for p in layer.parameters()}
    forth, back = ([name for name, way in calls if way == wanted] for wanted in ("forward", "backward"))
    assert sorted(forth) == sorted(back)
    if not isinstance(layer, Sequential):
        assert forth[-1] == back[-1] == type(layer).__name__


def test_a_watcher_is_told_in_the_order_of_the_pass():
    rng, calls = np.random.default_rng(0), []
    model = Sequential(Dense(4, 4, rng=rng), Residual(Tanh()), BatchNorm(4))
    watched = observe(model, lambda name, layer, way, given, made: calls.append((way, name, given.shape, made.shape)))
    one_pass(watched, batch((4,), 5)[0])
    names = ["layers.0", "layers.1.inner", "layers.1", "layers.2"]
    assert [(way, name) for way, name, _, _ in calls[:4]] == [("forward", name) for name in names]
    names = ["layers.2", "layers.1.inner", "layers.1", "layers.0"]
    assert [(way, name) for way, name, _, _ in calls[4:]] == [("backward", name) for name in names]
    assert all(given == made == (5, 4) for _, _, given, made in calls)


def test_an_error_of_a_watcher_ends_the_pass():
    def refuse(*call):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        observe(small(np.random.default_rng(0)), refuse).forward(batch((6,))[0], Context())


def test_a_loss_that_is_no_number_says_when_where_and_what_to_do():
    error = NonFiniteLoss(41, 3, "the output of layers.2 (Dense(4, 3))")
    assert (error.step, error.epoch, error.where) == (41, 3, "the output of layers.2 (Dense(4, 3))")
    assert str(error).startswith(
        "the loss is not finite at step 41 (epoch 3); first not finite: the output of layers.2"
    )
    assert "clipping the gradient's norm" in str(error)
    assert "missing values" in str(NonFiniteLoss(0, 0, "the input of layers.0 (Dense(4, 3))"))


def test_an_epoch_tells_the_gradient_of_every_layer():
    model = deep(20, Sigmoid, glorot_normal)
    x, t = batch()
    *_, epoch = fit(model, LOSS, SGD(0.01), Examples(x, t), Recipe(epochs=1), threads=1)
    assert [s.name for s in epoch.layers] == [f"layers.{i}" for i in range(0, 42, 2)]
    assert epoch.layers[0].gradient < 1e-3 * epoch.layers[-1].gradient
