"""Every page of the application, run without a browser: with the shipped weights, and with none."""

import json
import shutil
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

pytest.importorskip("streamlit", reason="streamlit, of the extra apps, is not installed")

import altair as alt
from altair.utils.schemapi import SchemaValidationError
from streamlit.testing.v1 import AppTest
from threadpoolctl import threadpool_info, threadpool_limits

import apps.inside.subjects
import apps.predictor
import apps.serving
from apps import charts
from apps.credit.applicant import fields, filled
from apps.credit.made_up import made_up_table
from apps.credit.table import csv_of
from apps.mnist.misread import read_misread
from apps.mnist.pad import A_THREE
from apps.mnist.task import MNIST
from apps.sentiment.reading import read
from apps.sentiment.task import SENTIMENT
from models import WEIGHTS

HOME = str(Path(__file__).parents[1] / "apps" / "home.py")
PAGES = (
    *("mnist/page.py", "sentiment/page.py", "credit/page.py", "inside/page.py", "train/page.py", "lessons/page.py"),
    "gallery/page.py",
)
SECONDS = 60


@pytest.fixture(autouse=True, scope="module")
def threads_are_given_back():
    """The application holds BLAS to one thread for as long as its process lives; other tests live in this one too."""
    with threadpool_limits():
        yield


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """No model comes with weights; those that are loaded already are forgotten, before and after."""
    kept = apps.serving.served, apps.serving._credit, apps.serving._made_up
    for module in (apps.predictor, apps.serving):
        monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    for each in kept:
        each.cache_clear()
    yield
    for each in kept:
        each.cache_clear()


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
    assert [each.value for each in app.metric] == ["3", "positive", "refused"]
    for name in MNIST.entries:
        assert f"[mnist_{name}](models?card=mnist_{name})" in texts(app) or name not in apps.serving.shipped(MNIST)


def test_a_chart_that_vega_lite_would_not_draw_is_refused_here():
    with pytest.raises(SchemaValidationError):
        charts.Layers(layer=[alt.Chart().mark_bar()], width="as wide as the sky").to_dict()


def test_each_visit_holds_the_products_to_one_thread():
    opened()
    other = Thread(target=threadpool_limits, args=(2, "blas"))  # as some work may that ends late
    other.start()
    other.join()
    opened()
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens(page):
    assert opened(page).title


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("page", [None, *(page for page in PAGES if page != "inside/page.py")])
def test_a_page_without_weights_opens_and_says_so(page):
    app = opened(page)
    assert not app.metric
    if page in (None, "mnist/page.py", "sentiment/page.py", "credit/page.py"):
        assert "weights" in texts(app) or "Train one" in texts(app)


def test_a_drawn_three_is_read_and_its_layers_are_shown():
    app = opened("mnist/page.py", digits_pad={"strokes": A_THREE})
    assert app.metric[0].value == "3"
    assert "sure" in texts(app)
    assert "→ ReLU" in texts(app)


def test_a_drawing_is_there_when_its_visitor_comes_back():
    assert opened("mnist/page.py", digits_strokes=A_THREE).metric[0].value == "3"
    cleared = opened("mnist/page.py", digits_strokes=A_THREE, digits_pad={"strokes": []})
    assert cleared.metric[0].value == "–"


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


def test_a_review_is_read_and_its_words_add_up():
    app = opened("sentiment/page.py", sentiment_field={"text": "A wonderful, moving film."})
    assert app.metric[0].value == "positive"
    reading = read(apps.serving.served("sentiment", SENTIMENT.served), "A wonderful, moving film.")
    assert f"**+{reading.base + reading.total:.2f}**" in texts(app)
    app.session_state["sentiment_field"] = {"text": "A boring waste of time, badly acted."}
    app.run()
    assert app.metric[0].value == "negative"


def test_a_chosen_word_is_left_out_and_replaced():
    app = opened(
        "sentiment/page.py",
        sentiment_field={"text": "A wonderful film"},
        sentiment_words={"chosen": [1, "wonderful"]},
        **{"sentiment_instead 1 wonderful": {"text": "horrible"}},
    )
    assert "without “wonderful”\\: positive" in texts(app)
    assert "with “horrible”\\: positive" in texts(app)


def test_a_word_that_is_no_longer_there_is_not_chosen():
    app = opened("sentiment/page.py", sentiment_field={"text": "x"}, sentiment_words={"chosen": [7, "gone"]})
    assert "without" not in texts(app)


@pytest.mark.parametrize(
    "text", ["", "   ", "<b></b>", "qzxv wvqk", "😭❤️", "\ud800", "<script>alert(1)</script>", "a " * 9000]
)
def test_any_text_is_shown_or_asked_for(text):
    app = opened("sentiment/page.py", sentiment_field={"text": text})
    assert app.metric[0].value in ("–", "uncertain", "positive", "negative")
    assert "<script>" not in texts(app)


