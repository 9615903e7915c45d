"""The page that follows a prediction: every number that it shows, against differences and against plain arithmetic."""

import copy
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("PIL", reason="Pillow, of the extra apps, is not installed")
pytest.importorskip("tokenizers", reason="tokenizers, of the extra apps, is not installed")

from apps.credit.table import Table
from apps.inside import small, subjects, sums, tables, trace
from apps.mnist.image import encode
from apps.mnist.pad import A_THREE, draw
from apps.mnist.task import MNIST
from apps.sentiment.task import SENTIMENT
from apps.serving import credit_model, served
from core import Context, Conv2D, Dense, Total
from core.padded import values_of

TEXT = "The pace is slow, but I would not have missed a minute."


def digit(name, noise=0.02):
    """A 3 that is to be an 8; on paper with noise, since where pooling has to choose among equals, there is no slope"""
    network = None if name == "small" else served(MNIST.name, name)
    x = encode(draw(A_THREE))
    x = x + noise * np.random.default_rng(1).random(x.shape, np.float32)
    return subjects.digit(x, network).judged(8)


def applicant(name, part=1):
    model = credit_model(name)
    return subjects.applicant(model, subjects.cells(model), part).judged(1)


SUBJECTS = {
    "two numbers": lambda: subjects.plain(1.0, 0.5, 1.0),
    "small": lambda: digit("small"),
    "softmax_regression": lambda: digit("softmax_regression"),
    "mlp": lambda: digit("mlp"),
    "lenet5": lambda: digit("lenet5"),
    "quick_cnn": lambda: digit("quick_cnn"),
    "resnet": lambda: digit("resnet"),
    "sentence": lambda: subjects.sentence(TEXT, served(SENTIMENT.name, "ngram_linear")).judged(0),
    "additive": lambda: applicant("additive"),
    "logistic_woe": lambda: applicant("logistic_woe"),
}


@pytest.fixture(scope="module", params=list(SUBJECTS))
def case(request):
    """(name, subject, trace)"""
    subject = SUBJECTS[request.param]()
    return request.param, subject, trace.follow(subject.example)


def loss_where(example, change):
    """The loss once `change` has been made to a copy of (model, x)."""
    model, x = copy.deepcopy(example.model), copy.deepcopy(example.x)
    change(model, x)
    return trace.Example(model, x, example.t, example.loss).of(model)[1]


def difference(example, change, h=1e-7):
    """∂L by central differences; change(model, x, ±h)"""
    up, down = (loss_where(example, lambda m, x, s=s: change(m, x, s * h)) for s in (1, -1))
    return (up - down) / (2 * h)


def test_gradients_of_weights_are_slopes_of_the_loss(case):
    _, subject, found = case
    rng, checked = np.random.default_rng(0), 0
    for visit in found.visits:
        for weight in visit.weights:
            if weight.grad is None:
                continue
            places = list(np.ndindex(weight.grad.shape)) if weight.grad.size <= 30 else []
            if not places:
                largest = np.argsort(-np.abs(weight.grad), axis=None)[:2]
                chosen = [*largest, *rng.integers(0, weight.grad.size, 2)]
                places = [np.unravel_index(i, weight.grad.shape) for i in chosen]
            for at in places:

                def nudge(model, _, h, name=f"{visit.name}.{weight.name}", at=at):
                    dict(model.named_parameters())[name].value[at] += h

                slope = difference(subject.example, nudge)
                assert weight.grad[at] == pytest.approx(slope, rel=1e-4, abs=1e-6), (visit.name, weight.name, at)
                checked += 1
    assert checked >= 4


def test_the_gradient_of_the_input_is_the_slope_of_the_loss(case):
    name, subject, found = case
    if values_of(subject.example.x).dtype.kind != "f":
        assert found.visits[0].dx is None
        return
    dx = found.visits[0].dx
    rows = np.argsort(-np.abs(dx), axis=None)[:4]
    for i in rows:

        def nudge(_, x, h, i=i):
            x.reshape(-1)[i] += h

        if name != "additive":  # where a value stands on a knot, there are two slopes
            assert dx.reshape(-1)[i] == pytest.approx(difference(subject.example, nudge), rel=1e-4, abs=1e-6)


