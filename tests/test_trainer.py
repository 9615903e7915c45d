"""The training loop: it learns, its bits depend on nothing but the recipe, and it stops in an orderly way."""

import hashlib
import threading
import tracemalloc
from copy import deepcopy
from itertools import islice

import numpy as np
import pytest
from networks import cnn, credit, examples, mlp, separable, small
from threadpoolctl import threadpool_info, threadpool_limits

from core import (
    GELU,
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    Context,
    Conv2D,
    ConvMaxPool1D,
    Dense,
    Dropout,
    Embedding,
    EmbeddingConvMaxPool1D,
    Epoch,
    Examples,
    Flatten,
    Inference,
    Layer,
    LayerNorm,
    MaxPool2D,
    MeanSquaredError,
    Momentum,
    Muon,
    NonFiniteLoss,
    Recipe,
    ReLU,
    Sequences,
    Sequential,
    SoftmaxCrossEntropy,
    State,
    Step,
    correct,
    evaluate,
    fit,
    load_arrays,
    predict,
    save_arrays,
)
from core.parallel import Crew
from core.schedules import Cosine

LOSS = SoftmaxCrossEntropy()
ACCURACY = {"accuracy": correct}


def made(network=small, seed=0, dtype=np.float32):
    model = network(np.random.default_rng(seed))
    for parameter in model.parameters():
        parameter.value = parameter.value.astype(dtype)
    return model


def run(model, recipe, *, loss=LOSS, optimizer=None, data=None, threads=1, **others):
    """All events of a training."""
    return list(fit(model, loss, optimizer or Adam(0.01), data or separable(), recipe, threads=threads, **others))


def weights(model):
    return {name: p.value.copy() for name, p in model.named_parameters()}


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


def seen(event):
    """What an event says, but for the time it took and the gradients that only the process that made them knows."""
    if isinstance(event, Step):
        return event
    return event.epoch, event.loss, event.metrics, event.validation, event.lr, event.best


# --- it learns ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_learns_what_can_be_learned(name):
    lr = {"sgd": 0.3, "momentum": 0.05, "nesterov": 0.05, "adagrad": 0.1}.get(name, 0.01)
    model, recipe = made(), Recipe(epochs=12, batch_size=16, lanes=2)
    before = evaluate(model, separable(seed=2), LOSS, ACCURACY)
    events = run(model, recipe, optimizer=OPTIMIZERS[name](lr), metrics=ACCURACY)
    after = evaluate(model, separable(seed=2), LOSS, ACCURACY)
    assert before["accuracy"] < 0.7
    assert after["accuracy"] > 0.95
    assert events[-1].metrics["accuracy"] > 0.75  # while dropout was on
    assert events[-1].loss < 0.5 * before["loss"]


def test_the_first_losses_of_a_seeded_training_are_pinned():
    events = run(made(), Recipe(epochs=2, batch_size=32, lanes=2, seed=5), optimizer=Momentum(0.1))
    losses = [event.loss for event in events if isinstance(event, Step)]
    assert losses == pytest.approx([1.319976, 1.123989, 0.975045, 0.69929, 0.563519, 0.462185], rel=1e-4)


def test_every_update_and_every_epoch_is_told():
    recipe = Recipe(epochs=3, batch_size=40)
    events = run(made(), recipe, metrics=ACCURACY, optimizer=Adam(Cosine(0.01, 9)))
    kinds = [type(event) for event in events]
    assert kinds == 3 * [Step, Step, Step, Epoch]
    steps = [event for event in events if isinstance(event, Step)]
    assert [(s.epoch, s.batch, s.batches, s.step, s.examples) for s in steps] == [
        (epoch, batch, 3, 3 * epoch + batch + 1, 30) for epoch in range(3) for batch in range(3)
    ]
    for epoch in (0, 1, 2):
        of_epoch, told = steps[3 * epoch : 3 * epoch + 3], events[4 * epoch + 3]
        assert told.epoch == epoch
        assert told.loss == pytest.approx(np.mean([s.loss for s in of_epoch]))
        assert told.metrics["accuracy"] == pytest.approx(np.mean([s.metrics["accuracy"] for s in of_epoch]))
        assert told.lr == of_epoch[-1].lr
        assert told.seconds > 0
        assert [s.name for s in told.layers] == ["layers.0", "layers.1", "layers.4"]
        assert all(s.gradient > 0 for s in told.layers)


def test_every_example_is_seen_once_an_epoch_in_another_order_each():
    class Watched(Examples):
        def take(self, rows, epoch, ctx):
            orders.setdefault(epoch, []).extend(rows.tolist())
            return super().take(rows, epoch, ctx)

    orders: dict[int, list[int]] = {}
    data = separable(50)
    run(made(), Recipe(epochs=3, batch_size=16, lanes=2, micro_batch=3), data=Watched(data.x, data.t))
    assert [sorted(order) for order in orders.values()] == 3 * [list(range(50))]
    assert len({tuple(order) for order in orders.values()}) == 3


