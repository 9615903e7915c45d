"""The process that trains what the pages ask for: python -m apps.trainer FOLDER; see apps/jobs.py"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from apps.errors import InputError
from apps.jobs import Job, Order, all_jobs
from apps.run import Run, load_model
from apps.task import TaskData
from apps.tasks import TASKS
from apps.training import Plan, Result, choose, enough_epochs, train
from core import CheckpointError, Examples, NonFiniteLoss, Step, write_atomically
from core.diagnostics import diagnose, inspect

EVERY = 0.25  # seconds between two lines that pages read
PATIENT = 128  # examples the doctor looks at


def main(folder: Path) -> int:
    """Train what waits, the oldest first, until nothing does. Ends at once where another trainer is at work."""
    os.environ["ZOO_RUNS"] = str(folder)
    try:
        with Run(folder).locked():
            while job := next((each for each in all_jobs() if each.status()["state"] == "waiting"), None):
                work(job)
    except InputError:
        return 0  # another trainer does it
    return 0


def work(job: Job) -> None:
    """One job, to its end or until it is to stop; what goes wrong becomes its status."""
    try:
        job.tell("loading", "The data are being read.")
        plan = make_plan(job.order)
        resumes = job.run.state.is_file()
        follow(job, plan, resumes)
    except (InputError, CheckpointError) as error:
        job.tell("failed", str(error).replace(str(job.place), "the run"))
    except NonFiniteLoss as error:
        job.tell("failed", f"{str(error)[:1].upper()}{str(error)[1:]}.")
    except Exception as error:  # a fault of ours; without this the queue would stand still
        job.tell("failed", f"The training broke off ({type(error).__name__}).")
        print(repr(error), file=sys.stderr)


def make_plan(order: Order) -> Plan:
    """Raises InputError where the order cannot be met."""
    if order.task not in TASKS:
        raise InputError(f"There is no task {order.task!r}.")
    task = TASKS[order.task]
    name, arguments, recipe = choose(task, order.model, order.recipe)
    data = shortened(task.load(order.data or None, order.dataset), order.examples)
    if "epochs" not in order.recipe:
        recipe = enough_epochs(recipe, len(data.train))
    return Plan(task, data, order.dataset, name, arguments | dict(order.arguments), recipe)


def shortened(data: TaskData, examples: int) -> TaskData:
    """The data with the first so many training examples of a fixed shuffle; all where 0."""
    if not 0 < examples < len(data.train):
        return data
    rows = np.random.default_rng(0).permutation(len(data.train))[:examples]
    train = Examples(data.train.x[rows], data.train.t[rows])
    return replace(data, train=train, fingerprint=f"{data.fingerprint}-{examples}")


def follow(job: Job, plan: Plan, resumes: bool) -> None:
    """Iterate the training, and write what pages show."""
    told, began, seen = 0.0, perf_counter(), 0
    loss, metrics = 0.0, dict.fromkeys(plan.task.metrics, 0.0)
    job.tell("training")
    if not resumes:
        (job.place / "live.jsonl").write_text("", "utf-8")
    with open(job.place / "live.jsonl", "a", encoding="utf-8") as live:
        for event in train(plan, job.run, resume=resumes, stop=lambda: job.is_to_stop):
            if isinstance(event, Result):
                job.tell("finished", metrics=event.metrics, examples=event.examples, seconds=event.seconds)
                return
            if not isinstance(event, Step):
                examine(job, plan)
                continue
            seen += event.examples
            fresh = 1.0 if seen == event.examples else 0.1  # smoothed over about ten batches
            loss += fresh * (event.loss - loss)
            for name, value in event.metrics.items():
                metrics[name] += fresh * (value - metrics[name])
            total = plan.recipe.epochs * event.batches
            if monotonic() - told < EVERY and event.step not in (1, total):
                continue
            told = monotonic()
            live.write(json.dumps({"step": event.step, "loss": loss} | metrics) + "\n")
            live.flush()
            tell_progress(job, event, total, seen / max(perf_counter() - began, 1e-9), plan)
    job.tell("stopped")


def tell_progress(job: Job, event: Step, total: int, rate: float, plan: Plan) -> None:
    left = (total - event.step) * event.examples / rate
    more: dict[str, Any] = {"step": event.step, "steps": total, "rate": rate, "left": left, "unit": plan.task.unit}
    job.tell("training", epoch=event.epoch + 1, epochs=plan.recipe.epochs, **more)


def examine(job: Job, plan: Plan) -> None:
    """Let the doctor look at the weights of the epoch that has ended."""
    model, _ = load_model(job.run.folder / "model", plan.task.name)
    batch = plan.data.train.x[:PATIENT], plan.data.train.t[:PATIENT]
    reports = inspect(model, plan.task.loss(plan.recipe), *batch)
    content = {"findings": [asdict(each) for each in diagnose(reports)]}
    write_atomically(job.place / "doctor.json", json.dumps(content).encode())


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
