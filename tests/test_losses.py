"""Every loss: its gradient is its derivative, its parts add up, and it refuses targets that make no sense."""

import tracemalloc

import numpy as np
import pytest

from core import (
    LOSSES,
    BinaryCrossEntropy,
    Context,
    Dense,
    Examples,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftmaxCrossEntropy,
    evaluate,
)

N = 7


def classes(rng):
    return rng.integers(0, 4, N)


def numbers(*shape):
    return lambda rng: rng.standard_normal(shape)


def bits(*shape):
    return lambda rng: rng.integers(0, 2, shape).astype(np.float64)


def chances(*shape):
    return lambda rng: rng.uniform(0, 1, shape)


def distributions(rng):
    """(N, 4): what another model might say; the first is sure"""
    return np.vstack([[0, 0, 1, 0], rng.dirichlet(np.ones(4), N - 1)])


CASES = {  # loss -> (the loss, the shape of y, targets from a generator)
    SoftmaxCrossEntropy: [
        (SoftmaxCrossEntropy(), (N, 4), classes),
        (SoftmaxCrossEntropy(label_smoothing=0.1), (N, 4), classes),
        (SoftmaxCrossEntropy(class_weights=(1, 0, 2.5, 0.5)), (N, 4), classes),
        (SoftmaxCrossEntropy(class_weights=(1, 3, 2.5, 0.5), label_smoothing=0.2), (N, 4), classes),
        (SoftmaxCrossEntropy(), (N, 4), distributions),
        (SoftmaxCrossEntropy(class_weights=(1, 3, 2.5, 0.5), label_smoothing=0.2), (N, 4), distributions),
    ],
    BinaryCrossEntropy: [
        (BinaryCrossEntropy(), (N,), bits(N)),
        (BinaryCrossEntropy(), (N, 1), bits(N)),
        (BinaryCrossEntropy(label_smoothing=0.1), (N, 3), bits(N, 3)),
        (BinaryCrossEntropy(class_weights=(0.5, 3), label_smoothing=0.1), (N, 3), chances(N, 3)),
    ],
    MeanSquaredError: [
        (MeanSquaredError(), (N,), numbers(N)),
        (MeanSquaredError(), (N, 1), numbers(N)),
        (MeanSquaredError(), (N, 2, 3), numbers(N, 2, 3)),
    ],
    MeanAbsoluteError: [(MeanAbsoluteError(), (N, 3), numbers(N, 3))],
    Huber: [(Huber(), (N, 3), numbers(N, 3)), (Huber(0.3), (N, 3), numbers(N, 3))],
}
PROBLEMS = [
    pytest.param(*case, id=f"{kind.__name__}-{i}") for kind, made in CASES.items() for i, case in enumerate(made)
]
EVERY_LOSS = pytest.mark.parametrize(("loss", "shape", "targets"), PROBLEMS)
WEIGHT = pytest.mark.parametrize("weight", [None, np.array([1, 0, 2.5, 0.5, 1, 3, 0.25])], ids=["plain", "weighted"])


def draw(shape, targets):
    """(y, t)"""
    rng = np.random.default_rng(0)
    return 2 * rng.standard_normal(shape), targets(rng)


def apply(loss, y, t, scale=1.0, weight=None):
    value, dy = loss(y, t, scale, Context(True, dtype=y.dtype), weight)
    return value, dy.copy()


def test_every_loss_has_a_case():
    assert set(CASES) == set(LOSSES)


@WEIGHT
@EVERY_LOSS
def test_the_gradient_is_the_derivative_of_the_loss(loss, shape, targets, weight):
    y, t = draw(shape, targets)
    _, dy = apply(loss, y, t, 0.3, weight)
    assert dy.shape == y.shape
    for at in np.ndindex(shape):
        step = np.zeros(shape)
        step[at] = 1e-6
        above, below = (apply(loss, y + sign * step, t, 0.3, weight)[0] for sign in (1, -1))
        assert dy[at] == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-8)


@WEIGHT
def test_a_label_is_the_distribution_that_is_sure_of_it(weight):
    y, t = draw((N, 4), classes)
    loss = SoftmaxCrossEntropy(class_weights=(1, 3, 2.5, 0.5), label_smoothing=0.2)
    (value, dy), (same, d) = (apply(loss, y, each, 0.3, weight) for each in (t, np.eye(4)[t]))
    assert same == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(d, dy, rtol=1e-12, atol=1e-15)
    assert loss.total_weight(np.eye(4)[t], weight) == pytest.approx(loss.total_weight(t, weight), rel=1e-12)


@WEIGHT
@EVERY_LOSS
def test_the_parts_of_a_batch_add_up_to_the_whole(loss, shape, targets, weight):
    """Each part is given the scale of the batch, 1 / its total weight."""
    y, t = draw(shape, targets)
    total = loss.total_weight(t, weight)
    value, dy = apply(loss, y, t, 1 / total, weight)
    cuts = slice(0, 2), slice(2, 3), slice(3, None)
    parts = [apply(loss, y[c], t[c], 1 / total, None if weight is None else weight[c]) for c in cuts]
    assert sum(part for part, _ in parts) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(np.concatenate([d for _, d in parts]), dy, rtol=1e-12)
    weights = [loss.total_weight(t[c], None if weight is None else weight[c]) for c in cuts]
    assert sum(weights) == pytest.approx(total, rel=1e-12)