@pytest.mark.parametrize("text", [7, None, ["a"], "a" * 20_001])
def test_what_no_field_sends_gets_a_sentence(text):
    app = opened("sentiment/page.py", sentiment_field={"text": text})
    assert "type one" in app.error[0].value or "cut it" in app.error[0].value


def test_every_network_for_texts_is_compared():
    app = opened("sentiment/page.py", sentiment_view="Models side by side")
    assert "every network" in texts(app)


def test_a_table_of_texts_is_answered_and_a_bad_one_gets_a_sentence():
    app = opened("sentiment/page.py")
    table = 'id,review\n1,"A wonderful, moving film."\n2,A boring waste of time.\n'
    app.file_uploader[0].set_value(("reviews.csv", table.encode(), "text/csv")).run()
    assert app.selectbox(key="sentiment_column").value == "review"
    assert list(app.dataframe[0].value["verdict"]) == ["positive", "negative"]
    for content, said in (
        (b"\xff\xfe1,2", "UTF\\-16"),
        (b"a,b\n1\n", "has 1 cells"),
        (b"a;b\n1;2\n", "semicolons"),
        (b"text,verdict\nx,y\n", "rename it"),
        (b"text\n" + b"x\n" * 5001, "more than 5\\,000 rows"),
        (b"![x](http://example.org/x.png)\n", "but no rows"),
    ):
        app.file_uploader[0].set_value(("reviews.csv", content, "text/csv")).run()
        assert not app.exception
        assert said in app.error[0].value


def metric(app, label):
    return next(each.value for each in app.metric if each.label == label)


def test_every_made_up_applicant_gets_what_it_promises():
    app = opened("credit/page.py")
    for name, decision in (("Safe", "accepted"), ("Risky", "refused"), ("Just accepted", "accepted")):
        app.button(key=f"credit example {name}").click().run()
        assert not app.exception
        assert metric(app, "Decision") == decision
        assert ("principal reasons" in texts(app)) == (decision == "refused")


def test_a_slider_moves_the_answer_as_the_model_says():
    app = opened("credit/page.py")
    model = apps.serving.credit_model(apps.serving.shipped_credit()[0])
    app.selectbox(key="credit PAY_0").set_value("3 months late").run()
    asked = fields(model)
    told = {each.feature.name: each.options[app.session_state[f"credit {each.feature.name}"]] for each in asked}
    row = filled(model, asked, told)
    assert metric(app, "Points") == f"{model.points(model.logits(row[None]))[0]:.0f}"


def test_the_smallest_change_turns_the_refusal():
    app = opened("credit/page.py")
    assert metric(app, "Decision") == "refused"
    app.button(key="credit_change").click().run()
    assert metric(app, "Decision") == "accepted"


def test_missing_is_an_answer():
    app = opened("credit/page.py")
    app.select_slider(key="credit LIMIT_BAL").set_value("missing").run()
    assert not app.exception
    assert metric(app, "Decision") in ("accepted", "refused")


@pytest.mark.parametrize("model", ["additive", "logistic_woe"])
def test_the_other_credit_models_answer(model):
    app = opened("credit/page.py")
    app.selectbox(key="credit_model").set_value(model).run()
    assert not app.exception
    assert "exact terms" in texts(app)


def test_the_scorecard_adds_up_for_the_applicant_of_the_form():
    app = opened("credit/page.py", credit_view="The scorecard")
    model = apps.serving.credit_model("additive")
    row = apps.serving.made_up_applicants(apps.serving.shipped_credit()[0])["Refused"]
    assert f"**{model.points(model.logits(row[None]))[0]:.0f}**" in texts(app)
    assert {"feature", "value", "points from"} <= set(app.dataframe[0].value)


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("Scores", "odds of 50 good"),
        ("Cut-off and cost", "cheapest cut-off"),
        ("How good it is", "DeLong"),
        ("Against the training", "Population stability"),
        ("Fairness", "not a verdict of law"),
        ("Table", "The first 1,000 rows"),
    ],
)
def test_a_made_up_portfolio_is_measured(view, said):
    app = opened("credit/page.py", credit_view="A portfolio", credit_made_up=True, credit_portfolio_view=view)
    assert said in texts(app)


def test_the_cut_off_follows_the_cost():
    app = opened("credit/page.py", credit_view="A portfolio", credit_made_up=True)
    app.slider(key="credit_ratio").set_value(1.0).run()
    assert app.slider(key="credit_cut").value == 50.0
    more = metric(app, "Accepted")
    app.slider(key="credit_cut").set_value(5.0).run()
    assert float(metric(app, "Accepted").split()[0]) < float(more.split()[0])