# --- the same bits --------------------------------------------------------------------------------

RECIPES = {
    "ragged lanes, all of it": Recipe(
        epochs=2, batch_size=32, lanes=3, micro_batch=5, average=0.9, clip_norm=0.5, l1=1e-4, l2=1e-3
    ),
    "many lanes": Recipe(epochs=2, batch_size=24, lanes=5, clip_value=0.01),
    "one lane, two threads of BLAS": Recipe(epochs=1, batch_size=49, clip_norm=0.5),
}


def wide(rng):
    """More than 100,000 parameters, so that the update is spread over the threads."""
    layers = Dense(6, 400, rng=rng), BatchNorm(400), ReLU(), Dropout(0.5), Dense(400, 300, rng=rng), ReLU()
    return Sequential(*layers, Dense(300, 3, rng=rng))


@pytest.mark.parametrize("optimizer", [Adam(0.01, weight_decay=0.1), Muon(0.01)], ids=["adam", "muon"])
@pytest.mark.parametrize("network", [small, wide])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_threads_change_the_time_and_never_the_bits(recipe, network, optimizer):
    data, told = separable(97), []
    for threads in (1, 2, 4, 2):
        state, model = State(), made(network)
        events = run(model, recipe, optimizer=optimizer, data=data, validation=data, threads=threads, state=state)
        digest = hashlib.sha256(b"".join(a.tobytes() for a in state.arrays().values())).hexdigest()
        told.append(([seen(event) for event in events], digest))
    assert all(what == told[0] for what in told)
    assert np.isfinite(told[0][0][-1][1])


def test_another_seed_gives_other_bits():
    """Of the order and of dropout, each alone."""
    one, two = Recipe(epochs=1, batch_size=90, seed=1), Recipe(epochs=1, batch_size=90, seed=2)
    assert run(made(), one)[0].loss != run(made(), two)[0].loss  # one batch of all: dropout differs
    one, two = Recipe(epochs=1, batch_size=9, seed=1), Recipe(epochs=1, batch_size=9, seed=2)
    plain = lambda rng: Dense(6, 3, rng=rng)  # noqa: E731
    assert run(made(plain), one)[0].loss != run(made(plain), two)[0].loss


def test_lanes_and_micro_batches_draw_from_streams_of_their_own():
    """Where all examples are equal, dropout is all that tells them apart."""

    class Remembers(Dropout):
        def forward(self, x, ctx):
            y = super().forward(x, ctx)
            masks.append((y != 0).tobytes())
            return y

    masks: list[bytes] = []
    data = Examples(np.ones((24, 64), np.float32), np.zeros(24, int))
    model = made(lambda rng: Sequential(Remembers(0.5), Dense(64, 3, rng=rng)))
    run(model, Recipe(epochs=2, batch_size=12, lanes=2, micro_batch=3), data=data)
    assert len(masks) == 2 * 2 * 2 * 2
    assert len(set(masks)) == len(masks)


def sober(rng):
    """Draws nothing and treats examples independently."""
    layers = Conv2D(1, 4, 3, rng=rng, padding="same"), LayerNorm(6), GELU(), MaxPool2D(2), Flatten()
    return Sequential(*layers, Dense(36, 8, rng=rng), ReLU(), Dense(8, 3, rng=rng))


def pictures(weighted=False):
    rng = np.random.default_rng(3)
    weight = rng.uniform(0, 2, 50) if weighted else None
    return Examples(rng.standard_normal((50, 1, 6, 6)), rng.integers(0, 3, 50), weight)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("lanes", "micro_batch"), [(1, 7), (2, 128), (3, 4), (5, 1), (20, 2)])
def test_the_cut_of_a_batch_changes_nothing_but_rounding(lanes, micro_batch, weighted):
    loss = SoftmaxCrossEntropy(class_weights=(1, 2, 0.5)) if weighted else LOSS
    whole, cut = made(sober, dtype=np.float64), made(sober, dtype=np.float64)
    settings = {"epochs": 3, "batch_size": 17, "clip_norm": 0.3, "l2": 0.01, "average": 0.9}
    plain = run(whole, Recipe(**settings), loss=loss, data=pictures(weighted), optimizer=Momentum(0.1))
    recipe = Recipe(**settings, lanes=lanes, micro_batch=micro_batch)
    other = run(cut, recipe, loss=loss, data=pictures(weighted), optimizer=Momentum(0.1))
    for a, b in zip(plain, other, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-9)
    for name, array in weights(whole).items():
        np.testing.assert_allclose(weights(cut)[name], array, rtol=1e-8, atol=1e-11, err_msg=name)


