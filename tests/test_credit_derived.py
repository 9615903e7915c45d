"""Features that follow from columns: their values, their directions, and that nothing kept out comes back by them."""

from dataclasses import replace

import numpy as np
import pytest

from apps.credit.data import DATASETS
from apps.credit.derived import RULES, derive
from apps.credit.schema import Feature, Schema, infer
from apps.credit.table import Table
from apps.credit.training import Bag, choose
from apps.credit.what_if import smallest_change
from apps.errors import InputError
from core import CheckpointError

NAN = float("nan")


def follow(name, rule, *sources, **more):
    return Feature(name, "numeric", rule=rule, sources=sources, **more)


def borrowers(rows=1500, seed=0):
    """A limit, two bills, a status of two months: late ones above 0, others codes; who owes much defaults."""
    rng = np.random.default_rng(seed)
    limit = rng.integers(1, 50, rows) * 1000.0
    bills = limit[:, None] * rng.uniform(-0.1, 1.2, (rows, 2))
    status = rng.choice([-1.0, 0.0, 1.0, 2.0, 3.0], (rows, 2), p=[0.3, 0.3, 0.2, 0.1, 0.1])
    risk = 2 * bills.mean(axis=1) / limit + status.max(axis=1) - 2.5
    t = (rng.random(rows) < 1 / (1 + np.exp(-risk))).astype(float)
    columns = {"limit": limit, "bill1": bills[:, 0], "bill2": bills[:, 1]}
    return Table(columns | {"status1": status[:, 0], "status2": status[:, 1], "sex": t * 0 + (limit > 9000), "bad": t})


KNOWN = {
    "limit": Feature("limit", "numeric", direction=-1),
    "bill1": Feature("bill1", "numeric"),
    "bill2": Feature("bill2", "numeric"),
    "status1": Feature("status1", "ordinal", (-1.0, 0.0), direction=1),
    "status2": Feature("status2", "ordinal", (-1.0, 0.0), direction=1),
}
DERIVED = (
    follow("worst", "highest", "status1", "status2"),
    follow("late", "positive", "status1", "status2"),
    follow("even", "zero", "status1", "status2"),
    follow("used", "mean_share", "bill1", "bill2", "limit"),
    follow("least", "lowest_share", "bill1", "bill2", "limit"),
    follow("left", "difference", "limit", "bill1"),
)


def schema_of(table, **more):
    return infer(table, "bad", protected=("sex",), known=KNOWN, **{"derived": DERIVED} | more)


@pytest.fixture(scope="module")
def trained():
    table = borrowers()
    schema, t = schema_of(table)
    numbers, _ = schema.numbers(table)
    parts = {part: replace(recipe, epochs=6) for part, recipe in choose("additive", {}).items()}
    bag = Bag(schema, numbers, t, parts, count=3)
    for _ in bag.events(1):
        pass
    return bag.finish((1.0, 2.0))[0], numbers


@pytest.mark.parametrize(
    ("rule", "row", "value"),
    [
        ("highest", (-2, 3, 1), 3),
        ("highest", (-2, -1), 0),
        ("positive", (0, 3, 1), 2),
        ("zero", (0, 3, 0), 2),
        ("difference", (5, 7), -2),
        ("mean_share", (50, -30, 100), 0.25),
        ("lowest_share", (50, 20, 100), 0.2),
        ("lowest_share", (50, -20, 100), 0),
        ("mean_share", (50, 0), NAN),
        ("positive", (1, NAN), NAN),
    ],
)
def test_a_rule_by_hand(rule, row, value):
    np.testing.assert_array_equal(derive(rule, [np.array([float(x)]) for x in row]), [value])


@pytest.mark.parametrize("name", RULES)
def test_a_rule_moves_as_it_says(name):
    rule, rng = RULES[name], np.random.default_rng(0)
    x = rng.integers(-3, 6, (4000, 3 if rule.least == 1 or "share" in name else 2)).astype(float)
    x[:, -1] += 4 * ("share" in name)
    for k in range(x.shape[1]):
        above = x.copy()
        above[:, k] += rng.integers(1, 4, len(x))
        sign = rule.sign(k, x.shape[1])
        change = derive(name, list(above.T)) - derive(name, list(x.T))
        assert (change * sign >= 0).all() if sign else (change > 0).any() and (change < 0).any()


