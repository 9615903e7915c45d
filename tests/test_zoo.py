"""The zoo: architectures, shipped weights against their rows, cards, and what a hostile file may ask for."""

import csv
import os
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.predictor import open_predictor
from apps.tasks import TASKS
from core import Context, Table, gradient_check, summary
from models import CARDS, RESULTS, WEIGHTS, ZOO, build

with open(RESULTS, encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))
SHIPPED = [row for row in ROWS if row["task"] in TASKS and (WEIGHTS / f"{row['name']}.json").is_file()]
SMALL = {
    "softmax_regression": ({"inputs": 12, "outputs": 3}, (3, 4)),
    "mlp": ({"inputs": 12, "outputs": 3, "hidden": (5, 4), "activation": "tanh", "dropout": 0.5}, (3, 4)),
    "lenet5": ({"outputs": 3, "dropout": 0.5}, (1, 28, 28)),
    "cnn": ({"side": 10, "outputs": 3, "channels": (2, 3), "hidden": (4,)}, (1, 10, 10)),
    "quick_cnn": ({"outputs": 3}, (1, 28, 28)),
    "resnet": ({"outputs": 3, "channels": (2, 3), "blocks": 2}, (1, 12, 12)),
    "vgg": ({"side": 20, "outputs": 3, "channels": (2, 3, 2, 4), "hidden": 5}, (1, 20, 20)),
    "logistic_regression": ({"inputs": 12}, (12,)),
    "mlp_ple": ({"features": 3, "bins": 4, "width": 2, "hidden": (5,), "dropout": 0.5}, (3,)),
    "tabm": ({"features": 3, "bins": 4, "width": 2, "hidden": (5, 4), "members": 3, "dropout": 0.5}, (3,)),
    "neural_additive": ({"features": 3, "bins": 4, "directions": (1, 0, -1)}, (3,)),
    "vgg_ensemble": ({"members": 2, "side": 20, "outputs": 3, "channels": (2, 2, 2, 3), "hidden": 4}, (1, 20, 20)),
}
WORDS = {"words": 30, "outputs": 3}
TEXTS = {  # models of ids
    "ngram_linear": WORDS | {"rows": 40},
    "ngram_bag": WORDS | {"rows": 40, "features": 4, "dropout": 0.5},
    "text_cnn": WORDS | {"features": 4, "filters": 3, "kernels": (1, 3), "dropout": 0.5},
    "text_rnn": WORDS | {"features": 4, "units": 3, "dropout": 0.5},
    "text_lstm": WORDS | {"features": 4, "units": 3, "vocabulary": 20},
    "text_gru": WORDS | {"features": 4, "units": 3, "most": 4},
    "text_bigru": WORDS | {"features": 4, "units": 3},
    "region_cnn": WORDS | {"features": 4, "filters": 3, "dropout": 0.5},
    "blend": WORDS | {"parts": [("ngram_bag", {"rows": 9, "features": 2}), ("text_gru", {"features": 3, "units": 2})]},
}

ONE_LOGIT = ("logistic_regression", "mlp_ple", "neural_additive")


@pytest.mark.parametrize("name", SMALL)
def test_an_architecture_gives_logits_and_right_gradients(name):
    arguments, shape = SMALL[name]
    model = build(name, arguments, rng=np.random.default_rng(0))
    for parameter in model.trainable():  # softmax regression starts from zeros
        parameter.value = np.random.default_rng(1).standard_normal(parameter.value.shape).astype(np.float32) * 0.3
    x = np.random.default_rng(2).standard_normal((3, *shape)).astype(np.float32)
    assert model.forward(x, Context()).shape == (3, 1 if name in ONE_LOGIT else 3)
    gradient_check(model, x, most=20)


@pytest.mark.parametrize("name", TEXTS)
def test_an_architecture_for_texts_gives_logits_and_right_gradients(name):
    model = build(name, TEXTS[name], rng=np.random.default_rng(0))
    for path, parameter in model.named_parameters():
        if path.endswith("keys"):
            parameter.value[:28] = np.arange(2, 30)[: len(parameter.value)]
        elif not parameter.frozen:
            parameter.value[...] = np.random.default_rng(1).standard_normal(parameter.value.shape) * 0.3
        if path.endswith("weight") and isinstance(parameter, Table):
            parameter.value[0] = 0
    x = np.random.default_rng(2).integers(1, 30, (3, 6))
    assert model.forward(x, Context()).shape == (3, 3)
    gradient_check(model, x, most=20)


