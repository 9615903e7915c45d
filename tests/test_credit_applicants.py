"""What the page of credit stands on: fields, made-up applicants, portfolios, stability, the scorecard without rows."""

import csv
import io
import json

import numpy as np
import pytest

from apps.credit.applicant import answer, fields, filled, in_words
from apps.credit.command_line import open_credit
from apps.credit.made_up import examples, made_up, made_up_table
from apps.credit.measures import cost_at, roc_curve
from apps.credit.portfolio import open_portfolio, scored_csv, trade_off
from apps.credit.scorecard import feature_points, spans
from apps.credit.scoring import ADDED
from apps.credit.stability import bins, count, shifts, training_of
from apps.credit.table import csv_of, parse_csv
from apps.credit.what_if import smallest_change
from apps.errors import InputError
from core import CheckpointError
from core.metrics import roc_auc


@pytest.fixture(scope="module")
def model():
    return open_credit(None, None)[0]


@pytest.fixture(scope="module")
def additive():
    return open_credit("additive", None)[0]


@pytest.fixture(scope="module")
def portfolio(model):
    return open_portfolio(model, "made up", *made_up_table(model, 600))


def without_counts(model):
    from dataclasses import replace

    return replace(model, facts={key: value for key, value in model.facts.items() if key != "training"})


def test_a_field_offers_missing_codes_and_values_each_once(model):
    for i, field in enumerate(fields(model)):
        values = np.array(list(field.options.values()))
        assert np.isnan(values[0])
        assert set(field.feature.codes) <= set(values)
        assert len(np.unique(values)) == len(values)
        assert all(field.nearest(value) == shown for shown, value in field.options.items()), i


def test_made_up_applicants_stand_on_the_form_and_on_their_side_of_the_cut_off(model):
    asked = fields(model)
    for name, row in examples(model).items():
        told = {each.feature.name: each.options[each.nearest(row[each.place])] for each in asked}
        assert model.refused(model.logits(filled(model, asked, told)[None]))[0] == (name in ("Refused", "Risky")), name


def test_an_answer_adds_up_and_says_what_would_turn_it(model):
    row = examples(model)["Refused"]
    told = answer(model, row)
    mean = model.points(model.logits(model.references)).mean()
    assert told.refused
    assert 1 <= len(told.reasons) <= 4
    assert told.points == pytest.approx(mean + told.moved.sum(), abs=0.05)
    change = smallest_change(model, row)
    assert all("instead of" in each for each in in_words(model, row, change))


def test_made_up_applicants_are_like_the_training_and_a_drift_shows(model):
    training = training_of(model)
    rng = np.random.default_rng(0)
    for drift, most in ((0.0, 0.05), (0.6, 9.0)):
        rows = made_up(model, 4000, rng, drift)
        found = dict(shifts(model, training, rows, model.logits(rows)))
        score = found.pop("the score")
        drawn = {feature.words or feature.name for feature in model.schema.asked}  # the others follow from them
        assert max(psi for name, psi in found.items() if name in drawn) < most
    assert score > 0.25


def test_without_counts_there_is_no_training_and_applicants_all_the_same(model):
    bare = without_counts(model)
    assert training_of(bare) is None
    rows = made_up(bare, 50, np.random.default_rng(0))
    assert np.isfinite(bare.logits(rows)).all()


def test_counts_survive_a_description_and_damaged_ones_are_refused(model):
    from dataclasses import replace

    rows = made_up(model, 500, np.random.default_rng(1))
    told = json.loads(json.dumps(count(model, rows)))
    again = training_of(replace(model, facts=model.facts | told))
    assert again.scores.sum() == 500
    assert all(each.sum() == 500 for each in again.features)
    assert max(psi for _, psi in shifts(model, again, rows, model.logits(rows))) == pytest.approx(0, abs=1e-9)
    for wrong in ({}, 7, told["training"] | {"scores": [1]}, told["training"] | {"features": []}):
        with pytest.raises(CheckpointError, match="damaged"):
            training_of(replace(model, facts=model.facts | {"training": wrong}))