def test_running_statistics_weigh_the_lanes_by_their_examples():
    """Two lanes of two and three examples, in pieces: the mean they report together is that of all five."""
    data = separable(5, np.float64)
    model = made(lambda rng: Sequential(BatchNorm(6, rate=0.25), Dense(6, 3, rng=rng)), dtype=np.float64)
    run(model, Recipe(epochs=1, lanes=2, micro_batch=3), data=data, threads=2)
    np.testing.assert_allclose(model[0].mean.value, 0.25 * data.x.mean(axis=0), rtol=1e-12)


# --- interrupted and resumed ----------------------------------------------------------------------

INTERRUPTED = {
    "adam": (Adam(Cosine(0.05, 60), weight_decay=0.1), {"average": 0.8, "patience": 2, "lanes": 3, "clip_norm": 1.0}),
    "momentum": (Momentum(0.2), {"patience": 1, "micro_batch": 4}),
    "muon": (Muon(0.1), {"average": 0.5, "lanes": 2}),
    "sgd": (SGD(0.2), {"l1": 1e-3}),
}


def begin(name, state, seed):
    optimizer, settings = INTERRUPTED[name]
    model, recipe = made(seed=seed), Recipe(epochs=5, batch_size=10, **settings)
    hard = separable(40, seed=9)
    hard = Examples(hard.x, np.roll(hard.t, 3))  # nothing to learn: the validation gets worse
    data = separable(37)
    return model, fit(model, LOSS, optimizer, data, recipe, state=state, validation=hard, metrics=ACCURACY, threads=1)


@pytest.mark.parametrize("name", INTERRUPTED)
def test_a_training_interrupted_anywhere_ends_in_the_same_bits(name, tmp_path):
    """After every single event it is saved, forgotten, and taken up by a model that knows nothing."""
    model, whole = begin(name, State(), seed=0)
    told, expected = [seen(event) for event in whole], weights(model)
    if name == "momentum":
        assert len(told) < 5 * 5  # it ran out of patience
    path = tmp_path / "state.safetensors"
    for at in range(1, len(told) + 1):
        state = State()
        _, first = begin(name, state, seed=0)
        before = [seen(event) for event in islice(first, at)]
        save_arrays(path, state.arrays(), state.facts())
        first.close()
        model, rest = begin(name, State(*load_arrays(path)), seed=77)
        assert before + [seen(event) for event in rest] == told, f"interrupted after event {at}"
        assert_equal(weights(model), expected)


def test_a_training_interrupted_at_every_step_in_turn_ends_in_the_same_bits(tmp_path):
    model, whole = begin("adam", State(), seed=0)
    told, expected = [seen(event) for event in whole], weights(model)
    path, state, one_by_one = tmp_path / "state.safetensors", State(), []
    while True:
        model, rest = begin("adam", state, seed=77 if one_by_one else 0)
        event = next(rest, None)
        if event is None:
            break
        one_by_one.append(seen(event))
        save_arrays(path, state.arrays(), state.facts())
        rest.close()
        state = State(*load_arrays(path))
    assert one_by_one == told
    assert_equal(weights(model), expected)


def test_a_finished_training_that_is_resumed_has_nothing_left_to_do():
    state = State()
    recipe = Recipe(epochs=2, average=0.9)
    model = made()
    run(model, recipe, state=state)
    again = made(seed=5)
    assert run(again, recipe, state=State(dict(state.arrays()), state.facts())) == []
    assert_equal(weights(again), weights(model))


