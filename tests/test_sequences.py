"""Sequences of different lengths: kept, cut, padded, put into batches, learned from and predicted; rows of tables."""

import hashlib
import tracemalloc
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import (
    GRU,
    LSTM,
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    BinaryCrossEntropy,
    Context,
    Conv1D,
    ConvMaxPool1D,
    Dense,
    Dropout,
    Embedding,
    EmbeddingBag,
    EmbeddingRecurrent,
    Epoch,
    Examples,
    Flatten,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    Gradients,
    Inference,
    Momentum,
    Muon,
    Padded,
    Ragged,
    Recipe,
    Sequences,
    Sequential,
    SoftmaxCrossEntropy,
    State,
    Step,
    batch_cuts,
    correct,
    diagnose,
    evaluate,
    fit,
    inspect,
    load_arrays,
    predict,
    save_arrays,
    summary,
)
from core.gradients import RowGradient
from core.schedules import Cosine

LOSS, ACCURACY = SoftmaxCrossEntropy(), {"accuracy": correct}


def reviews(n=60, height=40, longest=12, seed=0):
    """Sequences of ids that say what they are: class 1 has an id below 5 in it, class 0 has none."""
    rng = np.random.default_rng(seed)
    t = rng.integers(0, 2, n)
    texts = [rng.integers(5, height, rng.integers(0, longest + 1)).tolist() for _ in range(n)]
    for text, label in zip(texts, t, strict=True):
        if label:
            text.insert(int(rng.integers(0, len(text) + 1)), int(rng.integers(1, 5)))
    return Sequences(texts, t)


def bag(rng):
    return Sequential(EmbeddingBag(40, 8, rng=rng, mode="sum"), Dense(8, 2, rng=rng))


def pooled(rng):
    return Sequential(
        Embedding(40, 8, rng=rng), Dropout(0.2), Dense(8, 6, rng=rng), GlobalMaxPool1D(), Dense(6, 2, rng=rng)
    )


def linear(rng):
    return EmbeddingBag(40, 1, rng=rng, mode="sum", bias=True)


NETWORKS = bag, pooled


def made(network, seed=0, dtype=np.float32):
    model = network(np.random.default_rng(seed))
    for parameter in model.parameters():
        parameter.value = parameter.value.astype(dtype)
    return model


def weights(model):
    return {name: p.value.copy() for name, p in model.named_parameters()}


def run(model, recipe, *, data=None, loss=LOSS, optimizer=None, threads=1, **others):
    return list(fit(model, loss, optimizer or Adam(0.02), data or reviews(), recipe, threads=threads, **others))


def assert_close(ours, theirs, **tolerances):
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, err_msg=name, **tolerances)


# --- ragged and padded ----------------------------------------------------------------------------

LISTS = st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=8)


@given(LISTS, st.integers(1, 7))
def test_ragged_sequences_are_the_lists_they_were_made_of(lists, most):
    ragged = Ragged.of(lists)
    assert [ragged[i].tolist() for i in range(len(ragged))] == lists
    assert ragged.lengths.tolist() == [len(each) for each in lists]
    cut = ragged.cut(most)
    assert [cut[i].tolist() for i in range(len(cut))] == [each[:most] for each in lists]
    rows = np.arange(len(lists))[::-2]
    some = ragged[rows]
    assert [some[i].tolist() for i in range(len(some))] == [lists[i] for i in rows]
    assert ragged[-1].tolist() == lists[-1]


@given(LISTS)
def test_a_padded_batch_holds_each_sequence_and_zeros_behind(lists):
    ragged, ctx = Ragged.of(lists), Context()
    for rows in (np.arange(len(lists)), np.arange(len(lists))[::-1][:3]):
        batch = ragged.padded(rows, ctx)
        assert batch.shape == (len(rows), max(1, *(len(lists[i]) for i in rows), 1))
        for values, length, i in zip(batch.values, batch.lengths, rows, strict=True):
            assert values[:length].tolist() == lists[i]
            assert not values[length:].any()