def test_every_architecture_is_built_here():
    assert {*SMALL, *TEXTS, "region_predictor"} == {*ZOO}  # the last of which has tests of its own


def test_equal_seeds_give_equal_models():
    a, b, c = (build("cnn", {}, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all((p.value == q.value).all() for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert (a.parameters()[0].value != c.parameters()[0].value).any()


def test_lenet_has_the_shapes_of_1998():
    rows = summary(build("lenet5", {}, rng=np.random.default_rng(0)), (1, 28, 28)).rows
    shapes = [row.output for row in rows if row.parameters]
    assert shapes == [(6, 28, 28), (16, 10, 10), (120,), (84,), (10,)]
    assert [row.layer.split("(")[0] for row in rows[:3]] == ["Conv2D", "Tanh", "AveragePool2D"]
    modern = summary(build("lenet5", {"modern": True}, rng=np.random.default_rng(0)), (1, 28, 28)).rows
    assert sum(row.parameters for row in modern) == sum(row.parameters for row in rows) == 61_706


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from(
    [
        "inputs",
        "outputs",
        "hidden",
        "side",
        "channels",
        "kernel",
        "dropout",
        "activation",
        "members",
        "blocks",
        "features",
        "bins",
        "width",
        "categories",
        "directions",
        "rng",
        "x",
    ]
)


@given(name=st.sampled_from([*ZOO, "eval", ""]), arguments=st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_a_file_asks_for_is_a_model_or_refused_in_words(name, arguments):
    with suppress(ValueError):  # any other error fails
        model = build(name, arguments, rng=np.random.default_rng(0))
        assert sum(p.value.size for p in model.parameters()) < 60_000_000


@pytest.mark.parametrize(
    "arguments",
    [
        {"inputs": 10**6, "outputs": 10**6},
        {"inputs": 784, "outputs": 10, "hidden": [10**5, 10**5]},
        {"inputs": 784, "outputs": 10, "hidden": [1000] * 1000},
        {"inputs": -5, "outputs": 10},
        {"inputs": 784, "outputs": 10, "activation": "os.system"},
    ],
)
def test_sizes_beyond_reason_are_refused_before_anything_is_allocated(arguments):
    with pytest.raises(ValueError, match=r"parameters|cannot be built|there is no|none empty"):
        build("mlp", arguments, rng=np.random.default_rng(0))


def test_every_entry_of_a_task_has_its_row_and_card():
    names = {f"{task.name}_{name}" for task in TASKS.values() if task.name != "sentiment" for name in task.entries}
    rows = [row["name"] for row in ROWS]
    assert names <= set(rows) == {path.stem for path in CARDS.glob("*.md")}
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_card_says_what_its_row_says(row):
    card = (CARDS / f"{row['name']}.md").read_text("utf-8")
    assert bool(row["shipped_value"]) == (WEIGHTS / f"{row['name']}.json").is_file()
    for number in filter(None, (row["mean"], row["sd"], row["shipped_value"])):
        assert f"{float(number) * 100:.2f}" in card
    assert f"{int(row['parameters']):,} parameters" in card
    assert row["command"] in card


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="ZOO_DATA names no folder with the real data sets")
@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row["name"])
def test_shipped_weights_do_what_their_row_says(row):
    task = TASKS[row["task"]]
    predictor = open_predictor(task, model=row["model"])
    data = _load(task, predictor.facts["data"]["dataset"])
    scores = predictor.evaluate(data.test).metrics
    assert data.name == row["dataset"]
    assert len(data.test) == int(row["examples"])
    assert sum(p.value.size for p in predictor.model.parameters()) == int(row["parameters"])
    # another BLAS rounds otherwise, which may turn an image or two that lie on an edge
    assert scores[row["metric"]] == pytest.approx(float(row["shipped_value"]), abs=3e-4)
    assert scores["nll"] == pytest.approx(float(row["nll"]), abs=2e-4)
    assert predictor.facts["data"]["fingerprint"] == data.fingerprint


_loaded = {}


def _load(task, dataset):
    if (task.name, dataset) not in _loaded:
        _loaded[task.name, dataset] = task.load(None, dataset)
    return _loaded[task.name, dataset]


def test_the_shipped_weights_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS.glob("mnist_*.safetensors")) < 8 * 2**20


def test_every_model_that_is_asked_by_default_was_measured_to_answer_within_five_milliseconds():
    for task in TASKS.values():
        (row,) = (row for row in SHIPPED if row["name"] == f"{task.name}_{task.served}")
        assert 0 < float(row["answer_ms"]) <= 5, row["name"]
