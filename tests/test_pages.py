"""Every page of the application, run without a browser: with the shipped weights, and with none."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("streamlit", reason="streamlit, of the extra apps, is not installed")

from streamlit.testing.v1 import AppTest

import apps.inside.subjects
import apps.predictor
import apps.serving
from apps.mnist.misread import read_misread
from apps.mnist.pad import A_THREE
from apps.mnist.task import MNIST

HOME = str(Path(__file__).parents[1] / "apps" / "home.py")
PAGES = ("mnist/page.py", "inside/page.py", "train/page.py", "lessons/page.py", "gallery/page.py")
SECONDS = 60


@pytest.fixture(autouse=True)
def fresh():
    apps.serving.served.cache_clear()
    yield
    apps.serving.served.cache_clear()


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    for module in (apps.predictor, apps.serving, apps.inside.subjects):
        monkeypatch.setattr(module, "WEIGHTS", tmp_path)


def opened(page=None, **state):
    app = AppTest.from_file(HOME, default_timeout=SECONDS)
    for name, value in state.items():
        app.session_state[name] = value
    app.run()
    if page:
        app.switch_page(page).run()
    assert not app.exception
    return app


def texts(app):
    return " ".join(str(each.value) for kind in ("markdown", "caption", "info", "error") for each in app.get(kind))


def test_home_shows_the_tasks_with_an_example_and_the_zoo():
    app = opened()
    assert [each.value for each in app.metric] == ["3"]
    for name in MNIST.entries:
        assert f"[mnist_{name}](models?card=mnist_{name})" in texts(app) or name not in apps.serving.shipped(MNIST)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens(page):
    assert opened(page).title


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("page", [None, *(page for page in PAGES if page != "inside/page.py")])
def test_a_page_without_weights_opens_and_says_so(page):
    app = opened(page)
    assert not app.metric
    if page in (None, "mnist/page.py"):
        assert "weights" in texts(app) or "Train one" in texts(app)


def test_a_drawn_three_is_read_and_its_layers_are_shown():
    app = opened("mnist/page.py", digits_pad={"strokes": A_THREE})
    assert app.metric[0].value == "3"
    assert "sure" in texts(app)
    assert "→ ReLU" in texts(app)


@pytest.mark.parametrize("view", ["Which pixels matter", "Models side by side"])
def test_the_other_views_open(view):
    app = opened("mnist/page.py", digits_pad={"strokes": A_THREE}, digits_view=view)
    assert ("backpropagation" if "pixels" in view else "every network") in texts(app)


def test_every_network_can_be_chosen():
    for name in apps.serving.shipped(MNIST):
        app = opened("mnist/page.py", digits_pad={"strokes": A_THREE}, digits_every=True)
        app.selectbox[0].set_value(name).run()
        assert app.metric[0].value == "3", name


def test_a_blank_pad_asks_for_a_digit():
    app = opened("mnist/page.py")
    assert app.metric[0].value == "–"
    assert "Draw, upload or choose" in texts(app)


@pytest.mark.parametrize("strokes", ["x", [[1, 2]], [["a", 1, 2]], [[70, float("nan"), 3]], [[70, 1, 2]] * 201])
def test_a_damaged_drawing_gets_a_sentence(strokes):
    app = opened("mnist/page.py", digits_pad={"strokes": strokes})
    assert "clear the pad" in app.error[0].value


def test_an_uploaded_picture_is_read_and_a_bad_one_gets_a_sentence():
    from io import BytesIO

    from apps.mnist.pad import draw

    file = BytesIO()
    draw(A_THREE).save(file, "PNG")
    app = opened("mnist/page.py", digits_way="Upload")
    app.file_uploader[0].set_value(("three.png", file.getvalue(), "image/png")).run()
    assert app.metric[0].value == "3"
    app.file_uploader[0].set_value(("three.png", b"not a picture", "image/png")).run()
    assert not app.exception
    assert "is not a whole image" in app.error[0].value


def test_an_example_is_read():
    app = opened("mnist/page.py", digits_way="Examples", digits_examples={"chosen": 0})
    assert app.metric[0].value == "0"


def test_a_cell_of_the_confusion_matrix_opens_its_digits():
    app = opened("mnist/page.py")
    box = next(each for each in app.selectbox if each.label == "Misread digits")
    assert len(box.options) > 10
    box.set_value(box.options[1]).run()
    assert not app.exception


def test_the_card_and_the_weights_of_a_model_can_be_had():
    app = AppTest.from_file(HOME, default_timeout=SECONDS)
    app.query_params["card"] = "mnist_lenet5"
    app.run().switch_page("gallery/page.py").run()
    assert not app.exception
    assert "LeNet-5" in texts(app)
    assert "mnist_lenet5.safetensors" in apps.serving.files("mnist_lenet5")


@pytest.mark.parametrize("name", ["../../pyproject", "", "mnist_cnn/../mnist_cnn"])
def test_no_other_file_than_those_of_the_zoo_can_be_had(name):
    assert apps.serving.card(name) is None
    assert not apps.serving.files(name)


def test_a_training_is_asked_for_and_an_old_address_gets_a_sentence(tmp_path, monkeypatch):
    from apps import jobs

    monkeypatch.setenv("ZOO_RUNS", str(tmp_path))
    monkeypatch.setattr(jobs, "ensure_trainer", lambda: None)
    app = opened("train/page.py")
    next(each for each in app.button if each.label == "Start").click().run()
    assert not app.exception
    (job,) = jobs.all_jobs()
    assert app.query_params["runs"] == job.name
    assert "waiting" in texts(app)
    app.query_params["runs"] = "x" * 22
    app.run()
    assert "expired" in app.warning[0].value


def test_models_are_filtered():
    app = opened("gallery/page.py")
    app.select_slider[0].set_value(7850).run()
    shown = app.dataframe[0].value
    assert (shown["parameters"] <= 7850).all()
    assert np.isclose(shown.set_index("name")["mean"]["mnist_softmax_regression"], 0.9274)


def test_the_misread_digits_are_those_of_the_served_weights():
    facts = apps.serving.served(MNIST.name, MNIST.served).facts
    misread = read_misread(f"{MNIST.name}_{MNIST.served}")
    wrong = misread.confusion.sum() - np.trace(misread.confusion)
    assert wrong == len(misread.images) == round(facts["metrics"]["error"] * facts["examples"])


def inside(**state):
    return opened("inside/page.py", **state)


def stations(app):
    return next(each for each in app.selectbox if each.label == "Station").options


@pytest.mark.parametrize("what", ["A digit", "A sentence", "An applicant", "Two numbers"])
def test_a_prediction_is_followed_to_the_end_and_back(what):
    app = inside(inside_what=what)
    names = stations(app)
    assert names[0].endswith("Input")
    assert names[-1].endswith("One step of learning")
    for name in names[1:]:
        app.button(key="inside_go").click().run()
        assert not app.exception
        assert app.session_state.inside_at == name
        assert f"#### {name}" in texts(app)
    assert "The slopes foretell" in texts(app)
    assert app.button(key="inside_go").disabled
    app.button(key="inside_back").click().run()
    assert app.session_state.inside_at == names[-2]


@pytest.mark.usefixtures("no_weights")
def test_without_weights_the_small_network_is_followed_and_the_others_are_missed():
    assert inside().metric[0].value == "3"
    assert inside(inside_what="Two numbers").metric
    for what in ("A sentence", "An applicant"):
        app = inside(inside_what=what)
        assert not app.metric
        assert "No trained network" in texts(app)


def test_the_label_and_the_optimizer_can_be_chosen():
    app = inside()
    loss = next(each for each in app.metric if each.label == "Loss").value
    app.button_group[1].set_value("8").run()
    assert next(each for each in app.metric if each.label == "Loss").value != loss
    app.selectbox(key="inside_at").set_value(stations(app)[-1]).run()
    after = set()
    for rule in ("sgd", "momentum", "adagrad", "rmsprop", "adam"):
        app.selectbox(key="inside_rule").set_value(rule).run()
        assert not app.exception
        after.add(next(each for each in app.metric if each.label == "Loss after").value)
    assert len(after) >= 3


def test_the_numbers_on_the_page_are_those_of_the_page_by_hand():
    app = inside(inside_what="Two numbers")
    app.selectbox(key="inside_at").set_value(stations(app)[-1]).run()
    every = app.dataframe[-1].value
    assert list(every["θ + Δθ"].round(6))[:4] == [0.413202, -0.621986, 0.806601, 0.189007]
    assert "82.2 % of that" in texts(app)


@pytest.mark.parametrize("network", ["lenet5", "vgg", "resnet"])
def test_larger_networks_are_followed_too(network):
    app = inside(inside_network=network)
    for name in stations(app)[1::3]:
        app.selectbox(key="inside_at").set_value(name).run()
        assert not app.exception, name


def test_what_cannot_be_followed_gets_a_sentence():
    app = inside(inside_what="A sentence", inside_text="")
    assert "words can be followed" in app.error[0].value
    app = inside(inside_pad={"strokes": []})
    assert "Draw a digit to follow it." in texts(app)


@pytest.fixture
def queue_only(tmp_path, monkeypatch):
    """Orders wait; nobody trains."""
    from apps import jobs

    monkeypatch.setenv("ZOO_RUNS", str(tmp_path))
    monkeypatch.setattr(jobs, "ensure_trainer", lambda: None)
    return jobs


@pytest.mark.parametrize("task", ["mnist", "sentiment", "credit"])
def test_every_network_of_every_task_can_be_asked_for(task, queue_only):
    from apps.train.offers import networks
    from apps.trainer import make_credit_plan, make_plan

    for model in networks(task)[-2:]:
        app = opened("train/page.py", train_task=task, **{f"train_network {task}": model})
        next(each for each in app.button if each.label == "Start").click().run()
        assert not app.exception
        job = queue_only.all_jobs()[-1]
        assert (job.order.task, job.order.model) == (task, model)
        plan = (make_credit_plan if task == "credit" else make_plan)(job.order, job.table)
        assert plan.model == model


def test_a_visitor_trains_on_a_table_of_their_own(queue_only):
    app = opened("train/page.py", train_task="sentiment", **{"train_data sentiment": "csv"})
    start = next(each for each in app.button if each.label == "Start")
    assert start.disabled
    app.file_uploader[0].set_value(("mine.csv", b"words,mood\nfine,good\ndull,bad\n", "text/csv")).run()
    assert not app.exception
    app.selectbox(key="train_column sentiment text").set_value("words").run()
    next(each for each in app.button if each.label == "Start").click().run()
    (job,) = queue_only.all_jobs()
    assert job.order.columns == {"text": "words", "label": "mood"}
    assert job.table.read_bytes().startswith(b"words,mood")


@pytest.mark.parametrize("table", [b"", b"one\n1\n", b"a,a\n1,2\n", b"\xff\xfe\x00", b"a,,b\n"])
def test_a_table_without_columns_gets_a_sentence(table, queue_only):
    app = opened("train/page.py", train_task="credit", **{"train_data credit": "csv"})
    app.file_uploader[0].set_value(("mine.csv", table, "text/csv")).run()
    assert not app.exception
    assert "file" in app.error[0].value
    assert next(each for each in app.button if each.label == "Start").disabled


@pytest.mark.parametrize("task", ["mnist", "credit"])
def test_a_finished_run_says_how_good_it_is_and_can_be_had(task, queue_only):
    dataset = {"mnist": "mnist", "credit": "taiwan"}[task]
    job = queue_only.submit(queue_only.Order(task, "mlp", "sample", dataset, "t"))
    job.run.folder.mkdir()
    for name in ("model.safetensors", "model.json"):
        (job.run.folder / name).write_text("{}", "utf-8")
    metrics = {"accuracy": 0.97} if task == "mnist" else {"roc_auc": 0.78}
    job.tell("finished", metrics=metrics, examples=360, seconds=12.0)
    app = AppTest.from_file(HOME, default_timeout=SECONDS)
    app.query_params["runs"] = job.name
    app.run().switch_page("train/page.py").run()
    assert not app.exception
    assert ("97.0 % of 360 test images right" if task == "mnist" else "ROC AUC 0.7800") in texts(app)
    assert {each.label for each in app.get("download_button")} >= {"Weights", "Description"}
