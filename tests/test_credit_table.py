"""From a CSV file to numbers: what a table holds, what is wrong with it, and how numbers become inputs."""

import json

import numpy as np
import pytest

from apps.credit.data import Choices, folds, load, stratified
from apps.credit.encoding import FORMS, Encoder, fit_encoder, information_value, weight_of_evidence
from apps.credit.schema import Feature, Schema, infer
from apps.credit.simulate import simulate
from apps.credit.table import Table, csv_chunks, read_csv
from apps.errors import InputError
from core import CheckpointError

HEAD = "age,city,income,bad\n"


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


# Reading


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (HEAD, "no rows"),
        ("age;city;bad\n1;x;0\n", "separated by semicolons"),
        ("age\tcity\tbad\n1\tx\t0\n", "separated by tabs"),
        (HEAD + "1,x,2,0\n1,x,2\n", r"row 2 \(line 3\) has 3 cells, fewer than the 4"),
        (HEAD + "1,x,2,0,9\n", r"row 1 \(line 2\) has 5 cells, more than the 4"),
        ("age,age,bad\n1,2,0\n", "two columns called 'age'"),
        ("age,,bad\n1,2,0\n", "a column without a name"),
        (HEAD + '1,"x,2,0\n', "not a CSV file"),
        ((HEAD + "1,Zürich,2,0\n").encode("latin-1"), "not UTF-8"),
        ((HEAD + "1,x,2,0\n").encode("utf-16"), "UTF-16"),
        ((HEAD + "1,x,2,0\n").encode("utf-16-le"), "UTF-16"),
        ((HEAD + "1,x,2,0\n").encode("utf-16-be"), "UTF-16"),
    ],
)
def test_a_file_of_another_form_gets_a_sentence(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_csv(written(tmp_path, text))


def test_a_missing_file_gets_a_sentence(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_csv(tmp_path / "none.csv")


def test_chunks_hold_every_row_once_in_order(tmp_path):
    rows = "".join(f"{i},x,{i},0\n" for i in range(10))
    path = written(tmp_path, "\ufeff" + HEAD + rows + "\n")
    seen = list(csv_chunks(path, 4))
    assert [first for _, _, first in seen] == [1, 5, 9]
    assert [row[0] for _, part, _ in seen for row in part] == [str(i) for i in range(10)]
    assert all(names == ["age", "city", "income", "bad"] for names, _, _ in seen)


def test_numbers_and_their_faults():
    table = Table({"a": ["1", " 2.5 ", "", "NA", "x", "inf", "1_0", "-9"]})
    values, faults = table.numbers("a")
    np.testing.assert_array_equal(values[[0, 1, 7]], [1, 2.5, -9])
    assert np.isnan(values[2:7]).all()
    assert faults == {4: "x", 5: "inf", 6: "1_0"}


def test_one_form_for_what_means_the_same():
    table = Table({"a": ["2", "2.0", " 2 ", "two", "n/a"], "b": np.array([2.0, np.nan, 2, 2, 2.5])})
    assert table.words("a") == ["2", "2", "2", "two", ""]
    assert table.words("b") == ["2", "", "2", "2", "2.5"]


# The schema


def sample(n=400, seed=0):
    columns, _ = simulate(n, rng=np.random.default_rng(seed))
    return Table(columns)


def test_the_kinds_of_columns_are_seen():
    rng = np.random.default_rng(0)
    n = 200
    late = rng.integers(0, 9, n).astype(float)
    late[::10] = -9
    months = rng.integers(0, 300, n).astype(float)
    months[::20] = 9999
    table = Table(
        {
            "id": np.arange(n) + 1.0,
            "amount": rng.random(n),
            "late": late,
            "months": months,
            "balance": np.round(rng.standard_normal(n) * 50),
            "city": rng.choice(["a", "b", "c"], n).tolist(),
            "note": [f"text {i}" for i in range(n)],
            "same": np.ones(n),
            "empty": [""] * n,
            "bad": rng.integers(0, 2, n).astype(float),
        }
    )
    schema, t = infer(table, "bad")
    kinds = {f.name: (f.kind, f.specials) for f in schema.features}
    assert kinds == {
        "amount": ("numeric", ()),
        "late": ("ordinal", (-9.0,)),
        "months": ("numeric", (9999.0,)),
        "balance": ("numeric", ()),
        "city": ("categorical", ()),
    }
    assert set(schema.dropped) == {"id", "note", "same", "empty"}
    np.testing.assert_array_equal(t, table.columns["bad"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "nope"}, "no column 'nope'"),
        ({"target": "purpose"}, "has 5 classes"),
        ({"target": "sex"}, "Which value of sex means default, female or male"),
        ({"target": "sex", "positive": "x"}, "never 'x'"),
        ({"protected": ("nope",)}, "no column 'nope'"),
        ({"directions": {"purpose": 1}}, "purpose cannot be monotone: its values have no order"),
        ({"directions": {"sex": 1}, "protected": ("sex",)}, "it does not enter the model"),
    ],
)
def test_what_cannot_be_learned_gets_a_sentence(change, message):
    arguments = {"target": "default"} | change
    with pytest.raises(InputError, match=message):
        infer(sample(), arguments.pop("target"), **arguments)


