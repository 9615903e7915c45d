"""Optimizers, penalties, clipping and averaging: the rules alone, then as a training applies them."""

from functools import partial
from math import sqrt

import numpy as np
import pytest

from core import (
    OPTIMIZERS,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    BatchNorm,
    Conv2D,
    Dense,
    Epoch,
    Examples,
    Flatten,
    Gradients,
    Loss,
    MeanSquaredError,
    Momentum,
    Muon,
    Nesterov,
    Penalty,
    Recipe,
    ReLU,
    RMSprop,
    Sequential,
    State,
    Step,
    Tanh,
    fit,
)
from core.schedules import Cosine, OneCycle, WarmUp
from core.update import FlatParameters, Update

EVERY_OPTIMIZER = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
PLAIN = {name: partial(make, weight_decay=0.0) for name, make in OPTIMIZERS.items()}
EVERY_PLAIN_OPTIMIZER = pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)


def zero_slots(optimizer, w):
    return {name: np.zeros_like(w) for name in optimizer.slots}


def steps_along(optimizer, w, gradient, steps, lr):
    """w after some steps of the bare rule."""
    slots = zero_slots(optimizer, w)
    for t in range(1, steps + 1):
        optimizer.update(w, gradient(w), slots, lr, t, np.full_like(w, np.nan))
    return w


# --- the rules alone ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
@EVERY_OPTIMIZER
def test_every_rule_walks_to_the_bottom_of_a_bowl(make, shape):
    bottom, steepness = np.arange(6.0).reshape(shape) - 2, np.linspace(0.2, 2, 6).reshape(shape)
    optimizer = make(0.1)
    w = np.zeros(shape)
    for lr in (1.0, 0.1, 0.01, 0.001) if make is AdaGrad else (0.1, 0.01, 0.001):  # AdaGrad slows down by itself
        steps_along(optimizer, w, lambda w: steepness * (w - bottom), 800, lr)
    np.testing.assert_allclose(w, bottom, atol=5e-3)


@pytest.mark.parametrize(
    ("optimizer", "first", "second"),
    [
        (SGD(1.0), 4.0, 2.0),
        (Momentum(1.0, 0.5), 4.0, 2.0 + 0.5 * 4),
        (Nesterov(1.0, 0.5), 4.0 + 0.5 * 4, 2.0 + 0.5 * (2 + 0.5 * 4)),
        (AdaGrad(1.0), 1.0, 2 / sqrt(4**2 + 2**2)),
        (RMSprop(1.0, 0.9), 4 / sqrt(0.1 * 16), 2 / sqrt(0.9 * 0.1 * 16 + 0.1 * 4)),
        (
            Adam(1.0, (0.5, 0.75)),
            1.0,
            (0.5 * 2 + 0.5 * 0.5 * 4) / 0.75 / sqrt((0.75 * 4 + 0.25 * 4) / (1 - 0.75**2)),
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, float) else "",
)
def test_the_first_two_steps_are_those_on_paper(optimizer, first, second):
    """Gradients 4 and then 2, learning rate 1, from w = 0."""
    w, slots = np.zeros(1), zero_slots(optimizer, np.zeros(1))
    optimizer.update(w, np.array([4.0]), slots, 1.0, 1, np.empty(1))
    assert -w[0] == pytest.approx(first, rel=1e-6)
    optimizer.update(w, np.array([2.0]), slots, 1.0, 2, np.empty(1))
    assert -w[0] == pytest.approx(first + second, rel=1e-6)


@EVERY_OPTIMIZER
def test_a_rule_leaves_the_gradient_and_the_type_alone(make):
    rng = np.random.default_rng(0)
    optimizer, g = make(0.1), rng.standard_normal((4, 3)).astype(np.float32)
    g.setflags(write=False)
    w = steps_along(optimizer, np.ones((4, 3), np.float32), lambda w: g, 3, 0.1)
    assert w.dtype == np.float32
    assert np.isfinite(w).all()


@EVERY_OPTIMIZER
def test_a_rule_may_be_applied_stretch_by_stretch(make):
    rng = np.random.default_rng(1)
    g, w = rng.standard_normal((2, 50)).astype(np.float32)
    whole = steps_along(make(0.1), w.copy(), lambda w: g, 5, 0.1)
    parts = [
        steps_along(make(0.1), w[cut].copy(), lambda w, cut=cut: g[cut], 5, 0.1) for cut in (slice(13), slice(13, 50))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@EVERY_OPTIMIZER
def test_a_table_of_which_some_rows_have_a_gradient_is_updated_to_the_same_bits(make):
    rng = np.random.default_rng(2)
    optimizer, (w, expected) = make(0.1), np.repeat(rng.standard_normal((1, 9, 4)).astype(np.float32), 2, 0)
    slots, expected_slots = zero_slots(optimizer, w), zero_slots(optimizer, expected.reshape(-1))
    for t, rows in enumerate((np.array([0, 3, 8]), np.array([3, 4]), np.array([], np.int64), np.arange(9)), 1):
        g = rng.standard_normal((len(rows), 4)).astype(np.float32)
        g.setflags(write=False)
        optimizer.update_table(w, rows, g, slots, 0.1, t, np.full((2, 9, 4), np.nan, np.float32))
        full = np.zeros_like(w)
        full[rows] = g
        optimizer.update(expected.reshape(-1), full.reshape(-1), expected_slots, 0.1, t, np.empty(36, np.float32))
        np.testing.assert_array_equal(w, expected)
        for name, slot in slots.items():
            np.testing.assert_array_equal(slot.reshape(-1), expected_slots[name])


@EVERY_OPTIMIZER
def test_without_a_gradient_nothing_moves(make):
    w = steps_along(make(0.1), np.ones((2, 3)), np.zeros_like, 3, 0.1)
    np.testing.assert_array_equal(w, 1)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (8, 8), (3, 1)])