@pytest.mark.parametrize(
    ("network", "optimizer", "recipe", "dtype", "message"),
    [
        (lambda r: Sequential(Dense(6, 3, rng=r)), Adam(0.1), Recipe(), np.float32, "another model or optimizer"),
        (small, Momentum(0.1), Recipe(), np.float32, "another model or optimizer: it differs in slots/"),
        (small, Adam(0.1), Recipe(average=0.9), np.float32, "it differs in average/"),
        (small, Adam(0.1), Recipe(), np.float64, "is float32 .*, not float64"),
        (
            lambda r: Sequential(Dense(6, 9, rng=r), BatchNorm(9), ReLU(), Dropout(0.2), Dense(9, 3, rng=r)),
            *(Adam(0.1), Recipe(), np.float32),
            r"another model: .* \(12,\), not float32 \(9,\)",
        ),
    ],
)
def test_the_state_of_another_training_is_refused_in_words(network, optimizer, recipe, dtype, message):
    state = State()
    run(made(), Recipe(epochs=1), state=state)
    saved = State(dict(state.arrays()), state.facts())
    model = made(network, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        run(model, recipe, optimizer=optimizer, data=separable(dtype=dtype), state=saved)


# --- validation, patience, averages ---------------------------------------------------------------


class Scripted:
    """A metric that says of validation data what it is told to say."""

    def __init__(self, *scores, examples=33):
        self.scores, self.examples = iter(scores), examples

    def __call__(self, y, t):
        return next(self.scores) * len(t) if len(t) == self.examples else 0.0


@pytest.mark.parametrize("average", [0.0, 0.7])
def test_patience_stops_a_training_and_goes_back_to_the_best_weights(average):
    model, state, best, epochs = made(), State(), None, []
    recipe = Recipe(epochs=9, patience=2, monitor="score", average=average, batch_size=32)
    metrics = {"score": Scripted(0.1, 0.3, 0.2, 0.4, 0.4, 0.3, 0.9)}
    for event in fit(
        model, LOSS, Adam(0.05), separable(), recipe, state=state, validation=separable(33), metrics=metrics, threads=1
    ):
        if isinstance(event, Epoch):
            epochs.append(event.best)
            if event.best:
                kind = "average/" if average else "weights/"
                best = {k.removeprefix(kind): a.copy() for k, a in state.arrays().items() if k.startswith(kind)}
    assert epochs == [True, True, False, True, False, False]  # equally good is not better
    assert_equal(weights(model), best)
    assert (state.best_epoch, state.best_score) == (3, 0.4)


def test_a_score_that_is_no_number_is_never_the_best():
    model, state = made(), State()
    recipe, metrics = Recipe(epochs=4, patience=2, monitor="score"), {"score": Scripted(float("nan"), 0.1, 0.2, 0.1)}
    events = run(model, recipe, state=state, validation=separable(33), metrics=metrics)
    assert [e.best for e in events if isinstance(e, Epoch)] == [False, True, True, False]
    assert (state.best_epoch, state.best_score) == (2, 0.2)


def test_the_loss_is_monitored_downwards():
    model = made()
    noise = Examples(separable(33).x, np.random.default_rng(1).integers(0, 3, 33))
    events = run(model, Recipe(epochs=30, patience=3), validation=noise, optimizer=Adam(0.1))
    losses = [e.validation["loss"] for e in events if isinstance(e, Epoch)]
    assert len(losses) < 30
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    assert evaluate(model, noise, LOSS)["loss"] == min(losses)


def test_without_patience_the_last_weights_are_the_result():
    model, state = made(), State()
    events = run(
        model,
        Recipe(epochs=3, monitor="score"),
        state=state,
        metrics={"score": Scripted(3, 2, 1)},
        validation=separable(33),
    )
    assert [e.best for e in events if isinstance(e, Epoch)] == [True, False, False]
    assert not any(name.startswith("best/") for name in state.arrays())


@pytest.mark.parametrize("average", [0.0, 0.7])
def test_validation_sees_the_weights_that_the_training_would_end_with(average):
    model, state, other = made(), State(), made(seed=4)
    held_out = separable(33, seed=8)
    recipe = Recipe(epochs=3, average=average, batch_size=32)
    for event in fit(
        model, LOSS, Adam(0.05), separable(), recipe, state=state, validation=held_out, metrics=ACCURACY, threads=2
    ):
        if isinstance(event, Step):
            live = weights(model)
            continue
        assert_equal(weights(model), live)  # put back
        kept = {name.partition("/")[2]: a for name, a in state.arrays().items() if name.startswith("average/")}
        for name, parameter in other.named_parameters():
            parameter.value = (kept or live)[name].copy()
        assert event.validation == evaluate(other, held_out, LOSS, ACCURACY)
        moved = {name: np.abs(live[name] - array).max() for name, array in kept.items()}
        assert all(distance > 0 for distance in moved.values()), moved
    result = weights(model)
    assert_equal(result, weights(other))


# --- weights of examples and classes --------------------------------------------------------------


def test_an_example_of_weight_two_counts_as_two():
    data, times = separable(30, np.float64), np.random.default_rng(2).integers(0, 3, 30)
    plain = lambda rng: Dense(6, 3, rng=rng)  # noqa: E731
    weighted, repeated = made(plain, dtype=np.float64), made(plain, dtype=np.float64)
    recipe = Recipe(epochs=5, batch_size=100, lanes=2, micro_batch=9)
    by_weight = Examples(data.x, data.t, times.astype(np.float64))
    a = run(weighted, recipe, data=by_weight, optimizer=SGD(0.5))
    b = run(repeated, recipe, data=Examples(data.x.repeat(times, 0), data.t.repeat(times)), optimizer=SGD(0.5))
    for one, other in zip(a, b, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-12)
    for name, array in weights(repeated).items():
        np.testing.assert_allclose(weights(weighted)[name], array, rtol=1e-10, atol=1e-12)


def test_class_weights_are_weights_of_the_examples_of_a_class():
    data, each = separable(dtype=np.float64), np.array([1.0, 3.0, 0.5])
    plain = lambda rng: Dense(6, 3, rng=rng)  # noqa: E731
    by_class, by_example = made(plain, dtype=np.float64), made(plain, dtype=np.float64)
    recipe = Recipe(epochs=2, batch_size=20, lanes=2)
    a = run(by_class, recipe, data=data, loss=SoftmaxCrossEntropy(class_weights=each))
    b = run(by_example, recipe, data=Examples(data.x, data.t, each[data.t]))
    for one, other in zip(a, b, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-12)
    for name, array in weights(by_class).items():
        np.testing.assert_allclose(weights(by_example)[name], array, rtol=1e-9, atol=1e-12)


def test_the_mean_of_an_epoch_weighs_as_the_loss_does():
    data = separable(40)
    data = Examples(data.x, data.t, np.random.default_rng(3).uniform(0, 5, 40))
    model = made(lambda rng: Dense(6, 3, rng=rng))
    expected = evaluate(model, data, LOSS)["loss"]
    events = run(model, Recipe(epochs=1, batch_size=7), data=data, optimizer=SGD(1e-12))
    assert events[-1].loss == pytest.approx(expected, rel=1e-5)


def test_a_batch_whose_weights_are_all_zero_teaches_nothing():
    data = separable(20)
    model = made(lambda rng: Dense(6, 3, rng=rng))
    before = weights(model)
    events = run(model, Recipe(epochs=1), data=Examples(data.x, data.t, np.zeros(20)), optimizer=SGD(0.1))
    assert [event.loss for event in events] == [0, 0]
    assert_equal(weights(model), before)


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "batch_size", "lanes"), [(5, 100, 1), (5, 100, 2), (3, 2, 4), (1, 1, 3)])
def test_small_data_make_small_batches(n, batch_size, lanes):
    model = made(lambda rng: Sequential(Dense(6, 3, rng=rng)))
    before = weights(model)
    events = run(model, Recipe(epochs=2, batch_size=batch_size, lanes=lanes), data=separable(n), threads=2)
    steps = [event for event in events if isinstance(event, Step)]
    assert len(steps) == 2 * -(-n // batch_size) == Recipe(epochs=2, batch_size=batch_size).steps(n)
    assert max(step.examples for step in steps) <= batch_size
    assert sum(step.examples for step in steps) == 2 * n
    assert all(np.abs(weights(model)[name] - before[name]).max() > 0 for name in before)


EVERYTHING_ON = {"average": 0.99, "clip_norm": 1.0, "clip_value": 1.0, "l1": 1e-5, "l2": 1e-4}


@pytest.mark.parametrize("batch_size", [64, 512])
@pytest.mark.parametrize(
    ("network", "settings"),
    [
        (credit, {}),
        (mlp, {"blas_threads": 1}),
        (cnn, {"lanes": 2, "micro_batch": 32}),
        (mlp, {"lanes": 2, "micro_batch": 32} | EVERYTHING_ON),
    ],
    ids=["credit", "mlp", "cnn", "mlp with everything on"],
)
def test_a_warm_step_allocates_next_to_nothing(network, settings, batch_size):
    """Under 256 KiB, whatever the batch and the model."""
    recipe, peaks = Recipe(batch_size=batch_size, **settings), []
    training = fit(made(network), LOSS, Adam(1e-3), examples(network, 5 * batch_size), recipe, threads=2)
    next(training), next(training)
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
    assert max(peaks) < 256 * 1024, peaks


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (1, Adam(1e-3), "the loss that fit takes is an object of Loss, but this is of type Adam$"),
        (1, SoftmaxCrossEntropy, "the loss that .* but this is the class SoftmaxCrossEntropy$"),
        (2, 1e-3, "the optimizer that fit takes is an object of Optimizer, but this is of type float$"),
        (3, (np.ones((4, 3)), np.zeros(4, int)), r"the data that .* type tuple: put arrays into Examples\(x, t\)$"),
        (4, {"epochs": 3}, "the recipe that fit takes is an object of Recipe, but this is of type dict$"),
        ("validation", np.ones(4), r"the validation that .* ndarray: put arrays into Examples\(x, t\)$"),
    ],
)
def test_an_argument_of_another_kind_is_refused_in_words(place, value, message):
    data = Examples(np.ones((4, 3), np.float32), np.zeros(4, np.int64))
    given = [Dense(3, 2, rng=np.random.default_rng(0)), SoftmaxCrossEntropy(), Adam(1e-3), data, Recipe()]
    others = {}
    if isinstance(place, str):
        others[place] = value
    else:
        given[place] = value
    with pytest.raises(TypeError, match=message):
        next(fit(*given, **others))


