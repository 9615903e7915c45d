"""The figures of a validation: against sums by hand, against resampling, and at their corners."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.credit.fairness import audit, groups_of
from apps.credit.measures import (
    auc_interval,
    calibration_line,
    corrected_interval,
    cost_at,
    deciles,
    distinct,
    feature_table,
    score,
    score_stability,
    stability,
)
from apps.credit.schema import Feature
from apps.credit.table import Table
from core.metrics import roc_auc, sigmoid

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal(3000) * 1.2 - 1
T = (RNG.random(3000) < sigmoid(LOGITS)).astype(np.int64)


def test_the_interval_of_an_auc_is_that_of_resampling():
    low, high = auc_interval(T, LOGITS)
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(400):
        rows = rng.integers(0, len(T), len(T))
        drawn.append(roc_auc(T[rows], LOGITS[rows]))
    assert low < roc_auc(T, LOGITS) < high
    assert high - low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.15)


def test_scores_agree_with_each_other():
    found = score(LOGITS, T)
    assert found["gini"] == pytest.approx(2 * found["roc_auc"] - 1)
    assert calibration_line(LOGITS, T) == pytest.approx((1, 0), abs=0.15)


def test_deciles_hold_every_row_once_in_order():
    rows = deciles(sigmoid(LOGITS), T)
    assert sum(row.count for row in rows) == len(T)
    assert sum(row.bad for row in rows) == T.sum()
    assert rows[-1].captured == pytest.approx(1)
    assert [row.lowest for row in rows] == sorted(row.lowest for row in rows)


def test_costs_by_hand():
    pd, t = np.array([0.1, 0.9, 0.1, 0.9]), np.array([0, 0, 1, 1])
    assert cost_at(pd, t, (1.0, 5.0), 0.5) == pytest.approx((1 + 5) / 4)
    assert cost_at(pd, t, (1.0, 5.0), 2.0) == pytest.approx(10 / 4)
    assert cost_at(pd, t, (1.0, 5.0), 0.0) == pytest.approx(2 / 4)


def test_the_cut_off_of_the_cost_is_the_cheapest_for_calibrated_probabilities():
    pd = sigmoid(LOGITS)
    t = (np.random.default_rng(4).random(len(pd)) < pd).astype(np.int64)
    costs = {cut: cost_at(pd, t, (1.0, 5.0), cut) for cut in (0.05, 1 / 6, 0.35, 0.5)}
    assert min(costs, key=costs.get) == 1 / 6


def test_stability_by_hand():
    assert stability(np.array([50, 50]), np.array([50, 50])) == 0
    assert stability(np.array([50, 50]), np.array([60, 40])) == pytest.approx(
        0.1 * np.log(0.6 / 0.5) - 0.1 * np.log(0.4 / 0.5)
    )
    assert score_stability(LOGITS[:1500], LOGITS[1500:]) < 0.02
    assert score_stability(LOGITS, LOGITS + 1) > 0.25


@given(st.lists(st.integers(-3, 3) | st.floats(-2, 2), max_size=9))
def test_distinct_numbers_are_those_of_unique(values):
    assert np.array_equal(distinct(np.array(values, float)), np.unique(np.array(values, float)))


def test_bins_of_a_feature_have_missing_and_codes_of_their_own():
    feature = Feature("late", "ordinal", specials=(-9.0,))
    base = np.array([np.nan] * 10 + [-9.0] * 20 + [0.0] * 40 + [1.0] * 30)
    t = np.array([1] * 5 + [0] * 95)
    table = feature_table(feature, base, t, base)
    assert table.names == ["missing", "-9", "0", "1"]
    np.testing.assert_array_equal(table.counts, [10, 20, 40, 30])
    np.testing.assert_array_equal(table.bad, [5, 0, 0, 0])
    assert table.psi == 0
    moved = feature_table(feature, base, t, np.full(50, np.nan))
    assert moved.psi > 1


def test_an_audit_by_hand():
    table = Table({"sex": ["f"] * 100 + ["m"] * 100})
    pd = np.concatenate([np.repeat([0.1, 0.9], 50), np.repeat([0.1, 0.9], [80, 20])])
    t = np.tile([0, 1], 100)
    found = audit(table, "sex", pd, t, 0.5)
    assert [(g.name, g.count, g.selection) for g in found.groups] == [("f", 100, 0.5), ("m", 100, pytest.approx(0.8))]
    assert found.parity == pytest.approx(0.5 / 0.8)
    assert found.odds == pytest.approx(0.3)
    assert found.proxy == pytest.approx(0.65)


def test_ages_are_cut_into_quarters_and_small_groups_left_out():
    names, at = groups_of(Table({"age": np.arange(20.0, 80.0)}), "age")
    assert len(names) == 5
    np.testing.assert_array_equal(np.bincount(at), [15, 15, 15, 15])
    table = Table({"x": ["a"] * 100 + ["b"] * 10})
    found = audit(table, "x", np.full(110, 0.1), np.zeros(110, np.int64), 0.5)
    assert [group.name for group in found.groups] == ["a"]


def test_an_interval_of_differences_is_wider_than_the_naive_one():
    rng = np.random.default_rng(0)
    d = rng.standard_normal(15) * 0.01 + 0.02
    mean, low, high = corrected_interval(d, 0.2)
    naive = 2.145 * d.std(ddof=1) / np.sqrt(15)
    assert mean == pytest.approx(d.mean())
    assert (high - low) / 2 == pytest.approx(naive * np.sqrt(1 + 15 * 0.25), rel=1e-3)
    with pytest.raises(ValueError, match="two differences"):
        corrected_interval(d[:1], 0.2)
