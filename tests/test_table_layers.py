"""The layers for the columns of a table: what they mean, beside the checks that every layer gets."""

import numpy as np
import pytest

from core import AdditiveBins, ColumnEmbedding, Context, EnsembleDense, PiecewiseLinear, Total, predict


def out(layer, x):
    return layer.forward(np.asarray(x, np.float32), Context()).copy()


def test_a_curve_is_linear_within_a_bin_and_level_beyond_the_last():
    layer = PiecewiseLinear(1, 4, 3, rng=np.random.default_rng(0))
    layer.weight.value[...] = np.random.default_rng(1).standard_normal(layer.weight.value.shape)
    knots = out(layer, [[0], [1], [2], [3], [4]])
    np.testing.assert_allclose(out(layer, [[1.25]])[0], 0.75 * knots[1] + 0.25 * knots[2], rtol=1e-5)
    np.testing.assert_array_equal(out(layer, [[9]])[0], knots[4])
    np.testing.assert_allclose(np.diff(knots, axis=0), layer.weight.value[0], rtol=1e-4, atol=1e-5)


def test_special_values_stand_outside_the_curve():
    layer = PiecewiseLinear(2, 3, 2, rng=np.random.default_rng(0), specials=2)
    before = out(layer, [[-1, 1.5], [-2, 1.5]])
    layer.weight.value[...] = 7
    after = out(layer, [[-1, 1.5], [-2, 1.5]])
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert (before[:, 2:] != after[:, 2:]).all()
    np.testing.assert_allclose(after[:, :2] - layer.bias.value[0], layer.codes.value[0], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_direction_holds_for_any_weights(seed):
    rng = np.random.default_rng(seed)
    layer = AdditiveBins(3, 6, specials=2, directions=(1, -1, 0))
    for parameter in layer.parameters():
        parameter.value[...] = rng.standard_normal(parameter.value.shape) * 10
    u = np.sort(rng.uniform(0, 7, 500))
    y = out(layer, np.repeat(u[:, None], 3, axis=1))
    assert (np.diff(y[:, 0]) >= 0).all()
    assert (np.diff(y[:, 1]) <= 0).all()
    assert (np.diff(y[:, 2]) > 0).any()
    assert (np.diff(y[:, 2]) < 0).any()


def test_members_of_an_ensemble_are_dense_layers_with_one_weight():
    rng = np.random.default_rng(0)
    layer = EnsembleDense(4, 3, 2, rng=rng, diverse=True)
    assert set(np.unique(layer.r.value)) == {-1.0, 1.0}
    layer.s.value[...] = rng.standard_normal((2, 3))
    layer.bias.value[...] = rng.standard_normal((2, 3))
    x = rng.standard_normal((5, 4)).astype(np.float32)
    y = out(layer, x)
    for k in range(2):
        alone = (x * layer.r.value[k]) @ layer.weight.value * layer.s.value[k] + layer.bias.value[k]
        np.testing.assert_allclose(y[:, k], alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out(layer, np.repeat(x[:, None], 2, axis=1)), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda r: PiecewiseLinear(3, 5, 4, rng=r, specials=2, start=1),
        lambda r: AdditiveBins(3, 5, specials=2, directions=(1, 0, -1), start=1),
        lambda r: EnsembleDense(4, 3, 2, rng=r, diverse=True),
    ],
)
def test_serving_is_a_shorter_way_to_what_training_computes(make):
    rng = np.random.default_rng(0)
    layer = make(rng)
    for parameter in layer.parameters():
        parameter.value[...] = rng.standard_normal(parameter.value.shape)
    x = rng.uniform(-0.5, 6, (1000, 4)).astype(np.float32)
    whole = rng.random(x.shape) < 0.5  # knots, special values, and whole numbers beyond both
    x[whole] = rng.integers(-5, 8, x.shape)[whole]
    np.testing.assert_allclose(out(layer, x), layer.forward(x, Context(train=True)), rtol=1e-5, atol=1e-5)


def test_a_category_is_a_row_of_its_table():
    layer = ColumnEmbedding((2, 3), 2, rng=np.random.default_rng(0))
    y = predict(layer, np.array([[1, 2], [0, 0]], np.float32))
    np.testing.assert_array_equal(y, layer.table.value[[[1, 4], [0, 2]]].reshape(2, 4))


def test_a_total_is_the_sum_and_a_constant():
    layer = Total()
    layer.bias.value[...] = 5
    np.testing.assert_array_equal(out(layer, [[1, 2], [3, 4]]), [[8], [12]])


@pytest.mark.parametrize(
    ("make", "x", "message"),
    [
        (lambda r: PiecewiseLinear(2, 3, 2, rng=r, start=1), [[1, 2]], "columns 1 to 2"),
        (lambda r: AdditiveBins(2, 3), [[1]], "columns 0 to 1"),
        (lambda r: ColumnEmbedding((2, 2), 1, rng=r), [[1, 2]], "column 1 has categories 0 to 1, not 2"),
        (lambda r: ColumnEmbedding((2, 2), 1, rng=r), [[-1, 0]], "column 0 has categories 0 to 1, not -1"),
        (lambda r: EnsembleDense(3, 2, 4, rng=r), [[1, 2]], r"takes \(N, 3\) or \(N, 4, 3\)"),
        (lambda r: Total(), [[[1.0]]], "adds up the columns"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(make, x, message):
    layer = make(np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        out(layer, x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdditiveBins(2, 3, directions=(1,)), "directions are 2"),
        (lambda: AdditiveBins(2, 3, directions=(1, 2)), "directions are 2"),
        (lambda: PiecewiseLinear(0, 3, 2, rng=np.random.default_rng(0)), "from 1 up"),
        (lambda: ColumnEmbedding((), 2, rng=np.random.default_rng(0)), "from 1 up"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
