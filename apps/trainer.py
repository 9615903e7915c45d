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

from apps.credit import training as credit
from apps.credit.command_line import finish
from apps.credit.data import Choices
from apps.credit.data import load as load_applicants
from apps.errors import InputError
from apps.jobs import CSV, ENDED, Job, Order, all_jobs
from apps.run import Run, load_model
from apps.task import TaskData
from apps.tasks import TASKS
from apps.training import Plan, Result, choose, enough_epochs, prepare, train
from core import CheckpointError, Context, NonFiniteLoss, Step, write_atomically
from core.diagnostics import LayerReport, diagnose, inspect

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
        resumes = job.run.state.is_file()
        if job.order.task == "credit":
            follow_credit(job, make_credit_plan(job.order, job.table), resumes)
        else:
            follow(job, make_plan(job.order, job.table), resumes)
    except (InputError, CheckpointError) as error:
        said = str(error).replace(str(job.table), "Your table").replace(job.table.name, "your table")
        job.tell("failed", said.replace(str(job.place), "the run"))
    except NonFiniteLoss as error:
        job.tell("failed", f"{str(error)[:1].upper()}{str(error)[1:]}.")
    except Exception as error:  # a fault of ours; without this the queue would stand still
        job.tell("failed", f"The training broke off ({type(error).__name__}).")
        print(repr(error), file=sys.stderr)
    if job.status()["state"] in ENDED:
        job.table.unlink(missing_ok=True)


def make_plan(order: Order, table: Path) -> Plan:
    """table: the visitor's, where the order says so. Raises InputError where the order cannot be met."""
    if order.task not in TASKS:
        raise InputError(f"There is no task {order.task!r}.")
    task = TASKS[order.task]
    name, arguments, recipe = choose(task, order.model, order.recipe)
    if order.data == CSV and task.load_csv is not None:
        data = task.load_csv(table, order.columns.get("text", ""), order.columns.get("label", ""))
    else:
        data = task.load(order.data or None, order.dataset)
    data = shortened(data, order.examples)
    if "epochs" not in order.recipe:
        recipe = enough_epochs(recipe, len(data.train))
    return prepare(Plan(task, data, order.dataset, name, arguments | dict(order.arguments), recipe))


def make_credit_plan(order: Order, table: Path) -> credit.Plan:
    """The same for a credit model."""
    choices = Choices(csv=table, target=order.columns.get("target")) if order.data == CSV else None
    data = load_applicants(order.data or None, order.dataset if order.data != CSV else "taiwan", choices)
    return credit.Plan(data, order.model, credit.choose(order.model, order.recipe, len(data.train)))


def shortened(data: TaskData, examples: int) -> TaskData:
    """The data with the first so many training examples of a fixed shuffle; all where 0."""
    if not 0 < examples < len(data.train):
        return data
    rows = np.random.default_rng(0).permutation(len(data.train))[:examples]
    return replace(data, train=data.train.part(rows), fingerprint=f"{data.fingerprint}-{examples}")


def follow(job: Job, plan: Plan, resumes: bool) -> None:
    """Iterate the training, and write what pages show."""
    told, began, seen = 0.0, perf_counter(), 0
    loss, metrics = 0.0, dict.fromkeys(plan.task.metrics, 0.0)
    job.tell("training")
    with job.open_live(resumes) as live:
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


def follow_credit(job: Job, plan: credit.Plan, resumes: bool) -> None:
    """The same for a credit model, which is several networks one after the other."""
    told, began, loss = 0.0, perf_counter(), 0.0
    begun_at: float | None = None
    lines = job.live() if resumes else []
    step = lines[-1]["step"] if lines else 0
    job.tell("training")
    with job.open_live(resumes) as live:
        for told_of in credit.train(plan, job.run, resume=resumes, stop=lambda: job.is_to_stop):
            if isinstance(told_of, credit.Trained):
                metrics = finish(job.run, plan, told_of)
                job.tell("finished", metrics=metrics, examples=len(plan.data.test), seconds=told_of.seconds)
                return
            event = told_of.event
            if not isinstance(event, Step):
                write_findings(job, told_of.examine())
                continue
            step += 1
            fresh = 1.0 if event.step == 1 else 0.1
            loss += fresh * (event.loss - loss)
            if monotonic() - told < EVERY:
                continue
            told = monotonic()
            live.write(json.dumps({"step": step, "loss": loss}) + "\n")
            live.flush()
            epochs = plan.parts[told_of.part].epochs
            done = (told_of.job + event.step / (epochs * event.batches)) / told_of.jobs
            begun_at = done if begun_at is None else begun_at
            left = (perf_counter() - began) * (1 - done) / max(done - begun_at, 1e-3)
            what = f"network {told_of.job + 1} of {told_of.jobs} ({told_of.part})"
            job.tell("training", step=done, steps=1.0, left=left, what=what)
    job.tell("stopped")


def tell_progress(job: Job, event: Step, total: int, rate: float, plan: Plan) -> None:
    left = (total - event.step) * event.examples / rate
    more: dict[str, Any] = {"step": event.step, "steps": total, "rate": rate, "left": left, "unit": plan.task.unit}
    what = f"epoch {event.epoch + 1} of {plan.recipe.epochs}"
    job.tell("training", what=what, **more)


def examine(job: Job, plan: Plan) -> None:
    """Let the doctor look at the weights of the epoch that has ended."""
    model, _ = load_model(job.run.folder / "model", plan.task.name)
    examples = plan.data.train
    x, t, _ = examples.take(np.arange(min(PATIENT, len(examples))), 0, Context())
    write_findings(job, inspect(model, plan.task.loss(plan.recipe), x, t))


def write_findings(job: Job, reports: list[LayerReport]) -> None:
    content = {"findings": [asdict(each) for each in diagnose(reports)]}
    write_atomically(job.place / "doctor.json", json.dumps(content).encode())


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
