"""The credit models that come with the project: they do what their rows say, and are small."""

import csv
import os

import numpy as np
import pytest

from apps.credit.command_line import measured, open_credit
from apps.credit.data import load
from apps.credit.entries import DEFAULT
from apps.credit.reasons import contributions
from models import RESULTS, WEIGHTS

with open(RESULTS, encoding="utf-8", newline="") as file:
    ROWS = [row for row in csv.DictReader(file) if row["task"] == "credit"]
SHIPPED = [row for row in ROWS if (WEIGHTS / f"{row['name']}.json").is_file()]


@pytest.fixture(scope="module")
def taiwan():
    return load(None, "taiwan")


def test_three_are_shipped_the_default_among_them():
    assert len(SHIPPED) == 3
    assert DEFAULT in {row["model"] for row in SHIPPED}


def test_they_are_small_together():
    assert sum(path.stat().st_size for path in WEIGHTS.glob("credit_*")) < 4 * 2**20


@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row["name"])
def test_a_shipped_model_opens_and_explains(row):
    model, name = open_credit(row["model"], None)
    assert name == row["model"]
    assert not {"SEX", "MARRIAGE", "AGE", "ID"} & {feature.name for feature in model.schema.features}
    found = contributions(model, model.references)
    gap = model.logits(model.references) - model.logits(model.references).mean()
    np.testing.assert_allclose(found.sum(axis=1), gap, atol=1e-3)
    sizes = sum(p.value.size for member in model.members for p in member.network.parameters())
    assert sizes == int(row["parameters"])


def test_the_shipped_additive_model_keeps_its_directions():
    """10,000 random applicants, any increase of a column within its ordered range, with all that follows from it."""
    model, _ = open_credit("additive", None)
    features, rng = model.schema.features, np.random.default_rng(0)
    people = np.empty((10_000, len(features)))
    for i, feature in enumerate(features):
        many = range(len(feature.categories)) if feature.kind == "categorical" else model.percentiles[:, i]
        people[:, i] = rng.choice([*many, *np.repeat(feature.codes, 15)], len(people))
    told = [i for i, feature in enumerate(features) if feature.direction and not feature.rule]
    assert len(told) == 13
    for i in told:
        ends = np.sort(rng.choice(model.percentiles[:, i], (2, len(people))), axis=0)
        below, above = (np.where(np.arange(len(features)) == i, end[:, None], people) for end in ends)
        change = model.logits(model.schema.complete(above)) - model.logits(model.schema.complete(below))
        assert (change * features[i].direction >= -1e-6).all(), features[i].name  # float32 sums
        assert (change * features[i].direction > 1e-3).any()


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="ZOO_DATA names no folder with the real data sets")
@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row["name"])
def test_a_shipped_model_does_what_its_row_says(row, taiwan):
    model, _ = open_credit(row["model"], None)
    assert model.facts["data"]["fingerprint"] == taiwan.fingerprint()
    metrics = measured(model, taiwan)
    assert len(taiwan.test) == int(row["examples"])
    assert metrics["roc_auc"] == pytest.approx(float(row["shipped_value"]), abs=2e-4)
    assert metrics["log_loss"] == pytest.approx(float(row["nll"]), abs=2e-4)