def test_weights_of_steps_go_with_them():
    ragged = Ragged(np.array([3, 1, 2]), [0, 2, 2, 3], np.array([0.5, 2.0, 3.0]))
    assert ragged[np.array([2, 0])].weight.tolist() == [3.0, 0.5, 2.0]
    assert ragged.cut(1).weight.tolist() == [0.5, 3.0]
    batch = ragged.padded(np.array([0, 2]), Context())
    assert batch.weight[0].tolist() == [0.5, 2.0]
    assert batch.weight[1, 0] == 3.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ragged(np.arange(3), [0, 2]), "offsets run from 0 to the 3 steps"),
        (lambda: Ragged(np.arange(3), [1, 3]), "offsets run from 0"),
        (lambda: Ragged(np.arange(3), [0, 2, 1, 3]), "never fall, but they do after sequence 1"),
        (lambda: Ragged(np.arange(3), [0, 3], np.ones(2)), "a weight for each of 3 steps"),
        (lambda: Ragged.of([[1]]).cut(0), "most is a whole number of steps from 1 up, not 0"),
        (lambda: Ragged.of([[1, 2], [1.5]]), "no int32: give their type"),
        (lambda: Ragged.of([[1], [2**40]]), "no int32"),
        (lambda: Ragged.of([["a"]]), "no int32"),
        (lambda: Ragged.of([[np.nan], [1e20]]), "no int32"),
        (lambda: Padded(np.zeros((2, 3)), np.array([1, 4])), "from 1 to 4, but there are 3 steps"),
        (lambda: Padded(np.zeros((2, 3)), np.array([1, -1])), "from -1 to 1"),
        (lambda: Padded(np.zeros((2, 3)), np.array([1.0, 2.0])), "whole lengths"),
        (lambda: Padded(np.zeros(3), np.array([1, 1, 1])), r"values \(N, T, …\)"),
        (lambda: Padded(np.zeros((1, 3)), np.array([1]), np.ones((1, 2))), "a weight for every step"),
        (lambda: Sequences([[1], [2]], [0]), "one entry an example"),
        (lambda: Sequences([], []), "no example to learn from"),
        (lambda: Sequences([[1]], [0], pool=0), "pool is a whole number"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- batches --------------------------------------------------------------------------------------


@given(st.integers(1, 80), st.integers(1, 20), st.integers(1, 4), st.integers(0, 3))
def test_every_sequence_is_in_one_batch_of_an_epoch(n, batch_size, pool, epoch):
    rng = np.random.default_rng(n)
    data = Sequences([[1] * k for k in rng.integers(0, 9, n)], np.zeros(n), pool=pool)
    order = data.order(batch_size, 7, epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert np.array_equal(order, data.order(batch_size, 7, epoch))


def test_the_sequences_of_a_batch_are_about_as_long_as_each_other():
    lengths = np.random.default_rng(0).integers(1, 400, 3000)
    data = Sequences([[1] * k for k in lengths], np.zeros(3000))
    order, cuts = data.order(64, 0, 0), batch_cuts(3000, 64)
    longest = [lengths[order[a:b]].max() for a, b in cuts]
    assert sum(length * (b - a) for length, (a, b) in zip(longest, cuts, strict=True)) < 1.05 * lengths.sum()
    assert np.abs(np.corrcoef(longest, np.arange(len(cuts)))[0, 1]) < 0.4  # short and long ones in any order
    assert not np.array_equal(order, data.order(64, 0, 1))
    assert not np.array_equal(order, data.order(64, 1, 0))


def test_long_sequences_are_cut_where_it_is_asked_for():
    data = Sequences([[1, 2, 3, 4], [5]], [0, 1], most=2)
    x, _, _ = data.take(np.array([0, 1]), 0, Context())
    assert x.values.tolist() == [[1, 2], [5, 0]]


@pytest.mark.parametrize("weighed", [(False, False), (True, False), (False, True), (True, True)])
def test_examples_and_then_others_are_one_after_the_other(weighed):
    rng = np.random.default_rng(0)
    first, second = (
        Sequences([[i, 7], [i]], np.array([i, i + 1]), rng.random(2) if some else None, pool=3)
        for i, some in enumerate(weighed, start=1)
    )
    both = first.plus(second)
    assert [row.tolist() for row in both.x] == [[1, 7], [1], [2, 7], [2]]
    assert both.t.tolist() == [1, 2, 2, 3]
    assert both.pool == 3
    if not any(weighed):
        assert both.weight is None
    else:
        ones = np.ones(2)
        parts = [ones if each.weight is None else each.weight for each in (first, second)]
        np.testing.assert_array_equal(both.weight, np.concatenate(parts))
    plain = Examples(np.eye(2), np.arange(2)).plus(Examples(np.ones((1, 2)), np.array([5])))
    assert plain.x.tolist() == [[1, 0], [0, 1], [1, 1]]
    assert plain.t.tolist() == [0, 1, 5]


def test_sequences_with_and_without_weights_of_steps_do_not_go_together():
    plain = Ragged.of([[1, 2], [3]])
    heavy = Ragged(plain.values, plain.offsets, np.array([0.5, 1, 2]))
    np.testing.assert_array_equal(heavy.plus(heavy).weight, [0.5, 1, 2, 0.5, 1, 2])
    with pytest.raises(ValueError, match="do not go with others"):
        plain.plus(heavy)


def test_other_sequences_have_another_fingerprint():
    data = [
        Sequences([[1, 2], [3]], [0, 1]),
        Sequences([[1], [2, 3]], [0, 1]),
        Sequences([[1, 2], [4]], [0, 1]),
        Sequences([[1, 2], [3]], [1, 0]),
        Sequences([[1, 2], [3]], [0, 1], np.ones(2)),
        Sequences([[1, 2], [3]], [0, 1], pool=2),
        Sequences(Ragged(np.array([1, 2, 3]), [0, 2, 3], np.ones(3)), [0, 1]),
    ]
    assert len({each.fingerprint() for each in data}) == len(data)
    assert data[0].fingerprint() == Sequences([[1, 2], [3]], [0, 1]).fingerprint()


# --- prediction -----------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_predictions_come_in_the_order_given_however_they_are_cut(network):
    model, data = made(network, dtype=np.float64), reviews(33)
    one_by_one = np.concatenate([predict(model, data.x[i : i + 1]) for i in range(33)])
    for micro_batch, threads in ((1, 1), (5, 2), (100, 1)):
        whole = predict(model, data.x, micro_batch=micro_batch, threads=threads)
        np.testing.assert_allclose(whole, one_by_one, rtol=1e-12)
    padded = data.x.padded(np.arange(33), Context())
    np.testing.assert_allclose(predict(model, padded, micro_batch=4), one_by_one, rtol=1e-12)


def test_an_array_of_ids_is_a_batch_whose_sequences_have_all_its_steps():
    model, x = made(pooled), np.random.default_rng(0).integers(1, 40, (5, 7))
    np.testing.assert_array_equal(predict(model, x), predict(model, Padded(x, np.full(5, 7))))
    fixed = Sequential(Embedding(40, 3, rng=np.random.default_rng(0)), Flatten())
    assert predict(fixed, x).shape == (5, 21)


def test_a_bag_holds_no_padding_with_lengths_or_without():
    model = made(lambda rng: EmbeddingBag(9, 2, rng=rng))
    ragged = Ragged.of([[1, 2, 3], [4], []])
    padded = ragged.padded(np.arange(3), Context())
    np.testing.assert_allclose(predict(model, padded.values), predict(model, ragged), rtol=1e-6)
    table = model.weight.value
    np.testing.assert_allclose(predict(model, ragged)[0], table[1:4].mean(axis=0), rtol=1e-6)
    assert not predict(model, ragged)[2].any()


def test_a_mean_by_weights_is_that_of_repeated_ids():
    model = made(lambda rng: EmbeddingBag(9, 2, rng=rng))
    weighted = Ragged(np.array([1, 2]), [0, 2], np.array([3.0, 1.0]))
    np.testing.assert_allclose(predict(model, weighted), predict(model, Ragged.of([[1, 2, 1, 1]])), rtol=1e-6)


@pytest.mark.parametrize("kinds", [(np.uint8, np.int64), (np.int64, np.uint8), (np.int32, np.uint16)])
def test_one_inference_reads_ids_and_weights_of_any_type(kinds):
    model = made(lambda rng: EmbeddingBag(400, 2, rng=rng))
    infer, rng = Inference(model), np.random.default_rng(0)
    for kind in (*kinds, np.float32):
        whole = kind is not np.float32
        ids = rng.integers(1, np.iinfo(kind).max if whole and np.iinfo(kind).max < 400 else 400, 5)
        weight = rng.integers(1, 9, 5).astype(kind) if whole else rng.random(5, np.float32)
        x = Ragged(ids.astype(kind if whole else np.int64), [0, 3, 5], weight)
        np.testing.assert_array_equal(infer(x), predict(model, x))


def test_lengths_of_any_whole_type_mean_the_same():
    filters = made(lambda rng: ConvMaxPool1D(3, 2, 3, rng=rng, padding="valid"))
    filters.bias.value[...] = -1
    v, lengths = np.ones((2, 4, 3), np.float32), np.array([4, 1])
    expected = predict(filters, Padded(v, lengths))
    assert not expected[1].any()
    for kind in (np.uint8, np.uint64, np.int8):
        np.testing.assert_array_equal(predict(filters, Padded(v, lengths.astype(kind))), expected)


@pytest.mark.parametrize("kind", [Conv1D, ConvMaxPool1D])
def test_a_text_too_short_for_a_kernel_has_no_answer_whatever_stands_beside_it(kind):
    def network(rng):
        filters = kind(3, 2, 3, rng=rng, padding="valid")
        return Sequential(Embedding(9, 3, rng=rng), filters, *([GlobalMaxPool1D()] if kind is Conv1D else []))

    model = made(network)
    alone, beside = predict(model, Ragged.of([[1, 2]])), predict(model, Ragged.of([[1, 2], [1, 2, 3]]))
    np.testing.assert_array_equal(alone[0], beside[0])
    assert not alone.any()
    assert beside[1].any()
    grads = Gradients(model.trainable())
    ctx = Context(True, grads)
    ctx.needs_dx = False
    grads.start()
    model.backward(np.ones_like(model.forward(Padded(np.array([[1, 2]]), np.array([2])), ctx)), ctx)
    grads.finish()
    assert not grads.flat.any()


def test_an_evaluation_is_that_of_the_predictions():
    model, data = made(bag), reviews(50)
    scores = evaluate(model, data, LOSS, ACCURACY, micro_batch=7)
    assert scores["accuracy"] == (predict(model, data.x).argmax(axis=1) == data.t).mean()


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (lambda r: Embedding(5, 2, rng=r), np.array([[1, 5]]), "ids from 0 to 4, but they run from 1 to 5"),
        (lambda r: Embedding(5, 2, rng=r), np.array([[-1, 2]]), "from -1 to 2"),
        (lambda r: EmbeddingBag(5, 2, rng=r), np.array([1, 2]), r"whole ids \(N, T\), not int64 \(2,\)"),
        (lambda r: EmbeddingBag(5, 2, rng=r), np.ones((1, 2), np.float32), "whole ids"),
        (lambda r: EmbeddingBag(5, 2, rng=r, mode="max"), None, 'mode is "mean" or "sum", not "max"'),
        (lambda r: Embedding(5, 2, rng=r), Ragged.of([[1]]), "end it with a layer that pools them over time"),
        (lambda r: Sequential(Embedding(5, 2, rng=r), Flatten()), Ragged.of([[1]]), "Flatten.* pool them over time"),
        (lambda r: GlobalMaxPool1D(), np.ones((2, 3), np.float32), r"takes sequences \(N, T, F\)"),
    ],
)
def test_what_a_layer_cannot_take_is_refused_in_words(model, x, message):
    with pytest.raises(ValueError, match=message):
        predict(model(np.random.default_rng(0)), x)