def test_evaluation_and_prediction_refuse_another_kind_in_words():
    x, t = np.ones((4, 3), np.float32), np.zeros(4, np.int64)
    model, loss = Dense(3, 2, rng=np.random.default_rng(0)), SoftmaxCrossEntropy()
    with pytest.raises(TypeError, match=r"evaluate takes Examples\(x, t\) and a loss that was made, not \(array"):
        evaluate(model, (x, t), loss)
    with pytest.raises(TypeError, match=r"a loss that was made, not <class"):
        evaluate(model, Examples(x, t), SoftmaxCrossEntropy)
    for wrong in (Dense, None, x):
        with pytest.raises(TypeError, match=r"a model is a layer that was made"):
            predict(wrong, x)
    for wrong in (None, 3.0):
        with pytest.raises(ValueError, match=r"x is an array .* of examples, not"):
            predict(model, wrong)


@pytest.mark.parametrize(
    ("x", "t", "weight", "message"),
    [
        (np.ones((2, 3)), None, None, r"t is an array of numbers, an entry an example, not object \(\)"),
        (np.ones((2, 3)), np.array(["a", "b"]), None, "t is an array of numbers"),
        (np.ones((2, 3)), np.ones(2, complex), None, "t is an array of numbers"),
        (np.array([None, None]), np.zeros(2), None, "x is an array of numbers"),
        (np.ones((2, 3)), np.zeros(2), np.array(["a", "b"]), "weight is an array of numbers"),
    ],
)
def test_examples_are_numbers(x, t, weight, message):
    with pytest.raises(ValueError, match=message):
        Examples(x, t, weight)


