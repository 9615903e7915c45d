"""The models that the pages ask: loaded once, shared by all visitors."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from apps.credit.entries import DEFAULT, MODELS
from apps.credit.made_up import examples
from apps.credit.model import CreditModel, load_credit
from apps.errors import InputError
from apps.jobs import Order, find
from apps.predictor import Predictor, open_predictor
from apps.run import Run, description_file
from apps.task import Task
from apps.tasks import TASKS
from core import Array, CheckpointError
from models import CARDS, RESULTS, WEIGHTS

OWN = "run:"  # begins the name of a network that the visitor trained


def shipped(task: Task) -> tuple[str, ...]:
    """The models of a task that come with weights, the one that is served by default first."""
    names = [name for name in task.entries if (WEIGHTS / f"{task.name}_{name}.json").is_file()]
    return tuple(sorted(names, key=lambda name: name != task.served))


@lru_cache(maxsize=32)
def served(task: str, model: str) -> Predictor:
    """The predictor of a shipped model. Raises as open_predictor."""
    return open_predictor(TASKS[task], model=model)


def own(task: str, run: Run) -> Predictor:
    """The predictor of a visitor's own run. Raises InputError where it has left no model yet."""
    try:
        return _own(task, run, (run.folder / "model.json").stat().st_mtime_ns)
    except (CheckpointError, OSError):
        raise InputError("This training has left no network for this task yet, or is gone.") from None


@lru_cache(maxsize=8)
def _own(task: str, run: Run, written: int) -> Predictor:
    return open_predictor(TASKS[task], run=run.folder)


def own_models(task: str, run: str | None) -> tuple[tuple[str, ...], str]:
    """(the model of the training with this id, where it is one for the task and has left one; what to tell a visitor)

    There is something to tell where no such training is here.
    """
    try:
        job = find(run) if run else None
        fits = job is not None and job.order.task == task and (job.run.folder / "model.json").is_file()
        return (f"{OWN}{run}",) if fits else (), ""
    except InputError as error:
        return (), str(error)


def order_of(run: str | None) -> Order | None:
    """What a training was asked to do; None where there is no such training."""
    try:
        return find(run).order if run else None
    except InputError:
        return None


def predictor_of(task: Task, name: str) -> Predictor:
    """A shipped model, or one of `own_models`. Raises InputError, CheckpointError."""
    return own(task.name, find(name.removeprefix(OWN)).run) if name.startswith(OWN) else served(task.name, name)


def called(name: str) -> str:
    """A shipped model's name, or what a training of the visitor's is called."""
    return f"your training ({find(name.removeprefix(OWN)).order.title})" if name.startswith(OWN) else name


def shipped_credit() -> tuple[str, ...]:
    """The credit models that come with weights, the default first."""
    names = [name for name in MODELS if (WEIGHTS / f"credit_{name}.json").is_file()]
    return tuple(sorted(names, key=lambda name: name != DEFAULT))


def credit_model(name: str) -> CreditModel:
    """A shipped credit model, or one of `own_models`. Raises InputError, and CheckpointError as `load_credit`."""
    return _credit(*_place(name))


def made_up_applicants(name: str) -> Mapping[str, Array]:
    """{what they are like: an applicant (F,)} to try a credit model on. Raises as `credit_model`."""
    return _made_up(*_place(name))


def _place(name: str) -> tuple[Path, int]:
    """(the stem of a credit model's files, when they were written)"""
    stem = find(name.removeprefix(OWN)).run.folder / "model" if name.startswith(OWN) else WEIGHTS / f"credit_{name}"
    try:
        return stem, description_file(stem).stat().st_mtime_ns
    except OSError:
        raise InputError("This model is gone, or its training has not left it yet.") from None


@lru_cache(maxsize=8)
def _credit(stem: Path, written: int) -> CreditModel:
    return load_credit(stem)


@lru_cache(maxsize=8)
def _made_up(stem: Path, written: int) -> Mapping[str, Array]:
    return examples(_credit(stem, written))


def results() -> list[dict[str, str]]:
    """The rows of the zoo's table, as its file has them."""
    with open(RESULTS, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def card(name: str) -> str | None:
    """The card of a model, in Markdown; None where there is no such model."""
    known = {path.stem: path for path in CARDS.glob("*.md")}
    return known[name].read_text("utf-8") if name in known else None


def files(name: str) -> Mapping[str, bytes]:
    """{file name: content} of a shipped model's weights and description; empty where it ships none."""
    known = {path.stem for path in WEIGHTS.glob("*.json")}
    paths = [WEIGHTS / f"{name}.{kind}" for kind in ("safetensors", "json")] if name in known else []
    return {path.name: path.read_bytes() for path in paths if path.is_file()}