def test_muon_turns_a_gradient_into_a_matrix_of_singular_values_near_one(shape):
    g = np.random.default_rng(2).standard_normal(shape)
    step = Muon(0.1).orthogonal(g)
    u, _, v = np.linalg.svd(g, full_matrices=False)
    values = np.diagonal(u.T @ step @ v.T)
    np.testing.assert_allclose((u * values) @ v, step, atol=1e-9)  # the same singular vectors
    assert (values > 0.5).all()
    assert (values < 1.3).all()
    np.testing.assert_allclose(Muon(0.1).orthogonal(1e4 * g), step, atol=1e-5)  # whatever the size of the gradient


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(0.0), "must be positive"),
        (lambda: SGD(-1.0), "must be positive"),
        (lambda: SGD(float("nan")), "must be positive"),
        (lambda: SGD(0.1, weight_decay=-0.1), "weight_decay is a finite number from 0 up"),
        (lambda: AdamW(0.1, weight_decay=float("inf")), "weight_decay"),
        (lambda: Momentum(0.1, 1.0), "mu is from 0 up to, not including, 1"),
        (lambda: Muon(0.1, -0.1), "mu is from 0"),
        (lambda: RMSprop(0.1, 1.5), "rho is from 0"),
        (lambda: Adam(0.1, (0.9, 1.0)), r"betas\[1\] is from 0"),
        (lambda: Adam(0.1, epsilon=-1e-8), "epsilon"),
        (lambda: Penalty(l1=-1), "l1 is a finite number"),
        (lambda: Penalty(l2=float("nan")), "l2 is a finite number"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- in a training --------------------------------------------------------------------------------


class Constant(Loss):
    """A loss whose gradient is the same everywhere, so that a step shows what became of it."""

    def __init__(self, slope=0.0):
        self.slope = slope

    def __call__(self, y, t, scale, ctx, weight=None):
        return self.slope * float(y.sum()) * scale, np.full_like(y, self.slope * scale)


def network(dtype=np.float64, seed=3):
    rng = np.random.default_rng(seed)
    model = Sequential(
        Conv2D(1, 2, 2, rng=rng),
        Tanh(),
        Flatten(),
        Dense(8, 5, rng=rng, bias=False),
        BatchNorm(5),
        Dense(5, 2, rng=rng),
    )
    for parameter in model.parameters():
        parameter.value = (parameter.value + 0.1 * rng.standard_normal(parameter.value.shape) ** 2).astype(dtype)
    return model


def problem(dtype=np.float64):
    rng = np.random.default_rng(4)
    return Examples(rng.standard_normal((8, 1, 3, 3)).astype(dtype), rng.standard_normal((8, 2)).astype(dtype))


def values(model):
    return {name: p.value.copy() for name, p in model.named_parameters()}


def train(model, optimizer, *, loss=None, data=None, state=None, **recipe):
    """(the parameters before, after) a training of one batch an epoch."""
    before, data = values(model), data or problem()
    recipe = Recipe(**{"epochs": 1, "batch_size": len(data), **recipe})
    for _ in fit(model, loss or MeanSquaredError(), optimizer, data, recipe, state=state, threads=1):
        pass
    return before, values(model)


@EVERY_OPTIMIZER
def test_a_training_keeps_a_slot_of_its_shape_for_every_parameter(make):
    model, state, optimizer = network(), State(), make(0.01)
    model[5].freeze()
    train(model, optimizer, state=state)
    kept = {name.removeprefix("slots/"): a.shape for name, a in state.arrays().items() if name.startswith("slots/")}
    learned = {name: p.value.shape for name, p in model.named_parameters() if not p.frozen}
    assert kept == {f"{slot}/{name}": shape for slot in optimizer.slots for name, shape in learned.items()}
    assert not any(name.startswith("layers.5") for name in learned)


@EVERY_OPTIMIZER
def test_weight_decay_shrinks_weights_and_nothing_else(make):
    model = network()
    before, after = train(model, make(0.1, weight_decay=0.5), loss=Constant(), epochs=3)
    for name, parameter in model.named_parameters():
        if "variance" not in name and "mean" not in name:
            factor = (1 - 0.1 * 0.5) ** 3 if parameter.decays else 1.0
            assert parameter.decays == name.endswith("weight"), name
            np.testing.assert_allclose(after[name], factor * before[name], rtol=1e-12, err_msg=name)


@EVERY_PLAIN_OPTIMIZER
def test_a_factor_scales_the_steps_of_a_layer(make):
    """A first step of any rule is proportional to the learning rate."""
    plain, scaled = network(), network()
    scaled[0].scale_learning_rate(0.25)
    scaled[5].scale_learning_rate(0.0)
    before, after = train(plain, make(0.1))
    _, after_scaled = train(scaled, make(0.1))
    factors = {"layers.0": 0.25, "layers.3": 1.0, "layers.4": 1.0, "layers.5": 0.0}
    for name in before:
        factor = 1.0 if name.endswith(("mean", "variance")) else factors[name[:8]]
        np.testing.assert_allclose(
            after_scaled[name] - before[name],
            factor * (after[name] - before[name]),
            rtol=1e-9,
            atol=1e-15,
            err_msg=name,
        )
        assert np.abs(after[name] - before[name]).max() > 1e-4, name


def test_a_factor_scales_the_decay_of_a_layer_too():
    model = network()
    model[0].scale_learning_rate(0.25)
    before, after = train(model, SGD(0.1, weight_decay=0.5), loss=Constant())
    np.testing.assert_allclose(after["layers.0.weight"], (1 - 0.25 * 0.05) * before["layers.0.weight"], rtol=1e-12)
    np.testing.assert_allclose(after["layers.3.weight"], (1 - 0.05) * before["layers.3.weight"], rtol=1e-12)


@EVERY_OPTIMIZER
def test_frozen_layers_stay_as_they_are_and_the_others_learn(make):
    model = network()
    model[0].freeze()
    model[4].freeze()  # running statistics too
    before, after = train(model, make(0.05), epochs=3)
    for name in before:
        if name.startswith(("layers.0", "layers.4")):
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
        else:
            assert np.abs(after[name] - before[name]).max() > 1e-4, name


def test_a_thawed_layer_learns_again():
    model = network()
    model.freeze()
    model.freeze(False)
    before, after = train(model, SGD(0.1))
    assert all(np.abs(after[name] - before[name]).max() > 1e-6 for name in before)


def test_a_layer_used_twice_gets_the_sum_of_its_gradients():
    """w² x, whose derivative at w = 2 is 2 w x = 4: a step of .1 takes .4 off for x = 1."""
    shared = Dense(1, 1, rng=np.random.default_rng(0), bias=False)
    shared.weight.value = np.full((1, 1), 2.0)
    train(Sequential(shared, shared), SGD(0.1), loss=Constant(1.0), data=Examples(np.ones((2, 1)), np.zeros(2)))
    assert shared.weight.value[0, 0] == pytest.approx(2 - 0.4)


@pytest.mark.parametrize("schedule", [Cosine(0.1, 9), WarmUp(Cosine(0.2, 6), 3), OneCycle(0.1, 9)], ids=repr)
def test_every_step_uses_the_rate_of_its_schedule(schedule):
    """With a constant gradient, each weight falls by the rate times that gradient."""
    model = Dense(1, 1, rng=np.random.default_rng(0))
    model.bias.value, model.weight.value = np.zeros(1), np.zeros((1, 1))
    data = Examples(np.ones((6, 1)), np.zeros(6))
    was, rates = 0.0, []
    for event in fit(model, Constant(1.0), SGD(schedule), data, Recipe(epochs=3, batch_size=2), threads=1):
        if isinstance(event, Epoch):
            assert event.lr == rates[-1]
            continue
        assert was - model.bias.value[0] == pytest.approx(event.lr, abs=1e-15)
        was, rates = model.bias.value[0], [*rates, event.lr]
    assert rates == [schedule(step) for step in range(9)]
    assert Recipe(epochs=3, batch_size=2).steps(6) == 9


@EVERY_PLAIN_OPTIMIZER
def test_the_average_follows_the_weights_and_is_the_result(make):
    """average ← average + (1 − decay) (w − average), the decay growing as t / (t + 9) up to the recipe's."""
    model, state, average = network(), State(), values(network())
    recipe = Recipe(epochs=15, batch_size=4, average=0.6)
    for event in fit(model, MeanSquaredError(), make(0.05), problem(), recipe, state=state, threads=1):
        if isinstance(event, Step):
            decay = min(0.6, event.step / (event.step + 9))
            for name, now in values(model).items():
                average[name] += (1 - decay) * (now - average[name])
                np.testing.assert_allclose(state.arrays()[f"average/{name}"], average[name], rtol=1e-9, atol=1e-12)
            last = values(model)
    for name, now in values(model).items():
        np.testing.assert_allclose(now, average[name], rtol=1e-9, atol=1e-12)
    assert any(np.abs(last[name] - average[name]).max() > 1e-3 for name in last)


def gradient_of(model, **recipe):
    """{name: the gradient that one step of SGD at rate 1 took}"""
    before, after = train(model, SGD(1.0), **recipe)
    return {name: before[name] - after[name] for name in before if not name.endswith(("mean", "variance"))}


def length(gradient):
    return sqrt(sum(float(np.square(g).sum()) for g in gradient.values()))


@pytest.mark.parametrize("l2", [0.0, 1e-30], ids=["one stretch", "weights apart from biases"])
@pytest.mark.parametrize("lanes", [1, 2])
def test_a_long_gradient_is_scaled_down_to_the_norm(lanes, l2):
    model = Sequential(*(network()[i] for i in (0, 1, 2, 3)))  # no batch norm: lanes then agree
    data = Examples(problem().x, np.full((8, 5), 9.0))
    whole = gradient_of(model, data=data, lanes=lanes)
    assert length(whole) > 1
    model = Sequential(*(network()[i] for i in (0, 1, 2, 3)))
    clipped = gradient_of(model, data=data, lanes=lanes, clip_norm=0.7, l2=l2)
    assert length(clipped) == pytest.approx(0.7, rel=1e-9)
    for name, gradient in whole.items():
        np.testing.assert_allclose(clipped[name], gradient * (0.7 / length(whole)), rtol=1e-9, atol=1e-14)


def test_a_short_gradient_is_left_alone():
    whole, clipped = gradient_of(network()), gradient_of(network(), clip_norm=1e3, clip_value=1e3)
    for name, gradient in whole.items():
        np.testing.assert_array_equal(clipped[name], gradient)


def test_each_element_of_a_gradient_is_cut_to_a_value():
    whole, clipped = gradient_of(network()), gradient_of(network(), clip_value=0.05)
    assert max(np.abs(g).max() for g in whole.values()) > 0.05
    for name, gradient in whole.items():
        np.testing.assert_allclose(clipped[name], gradient.clip(-0.05, 0.05), rtol=1e-9, atol=1e-14)


def test_elements_are_cut_before_the_norm_is_taken():
    cut = {name: g.clip(-0.05, 0.05) for name, g in gradient_of(network()).items()}
    both = gradient_of(network(), clip_value=0.05, clip_norm=0.1)
    for name, gradient in cut.items():
        np.testing.assert_allclose(both[name], gradient * (0.1 / length(cut)), rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_a_penalty_adds_its_gradient_to_weights_alone(l1, l2):
    model = network()
    before = values(model)
    for name, gradient in gradient_of(model, loss=Constant(), l1=l1, l2=l2).items():
        expected = l1 * np.sign(before[name]) + l2 * before[name] if name.endswith("weight") else 0 * before[name]
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("penalty", [Penalty(l1=0.3), Penalty(l2=0.2), Penalty(0.3, 0.2)], ids=repr)
def test_the_gradient_of_a_penalty_is_its_derivative(penalty):
    w = np.random.default_rng(5).standard_normal((3, 2))
    g = np.ones_like(w)
    penalty.add_gradient(w, g, np.empty_like(w))
    for at in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[at] = 1e-6
        assert g[at] - 1 == pytest.approx((penalty.value(w + step) - penalty.value(w - step)) / 2e-6, rel=1e-6)


def test_l1_makes_most_weights_small_and_keeps_those_that_matter():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((200, 30))
    t = x[:, :3] @ np.array([1.0, -2.0, 1.5]) + 0.5 * rng.standard_normal(200)

    def trained(**penalty):
        model = Dense(30, 1, rng=np.random.default_rng(7))
        for parameter in model.parameters():
            parameter.value = parameter.value.astype(np.float64)
        train(model, SGD(Cosine(0.1, 400)), data=Examples(x, t), epochs=400, **penalty)
        return np.abs(model.weight.value[:, 0])

    free, sparse, shrunk = trained(), trained(l1=0.2), trained(l2=0.2)
    assert (free < 1e-3).sum() <= 5
    assert (shrunk < 1e-3).sum() <= 5  # L2 makes weights small, not zero
    assert (sparse[3:] < 1e-3).sum() >= 25
    assert (sparse[:3] > 0.8).all()
    assert shrunk[:3].sum() < free[:3].sum()


def test_no_two_threads_scribble_on_the_same_paper():
    model = Dense(700, 700, rng=np.random.default_rng(0))
    flat = FlatParameters(model, SGD(0.1))
    chunks = Update(flat, [Gradients(flat.trainable)], {}, threads=3).chunks
    assert len(chunks) > 6
    for i, one in enumerate(chunks):
        for j, other in enumerate(chunks):
            assert np.shares_memory(one.scratch, other.scratch) == (i % 3 == j % 3)
            assert np.shares_memory(one.w, other.w) == (i == j)


def test_parameters_beyond_one_chunk_are_updated_as_one_vector():
    rng = np.random.default_rng(8)
    model = Sequential(Dense(300, 300, rng=rng), ReLU(), Dense(300, 2, rng=rng))
    w = np.concatenate([p.value.ravel() for p in model.parameters() if p.decays])
    data = Examples(rng.standard_normal((4, 300)).astype(np.float32), np.zeros((4, 2), np.float32))
    before, after = train(model, SGD(1.0), data=data)
    g = np.concatenate([(before[name] - after[name]).ravel() for name in before if name.endswith("weight")])
    model = Sequential(Dense(300, 300, rng=rng), ReLU(), Dense(300, 2, rng=rng))
    for name, parameter in model.named_parameters():
        parameter.value = before[name].copy()
    _, after = train(model, Adam(1e-3), data=data)
    expected = steps_along(Adam(1e-3), w, lambda w: g, 1, 1e-3)
    ours = np.concatenate([after[name].ravel() for name in after if name.endswith("weight")])
    assert len(w) > 1 << 16
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_muon_treats_a_convolution_as_a_matrix_and_a_bias_as_adamw_does():
    by_adamw, by_muon = network(), network()
    for model in (by_adamw, by_muon):
        model[0].bias.value[...] = 0.3
    before, adamw = train(by_adamw, AdamW(0.01))
    _, muon = train(by_muon, Muon(0.01, weight_decay=0.01))
    for name in before:
        if before[name].ndim == 1:
            np.testing.assert_array_equal(muon[name], adamw[name], err_msg=name)
    step = (muon["layers.0.weight"] - before["layers.0.weight"] * (1 - 1e-4)).reshape(4, 2)
    values = np.linalg.svd(step, compute_uv=False) / (0.01 * 0.2 * sqrt(4))
    assert ((values > 0.5) & (values < 1.3)).all()
