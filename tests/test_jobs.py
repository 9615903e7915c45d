"""Trainings that pages ask for: the queue, the process, stopping and going on, what is told, what expires."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from time import monotonic, sleep

import pytest

from apps import jobs, trainer
from apps.errors import InputError
from apps.jobs import Job, Order
from apps.lessons import LESSONS
from apps.mnist.task import MNIST
from apps.training import choose, enough_epochs

SMALL = Order("mnist", "softmax_regression", "sample", "mnist", "small", {"epochs": 3, "lr": 0.01})


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_RUNS", str(tmp_path / "jobs"))


@pytest.fixture
def queue_only(monkeypatch):
    """Nobody trains but the test."""
    monkeypatch.setattr(jobs, "ensure_trainer", lambda: None)


@pytest.mark.usefixtures("queue_only")
def test_a_job_is_trained_told_and_examined():
    job = jobs.submit(SMALL)
    assert job.status()["state"] == "waiting"
    trainer.main(jobs.folder())
    status = job.status()
    assert status["state"] == "finished"
    assert status["metrics"]["accuracy"] > 0.8
    assert len(job.history()) == 3
    assert job.live()[0]["step"] == 1
    assert job.live()[-1]["loss"] < job.live()[0]["loss"]
    assert job.findings() == []
    assert {line["what"] for line in jobs.curves([job])} == {"training", "held out"}


DEEP = "[" * 100_000


@pytest.mark.usefixtures("queue_only")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("order.json", ""),
        ("order.json", DEEP),
        ("order.json", "[]"),
        ("order.json", '{"task": "mnist"}'),
        ("order.json", json.dumps(asdict(SMALL) | {"asked": "x"})),
        ("order.json", json.dumps(asdict(SMALL) | {"asked": None})),
        ("order.json", json.dumps(asdict(SMALL) | {"recipe": 3})),
        ("order.json", json.dumps(asdict(SMALL) | {"columns": {"text": 3}})),
        ("status.json", '{"x": 1}'),
        ("status.json", '{"state": [], "said": ""}'),
        ("status.json", '{"state": "failed"}'),
        ("status.json", '{"state": "finished", "said": ""}'),
        ("status.json", '{"state": "finished", "said": "", "metrics": {}, "examples": 3, "seconds": null}'),
        ("status.json", '{"state": "finished", "said": "", "metrics": {"accuracy": "x"}, "examples": 3, "seconds": 1}'),
        ("status.json", '{"state": "training", "said": "", "steps": 3}'),
    ],
)
def test_a_damaged_job_stands_in_nobodys_way(name, content):
    damaged, sound = jobs.submit(SMALL), jobs.submit(SMALL)
    (damaged.place / name).write_text(content, "utf-8")
    assert jobs.ahead(sound) <= 1
    jobs.expire()
    if name == "order.json":
        assert sound.place in [job.place for job in jobs.all_jobs()]
        with pytest.raises(InputError, match="no longer here"):
            jobs.find(damaged.name)
    else:
        assert damaged.status() == {"state": "failed", "said": "Its files are damaged: start it again."}
    trainer.main(jobs.folder())
    assert sound.status()["state"] == "finished"


@pytest.mark.usefixtures("queue_only")
def test_lines_that_cannot_be_drawn_are_left_out():
    job = jobs.submit(SMALL)
    good = '{"step": 1, "loss": 2.0}'
    bad = ["3", "[1]", "null", '"x"', '{"step": 1, "loss": "x"}', '{"step": 1}', "{", DEEP, '{"step": 1, "loss": NaN}']
    (job.place / "live.jsonl").write_text("\n".join([good, *bad, good, '{"step": 9, "lo']), "utf-8")
    assert job.live() == [json.loads(good)] * 2
    with job.open_live(resumes=True) as live:
        live.write(good + "\n")
    assert job.live() == [json.loads(good)] * 3  # nothing was written behind a line that was cut off
    for findings in (None, 3, [1], [{}], {"layer": "x"}):
        (job.place / "doctor.json").write_text(json.dumps({"findings": findings}), "utf-8")
        assert job.findings() == []
    line = {"epoch": 0, "step": 12, "loss": 1.0, "lr": 0.1, "seconds": 1.0, "validation": {"loss": 1.0}, "layers": []}
    job.run.folder.mkdir()
    for change in ({"layers": 3}, {"layers": [{}]}, {"layers": [{"name": "x", "gradient": "y"}]}, {"step": [1]}):
        job.run.history.write_text(json.dumps(line | change) + "\n", "utf-8")
        assert job.history() == []
    del line["step"]
    job.run.history.write_text(json.dumps(line) + "\n", "utf-8")
    assert job.history() == [line]
    assert {each["what"] for each in jobs.curves([job])} == {"training"}


@pytest.mark.usefixtures("queue_only")
@pytest.mark.parametrize("count", [0, 1, 399, 400, 3000, 100_000])
def test_a_curve_has_few_points_however_long_the_training(count):
    job = jobs.submit(SMALL)
    told = [{"step": i + 1, "loss": 1.0, "accuracy": 0.5} for i in range(count)]
    (job.place / "live.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told), "utf-8")
    steps = [line["step"] for line in jobs.curves([job])]
    assert len(steps) <= jobs.MOST_POINTS
    assert steps[:1] == [1][:count]
    assert steps[-1:] == [count][:count]
    assert len({b - a for a, b in pairwise(steps[:-1])}) <= 1
    (job.place / "live.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told[:-1]), "utf-8")
    assert len({*steps} - {line["step"] for line in jobs.curves([job])}) <= 1  # where a point is, it was before


@pytest.mark.usefixtures("queue_only")
def test_a_stopped_job_goes_on_to_the_same_bits(monkeypatch):
    whole, cut = jobs.submit(SMALL), jobs.submit(SMALL)
    asked = []

    def is_to_stop(job):
        asked.append(job)
        return job.place == cut.place and len(asked) == 15

    with monkeypatch.context() as patch:
        patch.setattr(Job, "is_to_stop", property(is_to_stop))
        trainer.work(whole)
        asked.clear()
        trainer.work(cut)
    assert cut.status()["state"] == "stopped"
    cut.resume()
    trainer.main(jobs.folder())
    assert cut.status()["state"] == "finished"
    one, other = ((job.run.folder / "model.safetensors").read_bytes() for job in (whole, cut))
    assert one == other


@pytest.mark.usefixtures("queue_only")
def test_jobs_wait_in_order_and_a_waiting_one_can_leave():
    first, second, third = (jobs.submit(SMALL) for _ in range(3))
    assert [jobs.ahead(job) for job in (first, second, third)] == [0, 1, 2]
    second.stop()
    assert jobs.ahead(third) == 1
    trainer.main(jobs.folder())
    assert [job.status()["state"] for job in (first, second, third)] == ["finished", "stopped", "finished"]


def test_a_process_of_its_own_trains_and_stops_when_told():
    job = jobs.submit(Order("mnist", "mlp", "sample", "mnist", "long", {"epochs": 500}))
    wait_for(job, "training")
    assert jobs.is_training()
    job.stop()
    wait_for(job, "stopped")
    assert job.run.state.is_file()


def wait_for(job, state, seconds=120):
    end = monotonic() + seconds
    while job.status()["state"] != state:
        assert monotonic() < end, job.status()
        assert job.status()["state"] != "failed", job.status()
        sleep(0.1)


@pytest.mark.usefixtures("queue_only")
def test_a_second_trainer_leaves_the_work_to_the_first():
    job = jobs.submit(SMALL)
    with jobs.Run(jobs.folder()).locked():
        words = [sys.executable, "-m", "apps.trainer", str(jobs.folder())]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        assert subprocess.run(words, env=environment, timeout=120, check=False).returncode == 0
    assert job.status()["state"] == "waiting"


@pytest.mark.usefixtures("queue_only")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"model": "mlp", "recipe": {"lr": 1e20, "optimizer": "sgd", "schedule": "constant", "epochs": 2}},
            "not finite",
        ),
        ({"recipe": {"optimizer": "none"}}, "optimizer is one of"),
        ({"model": "none"}, "There is no model"),
        ({"task": "none"}, "There is no task"),
        ({"arguments": {"colour": 3}}, "broke off"),
    ],
)
def test_what_cannot_be_trained_says_why_and_the_next_one_is_trained(change, said):
    bad = jobs.submit(Order(**{**vars(SMALL), **change}))
    good = jobs.submit(SMALL)
    trainer.main(jobs.folder())
    assert bad.status()["state"] == "failed"
    assert said in bad.status()["said"]
    assert str(jobs.folder()) not in bad.status()["said"]
    assert good.status()["state"] == "finished"


@pytest.mark.usefixtures("queue_only")
def test_jobs_expire():
    job = jobs.submit(SMALL)
    content = json.loads((job.place / "order.json").read_text("utf-8"))
    (job.place / "order.json").write_text(json.dumps(content | {"asked": content["asked"] - jobs.KEPT - 1}), "utf-8")
    jobs.expire()
    with pytest.raises(InputError, match="expired"):
        jobs.find(job.name)


@pytest.mark.usefixtures("queue_only")
def test_a_job_is_found_by_its_name_alone():
    job = jobs.submit(SMALL)
    assert jobs.find(job.name) == job
    assert len(job.name) == 22
    for name in ("", "..", "../x", job.name[:-1], "x" * 22, f"../jobs/{job.name}"):
        with pytest.raises(InputError):
            jobs.find(name)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.title)
def test_a_lesson_is_made_of_trainings_that_can_begin(lesson, tmp_path):
    assert len({trial.title for trial in lesson.trials}) > 1
    for order in lesson.orders():
        plan = trainer.make_plan(order, tmp_path)
        assert plan.build()
        choose(MNIST, order.model, order.recipe)


REVIEWS = "text,label\n" + "".join(
    f"{'a fine and moving film' if i % 2 else 'a dull and tiresome film'} number {i},{'good' if i % 2 else 'bad'}\n"
    for i in range(60)
)
LOANS = "income,late,defaulted\n" + "".join(f"{20 + i % 37},{i % 5},{int(i % 5 + i % 7 > 6)}\n" for i in range(400))


def ordered(task, model, data="sample", columns=None, **recipe):
    return Order(task, model, data, {"sentiment": "imdb", "credit": "taiwan"}[task], "t", recipe, columns=columns or {})


@pytest.mark.usefixtures("queue_only")
def test_a_sentiment_model_is_trained_on_the_sample_and_on_a_visitors_table():
    jobs.submit(ordered("sentiment", "ngram_linear", epochs=2, validation=0.2))
    jobs.submit(ordered("sentiment", "text_cnn", epochs=1, validation=0.2))
    columns = {"text": "text", "label": "label"}
    order = ordered("sentiment", "ngram_linear", jobs.CSV, columns, epochs=2, validation=0.2)
    brought = jobs.submit(order, REVIEWS.encode())
    assert brought.table.is_file()
    trainer.main(jobs.folder())
    for job in jobs.all_jobs():
        status = job.status()
        assert status["state"] == "finished", status
        assert job.live()[-1]["accuracy"] >= 0
        assert job.history()[-1]["validation"]
        assert (job.run.folder / "model.json").is_file()
    assert json.loads((brought.run.folder / "model.json").read_text("utf-8"))["labels"] == ["bad", "good"]
    assert not brought.table.exists()  # nothing that a visitor brought is kept longer than it is needed


@pytest.mark.usefixtures("queue_only")
def test_a_credit_model_is_trained_stopped_and_goes_on(monkeypatch):
    brought = jobs.submit(ordered("credit", "logistic_woe", jobs.CSV, {"target": "defaulted"}), LOANS.encode())
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(Job, "is_to_stop", property(lambda job: asked.append(job) or len(asked) > 40))
        trainer.work(brought)
    assert brought.status()["state"] == "stopped"
    assert brought.table.is_file()
    brought.resume()
    trainer.main(jobs.folder())
    status = brought.status()
    assert status["state"] == "finished", status
    assert status["metrics"]["roc_auc"] > 0.6
    assert {"model.json", "model.safetensors", "report.html"} <= {each.name for each in brought.run.folder.iterdir()}
    assert jobs.curves([brought])
    assert not brought.table.exists()
    assert all(line["layers"] for line in brought.history())
    assert (brought.place / "doctor.json").is_file()


@pytest.mark.usefixtures("queue_only")
@pytest.mark.parametrize(
    ("order", "table", "said"),
    [
        (
            ordered("sentiment", "ngram_linear", jobs.CSV, {"text": "text", "label": "mood"}),
            REVIEWS,
            "no column 'mood'",
        ),
        (ordered("sentiment", "ngram_linear", jobs.CSV, {"text": "text", "label": "label"}), "text,label\n", "no row"),
        (ordered("credit", "additive", jobs.CSV, {"target": "paid"}), LOANS, "paid"),
        (ordered("credit", "additive", jobs.CSV, {"target": "defaulted"}), LOANS[:40], "2 cells"),
        (ordered("credit", "none"), "", "There is no model"),
        (ordered("credit", "additive", dropout=0.5), "", "no dropout"),
    ],
)
def test_a_table_or_an_order_that_cannot_be_used_says_why(order, table, said):
    job = jobs.submit(order, table.encode())
    trainer.main(jobs.folder())
    status = job.status()
    assert status["state"] == "failed"
    assert said in status["said"]
    assert str(jobs.folder()) not in status["said"]
    assert not job.table.exists()


def test_epochs_that_nobody_chose_are_enough_for_the_share_that_is_used():
    recipe = choose(MNIST, "mlp")[2]
    few = replace(recipe, share=0.01)
    assert enough_epochs(recipe, 60_000) == recipe
    assert enough_epochs(few, 60_000).epochs == enough_epochs(recipe, 600).epochs > recipe.epochs