@EVERY_LOSS
def test_a_weight_counts_an_example_as_often(loss, shape, targets):
    y, t = draw(shape, targets)
    times = np.array([1, 0, 2, 3, 1, 0, 2])
    value, _ = apply(loss, y, t, weight=times.astype(np.float64))
    assert apply(loss, np.repeat(y, times, 0), np.repeat(t, times, 0))[0] == pytest.approx(value, rel=1e-12)


@WEIGHT
@EVERY_LOSS
def test_a_loss_writes_neither_outputs_nor_targets(loss, shape, targets, weight):
    y, t = draw(shape, targets)
    for array in (y, t):
        array.setflags(write=False)
    apply(loss, y, t, weight=weight)


@EVERY_LOSS
def test_float32_outputs_give_a_float32_gradient(loss, shape, targets):
    y, t = draw(shape, targets)
    value, dy = apply(loss, y, t)
    rough, rough_dy = apply(loss, y.astype(np.float32), t if t.dtype.kind == "i" else t.astype(np.float32))
    assert rough_dy.dtype == np.float32
    assert rough == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(rough_dy, dy, atol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        SoftmaxCrossEntropy(),
        SoftmaxCrossEntropy(label_smoothing=0.1),
        SoftmaxCrossEntropy(class_weights=(1.0,) * 50),
        BinaryCrossEntropy(),
        BinaryCrossEntropy(class_weights=(1, 2)),
        MeanSquaredError(),
        MeanAbsoluteError(),
        Huber(),
    ],
)
def test_a_warm_loss_allocates_no_array_of_the_size_of_the_outputs(loss):
    y, weight, ctx = np.ones((4000, 50), np.float32), np.ones(4000), Context(True)
    t = np.zeros(4000, int) if isinstance(loss, SoftmaxCrossEntropy) else np.zeros((4000, 50), np.float32)
    loss(y, t, 1.0, ctx, weight)
    tracemalloc.start()
    try:
        loss(y, t, 1.0, ctx, weight)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < y.nbytes / 4, f"{peak} bytes for outputs of {y.nbytes}"


def test_enormous_logits_neither_overflow_nor_lose_the_gradient():
    y = np.array([[1000.0, -1000.0, 0.0], [-1e4, 0.0, 1e4]])
    value, dy = apply(SoftmaxCrossEntropy(), y, np.array([1, 2]))
    assert value == pytest.approx(2000)
    np.testing.assert_allclose(dy, [[1, -1, 0], [0, 0, 0]], atol=1e-12)
    value, dy = apply(BinaryCrossEntropy(), np.array([1000.0, -1000.0, 1000.0]), np.array([0.0, 1.0, 1.0]))
    assert value == pytest.approx(2000)
    np.testing.assert_allclose(dy, [1, -1, 0], atol=1e-12)


def test_an_unsure_classifier_loses_the_logarithm_of_the_classes():
    value, _ = apply(SoftmaxCrossEntropy(), np.zeros((5, 4)), np.arange(5) % 4, 1 / 5)
    assert value == pytest.approx(np.log(4))
    value, _ = apply(BinaryCrossEntropy(), np.zeros((5, 1)), np.ones(5), 1 / 5)
    assert value == pytest.approx(np.log(2))


def test_a_loss_of_several_outputs_is_their_mean():
    y, t = np.array([[1.0, 2.0], [0.0, 4.0]]), np.zeros((2, 2))
    assert apply(MeanSquaredError(), y, t, 1 / 2)[0] == pytest.approx((1 + 4 + 0 + 16) / 4)
    assert apply(MeanAbsoluteError(), y, t, 1 / 2)[0] == pytest.approx(7 / 4)
    assert apply(Huber(1.5), y, t, 1 / 2)[0] == pytest.approx((0.5 + 1.5 * (2 - 0.75) + 1.5 * (4 - 0.75)) / 4)


def test_class_weights_count_in_the_total():
    t = np.array([0, 1, 1, 2])
    assert SoftmaxCrossEntropy(class_weights=(1, 2, 4)).total_weight(t) == 9
    assert SoftmaxCrossEntropy(class_weights=(1, 2, 4)).total_weight(t, np.array([1, 1, 0, 0.5])) == 5
    for wrong in (t[:, None], np.eye(3, dtype=int), np.full((3, 4), 0.25)):
        with pytest.raises(ValueError, match="integers"):
            SoftmaxCrossEntropy(class_weights=(1, 2, 4)).total_weight(wrong)
    assert BinaryCrossEntropy(class_weights=(1, 3)).total_weight(np.array([0, 1, 1])) == 7


def test_integer_targets_will_do_for_a_binary_loss():
    y, t = np.array([[0.5], [-2.0], [1.0]]), np.array([1, 0, 1], np.uint8)
    value, dy = apply(BinaryCrossEntropy(), y, t)
    expected, expected_dy = apply(BinaryCrossEntropy(), y, t.astype(np.float64)[:, None])
    assert value == expected
    np.testing.assert_array_equal(dy, expected_dy)


