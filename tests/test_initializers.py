"""Initializers: the spread that each promises, the shapes and types that all share."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import initializers
from core.initializers import INITIALIZERS, constant, fans, he_normal, he_uniform, normal, orthogonal, uniform

SHAPES = [(300, 200), (200, 300), (16, 5, 5, 100)]
SPREADS = {  # name -> variance for (fan_in, fan_out)
    "zeros": lambda i, o: 0,
    "ones": lambda i, o: 0,
    "uniform": lambda i, o: 0.05**2 / 3,
    "normal": lambda i, o: 0.02**2,
    "glorot_uniform": lambda i, o: 2 / (i + o),
    "glorot_normal": lambda i, o: 2 / (i + o),
    "he_uniform": lambda i, o: 2 / i,
    "he_normal": lambda i, o: 2 / i,
    "lecun_normal": lambda i, o: 1 / i,
    "orthogonal": lambda i, o: None,  # its own tests are below
}
sizes = st.integers(1, 9)
shapes = st.lists(sizes, min_size=2, max_size=4).map(tuple)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_every_initializer_has_a_name_and_a_spread():
    public = {
        name
        for name, value in vars(initializers).items()
        if callable(value) and getattr(value, "__module__", "") == initializers.__name__
    }
    functions = {name for name in public if name.islower() and not name.startswith("_")}
    assert functions - {"fans", "constant"} == set(INITIALIZERS) == set(SPREADS)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_variance_is_the_one_promised(name, shape, rng):
    w = INITIALIZERS[name](shape, rng)
    variance = SPREADS[name](*fans(shape))
    if variance is not None:
        assert w.var() == pytest.approx(variance, rel=0.03)  # 40,000 draws and more: 4 standard errors
    if name != "ones":
        assert abs(w.mean()) <= 5 * w.std() / np.sqrt(w.size)


@pytest.mark.parametrize("name", ["uniform", "glorot_uniform", "he_uniform"])
def test_a_uniform_fills_its_range(name, rng):
    w = INITIALIZERS[name]((300, 200), rng)
    limit = np.sqrt(3 * SPREADS[name](300, 200))
    assert np.abs(w).max() <= limit * (1 + 1e-6)
    assert min(w.max(), -w.min()) > 0.999 * limit


@pytest.mark.parametrize("name", ["normal", "glorot_normal", "he_normal", "lecun_normal"])
def test_a_normal_has_the_tails_of_a_normal(name, rng):
    w = INITIALIZERS[name]((300, 200), rng)
    assert (np.abs(w) > 2 * w.std()).mean() == pytest.approx(0.0455, abs=0.005)


@pytest.mark.parametrize("name", INITIALIZERS)
@given(shape=shapes, seed=st.integers(0, 9))
def test_all_are_called_alike(name, shape, seed):
    single = INITIALIZERS[name](shape, np.random.default_rng(seed))
    double = INITIALIZERS[name](shape, np.random.default_rng(seed), dtype=np.float64)
    assert single.shape == double.shape == shape
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    assert single.flags.c_contiguous
    assert single.flags.writeable
    np.testing.assert_array_equal(single, double.astype(np.float32))  # the same numbers, rounded


@pytest.mark.parametrize("name", sorted(set(INITIALIZERS) - {"zeros", "ones"}))
@given(shape=shapes)
def test_the_generator_is_the_only_source_of_chance(name, shape):
    draw = INITIALIZERS[name]
    first, again, other = (draw(shape, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    if name != "orthogonal" or max(shape) > 1:  # a 1 × 1 orthogonal matrix has no choice but its sign
        assert not np.array_equal(first, other)


@given(c=sizes, k=sizes, o=sizes)
def test_fans_of_a_convolution(c, k, o):
    assert fans((c, k, k, o)) == (c * k * k, o * k * k)
    assert fans((c, 1, 1, o)) == fans((c, o)) == (c, o)


@pytest.mark.parametrize(
    "name", ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal", "orthogonal"]
)
@pytest.mark.parametrize("shape", [3, (), (3,), (0, 3), (3, 0)], ids=str)
def test_fans_need_two_axes(name, shape, rng):
    with pytest.raises(ValueError, match="two or more axes"):
        INITIALIZERS[name](shape, rng)


@given(shape=shapes, gain=st.floats(0, 3), seed=st.integers(0, 9))
def test_orthogonal_is_orthogonal(shape, gain, seed):
    w = orthogonal(shape, np.random.default_rng(seed), gain=gain, dtype=np.float64).reshape(-1, shape[-1])
    product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(product, gain**2 * np.eye(min(w.shape)), atol=1e-12)


def test_orthogonal_matrices_are_uniform(rng):
    """Without the fix of the signs, Householder's QR would give every w[0, 0] one sign."""
    corners = np.array([orthogonal((3, 3), rng)[0, 0] for _ in range(2000)])
    assert abs(corners.mean()) < 4 * np.sqrt(1 / 3 / 2000)  # E w² = 1/3 on the sphere
    assert np.mean(corners**2) == pytest.approx(1 / 3, rel=0.1)


def test_he_keeps_the_power_of_a_signal_through_many_layers(rng):
    x = rng.standard_normal((64, 256))
    start = np.mean(x**2)
    for _ in range(20):
        x = np.maximum(x @ he_normal((256, 256), rng, dtype=np.float64), 0)
    assert 0.3 < np.mean(x**2) / (start / 2) < 3  # Glorot's would leave a millionth


@pytest.mark.parametrize("draw", [he_normal, he_uniform])
@pytest.mark.parametrize("slope", [0.01, 0.5, 1.0])
def test_he_knows_the_slope_of_a_leaky_relu(draw, slope, rng):
    assert draw((300, 200), rng, slope=slope).var() == pytest.approx(2 / (1 + slope**2) / 300, rel=0.03)


@pytest.mark.parametrize("name", ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal"])
@pytest.mark.parametrize("shape", [(300, 200), (16, 5, 5, 100)], ids=str)
def test_spreads_agree_with_torch(name, shape, rng):
    torch = pytest.importorskip("torch")
    theirs = {
        "glorot_uniform": torch.nn.init.xavier_uniform_,
        "glorot_normal": torch.nn.init.xavier_normal_,
        "he_uniform": partial(torch.nn.init.kaiming_uniform_, nonlinearity="relu"),
        "he_normal": partial(torch.nn.init.kaiming_normal_, nonlinearity="relu"),
    }[name]
    torch.manual_seed(0)
    w = theirs(torch.empty(shape[-1], *shape[:-1]))  # torch has the output first
    assert INITIALIZERS[name](shape, rng).std() == pytest.approx(w.std().item(), rel=0.03)


def test_values_that_need_no_generator():
    assert initializers.zeros(3).tolist() == [0, 0, 0]
    assert initializers.ones((1, 2)).tolist() == [[1, 1]]
    assert constant(2, value=0.5).tolist() == [0.5, 0.5]


def test_a_partial_is_an_initializer(rng):
    assert partial(constant, value=1.0)(2, rng).tolist() == [1, 1]
    assert partial(normal, std=3.0)((300, 200), rng).std() == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_a_spread_is_finite_and_not_negative(value, rng):
    for draw, name in ((uniform, "limit"), (normal, "std"), (orthogonal, "gain")):
        with pytest.raises(ValueError, match=name):
            draw((2, 2), rng, **{name: value})
