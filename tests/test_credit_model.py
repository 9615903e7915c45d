"""A credit model: calibrated, monotone where told to, blind to protected columns, and able to say why."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from apps.credit.data import SAMPLE
from apps.credit.entries import ENTRIES, MODELS
from apps.credit.model import Points, blend_weights, calibrate, cut_off, load_credit, log_loss_of
from apps.credit.reasons import Wording, _Path, contributions, resetting_helps, top_reasons
from apps.credit.schema import infer
from apps.credit.scorecard import feature_points, scorecard
from apps.credit.simulate import simulate
from apps.credit.table import Table
from apps.credit.training import Bag, choose
from apps.credit.what_if import smallest_change
from apps.errors import InputError
from core import CheckpointError, load_arrays, save_arrays
from core.metrics import roc_auc, sigmoid

ROWS = 1200
FACTS = {
    "task": "credit",
    "model": "x",
    "arguments": {},
    "labels": ["accept", "refuse"],
    "data": {},
    "recipe": {},
    "metrics": {},
}


def table(seed=0, rows=ROWS):
    return Table(simulate(rows, rng=np.random.default_rng(seed))[0])


def bag(model, data=None, **more):
    data = data or table()
    schema, t = infer(
        data, "default", positive="1", protected=("sex", "region"), known={f.name: f for f in SAMPLE.features}
    )
    numbers, _ = schema.numbers(data)
    epochs = 3 if model in ("additive", "logistic") else 15
    parts = {part: replace(recipe, epochs=epochs) for part, recipe in choose(model, {}).items()}
    return Bag(schema, numbers, t, parts, count=3, **more)


def trained(model, **more):
    work = bag(model, **more)
    for _ in work.events(1):
        pass
    return (*work.finish((1.0, 5.0)), work)


@pytest.fixture(scope="module")
def additive():
    return trained("additive")


@pytest.fixture(scope="module")
def network():
    return trained("tabm")


@pytest.fixture(scope="module", params=["additive", "tabm", "mlp", "mlp_ple", "logistic", "logistic_woe"])
def each(request):
    return trained(request.param)


# Learning and calibration


def test_every_model_learns_and_is_calibrated_out_of_fold(each):
    model, oof, calibrated, work = each
    assert roc_auc(work.t, oof) > 0.6
    assert calibrate(model.intercept + model.slope * oof, work.t) == pytest.approx((1, 0), abs=1e-6)
    assert sigmoid(calibrated).mean() == pytest.approx(work.t.mean(), abs=0.01)


def test_each_network_is_blind_to_its_own_fold(network):
    """What it says out of fold comes from an encoder and weights that these rows never touched."""
    _, _, _, work = network
    own = work.fold == 0
    other = bag("tabm")
    other.numbers = other.numbers.copy()
    other.numbers[own] = other.numbers[own][::-1]
    other.t = np.where(own, 1 - other.t, other.t)
    for _ in other.events(1):
        if len(other.done) == 1:
            break
    for name, array in other.done[0].items():
        np.testing.assert_array_equal(array, work.done[0][name])
    assert other.prepare("tabm", 0)[0] == work.prepare("tabm", 0)[0]


def test_a_blend_is_no_worse_out_of_fold_than_its_parts():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(4000)
    t = (rng.random(4000) < sigmoid(truth)).astype(np.int64)
    parts = [truth + rng.standard_normal(4000), truth + rng.standard_normal(4000), rng.standard_normal(4000)]
    weights = blend_weights(parts, t)
    assert sum(weights) == pytest.approx(1)
    assert weights[2] <= 0.1
    assert weights[0] == pytest.approx(weights[1], abs=0.2)


def test_calibration_undoes_a_slope_and_a_shift():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(20_000) * 1.5 - 1
    t = (rng.random(20_000) < sigmoid(truth)).astype(np.int64)
    slope, intercept = calibrate(3 * truth + 2, t)
    assert slope == pytest.approx(1 / 3, abs=0.02)
    assert intercept == pytest.approx(-2 / 3, abs=0.05)
    for nearby in ((slope + 0.01, intercept), (slope, intercept + 0.02)):
        fitted = log_loss_of(intercept + slope * (3 * truth + 2), t)
        assert log_loss_of(nearby[1] + nearby[0] * (3 * truth + 2), t) > fitted


def test_weights_of_rows_and_classes_reach_the_training():
    plain = bag("logistic")
    unseen = (np.arange(ROWS) % 2).astype(np.float64)
    weighted = bag("logistic", weight=unseen)
    balanced = bag("logistic", class_weights=(1.0, 4.0))
    ends = []
    for work in (plain, weighted, balanced):
        for _ in work.events(1):
            pass
        ends.append(work.done[0])
    name = next(iter(ends[0]))
    assert (ends[0][name] != ends[1][name]).any()
    bias = next(n for n in ends[0] if "bias" in n)
    assert ends[2][bias] > ends[0][bias] + 0.1


def test_too_few_of_a_class_get_a_sentence():
    work = bag("logistic")
    with pytest.raises(InputError, match="only 2 rows"):
        Bag(work.schema, work.numbers, (np.arange(ROWS) < 2).astype(np.int64), work.parts, count=3)


# What must never happen


def test_protected_columns_never_reach_the_network():
    """The same bits, whatever they hold."""
    data = table()
    rng = np.random.default_rng(5)
    shuffled = {name: rng.permutation(data.columns[name]).tolist() for name in ("sex", "region")}
    other = Table({**data.columns, **shuffled})
    assert list(other.columns["sex"]) != list(data.columns["sex"])
    ends = []
    for source in (data, other):
        model, oof, _, work = trained("additive", data=source)
        numbers, _ = work.schema.numbers(source)
        ends.append((model.logits(numbers), contributions(model, numbers), oof))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_monotone_feature_never_goes_the_wrong_way(additive):
    """10,000 random applicants, any increase within the ordered range."""
    model, _, _, work = additive
    rng = np.random.default_rng(1)
    pool = work.numbers
    people = np.stack([column[rng.integers(0, len(pool), 10_000)] for column in pool.T], axis=1)
    checked = 0
    for i, feature in enumerate(model.schema.features):
        if not feature.direction:
            continue
        checked += 1
        ordinary = pool[~np.isnan(pool[:, i]) & ~np.isin(pool[:, i], feature.codes), i]
        low, high = np.sort(rng.uniform(ordinary.min() - 1, ordinary.max() + 1, (2, len(people))), axis=0)
        below, above = people.copy(), people.copy()
        below[:, i], above[:, i] = low, high
        change = model.logits(above) - model.logits(below)
        assert (change * feature.direction >= -1e-6).all()  # float32 sums
        assert (change * feature.direction > 1e-3).any()
    assert checked == 2


# Points, cut-off, scorecard


def test_points_are_those_of_the_textbook():
    points = Points(600, 50, 20)
    assert points.factor == pytest.approx(28.854, abs=1e-3)
    assert points.offset == pytest.approx(487.12, abs=1e-2)
    np.testing.assert_allclose(points(np.array([-np.log(50), -np.log(100)])), [600, 620])
    assert cut_off((1, 5)) == pytest.approx(1 / 6)


def test_the_points_of_a_scorecard_add_up_to_the_score(additive):
    model, _, _, work = additive
    np.testing.assert_allclose(
        feature_points(model, work.numbers).sum(axis=1), model.points(model.logits(work.numbers)), atol=1e-3
    )
    lines = scorecard(model, work.numbers, work.t)
    for i, feature in enumerate(model.schema.features):
        assert sum(line.count for line in lines if line.feature == feature.name) == len(work.t), i
    falling = [line.mean for line in lines if line.feature == "utilisation"]
    assert falling == sorted(falling, reverse=True)


def test_a_network_has_no_scorecard(network):
    model, *_ = network
    with pytest.raises(ValueError, match="adds up one term a feature"):
        feature_points(model, np.zeros((1, len(model.schema.features))))


# Reasons


def test_contributions_add_up_to_the_logit_less_that_of_the_references(each):
    model, _, _, work = each
    found = contributions(model, work.numbers[:300])
    gap = model.logits(work.numbers[:300]) - model.logits(model.references).mean()
    exact = model.additive or model.members[0].architecture == "tabm"
    np.testing.assert_allclose(found.sum(axis=1), gap, atol=1e-5 if exact else 1e-3)


def test_threads_that_ask_at_once_are_told_the_same(each):
    model, _, _, work = each
    rows = [work.numbers[i : i + 3] for i in range(0, 36, 3)]
    alone = [contributions(model, row) for row in rows]
    with ThreadPoolExecutor(4) as threads:
        for found, expected in zip(threads.map(partial(contributions, model), rows), alone, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_the_closed_form_of_one_hidden_layer_is_the_integral(network):
    """Feature by feature, against quadrature of many points; also from a reference to itself, where nothing moves."""
    model, _, _, work = network
    member = model.members[0]
    closed, summed = _Path(member, model.references), _Path(member, model.references)
    summed.last = None
    x = member.encoder(np.concatenate([work.numbers[:100], model.references]))
    np.testing.assert_allclose(closed(x, 1)[0], summed(x, 96)[0], atol=2e-5)


def test_references_are_just_accepted_and_nobody_real(each):
    model, _, _, work = each
    logits = model.logits(model.references)
    assert not model.refused(logits).any()
    assert (logits > model.cut_logit - 0.3).all()
    real = {row.tobytes() for row in work.numbers}
    assert not any(row.tobytes() in real for row in model.references)


def test_resetting_the_reasons_helps_more_than_resetting_others(each):
    model, _, _, work = each
    refused = work.numbers[model.refused(model.logits(work.numbers))][:200]
    chosen = top_reasons(contributions(model, refused))
    assert resetting_helps(model, refused, chosen, np.random.default_rng(0)).mean() >= 0.95
    wrong = np.random.default_rng(1).permuted(np.tile(np.arange(refused.shape[1]), (len(refused), 1)), axis=1)[:, :4]
    assert resetting_helps(model, refused, wrong, np.random.default_rng(0)).mean() < 0.8


def test_reasons_are_few_strongest_first_and_in_words(additive):
    model, _, _, work = additive
    refused = work.numbers[model.refused(model.logits(work.numbers))][:50]
    found = contributions(model, refused)
    chosen = top_reasons(found)
    assert chosen.shape == (len(refused), 4)
    for row, values in zip(chosen, found, strict=True):
        added = [values[i] for i in row if i >= 0]
        assert added == sorted(added, reverse=True)
        assert all(value > 0 for value in added)
    np.testing.assert_array_equal(top_reasons(np.array([[0.3, -1, 0.5, 0, -2]])), [[2, 0, -1, -1]])
    sentences = Wording(model).sentences(chosen[0], refused[0])
    assert len(sentences) == (chosen[0] >= 0).sum()
    names = {f.words or f.name for f in model.schema.features}
    assert all(sentence.split(":")[0] in names for sentence in sentences)
    late = [f.name for f in model.schema.features].index("late_payments")
    assert "no record" in Wording(model)(late, -9.0)
    assert "missing" in Wording(model)(0, float("nan"))


# What if


def test_the_smallest_change_turns_the_refusal_and_respects_the_rules(additive):
    model, _, _, work = additive
    refused = np.flatnonzero(model.refused(model.logits(work.numbers)))
    near = refused[np.argsort(model.logits(work.numbers[refused]))][:6]
    found = 0
    for row in work.numbers[near]:
        change = smallest_change(model, row)
        if change is None:
            continue
        found += 1
        assert 1 <= len(change.values) <= 3
        changed = row.copy()
        for i, value in change.values.items():
            feature = model.schema.features[i]
            assert not feature.immutable
            if feature.direction and not np.isnan(row[i]) and row[i] not in feature.codes:
                assert (value - row[i]) * feature.direction <= 0
            changed[i] = value
        logit = model.logits(changed[None])
        assert not model.refused(logit)[0]
        assert sigmoid(logit)[0] == pytest.approx(change.pd)
        for i in change.values:  # none of its parts is idle
            partly = changed.copy()
            partly[i] = row[i]
            assert model.refused(model.logits(partly[None]))[0]
    assert found >= 3


# Files


def test_a_model_survives_its_files(each, tmp_path):
    model, _, _, work = each
    model.save(tmp_path / "model", FACTS)
    again = load_credit(tmp_path / "model")
    np.testing.assert_array_equal(again.logits(work.numbers), model.logits(work.numbers))
    np.testing.assert_array_equal(contributions(again, work.numbers[:20]), contributions(model, work.numbers[:20]))
    assert again.schema == model.schema


@pytest.mark.parametrize(
    "harm",
    [
        {"members": []},
        {"members": [{"architecture": "eval", "arguments": {}, "encoder": 0}]},
        {"members": [{"architecture": "tabm", "arguments": {"features": 10**9}, "encoder": 0}]},
        {"encoders": []},
        {"weights": [1.0]},
        {"slope": -1},
        {"slope": "x"},
        {"cost": [0, 1]},
        {"points": [600, 0, 20]},
    ],
)
def test_a_damaged_file_is_refused_in_words(additive, tmp_path, harm):
    model, *_ = additive
    model.save(tmp_path / "model", FACTS)
    arrays, facts = load_arrays(tmp_path / "model.safetensors")
    save_arrays(tmp_path / "model.safetensors", arrays, {"credit": facts["credit"] | harm})
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_credit(tmp_path / "model")


def test_files_of_another_kind_are_refused(additive, tmp_path):
    model, *_ = additive
    model.save(tmp_path / "model", FACTS | {"task": "mnist"})
    with pytest.raises(CheckpointError, match="a model for mnist, not for credit"):
        load_credit(tmp_path / "model")
    model.save(tmp_path / "model", FACTS)
    arrays, _ = load_arrays(tmp_path / "model.safetensors")
    save_arrays(tmp_path / "model.safetensors", arrays, {})
    with pytest.raises(CheckpointError, match="damaged"):
        load_credit(tmp_path / "model")


# Going on


@pytest.mark.parametrize("at", [1, 7, 20, 33])
def test_an_interrupted_bag_ends_in_the_same_bits(at, tmp_path):
    whole, halted = bag("additive"), bag("additive")
    for _ in whole.events(1):
        pass
    for n, _ in enumerate(halted.events(1)):
        if n == at:
            save_arrays(tmp_path / "s", halted.arrays(), {"bag": halted.facts()})
            break
    arrays, facts = load_arrays(tmp_path / "s")
    resumed = bag("additive")
    resumed.restore(arrays, facts["bag"])
    for _ in resumed.events(2):
        pass
    for a, b in zip(whole.done, resumed.done, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_the_registry_is_whole():
    assert set(MODELS) == {"blend", *ENTRIES}
    assert all(part in ENTRIES for parts in MODELS.values() for part in parts)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("nope", {}, "choose one of blend"),
        ("mlp", {"lr": -1.0}, "lr is a finite number above 0"),
        ("mlp", {"augment": 1.0}, "no use for --augment"),
        ("mlp", {"validation": 0.1}, "no use for --validation"),
        ("additive", {"dropout": 0.1}, "has no dropout"),
    ],
)
def test_a_choice_that_makes_no_sense_gets_a_sentence(model, changes, message):
    with pytest.raises(InputError, match=message):
        choose(model, changes)
