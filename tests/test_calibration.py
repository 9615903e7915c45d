"""Temperature, and the bound on what a model knows: fitted on held-out examples, and kept in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.calibration import Calibration, calibrate, read_calibration, strangeness
from core import CheckpointError
from core.metrics import nll, softmax

RNG = np.random.default_rng(0)


def examples(n, k=4, certainty=3.0, seed=0):
    """Logits, and labels drawn from the probabilities they stand for."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, k)) * certainty
    t = (rng.random((n, 1)) > softmax(z).cumsum(axis=1)).sum(axis=1)
    return z.astype(np.float32), t


@pytest.mark.parametrize("spoilt", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_what_was_done_to_the_logits(spoilt):
    z, t = examples(20_000)
    assert calibrate(z * spoilt, t, 4).temperature == pytest.approx(spoilt, rel=0.03)


def test_the_temperature_is_that_of_the_least_nll():
    z, t = examples(500, seed=1)
    best = calibrate(2 * z, t, 4).temperature
    costs = [nll(t, softmax(2 * z / (best * factor))) for factor in (0.9, 1, 1.1)]
    assert costs[1] == min(costs)


def test_a_model_that_errs_nowhere_keeps_a_doubt():
    t = np.arange(60) % 3
    p = calibrate(5 * np.eye(3)[t], t, 3).probabilities(5 * np.eye(3)[t], 3)
    assert 0.95 < p.max() < 0.9999


def test_five_in_a_thousand_held_out_examples_count_as_strangers():
    z, t = examples(1000, 5)
    for classes in (5, 4):  # without and with an output for strangers
        calibration = calibrate(z, np.minimum(t, classes - 1), classes)
        assert calibration.knows(z, classes).mean() == pytest.approx(0.995, abs=0.002)


@given(st.lists(st.floats(-30, 30), min_size=5, max_size=5), st.floats(0.05, 20))
def test_probabilities_are_those_of_the_classes_alone(z, temperature):
    z = np.array([z])
    p = Calibration(temperature).probabilities(z, 4)
    np.testing.assert_allclose(p, softmax(z[:, :4] / temperature), atol=1e-12)
    assert 0 <= strangeness(z, 4)[0] <= 1
    np.testing.assert_allclose(strangeness(z, 4), softmax(z)[:, 4])
    assert strangeness(z[:, :4], 4)[0] == pytest.approx(1 - softmax(z[:, :4]).max())


def test_what_a_file_says_is_checked():
    kept = Calibration(1.5, 0.25)
    assert read_calibration({"calibration": kept.facts()}, "f") == kept
    assert read_calibration({}, "f") == Calibration()
    for wrong in ([], 3, {"temperature": 0}, {"temperature": "x"}, {"ceiling": 2}, {"heat": 1}, {"temperature": 1e999}):
        with pytest.raises(CheckpointError, match="f: the file is damaged"):
            read_calibration({"calibration": wrong}, "f")


def test_a_few_examples_told_right_change_little():
    z, t = 6 * np.eye(3)[np.arange(60) % 3], np.arange(60) % 3
    assert 0.5 < calibrate(z, t, 3).temperature <= 1
