"""Augmented digits: keyed by seed, epoch and example alone, and changed as told, no more."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.mnist import outliers
from apps.mnist.augment import NUMBERS, Augmented, Distortion, distort, several, uniforms
from core import Context, Examples

NONE = dict.fromkeys(vars(Distortion()), 0.0)
RNG = np.random.default_rng(0)


@pytest.fixture
def digits():
    x = np.zeros((6, 1, 28, 28), np.float32)
    x[:, 0, 8:20, 10:17] = RNG.random((6, 12, 7), np.float32)
    return Examples(x, np.arange(6))


def centre(image):
    y, x = np.mgrid[:28, :28]
    return np.array([(image * y).sum(), (image * x).sum()]) / image.sum()


def seen(data, rows, epoch=0):
    return data.take(np.array(rows), epoch, Context(True))[0].copy()


def test_what_is_seen_depends_on_seed_epoch_and_example_alone(digits):
    data = Augmented(digits, Distortion(), seed=3)
    together = seen(data, [4, 1, 5])
    for i, row in enumerate([4, 1, 5]):
        np.testing.assert_allclose(together[i], seen(data, [row])[0], atol=1e-6)
    assert np.abs(seen(data, [1], epoch=1) - seen(data, [1])).max() > 0.1
    assert np.abs(seen(Augmented(digits, Distortion(), 4), [1]) - seen(data, [1])).max() > 0.1
    np.testing.assert_array_equal(together, seen(Augmented(digits, Distortion(), 3), [4, 1, 5]))


def test_labels_and_weights_go_along(digits):
    data = Augmented(Examples(digits.x, digits.t, np.arange(6.0)), Distortion(), 0)
    _, t, weight = data.take(np.array([2, 0]), 0, Context(True))
    assert t.tolist() == [2, 0]
    assert weight.tolist() == [2, 0]


def test_no_distortion_changes_nothing_and_the_data_are_never_written(digits):
    before = digits.x.copy()
    np.testing.assert_array_equal(seen(Augmented(digits, Distortion(**NONE), 0), range(6)), before)
    seen(Augmented(digits, Distortion(), 0), range(6))
    np.testing.assert_array_equal(digits.x, before)


def test_a_shift_moves_the_image(digits):
    u = np.zeros((1, NUMBERS), np.float32)
    u[0, :2] = 0.5, -1
    moved = distort(digits.x[:1], Distortion(**NONE | {"shift": 2.0}), u)
    np.testing.assert_allclose(moved[0, 0, :-1, 2:], digits.x[0, 0, 1:, :-2], atol=1e-6)


@pytest.mark.parametrize("name", ["turn", "scale", "slant"])
def test_turning_scaling_and_slanting_keep_the_middle(name, digits):
    x = np.zeros((1, 1, 28, 28), np.float32)
    x[0, 0, 9:19, 11:17] = 1  # symmetrical about the middle
    u = np.full((1, NUMBERS), 0.9, np.float32)
    changed = distort(x, Distortion(**NONE | {name: vars(Distortion())[name]}), u)[0, 0]
    assert np.abs(changed - x[0, 0]).max() > 0.1
    np.testing.assert_allclose(centre(changed), [13.5, 13.5], atol=0.05)


@pytest.mark.parametrize(("share", "grows"), [(1.0, True), (-1.0, False)])
def test_the_pen_gets_thicker_or_thinner(share, grows, digits):
    u = np.zeros((6, NUMBERS), np.float32)
    u[:, 6] = share
    changed = distort(digits.x, Distortion(**NONE | {"pen": 0.5}), u)
    assert ((changed.sum(axis=(1, 2, 3)) > digits.x.sum(axis=(1, 2, 3))) == grows).all()


@given(st.integers(0, 2**32), st.integers(0, 1000))
def test_pixels_stay_between_nothing_and_full_ink(seed, epoch):
    x = np.random.default_rng(seed).random((3, 1, 28, 28), np.float32)
    changed = distort(x, Distortion().scaled(3), uniforms(seed, epoch, np.arange(3), NUMBERS))
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 1 + 1e-6


def test_the_numbers_are_uniform_and_unrelated():
    u = uniforms(7, 2, np.arange(4000), 20)
    assert u.min() >= -1
    assert u.max() < 1
    assert np.abs(u.mean(axis=0)).max() < 0.05
    np.testing.assert_allclose(u.var(axis=0), 1 / 3, atol=0.02)
    related = np.corrcoef(np.concatenate([u, np.roll(u, 1, axis=0), uniforms(7, 3, np.arange(4000), 20)], axis=1).T)
    assert np.abs(related - np.eye(60)).max() < 0.07


def test_a_negative_change_is_refused():
    with pytest.raises(ValueError, match="turn is a number from 0 to 360"):
        Distortion(turn=-1)


# Images that are no digit


def test_so_many_visits_give_no_digit_and_they_are_keyed_by_example():
    x = RNG.random((2000, 1, 28, 28), np.float32)
    examples = Examples(x, np.arange(2000) % 10)
    data = Augmented(examples, Distortion(**NONE), 5, outliers=0.2)
    seen_x, t, _ = data.take(np.arange(2000), 3, Context(True))
    spoilt = t == 10
    assert spoilt.mean() == pytest.approx(0.2, abs=0.03)
    np.testing.assert_array_equal(seen_x[~spoilt], x[~spoilt])
    np.testing.assert_array_equal(t[~spoilt], examples.t[~spoilt])
    assert (np.abs(seen_x - x).max(axis=(1, 2, 3))[spoilt] > 0.1).all()
    seen_x, t = seen_x.copy(), t.copy()
    for row in [*np.flatnonzero(spoilt)[:5], 7]:
        alone, label, _ = data.take(np.array([row]), 3, Context(True))
        np.testing.assert_array_equal(alone[0], seen_x[row])
        assert label[0] == t[row]
    assert (data.take(np.arange(2000), 4, Context(True))[1] != t).any()
    np.testing.assert_array_equal(examples.t, np.arange(2000) % 10)


def test_an_outlier_is_made_of_the_strokes_of_digits():
    n = 4000
    x = (RNG.random((n, 1, 28, 28)) < 0.2).astype(np.float32)
    x[..., :4], x[..., -4:], x[..., :4, :], x[..., -4:, :] = 0, 0, 0, 0
    t = RNG.integers(0, 10, n)
    u = RNG.uniform(-1, 1, (n, outliers.NUMBERS)).astype(np.float32)
    spoilt = outliers.spoil(x, t, np.roll(x, 1, axis=0), u)
    assert spoilt.shape == x.shape
    assert set(np.unique(spoilt)) == {0, 1}
    same = (spoilt == x).all(axis=(1, 2, 3))
    assert not same.any()
    ones = spoilt[t == 1].sum(axis=(1, 2, 3))
    assert (ones != x[t == 1].sum(axis=(1, 2, 3))).mean() > 0.95  # neither turned nor cut: a 1 would stay a stroke


def test_views_begin_with_the_image_and_are_the_same_for_all(digits):
    views = list(several(digits.x, Distortion(), 4))
    assert len(views) == 4
    np.testing.assert_array_equal(views[0], digits.x)
    alone = list(several(digits.x[2:3], Distortion(), 4))
    for view, one in zip(views, alone, strict=True):
        np.testing.assert_array_equal(view[2], one[0])
    assert np.abs(views[1] - views[2]).max() > 0.1


def test_a_mirror_turns_every_other_image(digits):
    u = np.zeros((2, NUMBERS), np.float32)
    u[:, -1] = -1, 1
    mirrored, kept = distort(digits.x[[0, 0]], Distortion(**NONE | {"mirror": True}), u)
    np.testing.assert_allclose(mirrored, digits.x[0][..., ::-1], atol=1e-6)
    np.testing.assert_allclose(kept, digits.x[0], atol=1e-6)