THREE = np.zeros((3, 4))


@pytest.mark.parametrize(
    ("loss", "y", "t", "message"),
    [
        (SoftmaxCrossEntropy(), THREE, np.array([0, 4, 1]), "run from 0 to 4, but the model has 4 outputs"),
        (SoftmaxCrossEntropy(), THREE, np.array([0, -1, 1]), "run from -1 to 1"),
        (SoftmaxCrossEntropy(), THREE, np.array([0, 127, 1], np.int8), "run from 0 to 127"),
        (SoftmaxCrossEntropy(), THREE, np.array([0.0, 1.0, 2.0]), "3 integers, not float64"),
        (SoftmaxCrossEntropy(), THREE, np.array([[0], [1], [2]]), r"3 integers, not int64 \(3, 1\)"),
        (SoftmaxCrossEntropy(), THREE, np.array([0, 1]), "3 integers"),
        (SoftmaxCrossEntropy(), THREE, np.full((3, 3), 1 / 3), "3 integers"),
        (SoftmaxCrossEntropy(), THREE, np.full((3, 4), 0.3), "example 0 are no distribution"),
        (SoftmaxCrossEntropy(), THREE, np.array([[0, 0, 0, 1], [2, -1, 0, 0], [1, 0, 0, 0.0]]), "example 1 are no"),
        (SoftmaxCrossEntropy(), THREE, np.array([[0, 0, 0, 1], [np.nan, 1, 0, 0], [1, 0, 0, 0]]), "example 1 are no"),
        (SoftmaxCrossEntropy(class_weights=(1, 1, 1, 1)), THREE, np.array([0, 4, 1]), "run from 0 to 4"),
        (SoftmaxCrossEntropy(class_weights=(1, 1, 1, 1)), THREE, np.array([0, -1, 1]), "run from -1 to 1"),
        (SoftmaxCrossEntropy(class_weights=(1, 1, 1)), THREE, np.array([0, 2, 1]), "3 class weights, .* 4 outputs"),
        (BinaryCrossEntropy(), np.zeros((3, 1)), np.array([0, 1, 2]), "from 0 to 1, but run from 0 to 2"),
        (BinaryCrossEntropy(), np.zeros(3), np.array([0, -0.5, 1]), "from 0 to 1"),
        (BinaryCrossEntropy(), np.zeros(3), np.array([0, np.nan, 1]), "from 0 to 1"),
        (MeanSquaredError(), np.zeros((3, 2)), np.zeros(3), r"targets have shape \(3,\), the outputs \(3, 2\)"),
        (MeanSquaredError(), np.zeros((3, 2)), np.zeros((2, 3)), "targets have shape"),
        (MeanSquaredError(), np.zeros((3, 2, 4)), np.zeros((3, 4, 2)), "targets have shape"),
        (MeanSquaredError(), np.zeros((3, 1)), np.zeros(()), "targets have shape"),
        (Huber(), np.zeros((3, 1)), np.zeros((1, 3)), "targets have shape"),
    ],
)
def test_targets_that_make_no_sense_are_refused_in_words(loss, y, t, message):
    with pytest.raises(ValueError, match=message):
        apply(loss, y, t)


@pytest.mark.parametrize("t", [np.array([0, 4, 1]), np.array([0, -1, 1]), np.array([0.0, 1.0, 2.0])])
def test_bad_targets_are_refused_before_their_weight_is_asked_for(t):
    model, x = Dense(2, 4, rng=np.random.default_rng(0)), np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="targets"):
        evaluate(model, Examples(x, t), SoftmaxCrossEntropy(class_weights=(1, 1, 1, 1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SoftmaxCrossEntropy(label_smoothing=1.0), "label smoothing"),
        (lambda: BinaryCrossEntropy(label_smoothing=-0.1), "label smoothing"),
        (lambda: SoftmaxCrossEntropy(class_weights=(1, -1)), "class weights are finite numbers from 0 up"),
        (lambda: SoftmaxCrossEntropy(class_weights=(1, np.nan)), "class weights"),
        (lambda: BinaryCrossEntropy(class_weights=(1, np.inf)), "class weights"),
        (lambda: BinaryCrossEntropy(class_weights=(1, 2, 3)), "two numbers, not 3"),
        (lambda: Huber(0.0), "positive"),
        (lambda: Huber(float("nan")), "positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_loss_of_ones_own_needs_two_lines():
    class Sum(Loss):
        def __call__(self, y, t, scale, ctx, weight=None):
            return float(y.sum()) * scale, np.full_like(y, scale)

    assert Sum().total_weight(np.zeros(5)) == 5
    assert Sum().total_weight(np.zeros(3), np.array([1.0, 0.5, 0.25])) == 1.75
    model = Dense(2, 1, rng=np.random.default_rng(0))
    assert set(evaluate(model, Examples(np.ones((3, 2), np.float32), np.zeros(3)), Sum())) == {"loss"}