def test_summary_and_diagnosis_take_ids():
    model, data = made(pooled), reviews()
    told = summary(model, (12,), dtype=np.int64)
    assert told.parameters == 40 * 8 + 8 * 6 + 6 + 6 * 2 + 2
    assert [row.output for row in told.rows][:2] == [(12, 8), (12, 8)]
    x, t, _ = data.take(np.arange(30), 0, Context())
    assert diagnose(inspect(model, LOSS, x, t)) == []


# --- learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_model_of_sequences_learns_what_can_be_learned(name, network):
    lr = {"sgd": 1.0, "momentum": 0.2, "nesterov": 0.2, "adagrad": 0.2}.get(name, 0.02)
    model, data = made(network), reviews(300)
    run(model, Recipe(epochs=25, batch_size=20), data=data, optimizer=OPTIMIZERS[name](lr))
    assert evaluate(model, reviews(200, seed=1), LOSS, ACCURACY)["accuracy"] > 0.95


def test_one_column_is_a_linear_model():
    model, data = made(linear), reviews(300)
    data.t = data.t.astype(np.float32)
    run(model, Recipe(epochs=20, batch_size=20, l2=1e-5), data=data, loss=BinaryCrossEntropy(), optimizer=Adam(0.1))
    assert evaluate(model, data, BinaryCrossEntropy(), ACCURACY)["accuracy"] > 0.95
    assert model.weight.value[1:5].min() > model.weight.value[5:].max()