def test_a_target_of_one_class_or_with_gaps_gets_a_sentence():
    with pytest.raises(InputError, match="has 1 class "):
        infer(Table({"a": np.arange(9.0), "bad": np.ones(9)}), "bad")
    with pytest.raises(InputError, match="Row 2 has no value in the target"):
        infer(Table({"a": np.arange(3.0), "bad": ["1", "", "0"]}), "bad")


def test_text_in_a_number_is_told_with_row_and_column():
    amounts = [str(i) for i in range(50)]
    amounts[7] = "many"
    table = Table({"amount": amounts, "bad": ["0", "1"] * 25})
    with pytest.raises(InputError, match="Row 8, column amount: 'many' is not a finite number"):
        infer(table, "bad")


def test_a_protected_column_cannot_be_a_feature():
    with pytest.raises(ValueError, match="kept out of the model"):
        Schema((Feature("sex", "categorical"),), "bad", "1", protected=("sex",))


def test_a_schema_survives_json_and_a_damaged_one_is_refused():
    schema, _ = infer(sample(), "default", protected=("sex",))
    facts = json.loads(json.dumps(schema.facts()))
    assert Schema.from_facts(facts, "x") == schema
    for harm in ({"features": [{}]}, {"features": 3}, {"target": None, "protected": 1}, {"features": []}):
        with pytest.raises(CheckpointError, match="x: the file is damaged"):
            Schema.from_facts(facts | harm, "x")


def test_unseen_categories_and_bad_cells_are_faults_with_row_and_column():
    table = sample()
    schema, _ = infer(table, "default")
    columns = dict(table.columns) | {"purpose": ["yacht", *table.columns["purpose"][1:]]}
    loans = columns["loan"].copy()
    loans[3] = np.inf
    values, faults = schema.numbers(Table(columns | {"loan": loans}, first=101))
    assert faults == {
        0: "row 101, column purpose: 'yacht' is a value not seen in training",
        3: "row 104, column loan: 'inf' is not a finite number",
    }
    assert np.isnan(values[[0, 3]]).all()
    with pytest.raises(InputError, match="column 'loan' is missing"):
        schema.numbers(Table({k: v for k, v in columns.items() if k != "loan"}))


# Encodings


@pytest.fixture(scope="module")
def encoded():
    table = sample(2000)
    schema, t = infer(table, "default", protected=("sex", "region"))
    return schema, schema.numbers(table)[0], t


@pytest.mark.parametrize("form", FORMS)
def test_an_encoder_survives_json_and_owns_its_columns(encoded, form):
    schema, numbers, t = encoded
    encoder = fit_encoder(form, schema, numbers, t)
    x = encoder(numbers)
    assert x.shape == (len(t), len(encoder.owner))
    assert np.isfinite(x).all()
    again = Encoder.from_facts(json.loads(json.dumps(encoder.facts())), schema, "x")
    np.testing.assert_array_equal(again(numbers), x)
    moved = numbers.copy()
    i = next(i for i, f in enumerate(schema.features) if f.name == "loan")
    moved[:, i] *= 3
    changed = (encoder(moved) != x).any(axis=0)
    assert set(encoder.owner[changed]) == {i}


@pytest.mark.parametrize("harm", [{"form": "nope"}, {"scales": []}, {"bins": 1}, {"scales": [{}] * 10}])
def test_a_damaged_encoder_is_refused(encoded, harm):
    schema, numbers, t = encoded
    facts = fit_encoder("bins", schema, numbers, t).facts() | harm
    with pytest.raises(CheckpointError, match="damaged: its encoder"):
        Encoder.from_facts(facts, schema, "x")