def test_directions_follow_from_the_columns():
    schema, _ = schema_of(borrowers(100))
    assert {f.name: f.direction for f in schema.features if f.rule} == {
        "worst": 1,
        "late": 1,
        "even": 0,
        "used": 1,
        "least": 1,
        "left": -1,
    }
    assert [f.name for f in schema.asked] == ["limit", "bill1", "bill2", "status1", "status2"]
    assert Schema.from_facts(schema.facts(), "here") == schema
    facts = schema.facts()
    facts["features"][-1]["direction"] = 1
    with pytest.raises(CheckpointError, match="direction of left"):
        Schema.from_facts(facts, "here")


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (follow("x", "product", "bill1", "bill2"), "does not follow by a rule"),
        (follow("x", "difference", "bill1"), "does not follow by a rule"),
        (follow("x", "positive", "bill9"), "no column 'bill9'"),
        (follow("bill1", "positive", "bill2"), "has a column of that name"),
        (follow("x", "zero", "limit"), "may rise and fall with limit"),
        (follow("x", "difference", "status1", "status2"), "both ways"),
        (follow("left", "difference", "limit", "bill1", direction=1), "direction that follows"),
    ],
)
def test_a_rule_that_does_not_fit_gets_a_sentence(feature, message):
    with pytest.raises(InputError, match=message):
        schema_of(borrowers(100), derived=[feature])


@pytest.mark.parametrize("kept_out", [{"protected": ("sex", "bill1")}, {"excluded": ("bill1",)}])
def test_what_is_kept_out_does_not_come_back_by_a_rule(kept_out):
    table = borrowers(100)
    schema, _ = infer(table, "bad", known=KNOWN, derived=DERIVED, **{"protected": ("sex",)} | kept_out)
    assert {f.name for f in schema.features if f.rule} == {"worst", "late", "even"}


def test_what_follows_is_made_anew_when_columns_change():
    table = borrowers(100)
    schema, _ = schema_of(table)
    numbers, _ = schema.numbers(table)
    at = {f.name: i for i, f in enumerate(schema.features)}
    changed = numbers.copy()
    changed[:, at["limit"]] *= 2
    again = schema.complete(changed)
    np.testing.assert_allclose(again[:, at["used"]], numbers[:, at["used"]] / 2)
    np.testing.assert_array_equal(again[:, : len(schema.asked)], changed[:, : len(schema.asked)])
    np.testing.assert_array_equal(schema.complete(numbers), numbers)


def test_a_column_with_a_direction_keeps_it_with_all_that_follows(trained):
    """10,000 random applicants, any increase within the ordered range."""
    model, numbers = trained
    rng = np.random.default_rng(1)
    people = np.stack([column[rng.integers(0, len(numbers), 10_000)] for column in numbers.T], axis=1)
    for i, feature in enumerate(model.schema.features):
        if not feature.direction or feature.rule:
            continue
        values = numbers[~np.isin(numbers[:, i], feature.codes), i]
        low, high = np.sort(rng.choice(values, (2, len(people))), axis=0)
        below, above = people.copy(), people.copy()
        below[:, i], above[:, i] = low, high
        change = model.logits(model.schema.complete(above)) - model.logits(model.schema.complete(below))
        assert (change * feature.direction >= -1e-6).all(), feature.name  # float32 sums
        assert (change * feature.direction > 1e-3).any()


def test_references_and_changes_are_people_who_could_be(trained):
    model, numbers = trained
    np.testing.assert_array_equal(model.schema.complete(model.references), model.references)
    refused = numbers[model.refused(model.logits(numbers))]
    found = [change for change in (smallest_change(model, row) for row in refused[:20]) if change]
    assert found
    for change in found:
        assert not any(model.schema.features[i].rule for i in change.values)


def test_taiwans_follow_from_columns_that_have_directions():
    known = DATASETS["taiwan"]
    names = {feature.name for feature in known.features}
    assert all({*feature.sources} <= names for feature in known.derived)
    features = tuple(replace(f, direction=0) for f in known.derived if f.name == "bill_rise")
    assert Schema((*known.features, *features), "t", "1").asked == list(known.features)