def test_each_layer_hands_on_what_the_next_one_takes(case):
    _, _, found = case
    chain = [visit for visit in found.visits if visit.name.count(".") == 1]
    for before, after in pairwise(chain):
        np.testing.assert_array_equal(before.y.reshape(-1), after.x.reshape(-1))
        if before.dy is not None:
            np.testing.assert_array_equal(before.dy.reshape(-1), after.dx.reshape(-1))
    np.testing.assert_array_equal(chain[-1].y, found.y)
    np.testing.assert_array_equal(chain[-1].dy, found.dy)


def test_the_loss_and_where_the_way_back_begins(case):
    name, subject, found = case
    t = subject.example.t.reshape(-1)[0]
    if name == "two numbers":
        loss, dy = (found.y - t) ** 2, 2 * (found.y - t)
    elif len(found.y) == 1:
        p = 1 / (1 + np.exp(-found.y))
        loss, dy = -np.log(p), p - 1
    else:
        p = np.exp(found.y) / np.exp(found.y).sum()
        loss, dy = -np.log(p[t]), p - np.eye(len(p))[t]
        assert list(tables.at_the_loss(subject, found)["p"]) == pytest.approx(list(p))
    assert found.loss == pytest.approx(float(np.squeeze(loss)))
    assert found.dy == pytest.approx(dy)
    assert np.allclose(tables.at_the_loss(subject, found).iloc[:, -1], dy)