def test_missing_and_special_values_get_places_of_their_own(encoded):
    schema, numbers, t = encoded
    names = [f.name for f in schema.features]
    encoder = fit_encoder("bins", schema, numbers, t)
    x = encoder(numbers)
    income, late = (list(encoder.owner).index(names.index(name)) for name in ("income", "late_payments"))
    np.testing.assert_array_equal(x[:, income] == -1, np.isnan(numbers[:, names.index("income")]))
    np.testing.assert_array_equal(x[:, late] == -2, numbers[:, names.index("late_payments")] == -9)
    ordinary = x[:, income][x[:, income] != -1]
    assert (ordinary >= 0).all()
    assert ordinary.max() <= encoder.bins


def test_an_encoder_knows_only_the_rows_it_was_fitted_on(encoded):
    schema, numbers, t = encoded
    half = len(t) // 2
    a = fit_encoder("woe", schema, numbers[:half], t[:half])
    changed = numbers.copy()
    changed[half:] = changed[half:][::-1] * 2
    b = fit_encoder("woe", schema, changed[:half], t[:half])
    assert a == b
    assert a != fit_encoder("woe", schema, numbers[half:], t[half:])


def test_rare_categories_are_pooled():
    values = np.array([0.0] * 500 + [1.0] * 480 + [2.0] * 3 + [np.nan] * 17)
    schema = Schema((Feature("c", "categorical", categories=("a", "b", "z")),), "bad", "1")
    encoder = fit_encoder("bins", schema, values[:, None], np.arange(1000) % 2)
    assert encoder.scales[0].kept == (0, 1)
    np.testing.assert_array_equal(encoder(np.array([[0.0], [1], [2], [np.nan]]))[:, 0], [2, 3, 1, 0])


def test_weights_of_evidence_and_information_by_hand():
    good, bad = np.array([100, 300, 0]), np.array([60, 40, 0])
    np.testing.assert_allclose(weight_of_evidence(good, bad), [np.log(0.6 / 0.25), np.log(0.4 / 0.75), 0], atol=0.02)
    expected = 0.35 * np.log(0.6 / 0.25) + (-0.35) * np.log(0.4 / 0.75)
    assert information_value(good, bad) == pytest.approx(expected, abs=0.01)


# Data


def test_folds_and_the_split_keep_the_share_of_defaults():
    t = (np.arange(1003) % 4 == 0).astype(np.int64)
    train, test = stratified(t, 0.2, np.random.default_rng(0))
    assert sorted([*train, *test]) == list(range(1003))
    assert t[test].mean() == pytest.approx(t.mean(), abs=0.002)
    fold = folds(t, 5, np.random.default_rng(0))
    for k in range(5):
        assert abs((fold == k).sum() - 1003 / 5) <= 2
        assert t[fold == k].mean() == pytest.approx(t.mean(), abs=0.01)


def test_the_sample_keeps_its_promise():
    """Logistic regression, given every column, stays at least .03 below the best there is."""
    linear = pytest.importorskip("sklearn.linear_model")
    from core.metrics import roc_auc

    data = load("sample")
    numbers = data.numbers()
    x = fit_encoder("robust", data.schema, numbers[data.train], data.t[data.train])(numbers)
    fitted = linear.LogisticRegression(max_iter=2000).fit(x[data.train], data.t[data.train])
    best = roc_auc(data.t[data.test], data.best[data.test])
    assert roc_auc(data.t[data.test], fitted.decision_function(x[data.test])) < best - 0.03
    correlated = np.corrcoef(np.log(data.table.columns["loan"]), np.nan_to_num(data.table.columns["income"], nan=3000))
    assert correlated[0, 1] > 0.1
    assert np.isnan(data.table.columns["income"]).mean() > 0.05
    assert {"sex", "region"} == set(data.schema.protected)


def test_weights_must_be_numbers_from_zero_up(tmp_path):
    rows = "".join(f"{i * 2},{'-1' if i == 4 else '1'},{i % 2}\n" for i in range(60))
    path = written(tmp_path, "amount,w,bad\n" + rows)
    with pytest.raises(InputError, match="Row 5, column w: weights are numbers from 0 up"):
        load(None, "csv", Choices(csv=path, target="bad", weight="w"))


def test_german_credit_has_no_place_on_the_hub(monkeypatch):
    monkeypatch.delenv("ZOO_DATA", raising=False)
    with pytest.raises(InputError, match="no place on the hub"):
        load(None, "german")