def test_labels_of_any_whole_type_are_learned_from():
    values = []
    for kind in (np.uint8, np.int16, np.int64, np.uint64):
        model = Dense(3, 2, rng=np.random.default_rng(0))
        data = Examples(np.arange(12, dtype=np.float32).reshape(4, 3), np.array([0, 1, 1, 0], kind))
        values.append(next(fit(model, SoftmaxCrossEntropy(), Adam(1e-3), data, Recipe())).loss)
    assert len({*values}) == 1


def test_scratch_is_shared_by_the_layers_of_a_pass_but_not_by_calls_that_run_side_by_side():
    def scratch(*contexts):
        return [each.scratch("sums", (3,)) for each in contexts]

    for crew in (None, Crew(1)):
        ctx = Context()
        ctx.crew = crew
        mine, other, deeper = scratch(ctx[0], ctx[1], ctx[0][2])
        assert np.shares_memory(mine, other)
        assert np.shares_memory(mine, deeper)
        assert not np.shares_memory(mine, ctx[0].buffer("sums", (3,)))
        assert ctx.nbytes == mine.nbytes + 12
        ctx.side_by_side([])
        mine, other, deeper, late = scratch(ctx[0], ctx[1], ctx[0][2], ctx[7][0])
        assert np.shares_memory(mine, other) == np.shares_memory(mine, late) == (crew is None)
        assert np.shares_memory(mine, deeper)


# --- numbers that are none ------------------------------------------------------------------------


def until_it_fails(model, data, optimizer, **others):
    """(the error, the weights after the last step that went well)"""
    recipe, last = Recipe(epochs=5, batch_size=30, lanes=3, micro_batch=4), weights(model)
    training = fit(model, LOSS, optimizer, data, recipe, threads=2, **others)
    while True:
        try:
            next(training)
        except NonFiniteLoss as error:
            return error, last
        last = weights(model)


def test_a_bad_weight_in_a_fused_layer_is_named_as_it_is_called():
    rng = np.random.default_rng(0)
    words = EmbeddingConvMaxPool1D(Embedding(9, 4, rng=rng), *(ConvMaxPool1D(4, 3, k, rng=rng) for k in (2, 3)))
    words.filters[1].weight.value[0, 1, 2] = np.inf
    data = Sequences(rng.integers(1, 9, (60, 5)), rng.integers(0, 2, 60))
    error, _ = until_it_fails(Sequential(words, Dense(6, 2, rng=rng)), data, Adam(0.01))
    assert error.where.startswith("the filters.1.weight of layers.0 (EmbeddingConvMaxPool1D(Embedding(9, 4), ConvMax")


