"""Metrics: what each must be by its definition, and what scikit-learn makes of the same arrays."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.metrics import (
    accuracy,
    brier,
    calibration_error,
    confusion_matrix,
    error,
    gini,
    ks,
    log_loss,
    nll,
    roc_auc,
    sigmoid,
    softmax,
    standard_error,
    wilson_interval,
)

MANY = [accuracy, error, nll]
TWO = [log_loss, brier, roc_auc, gini, ks]
seeds = st.integers(0, 2**32 - 1)
logits = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(-1e3, 1e3))


@pytest.fixture(scope="module")
def sk():
    return pytest.importorskip("sklearn.metrics")


def many_classes(seed, n=200, classes=4):
    """Labels, probabilities that know something of them, weights."""
    rng = np.random.default_rng(seed)
    t = rng.integers(classes, size=n)
    return t, softmax(rng.standard_normal((n, classes)) + np.eye(classes)[t]), rng.uniform(0, 2, n)


def two_classes(seed, n=200):
    """Labels of both classes, probabilities with many ties, weights."""
    rng = np.random.default_rng(seed)
    t = np.append([0, 1], rng.integers(2, size=n - 2))
    return t, sigmoid(rng.standard_normal(n) + t).round(1).clip(0.1, 0.9), rng.uniform(0, 2, n)


# --- softmax and sigmoid --------------------------------------------------------------------------


@given(z=logits, shift=st.floats(-1e3, 1e3))
def test_softmax_is_a_distribution_that_ignores_a_shift(z, shift):
    p = softmax(z)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(softmax(z + shift), p, atol=1e-9)
    np.testing.assert_allclose(softmax(z.T, axis=0), p.T)


@given(z=logits)
def test_sigmoid_is_the_softmax_of_two(z):
    p = sigmoid(z)
    np.testing.assert_allclose(p, softmax(np.stack([z, np.zeros_like(z)]), axis=0)[0], rtol=1e-12)
    np.testing.assert_allclose(p + sigmoid(-z), 1)
    np.testing.assert_allclose(sigmoid(z[np.abs(z) < 30]), 1 / (1 + np.exp(-z[np.abs(z) < 30])))


def test_logits_keep_their_type_and_never_overflow():
    for of in (softmax, sigmoid):
        assert of(np.zeros((1, 2), np.float32)).dtype == np.float32
        assert of([[0, 1]]).dtype == np.float64
        np.testing.assert_array_equal(of(np.array([[1e4, -1e4]], np.float32)), [[1, 0]])
    assert sigmoid(-700.0) > 0  # small, and still not nothing
    np.testing.assert_array_equal(softmax([[0.0, -np.inf]]), [[1, 0]])  # a masked class


# --- many classes ---------------------------------------------------------------------------------


@given(seed=seeds)
def test_many_classes_agree_with_scikit_learn(sk, seed):
    t, p, w = many_classes(seed)
    y, labels = p.argmax(axis=1), range(4)
    for weights in (None, w):
        assert accuracy(t, p, weights) == pytest.approx(sk.accuracy_score(t, y, sample_weight=weights))
        assert error(t, p, weights) == pytest.approx(sk.zero_one_loss(t, y, sample_weight=weights))
        assert nll(t, p, weights) == pytest.approx(sk.log_loss(t, p, sample_weight=weights, labels=labels))
    np.testing.assert_array_equal(confusion_matrix(t, y, 4), sk.confusion_matrix(t, y, labels=labels))


def test_nll_agrees_with_torch():
    torch = pytest.importorskip("torch")
    t, p, _ = many_classes(0)
    expected = torch.nn.functional.nll_loss(torch.tensor(p).log(), torch.tensor(t)).item()
    assert nll(t, p) == pytest.approx(expected)


@given(classes=st.integers(2, 9))
def test_who_knows_nothing(classes):
    t = np.arange(classes)
    p = np.full((classes, classes), 1 / classes)
    assert nll(t, p) == pytest.approx(math.log(classes))
    assert calibration_error(t, p) == pytest.approx(0)
    assert accuracy(t, p) == pytest.approx(1 / classes)
    assert log_loss([0, 1], [0.5, 0.5]) == pytest.approx(math.log(2))
    assert brier([0, 1], [0.5, 0.5]) == 0.25
    assert roc_auc([0, 1], [0.5, 0.5]) == 0.5
    assert ks([0, 1], [0.5, 0.5]) == gini([0, 1], [0.5, 0.5]) == 0


def test_who_knows_all_and_who_is_sure_and_wrong():
    t, right = np.array([0, 1]), np.eye(2)
    assert (accuracy(t, right), error(t, right), nll(t, right), calibration_error(t, right)) == (1, 0, 0, 0)
    wrong = right[::-1]
    assert (accuracy(t, wrong), error(t, wrong), calibration_error(t, wrong)) == (0, 1, 1)
    assert nll(t, wrong) == log_loss(t, [1.0, 0.0]) == pytest.approx(34.5, abs=0.05)
    assert (log_loss(t, [0.0, 1.0]), brier(t, [0.0, 1.0]), brier(t, [1.0, 0.0])) == (0, 0, 1)
    assert (roc_auc(t, [-3, 8]), gini(t, [-3, 8]), ks(t, [-3, 8])) == (1, 1, 1)
    assert (roc_auc(t, [8, -3]), gini(t, [8, -3]), ks(t, [8, -3])) == (0, -1, 1)


def test_accuracy_takes_logits():
    t, p, _ = many_classes(0)
    assert accuracy(t, np.log(p) + 7) == accuracy(t, p)


@given(seed=seeds, bins=st.integers(1, 20))
def test_calibration_error_by_its_definition(seed, bins):
    t, p, _ = many_classes(seed)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == t
    expected = 0.0
    for low in np.arange(bins) / bins:
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        assume(not np.isclose(confidence, low, rtol=1e-12).any())
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(t, p, bins) == pytest.approx(expected)


def test_calibration_error_sees_who_is_too_sure():
    rng = np.random.default_rng(0)
    p = softmax(rng.standard_normal((20_000, 3)))
    t = (rng.uniform(size=(20_000, 1)) > p.cumsum(axis=1)).sum(axis=1)  # drawn from p: calibrated
    sure = softmax(3 * np.log(p))
    assert calibration_error(t, p) < 0.02
    assert calibration_error(t, sure) > 0.15
    assert accuracy(t, sure) == accuracy(t, p)


@given(seed=seeds)
def test_confusion_matrix_adds_up(seed):
    t, p, _ = many_classes(seed)
    counts = confusion_matrix(t, p.argmax(axis=1), 4)
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(t, minlength=4))
    assert counts.trace() / counts.sum() == accuracy(t, p)
    assert confusion_matrix([0, 0, 2], [0, 1, 2], 3).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


# --- two classes ----------------------------------------------------------------------------------


@given(seed=seeds)
def test_two_classes_agree_with_scikit_learn(sk, seed):
    t, p, w = two_classes(seed)
    for weights in (None, w):
        assert log_loss(t, p, weights) == pytest.approx(sk.log_loss(t, p, sample_weight=weights))
        assert brier(t, p, weights) == pytest.approx(sk.brier_score_loss(t, p, sample_weight=weights))
        assert roc_auc(t, p, weights) == pytest.approx(sk.roc_auc_score(t, p, sample_weight=weights))
        false, true, _ = sk.roc_curve(t, p, sample_weight=weights)
        assert ks(t, p, weights) == pytest.approx(np.abs(true - false).max())


@given(seed=seeds)
def test_auc_and_ks_by_their_definitions(seed):
    t, s, _ = two_classes(seed, n=30)
    ones, zeros = s[t == 1], s[t == 0]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in ones for b in zeros]
    assert roc_auc(t, s) == pytest.approx(np.mean(pairs))
    assert ks(t, s) == pytest.approx(max(abs((zeros <= c).mean() - (ones <= c).mean()) for c in s))


@given(seed=seeds)
def test_ranking_sees_only_the_order(seed):
    t, s, w = two_classes(seed)
    for measure in (roc_auc, gini, ks):
        for monotone in (np.exp, lambda s: 3 * s - 8, lambda s: s**3):
            assert measure(t, monotone(s), w) == pytest.approx(measure(t, s, w))


@given(seed=seeds)
def test_complements(seed):
    t, s, w = two_classes(seed)
    assert roc_auc(t, -s, w) == pytest.approx(1 - roc_auc(t, s, w)) == pytest.approx(roc_auc(1 - t, s, w))
    assert gini(t, s, w) == pytest.approx(roc_auc(t, s, w) - roc_auc(t, -s, w))
    assert ks(t, -s, w) == pytest.approx(ks(t, s, w)) == pytest.approx(ks(1 - t, s, w))
    assert brier(1 - t, 1 - s, w) == pytest.approx(brier(t, s, w))
    assert log_loss(1 - t, 1 - s, w) == pytest.approx(log_loss(t, s, w))
    assert nll(t, np.stack([1 - s, s], axis=1), w) == pytest.approx(log_loss(t, s, w))
    assert abs(gini(t, s, w)) <= 1 - (1 - ks(t, s, w)) ** 2 + 1e-12  # the ROC curve lies below x + ks and 1


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MANY + TWO)
@given(seed=seeds)
def test_a_weight_is_a_repetition(measure, seed):
    t, p, _ = (many_classes if measure in MANY else two_classes)(seed, 40)
    times = np.append([1, 1], np.random.default_rng(seed).integers(4, size=38))
    assert measure(t, p, 2.5 * times) == pytest.approx(measure(t.repeat(times), p.repeat(times, axis=0)))
    assert measure(t, p, np.ones(40)) == pytest.approx(measure(t, p))


@pytest.mark.parametrize("measure", MANY + TWO)
@pytest.mark.parametrize("weights", [[1.0], np.zeros(200), np.append(-1.0, np.ones(199)), np.full(200, np.nan)])
def test_weights_are_checked(measure, weights):
    t, p, _ = (many_classes if measure in MANY else two_classes)(0)
    with pytest.raises(ValueError, match="weights"):
        measure(t, p, weights)


# --- trust ----------------------------------------------------------------------------------------


@given(right=st.integers(0, 1000), more=st.integers(1, 1000))
def test_wilson_interval_holds_its_defining_equation(right, more):
    n = right + more
    a = right / n
    low, high = wilson_interval(a, n, z=2.0)
    assert 0 <= low <= a <= high <= 1
    assert high - low > 0
    for bound in (low, high):  # the true accuracies that lie exactly z standard errors away
        assert abs(a - bound) == pytest.approx(2 * standard_error(min(max(bound, 0), 1), n), abs=1e-9)
    assert wilson_interval(1 - a, n, z=2.0) == pytest.approx((1 - high, 1 - low))


def test_standard_error_is_the_spread_of_repeated_measurements():
    measured = np.random.default_rng(0).binomial(500, 0.9, size=20_000) / 500
    assert standard_error(0.9, 500) == pytest.approx(measured.std(), rel=0.02)
    low, high = zip(*(wilson_interval(a, 500) for a in measured[:4000]), strict=True)
    assert np.mean((np.array(low) < 0.9) & (np.array(high) > 0.9)) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("of", [standard_error, wilson_interval])
@pytest.mark.parametrize(("a", "n"), [(-0.1, 5), (1.1, 5), (math.nan, 5), (0.5, 0)])
def test_an_accuracy_is_checked(of, a, n):
    with pytest.raises(ValueError, match="accuracy"):
        of(a, n)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", [accuracy, error, nll, calibration_error])
@pytest.mark.parametrize(
    ("t", "p", "message"),
    [
        ([0], [0.5, 0.5], r"\(N, K\)"),
        ([], np.empty((0, 2)), "not empty"),
        ([0, 1], [[0.5, 0.5]], "shape"),
        ([[0]], [[0.5, 0.5]], "shape"),
        ([0.0], [[0.5, 0.5]], "integers"),
        ([2], [[0.5, 0.5]], "between 0 and 1"),
        ([-1], [[0.5, 0.5]], "between 0 and 1"),
        ([0], [[math.nan, 0.5]], "finite"),
    ],
)
def test_many_classes_are_checked(measure, t, p, message):
    with pytest.raises(ValueError, match=message):
        measure(t, p)


@pytest.mark.parametrize("measure", [nll, calibration_error])
@pytest.mark.parametrize("p", [[[3.0, -2.0]], [[0.5, 0.6]], [[0.0, 0.0]]])
def test_logits_are_not_taken_for_probabilities(measure, p):
    with pytest.raises(ValueError, match="softmax"):
        measure([0], p)


@pytest.mark.parametrize("measure", TWO)
@pytest.mark.parametrize(
    ("t", "p", "message"),
    [
        ([0, 1], [[0.5, 0.5]], r"\(N,\)"),
        ([], [], "not empty"),
        ([0, 1], [0.5], "shape"),
        ([0.0, 1.0], [0.5, 0.5], "integers"),
        ([0, 2], [0.5, 0.5], "between 0 and 1"),
        ([0, 1], [0.5, math.inf], "finite"),
    ],
)
def test_two_classes_are_checked(measure, t, p, message):
    with pytest.raises(ValueError, match=message):
        measure(t, p)


@pytest.mark.parametrize("measure", [log_loss, brier])
@pytest.mark.parametrize("p", [[0.5, 1.5], [-0.1, 0.5]])
def test_scores_are_not_taken_for_probabilities(measure, p):
    with pytest.raises(ValueError, match="sigmoid"):
        measure([0, 1], p)


@pytest.mark.parametrize("measure", [roc_auc, gini, ks])
@pytest.mark.parametrize("t", [[0, 0], [1, 1]])
def test_ranking_needs_both_classes(measure, t):
    with pytest.raises(ValueError, match="one class only"):
        measure(t, [0.2, 0.8])
    if t == [1, 1]:  # a class that weighs nothing is not there
        with pytest.raises(ValueError, match="one class only"):
            measure([0, 1], [0.2, 0.8], [0.0, 1.0])


def test_calibration_error_needs_a_bin_and_a_confusion_matrix_its_classes():
    with pytest.raises(ValueError, match="bins"):
        calibration_error([0], [[1.0]], bins=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        confusion_matrix([0, 1], [0, 2], classes=2)
    with pytest.raises(ValueError, match="shape"):
        confusion_matrix([0, 1], [0], classes=2)
