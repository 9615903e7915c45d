"""The comparison with boosting: the same rows for all, results kept, intervals from pairs."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps.credit.data import load
from apps.errors import InputError

pytest.importorskip("sklearn")

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "compare_credit.py"))
NAMES = ["logistic_woe", "sklearn_boosting", "logistic_sklearn"]


@pytest.fixture(scope="module")
def data():
    """A part of the sample."""
    whole = load("sample")
    rows = np.arange(600)
    return replace(whole, table=whole.table.take(rows), t=whole.t[rows], best=None, test=rows[:100], train=rows[100:])


def test_a_comparison_is_kept_and_goes_on_where_it_was(data, tmp_path, capsys):
    path = tmp_path / "results.jsonl"
    SCRIPT["compare"](data, NAMES[:1], 1, 2, 1, 0, path)
    first = path.read_text()
    SCRIPT["compare"](data, NAMES, 1, 2, 2 - 1, 0, path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.read_text().startswith(first)
    assert [(line["model"], line["fold"]) for line in lines].count(("logistic_woe", 0)) == 1
    assert len(lines) == 2 * len(NAMES)
    rows = SCRIPT["table"](lines, NAMES, 2)
    assert [row["model"] for row in rows] == NAMES
    by_hand = np.mean(
        [
            a["metrics"]["roc_auc"] - b["metrics"]["roc_auc"]
            for a in lines
            for b in lines
            if a["fold"] == b["fold"] and (a["model"], b["model"]) == (NAMES[0], NAMES[1])
        ]
    )
    mean, low, high = rows[1]["logistic_woe minus, roc_auc"]
    assert mean == pytest.approx(by_hand)
    assert low < mean < high
    with pytest.raises(InputError, match="another comparison"):
        SCRIPT["compare"](data, NAMES, 1, 2, 7, 0, path)


def test_the_first_trial_is_the_default_and_others_are_drawn():
    draw = SCRIPT["draw"]
    rng = np.random.default_rng(0)
    for name in ("sklearn_boosting", "lightgbm", "xgboost", "logistic_sklearn", "blend", "additive"):
        assert draw(name, rng, True) == draw(name, rng, True)
        assert len({json.dumps(draw(name, rng, False)) for _ in range(30)}) > 2


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_boosting_takes_the_same_numbers(name, data):
    pytest.importorskip(name)
    numbers = data.numbers()
    settings = SCRIPT["draw"](name, np.random.default_rng(0), True)
    scorer = SCRIPT["train"](name, settings | {"n_estimators": 5}, data.schema, numbers, data.t, 0, data.cost)
    assert np.isfinite(scorer(numbers)).all()