def test_a_portfolio_is_uploaded_and_a_bad_one_gets_a_sentence():
    app = opened("credit/page.py", credit_view="A portfolio")
    names, rows = made_up_table(apps.serving.credit_model("blend"), 60)
    rows[1][0] = "much"
    plain = names.index("SEX")
    short = [[*row[:plain]] for row in rows]  # neither groups nor outcomes
    for heads, table, said in ((names, rows, "row 2"), (names[:plain], short, "Outcomes are not known")):
        app.file_uploader[0].set_value(("a.csv", csv_of(heads, table), "text/csv")).run()
        assert not app.exception
        assert metric(app, "Applicants") == "59"
        assert said in " ".join([texts(app), *(each.value for each in app.warning)])
    for content, said in (
        (b"a,b\n1,2\n", "no column"),
        (b"", "is empty"),
        (b"\x00\x01\xff", "UTF"),
        (csv_of([*names, "pd"], [[*row, "1"] for row in rows]), "already"),
        (csv_of(names, [["x"] * len(names)]), "No row of"),
    ):
        app.file_uploader[0].set_value(("a.csv", content, "text/csv")).run()
        assert not app.exception
        assert said in app.error[0].value


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


def test_a_recipe_without_weights_has_its_card_and_nothing_to_download():
    app = opened("gallery/page.py")
    recipe = next(row for row in apps.serving.results() if not apps.serving.files(row["name"]))
    app.selectbox[0].set_value(recipe["name"]).run()
    assert recipe["command"] in texts(app)
    assert not app.get("download_button")


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


@pytest.mark.parametrize(
    ("what", "key", "names"),
    [
        ("A digit", "inside_network", apps.inside.subjects.digit_networks()),
        ("A sentence", "inside_sentence_network", apps.inside.subjects.sentence_networks()),
        ("An applicant", "inside_credit_network", apps.inside.subjects.credit_networks()),
    ],
)
def test_every_station_of_every_network_is_shown(what, key, names):
    for name in names:
        app = inside(inside_what=what)
        app.selectbox(key=key).set_value(name).run()
        for station in stations(app):
            app.selectbox(key="inside_at").set_value(station).run()
            assert not app.exception, (name, station)
            assert f"#### {station}" in texts(app)


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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("order.json", "[]"),
        ("order.json", json.dumps(dict.fromkeys(("task", "model", "data", "dataset", "title"), "x"))),
        ("status.json", '{"state": "finished", "said": ""}'),
        ("live.jsonl", '3\n{"step": 1, "loss": "x"}\n'),
        ("doctor.json", '{"findings": [{}]}'),
        (
            "run/history.jsonl",
            '{"epoch": 0, "loss": 1, "lr": 1, "seconds": 1, "validation": {"loss": 1}, "layers": 3}\n',
        ),
    ],
)
def test_a_damaged_training_is_shown_without_an_exception(name, content, queue_only):
    job = queue_only.submit(queue_only.Order("mnist", "mlp", "sample", "mnist", "t"))
    job.run.folder.mkdir()
    job.tell("finished", metrics={"accuracy": 0.97}, examples=360, seconds=12.0)
    (job.place / name).write_text(content, "utf-8")
    app = AppTest.from_file(HOME, default_timeout=SECONDS)
    app.query_params["runs"] = job.name
    app.run().switch_page("train/page.py").run()
    assert not app.exception
    shown = " ".join([texts(app), *(each.value for each in app.warning)])
    assert ("This training" in shown) == (name == "order.json")
    assert ("Its files are damaged" in shown) == (name == "status.json")


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


@pytest.mark.parametrize(
    ("task", "model", "page", "key"),
    [
        ("mnist", "mlp", "mnist/page.py", None),
        ("sentiment", "ngram_linear", "sentiment/page.py", "sentiment_model"),
        ("credit", "additive", "credit/page.py", "credit_model"),
        ("mnist", "mlp", "inside/page.py", "inside_network"),
        ("sentiment", "ngram_linear", "inside/page.py", "inside_sentence_network"),
        ("credit", "additive", "inside/page.py", "inside_credit_network"),
    ],
)
def test_a_visitors_training_is_chosen_where_its_page_is_opened(task, model, page, key, queue_only):
    dataset = {"mnist": "mnist", "sentiment": "imdb", "credit": "taiwan"}[task]
    job = queue_only.submit(queue_only.Order(task, model, "sample", dataset, "my own"))
    job.run.folder.mkdir()
    for kind in (".safetensors", ".json"):
        shutil.copy(WEIGHTS / f"{task}_{model}{kind}", job.run.folder / f"model{kind}")
    app = AppTest.from_file(HOME, default_timeout=SECONDS)
    app.query_params["run"] = job.name
    app.run().switch_page(page).run()
    assert not app.exception
    box = app.selectbox(key=key) if key else next(each for each in app.selectbox if each.label == "Network")
    assert box.value == f"run:{job.name}"
    assert "your training (my own)" in box.options


@pytest.mark.parametrize("page", ["mnist/page.py", "sentiment/page.py", "credit/page.py", "inside/page.py"])
def test_a_training_that_has_expired_gets_a_sentence(page):
    app = AppTest.from_file(HOME, default_timeout=SECONDS)
    app.query_params["run"] = "x" * 22
    app.run().switch_page(page).run()
    assert not app.exception
    assert "expired" in app.warning[0].value