def test_facts_that_were_taken_stay_as_they_were():
    state = State()
    training = fit(made(), LOSS, Adam(0.01), separable(), Recipe(epochs=1, batch_size=30), state=state)
    next(training)
    facts = state.facts()
    kept = deepcopy(facts)
    again = State(facts=facts)
    next(training)
    again.advance(1.0, 1.0, {}, 1, 1.0)
    assert facts == kept


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_number_in_the_data_is_found_there(bad):
    data, model = separable(), made()
    data.x[41, 2] = bad
    error, last = until_it_fails(model, data, Adam(0.01))
    assert_equal(weights(model), last)
    assert error.where.startswith("the input of layers.0 (Dense(6, 12))")
    assert error.epoch == 0
    assert str(error).startswith(f"the loss is not finite at step {error.step} (epoch 0)")
    assert "missing values in the data" in str(error)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_number_in_the_weights_is_found_there(bad):
    model = made()
    model[4].weight.value[3, 1] = bad
    error, last = until_it_fails(model, separable(), Adam(0.01))
    assert_equal(weights(model), last)
    assert (error.step, error.epoch) == (0, 0)
    assert error.where == "the weight of layers.4 (Dense(12, 3))"
    assert "learning rate" in str(error)


def test_a_bad_number_in_running_statistics_is_no_matter_of_training():
    model = made()
    model[1].variance.value[0] = np.nan
    assert len(run(model, Recipe(epochs=1))) == 2


def test_a_training_that_explodes_stops_at_the_weights_of_the_step_before():
    model = made(lambda rng: Sequential(Dense(6, 12, rng=rng), ReLU(), Dense(12, 12, rng=rng), Dense(12, 3, rng=rng)))
    error, last = until_it_fails(model, separable(), SGD(1e13), validation=separable(20))
    assert_equal(weights(model), last)
    assert error.step > 0
    assert error.where.startswith("the output of layers.")
    assert "learning rate a tenth as large" in str(error)


def test_a_validation_that_overflows_is_reported_not_raised():
    """The epoch's one step made the weights explode; the next one will say so."""
    model = made(lambda rng: Sequential(Dense(6, 9, rng=rng), ReLU(), Dense(9, 3, rng=rng)))
    recipe = Recipe(epochs=2, batch_size=90)
    training = fit(model, LOSS, SGD(1e25), separable(), recipe, validation=separable(600), threads=2)
    step, epoch = islice(training, 2)
    assert np.isfinite(step.loss)
    assert not np.isfinite(epoch.validation["loss"])
    assert not epoch.best
    with pytest.raises(NonFiniteLoss, match=r"step 1 \(epoch 1\)"):
        next(training)


def test_a_bad_target_or_weight_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="target of example 2 is not a finite number"):
        Examples(np.ones((4, 2), np.float32), np.array([1, 2, np.nan, 3], np.float32))
    for weight in ([1, 1, -1, 1], [1, 1, np.inf, 1]):
        with pytest.raises(ValueError, match="weights of examples are finite numbers from 0 up"):
            Examples(np.ones((4, 2), np.float32), np.zeros(4), np.array(weight))


def test_an_error_of_the_loss_alone_is_found_in_the_loss():
    data = Examples(np.ones((4, 2), np.float32), np.full(4, 3e38, np.float32))  # its square is beyond float32
    with pytest.raises(NonFiniteLoss, match="first not finite: the loss"):
        run(made(lambda rng: Dense(2, 1, rng=rng)), Recipe(), loss=MeanSquaredError(), data=data)


def test_an_epoch_that_ends_in_weights_that_are_not_finite_is_no_success():
    model = made(lambda rng: Dense(2, 2, rng=rng))
    data = Examples(np.eye(2, dtype=np.float32), np.arange(2))
    with pytest.raises(NonFiniteLoss, match="the weights, after the last update"):
        run(model, Recipe(epochs=1, batch_size=2), optimizer=SGD(1e39), data=data)


def test_a_state_that_is_used_again_goes_on_where_it_stands():
    data = Examples(np.random.default_rng(0).random((32, 2), np.float32), np.arange(32) % 2)
    recipe = Recipe(epochs=3, batch_size=8, average=0.9)

    def train(stops):
        model, state = made(lambda rng: Dense(2, 2, rng=rng)), State()
        for stop in (*stops, None):
            events = fit(model, SoftmaxCrossEntropy(), Adam(0.1), data, recipe, state=state)
            for step, _ in enumerate(events):
                if step == stop:
                    break
            events.close()
        return model.weight.value

    np.testing.assert_array_equal(train([2, 3]), train([]))


def test_a_finite_training_is_not_disturbed_by_watching_for_bad_numbers():
    model = made()
    run(model, Recipe(epochs=2))
    assert all(type(layer) in (Dense, BatchNorm, ReLU, Dropout) for layer in model.layers)


# --- an orderly end -------------------------------------------------------------------------------