def test_a_portfolio_says_of_each_row_what_the_model_says(model, portfolio):
    assert len(portfolio.pd) == 600
    np.testing.assert_allclose(portfolio.pd, model.pd(portfolio.numbers))
    assert 0 < portfolio.t.mean() < 1
    out = list(csv.reader(io.StringIO(scored_csv(model, portfolio, 0.3).decode())))
    assert out[0] == [*portfolio.names, *ADDED]
    at = out[0].index("decision")
    assert [row[at] == "refuse" for row in out[1:]] == (portfolio.pd >= 0.3).tolist()
    assert all(row[at + 1] for row in out[1:] if row[at] == "refuse")  # a reason each


def test_a_row_with_a_fault_is_told_and_left_out(model):
    names, rows = made_up_table(model, 30)
    rows[4][0] = "<b>"
    found = open_portfolio(model, "x", names, rows)
    assert len(found.pd) == 29
    assert "row 5" in found.faults[0]
    assert b"not scored" in scored_csv(model, found, 0.2)


@pytest.mark.parametrize("outcome", ["", "1", "0"])
def test_outcomes_that_are_missing_or_all_the_same_count_as_unknown(model, outcome):
    names, rows = made_up_table(model, 30)
    found = open_portfolio(model, "x", names, [[*row[:-1], outcome] for row in rows])
    assert found.t is None


def test_a_trade_off_is_the_cost_of_the_decisions(portfolio):
    cuts = np.array([0.05, 1 / 6, 0.5, 0.999])
    for line in trade_off(portfolio.pd, portfolio.t, (1.0, 5.0), cuts):
        assert line.cost == pytest.approx(cost_at(portfolio.pd, portfolio.t, (1.0, 5.0), line.cut))
        assert line.accepted == pytest.approx((portfolio.pd < line.cut).mean())
    expected = trade_off(portfolio.pd, None, (1.0, 5.0), np.linspace(0.01, 0.99, 99))
    assert min(expected, key=lambda line: line.cost).cut == pytest.approx(1 / 6, abs=0.015)


def test_the_area_under_the_curve_is_the_roc_auc(portfolio):
    good, bad = roc_curve(portfolio.t, portfolio.logits, most=10**6)
    assert np.trapezoid(bad, good) == pytest.approx(roc_auc(portfolio.t, portfolio.logits), abs=1e-9)


def test_spans_hold_the_points_of_every_applicant(additive):
    training = training_of(additive)
    rows = made_up(additive, 300, np.random.default_rng(2))
    points = feature_points(additive, rows)
    np.testing.assert_allclose(points.sum(axis=1), additive.points(additive.logits(rows)), atol=1e-3)
    for i in range(rows.shape[1]):
        own = {span.bin: span for span in spans(additive, training) if span.feature == i}
        names, place = bins(additive, i)
        for at, given in zip(place(rows[:, i]), points[:, i], strict=True):
            assert own[names[at]].lowest - 1e-3 <= given <= own[names[at]].highest + 1e-3
        assert sum(span.share for span in own.values()) == pytest.approx(1)


def test_a_sent_file_is_parsed_within_its_bounds():
    names, rows = parse_csv("a,b\n1,“ä”\n".encode("utf-8-sig"), "x.csv", most=5)
    assert (names, rows) == (["a", "b"], [["1", "“ä”"]])
    assert parse_csv(csv_of(names, rows), "x.csv", most=5) == (names, rows)
    for content, said in (
        (b"", "is empty"),
        (b"a\n", "no rows"),
        (b"a\n1\n2\n", "more than 1 rows"),
        ("a\n1".encode("utf-16"), "UTF-16"),
        ("a\n1".encode("utf-16-le"), "UTF-16"),
        ("a\n1".encode("utf-16-be"), "UTF-16"),
        (b"a\n\xff\n", "not UTF-8"),
        (b"a\n" + b"x" * 99, "field larger"),
        (b'a\n"x', "not a CSV file"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            parse_csv(content, "x.csv", most=1, cell=50)
        assert str(caught.value).startswith("x.csv")