def test_one_number_is_the_sum_that_is_shown(case):
    _, subject, found = case
    checked = 0
    for visit in found.visits:
        x_names = subject.called(visit.name, "x", visit.x.size, "x")
        y_names = subject.called(visit.name, "y", visit.y.size, "y")
        is_sum = isinstance(visit.layer, Dense | Conv2D | Total) and not (
            isinstance(visit.layer, Conv2D) and visit.layer.window.dilation != (1, 1)
        )
        for unit in {0, visit.y.size // 2, int(np.abs(visit.y).argmax())}:
            made = sums.output_sum(visit, unit, x_names, "y")
            assert (made is not None) == is_sum
            if made is None:
                continue
            assert made.value == visit.y.reshape(-1)[unit]
            assert made.products.sum() + made.constant == pytest.approx(made.value, rel=1e-9, abs=1e-12)
            frame, hidden = tables.terms(made)
            shown = frame.iloc[:, -1]
            assert shown.iloc[:-1].sum() == pytest.approx(shown.iloc[-1], rel=1e-9, abs=1e-12)
            assert hidden == max(0, len(made.places) - tables.MOST_TERMS) * (len(made.places) > tables.MOST_ROWS)
            checked += 1
        grads = {weight.name: weight.grad for weight in visit.weights}
        if grads.get("weight") is not None and (one := sums.weight_sum(visit, sums.strongest(grads["weight"]), "dW")):
            assert one.products.sum() == pytest.approx(one.value, rel=1e-9)
        for unit in range(0, visit.x.size, 1 + visit.x.size // 3):
            if one := sums.input_sum(visit, unit, y_names, "dx"):
                assert one.products.sum() == pytest.approx(one.value, rel=1e-9, abs=1e-15)
    assert checked or subject.words


def test_the_tables_of_small_layers_hold_every_number(case):
    name, subject, found = case
    for visit in found.visits:
        if not tables.is_small(visit):
            continue
        frame = tables.forward(subject, visit)
        if isinstance(visit.layer, Dense):
            x, w = frame["x"].to_numpy(), frame.iloc[:, 1:].to_numpy()
            np.testing.assert_allclose(x[:-1] @ w[:-1], w[-1])  # inputs and the 1 of the bias; below, the outputs
            np.testing.assert_array_equal(w[-1], visit.y)
        else:
            np.testing.assert_array_equal(frame["y"].dropna(), visit.y)
        if visit.dy is None:
            continue
        back = tables.backward(subject, visit)
        if isinstance(visit.layer, Dense):
            numbers = back.iloc[:, 1:].to_numpy()
            np.testing.assert_array_equal(numbers[0], visit.dy)
            np.testing.assert_allclose(numbers[1 : 1 + len(visit.x)], np.outer(visit.x, visit.dy))
            np.testing.assert_allclose(back["∂L/∂x"].dropna(), visit.dy @ visit.layer.weight.value.T)
        elif "· slope ∂y/∂x" in back:
            np.testing.assert_allclose(back.iloc[:, 0] * back.iloc[:, 1], back.iloc[:, 2], atol=1e-15)
            h = 1e-6
            at = (visit.x[None] + s * h for s in (1, -1))
            up, down = (visit.layer.forward(x, Context(dtype=np.float64, keeps=True)).copy() for x in at)
            np.testing.assert_allclose(back.iloc[:, 1], ((up - down) / (2 * h))[0], rtol=1e-6)
    assert any(map(tables.is_small, found.visits)) or name in (
        "softmax_regression",
        "mlp",
        "lenet5",
        "quick_cnn",
        "resnet",
    )


def test_the_chain_of_factors_multiplies_out(case):
    _, subject, found = case
    frame = tables.chain(found)
    if frame.empty:
        assert subject.words
        return
    assert frame["‖∂L/∂y‖"].iloc[0] == pytest.approx(np.linalg.norm(found.dy))
    assert frame["‖∂L/∂y‖"].iloc[0] * frame["factor"].prod() == pytest.approx(frame["‖∂L/∂x‖"].iloc[-1])
    assert "=" in tables.product(frame)


EXPECTED = {  # the change of one number by the first step of each rule, for gradient g and rate lr
    "sgd": lambda g, lr: -lr * g,
    "momentum": lambda g, lr: -lr * g,
    "adagrad": lambda g, lr: -lr * g / (np.sqrt(g**2) + 1e-10),
    "rmsprop": lambda g, lr: -lr * g / (np.sqrt(0.1 * g**2) + 1e-8),
    "adam": lambda g, lr: -lr * g / (np.abs(g) + 1e-8),
}


@pytest.mark.parametrize("rule", trace.RULES)
@pytest.mark.parametrize("name", ["two numbers", "small", "additive"])
def test_a_step_is_what_its_rule_says(name, rule):
    subject = SUBJECTS[name]()
    found = trace.follow(subject.example)
    done = trace.step(subject.example, found, rule, 1e-3)
    for change in done.changes:
        np.testing.assert_allclose(change.delta, EXPECTED[rule](change.grad, 1e-3), rtol=1e-5, atol=1e-12)
    assert done.foretold == pytest.approx(sum((c.grad * c.delta).sum() for c in done.changes))
    assert done.loss < found.loss

    def move(model, _):
        for change in done.changes:
            dict(model.named_parameters())[change.name].value[...] = change.after

    assert done.loss == pytest.approx(loss_where(subject.example, move), rel=1e-12)
    share, loss = done.curve.T
    assert loss[0] == pytest.approx(found.loss, rel=1e-12)
    assert loss[list(share).index(1.0)] == pytest.approx(done.loss, rel=1e-12)
    if rule == "sgd":
        assert done.foretold == pytest.approx(-1e-3 * found.squares)
    assert done.loss - found.loss == pytest.approx(done.foretold, rel=0.1)  # a short step, a slope that holds
    assert tables.changes(done.changes)["g · Δθ"].sum() == pytest.approx(done.foretold)
    every = tables.every_change(done.changes)
    if every is not None:
        assert len(every) == sum(change.before.size for change in done.changes)
        np.testing.assert_array_equal(every["θ + Δθ"], np.concatenate([c.after.reshape(-1) for c in done.changes]))


@pytest.mark.parametrize(("rule", "lr"), [("muon", 0.1), ("none", 0.1), ("sgd", 0.0)])
def test_no_other_step_is_taken(rule, lr):
    subject = SUBJECTS["two numbers"]()
    with pytest.raises(ValueError, match="a step is one of"):
        trace.step(subject.example, trace.follow(subject.example), rule, lr)


def test_two_numbers_are_those_of_the_page_by_hand():
    """The figures of docs/backpropagation.md, which a test of its own recomputes."""
    subject = SUBJECTS["two numbers"]()
    found = trace.follow(subject.example)
    done = trace.step(subject.example, found, "sgd", 0.1)
    shown = [found.y[0], found.loss, found.dy[0], done.y[0], done.loss, 0.1 * found.squares]
    assert [f"{value:.6f}" for value in shown] == [
        *("0.357585", "0.412698", "−1.284831".replace("−", "-")),
        *("0.585638", "0.171696", "0.293211"),
    ]
    grads = {f"{v.name}.{w.name}": w.grad for v in found.visits for w in v.weights}
    np.testing.assert_allclose(grads["layers.0.weight"], [[-0.132017, 0.219861], [-0.066008, 0.109931]], atol=6e-7)


def test_the_served_networks_are_not_touched():
    networks = [served(MNIST.name, "lenet5").model, served(SENTIMENT.name, "ngram_linear").model]
    networks += [credit_model("additive").members[1].network]
    before = [[p.value.tobytes() for p in network.parameters()] for network in networks]
    kinds = [p.value.dtype for p in networks[0].parameters()]
    for name in ("lenet5", "sentence", "additive"):
        subject = SUBJECTS[name]()
        trace.step(subject.example, trace.follow(subject.example), "adam", 0.1)
    assert [[p.value.tobytes() for p in network.parameters()] for network in networks] == before
    assert kinds == [p.value.dtype for p in networks[0].parameters()]


@pytest.mark.parametrize("name", ["softmax_regression", "lenet5", "resnet"])
def test_the_answer_is_that_of_the_served_network(name):
    subject, network = digit(name, noise=0), served(MNIST.name, name)
    p = np.array(list(subject.answers.values()))[:10]
    z = network.logits(network.encode([draw(A_THREE)]))[0]
    assert subject.example.of(subject.example.model)[0] == pytest.approx(z, abs=1e-3)
    assert (subject.remark == "") == (network.calibration.temperature == 1)
    assert p.argmax() == 3


def test_the_n_grams_of_a_sentence_add_up_to_its_logit():
    subject = SUBJECTS["sentence"]()
    found = trace.follow(subject.example)
    (bag,) = (visit for visit in found.visits if visit.kind == "EmbeddingBag")
    grams = subjects.grams(subject, found)
    bias = next(weight.value for weight in bag.weights if weight.name == "bias")
    assert sum(gram.product for gram in grams) + bias[0] == pytest.approx(bag.y[0])
    assert {"slow", "missed a minute"} & {gram.words for gram in grams}
    for gram in grams:
        assert gram.grad == pytest.approx(gram.ratio * bag.dy[0])
        assert gram.words in " ".join(subject.words)
    assert len(tables.of_grams(grams)) == len(grams)


@pytest.mark.parametrize("name", subjects.CREDIT)
def test_the_applicant_is_scored_as_the_model_scores(name):
    model = credit_model(name)
    told = subjects.cells(model)
    logits = []
    for part in range(len(model.members)):
        subject = subjects.applicant(model, told, part)
        logits.append(subject.example.of(subject.example.model)[0][0])
    expected = model.intercept + model.slope * np.dot(model.weights, logits)
    numbers, _ = model.schema.numbers(Table({name: [cell] for name, cell in told.items()}))
    assert model.logits(numbers)[0] == pytest.approx(expected, abs=1e-4)


def test_a_value_that_cannot_be_used_gets_a_sentence():
    model = credit_model("additive")
    with pytest.raises(subjects.InputError, match="not a finite number"):
        subjects.applicant(model, subjects.cells(model) | {"LIMIT_BAL": "much"}, 0)


@pytest.mark.parametrize("text", ["", "   ", "word " * 400])
def test_a_text_that_cannot_be_followed_gets_a_sentence(text):
    with pytest.raises(subjects.InputError, match="words can be followed"):
        subjects.sentence(text, served(SENTIMENT.name, "ngram_linear"))


def test_the_small_network_is_given_the_mean_ink_of_squares():
    x = np.zeros((1, 1, 28, 28), np.float32)
    x[0, 0, 4:9, 9:14] = 1
    expected = np.zeros(16)
    expected[1] = 1
    np.testing.assert_array_equal(small.pooled(x)[0], expected)
    assert 0.8 < small.small()[1] < 0.95


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.000000"), (-0.0, "0.000000"), (-0.132017, "−0.132017"), (1e-9, "1.00e−09"), (float("nan"), "")],
)
def test_figures(value, shown):
    assert tables.figure(value) == shown