def blas():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("recipe", [Recipe(lanes=2), Recipe(blas_threads=1)], ids=["lanes", "one lane"])
@pytest.mark.parametrize("ending", ["closed early", "run out", "failed"])
def test_threads_are_given_back_however_a_training_ends(ending, recipe):
    with threadpool_limits(limits=2, user_api="blas"):
        before, alive = blas(), threading.active_count()
        data = separable()
        if ending == "failed":
            data.x[-1] = np.nan
        training = fit(made(), LOSS, Adam(0.01), data, recipe, threads=3)
        if ending == "failed":
            with pytest.raises(NonFiniteLoss):
                list(training)
        else:
            next(training)
            assert set(blas()) == {1}
            if ending == "closed early":
                training.close()
            list(training)
        assert blas() == before
        assert threading.active_count() == alive


class Fails(Layer):
    """Raises on the thread whose share holds the marked example, and remembers which that was."""

    def __init__(self):
        self.failed = []

    def forward(self, x, ctx):
        if (x == 99).any():
            self.failed.append(threading.current_thread())
            raise RuntimeError("a layer failed")
        return x

    def backward(self, dy, ctx):
        return dy


@pytest.mark.parametrize("settings", [{}, {"micro_batch": 9, "threads": 3}, {"blas_threads": 2}])
def test_inference_holds_blas_to_its_threads_and_gives_them_back(settings):
    model = mlp(np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((40, 784)).astype(np.float32)
    with threadpool_limits(1, "blas"):  # as many as others hold
        with Inference(model, **settings) as infer:
            assert set(blas()) == {settings.get("blas_threads", 1)}
            y = infer(x)
        assert set(blas()) == {1}
    np.testing.assert_allclose(y, predict(model, x), rtol=1e-5, atol=1e-5)


def test_an_error_on_the_thread_of_a_lane_reaches_the_caller():
    fails, alive = Fails(), threading.active_count()
    for row in range(4):
        data = Examples(np.zeros((4, 6), np.float32), np.zeros(4, int))
        data.x[row] = 99
        model, state = Sequential(fails, Dense(6, 3, rng=np.random.default_rng(0))), State()
        with pytest.raises(RuntimeError, match="a layer failed"):
            run(model, Recipe(lanes=4, batch_size=4), data=data, threads=4, state=state)
        assert state.step == 0
    assert threading.active_count() == alive
    assert len(fails.failed) == 4
    assert len({*fails.failed, threading.main_thread()}) == 4  # the caller's thread works too, beside three others


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is a whole number from 1 up, not 0"),
        ({"batch_size": -1}, "batch_size is a whole number from 1 up"),
        ({"batch_size": 12.5}, "batch_size is a whole number from 1 up"),
        ({"batch_size": float("nan")}, "batch_size is a whole number from 1 up"),
        ({"lanes": 0}, "lanes is"),
        ({"micro_batch": 0}, "micro_batch is"),
        ({"blas_threads": 0}, "blas_threads is"),
        ({"patience": -1}, "patience is a whole number from 0 up"),
        ({"seed": -1}, "seed is a whole number from 0 up"),
        ({"seed": 0.5}, "seed is a whole number from 0 up"),
        ({"clip_norm": -1.0}, "clip_norm is a finite number from 0 up"),
        ({"clip_value": float("nan")}, "clip_value is a finite number from 0 up"),
        ({"average": 1.0}, "average is from 0 up to, not including, 1"),
        ({"average": float("nan")}, "average is from 0"),
        ({"l1": -1.0}, "l1 is a finite number"),
        ({"l2": float("inf")}, "l2 is a finite number"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_in_words(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


@pytest.mark.parametrize(
    ("recipe", "others", "message"),
    [
        (Recipe(patience=3), {}, "patience needs validation data"),
        (Recipe(monitor="f1"), {"validation": separable(9)}, "f1 cannot be monitored: there is loss"),
        (Recipe(monitor="f1"), {"validation": separable(9), "metrics": ACCURACY}, "there is loss, accuracy"),
        (Recipe(), {"data": separable(dtype=np.float64)}, "the input is float64"),
        (Recipe(), {"data": Examples(separable().x, np.full(90, 3))}, "the model has 3 outputs"),
        (Recipe(), {"data": Examples(separable().x[:, :5], separable().t)}, "takes 6 inputs"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_words(recipe, others, message):
    model = made()
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        run(model, recipe, **others)
    assert_equal(weights(model), before)


def test_adamw_is_adam_with_decay():
    a, b = made(), made()
    run(a, Recipe(epochs=1), optimizer=AdamW(0.01, weight_decay=0.3))
    run(b, Recipe(epochs=1), optimizer=Adam(0.01, weight_decay=0.3))
    assert_equal(weights(a), weights(b))