@pytest.mark.parametrize("tables", ["lazy", "dense"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_row_of_padding_stays_zero(name, tables):
    model = made(pooled)
    recipe = Recipe(epochs=2, batch_size=16, l1=1e-4, l2=1e-3, clip_norm=1.0, average=0.9, tables=tables)
    run(model, recipe, optimizer=OPTIMIZERS[name](0.01, weight_decay=0.01))
    assert not model[0].weight.value[0].any()
    assert model[0].weight.value[1:].all()


EVERYTHING_ON = {"clip_norm": 0.05, "clip_value": 0.01, "average": 0.9, "l1": 1e-4, "l2": 1e-3}


@pytest.mark.parametrize("optimizer", [SGD(0.1), OPTIMIZERS["adagrad"](0.1)], ids=["sgd", "adagrad"])
@pytest.mark.parametrize("network", NETWORKS)
def test_lazy_and_dense_agree_where_rows_without_gradient_stand_still(optimizer, network):
    lazy, dense = made(network, dtype=np.float64), made(network, dtype=np.float64)
    recipe = {"epochs": 3, "batch_size": 16, "lanes": 2, "micro_batch": 5, "clip_norm": 0.05, "average": 0.9}
    a = run(lazy, Recipe(**recipe), optimizer=optimizer)
    b = run(dense, Recipe(**recipe, tables="dense"), optimizer=optimizer)
    for one, other in zip(a, b, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-9)
    assert_close(weights(lazy), weights(dense), rtol=1e-9, atol=1e-12)
    for one, other in zip(a[-1].layers, b[-1].layers, strict=True):
        assert (one.name, one.gradient) == (other.name, pytest.approx(other.gradient))


def test_a_lazy_update_is_the_dense_one_of_the_rows_that_occur():
    """Adam with everything on: a table of which every row occurs in every batch is updated alike."""
    texts = [list(range(1, 6)) + [1 + i % 5] * (i % 3) for i in range(24)]
    data = Sequences(texts, np.arange(24) % 2)
    network = lambda rng: Sequential(EmbeddingBag(6, 4, rng=rng), Dense(4, 2, rng=rng))  # noqa: E731
    lazy, dense = made(network, dtype=np.float64), made(network, dtype=np.float64)
    recipe = {"epochs": 4, "batch_size": 8, "lanes": 2} | EVERYTHING_ON
    run(lazy, Recipe(**recipe), data=data, optimizer=AdamW(0.05))
    run(dense, Recipe(**recipe, tables="dense"), data=data, optimizer=AdamW(0.05))
    assert_close(weights(lazy), weights(dense), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rows_that_occurred_update_a_dense_table_to_the_bits_of_its_whole_gradient(name, lanes, monkeypatch):
    told = []
    for by_row in (True, False):
        monkeypatch.setattr(Recipe, "by_row", by_row)
        state, model = State(), made(wide)
        recipe = Recipe(
            epochs=2, batch_size=30, lanes=lanes, micro_batch=9, tables="dense", clip_value=0.01, average=0.9
        )
        optimizer = OPTIMIZERS[name](0.01, weight_decay=0.1)
        run(model, recipe, optimizer=optimizer, data=reviews(90, height=9000, longest=120), threads=2, state=state)
        told.append(state.arrays())
    for key, array in told[0].items():
        np.testing.assert_array_equal(array, told[1][key], err_msg=key)


def test_a_lazy_update_leaves_the_rows_alone_that_do_not_occur():
    model = made(lambda rng: Sequential(EmbeddingBag(40, 8, rng=rng), Dense(8, 2, rng=rng)))
    before = model[0].weight.value.copy()
    data = Sequences([[1, 2], [2, 3]] * 4, [0, 1] * 4)
    state = State()
    run(model, Recipe(epochs=3, **EVERYTHING_ON), data=data, optimizer=AdamW(0.01), state=state)
    np.testing.assert_array_equal(model[0].weight.value[4:], before[4:])
    assert (model[0].weight.value[1:4] != before[1:4]).all()
    assert not state.arrays()["slots/m/layers.0.weight"][4:].any()


def test_a_frozen_table_stays_as_it_is():
    model = made(pooled)
    model[0].freeze()
    before = model[0].weight.value.copy()
    run(model, Recipe(epochs=1))
    np.testing.assert_array_equal(model[0].weight.value, before)


def test_a_learning_rate_factor_reaches_a_table():
    model = made(bag)
    model[0].scale_learning_rate(0.0)
    before = weights(model)
    run(model, Recipe(epochs=1))
    np.testing.assert_array_equal(model[0].weight.value, before["layers.0.weight"])
    assert (model[1].weight.value != before["layers.1.weight"]).any()


@pytest.mark.parametrize(("lanes", "micro_batch"), [(1, 7), (3, 4), (5, 1)])
@pytest.mark.parametrize("network", [bag, linear])
def test_the_cut_of_a_batch_changes_nothing_but_rounding(lanes, micro_batch, network):
    whole, cut = made(network, dtype=np.float64), made(network, dtype=np.float64)
    data, loss = reviews(), LOSS
    if network is linear:
        data.t, loss = data.t.astype(np.float64), BinaryCrossEntropy()
    settings = {"epochs": 3, "batch_size": 17} | EVERYTHING_ON
    run(whole, Recipe(**settings), data=data, loss=loss, optimizer=Momentum(0.1))
    run(cut, Recipe(**settings, lanes=lanes, micro_batch=micro_batch), data=data, loss=loss, optimizer=Momentum(0.1))
    assert_close(weights(cut), weights(whole), rtol=1e-8, atol=1e-11)


def wide(rng):
    """Rows enough to be spread over the threads."""
    return Sequential(Embedding(9000, 64, rng=rng), GlobalAveragePool1D(), Dense(64, 2, rng=rng))


@pytest.mark.parametrize("optimizer", [Adam(0.01, weight_decay=0.1), Muon(0.01)], ids=["adam", "muon"])
@pytest.mark.parametrize("tables", ["lazy", "dense"])
def test_threads_change_the_time_and_never_the_bits(optimizer, tables):
    data, told = reviews(90, height=9000, longest=120), []
    recipe = Recipe(epochs=2, batch_size=64, lanes=3, micro_batch=9, tables=tables, **EVERYTHING_ON)
    for threads in (1, 2, 4, 2):
        state, model = State(), made(wide)
        run(model, recipe, optimizer=optimizer, data=data, validation=data, threads=threads, state=state)
        told.append(hashlib.sha256(b"".join(a.tobytes() for a in state.arrays().values())).hexdigest())
    assert len(set(told)) == 1


def reader(rng):
    """Sequences that are read in several chunks, whose products a second thread may share."""
    return Sequential(Embedding(900, 24, rng=rng), LSTM(24, 96, rng=rng, output="last"), Dense(96, 2, rng=rng))


def word_reader(rng):
    words = EmbeddingRecurrent(Embedding(900, 24, rng=rng), GRU(24, 96, rng=rng, output="last"))
    return Sequential(words, Dense(96, 2, rng=rng))


def wide_bag(rng):
    return Sequential(EmbeddingBag(900, 64, rng=rng), Dense(64, 2, rng=rng))


@pytest.mark.parametrize("network", [reader, word_reader, wide_bag])
def test_a_thread_without_a_lane_lends_a_hand_and_changes_no_bit(network):
    data, told = reviews(64, height=900, longest=60), []
    recipe = Recipe(epochs=2, batch_size=32, micro_batch=32, blas_threads=1)
    for threads in (1, 2, 4):
        model = made(network)
        run(model, recipe, optimizer=Adam(0.01), data=data, threads=threads)
        told.append(hashlib.sha256(b"".join(a.tobytes() for a in weights(model).values())).hexdigest())
    assert len(set(told)) == 1


# --- interrupted and resumed ----------------------------------------------------------------------

INTERRUPTED = {
    "adam": (Adam(Cosine(0.05, 60), weight_decay=0.1), {"average": 0.8, "patience": 2, "lanes": 3, "clip_norm": 1.0}),
    "momentum": (Momentum(0.2), {"patience": 1, "micro_batch": 4}),
    "dense": (AdamW(0.05), {"average": 0.5, "lanes": 2, "tables": "dense"}),
    "muon": (Muon(0.1), {"average": 0.5, "lanes": 2, "l1": 1e-3}),
}


def begin(name, state, seed):
    optimizer, settings = INTERRUPTED[name]
    model, recipe = made(pooled, seed=seed), Recipe(epochs=4, batch_size=10, **settings)
    hard = reviews(40, seed=9)
    hard.t = np.roll(hard.t, 3)
    return model, fit(model, LOSS, optimizer, reviews(37), recipe, state=state, validation=hard, threads=1)


def seen(event):
    if isinstance(event, Step):
        return event
    return event.epoch, event.loss, event.validation, event.lr, event.best


@pytest.mark.parametrize("name", INTERRUPTED)
def test_a_training_interrupted_anywhere_ends_in_the_same_bits(name, tmp_path):
    model, whole = begin(name, State(), seed=0)
    told, expected = [seen(event) for event in whole], weights(model)
    path = tmp_path / "state.safetensors"
    for at in range(1, len(told) + 1):
        state = State()
        _, first = begin(name, state, seed=0)
        before = [seen(event) for event in islice(first, at)]
        save_arrays(path, state.arrays(), state.facts())
        first.close()
        model, rest = begin(name, State(*load_arrays(path)), seed=77)
        assert before + [seen(event) for event in rest] == told, f"interrupted after event {at}"
        for parameter, array in expected.items():
            np.testing.assert_array_equal(weights(model)[parameter], array)


@pytest.mark.parametrize("average", [0.0, 0.7])
def test_the_best_rows_come_back(average):
    model, state, best = made(bag), State(), None
    recipe = Recipe(epochs=30, patience=2, average=average, batch_size=16)
    noise = reviews(33, seed=3)
    noise.t = np.roll(noise.t, 1)
    for event in fit(model, LOSS, Adam(0.1), reviews(), recipe, state=state, validation=noise, threads=1):
        if isinstance(event, Epoch) and event.best:
            best = state.arrays()["average/layers.0.weight" if average else "weights/layers.0.weight"].copy()
    assert state.epoch < 30
    np.testing.assert_array_equal(model[0].weight.value, best)


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        (lambda r: Sequential(EmbeddingBag(20_000, 128, rng=r), Dense(128, 2, rng=r)), {}),
        (lambda r: Sequential(Embedding(20_000, 128, rng=r), GlobalAveragePool1D(), Dense(128, 2, rng=r)), {}),
        (
            lambda r: Sequential(Embedding(20_000, 128, rng=r), GlobalMaxPool1D(), Dense(128, 2, rng=r)),
            {"lanes": 2, "micro_batch": 16} | EVERYTHING_ON,
        ),
    ],
    ids=["bag", "mean", "max, with everything on"],
)
def test_a_warm_step_allocates_next_to_nothing(network, settings):
    """256 KiB, and 64 bytes an id for the index arrays of sorting: far from the 512 bytes of an id's vector."""
    rng = np.random.default_rng(0)
    x = Ragged.of(list(np.minimum(rng.zipf(1.2, (64 * 6, 200)), 19_999)))
    data, peaks = Sequences(x, rng.integers(0, 2, len(x))), []
    training = fit(made(network), LOSS, Adam(1e-3), data, Recipe(batch_size=64, **settings), threads=2)
    for _ in range(7):  # an epoch, to have met about as many different ids as a batch can hold
        next(training)
    tracemalloc.start()
    try:
        for _ in range(2):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            assert isinstance(next(training), Step)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
        training.close()
    assert max(peaks) < 256 * 1024 + 64 * 64 * 200, peaks


# --- rows -----------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 30), unique=True, max_size=20), min_size=1, max_size=6))
def test_rows_of_several_parts_add_up(parts):
    rng, table = np.random.default_rng(0), np.zeros((31, 3))
    rows = RowGradient(table)
    for _ in range(2):  # the second time in used memory
        expected = np.zeros_like(table)
        rows.clear()
        for ids in parts:
            values = rng.standard_normal((len(ids), 3))
            rows.add(np.array(ids, int), values)
            expected[ids] += values
        got = np.zeros_like(table)
        got[rows.ids] = rows.values
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
        assert sorted(rows.ids.tolist()) == sorted(set().union(*parts))


def test_gradients_of_rows_are_those_of_the_whole_table():
    model, x = made(pooled, dtype=np.float64), reviews().x.padded(np.arange(20), Context())
    dense, sparse = Gradients(model.parameters()), Gradients(model.parameters()[1:], [model[0].weight])
    for grads in (dense, sparse):
        stream = np.random.default_rng(0)
        ctx = Context(True, grads, lambda stream=stream: stream, np.float64)
        ctx.needs_dx = False
        grads.start()
        model.backward(np.cos(model.forward(x, ctx)), ctx)
        grads.finish()
    whole = np.zeros_like(model[0].weight.value)
    whole[sparse.rows[model[0].weight].ids] = sparse[model[0].weight]
    np.testing.assert_array_equal(dense[model[0].weight], whole)
    assert not whole[0].any()


def test_examples_of_arrays_are_visited_as_ever():
    data = Examples(np.zeros((20, 2)), np.zeros(20))
    assert sorted(data.order(4, 0, 0).tolist()) == list(range(20))
