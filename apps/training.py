"""The training of a task: a generator around `core.fit` that keeps the run's files, for scripts and pages alike."""

from __future__ import annotations

import inspect
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from time import perf_counter
from typing import Any

import numpy as np

from apps.calibration import Calibration, calibrate
from apps.errors import InputError
from apps.run import Facts, Run
from apps.start import begin_with, freeze
from apps.task import Encoder, Recipe, Task, TaskData
from core import (
    Array,
    CheckpointError,
    Epoch,
    Examples,
    Ragged,
    Sequential,
    State,
    Step,
    Summary,
    cores,
    fit,
    predict,
    split,
    summary,
)
from core.metrics import confusion_matrix
from core.parallel import blas_threads
from core.state import StateError
from models import ZOO, build

SAVE_EVERY = 20.0  # seconds, within an epoch
LEAST_UPDATES = 480  # of a training whose number of epochs nobody chose
HELD_OUT = 0  # the key of what is held out: the same for every seed, so that trainings compare, and join in an ensemble


@dataclass(frozen=True)
class Plan:
    """Which model of the zoo is trained on what, and how: all that a run depends on.

    start   the zoo entry or run whose weights it begins with; empty: fresh ones
    frozen  how many of the first layers with weights are left as they are
    encoder what encoded the data, where the task learns it (`prepare` did)
    taught  {name: weights} that were learned before, as `Task.learn_from` takes them
    teacher the zoo entry or run that labelled `more`; empty: there is none
    more    examples of a teacher's, learned from beside the others; none of them is held out
    """

    task: Task
    data: TaskData
    dataset: str
    model: str
    arguments: Mapping[str, Any]
    recipe: Recipe
    start: str = ""
    frozen: int = 0
    encoder: Encoder | None = None
    taught: Mapping[str, Array] | None = None
    teacher: str = ""
    more: Examples | None = None

    def facts(self) -> Facts:
        """The plan as JSON can hold it."""
        encoder = {} if self.encoder is None else {"encoder": self.encoder.state()}
        more = {} if self.more is None else {"more": {"examples": len(self.more), "labels": self.more.fingerprint()}}
        return encoder | {
            "task": self.task.name,
            "model": self.model,
            "arguments": dict(self.arguments),
            "labels": list(self.data.labels),
            "stranger": self.data.stranger,
            "data": {"name": self.data.name, "dataset": self.dataset, "fingerprint": self.data.fingerprint},
            "recipe": asdict(self.recipe),
            "start": self.start,
            "frozen": self.frozen,
            "teacher": self.teacher,
            **more,
        }

    def build(self, fresh: bool = True) -> Sequential:
        """The model before its training; not `fresh` where its weights are to come from a state.

        Raises InputError where it cannot begin with `start`, or no layer would be left to learn; CheckpointError where
        what it begins with is damaged.
        """
        model = build(self.model, self.arguments, rng=np.random.default_rng(self.recipe.seed))
        if self.start and fresh:
            begin_with(model, self.task, self.model, self.start, self.data.labels)
        freeze(model, self.frozen)
        return model


@dataclass(frozen=True)
class Result:
    """A finished training, measured on the test split.

    confusion  (K, K), row = true class
    known      share of the examples that the model takes for one of its classes
    seconds    of training alone, over all sittings
    """

    metrics: dict[str, float]
    examples: int
    confusion: np.ndarray
    known: float
    seconds: float


def choose(
    task: Task, model: str | None = None, changes: Mapping[str, Any] | None = None, dataset: str | None = None
) -> tuple[str, dict[str, Any], Recipe]:
    """(name in the zoo, arguments, recipe): the task's entry for a model, with some fields of its recipe changed.

    dataset: the task's first where none is given.

    Raises InputError for a model the task does not know, or a value out of range.
    """
    name = model or task.model
    if name not in task.entries:
        raise InputError(f"There is no model {name!r} for {task.name}: choose one of {', '.join(task.entries)}.")
    changes = changes or {}
    try:
        recipe = replace(task.entries[name].recipe_for(dataset), **changes)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{error}.") from None
    if recipe.monitor not in {"loss", *task.metrics}:
        raise InputError(f"monitor is one of loss, {', '.join(task.metrics)}, not {recipe.monitor}.")
    if (recipe.augment or recipe.outliers) and task.augment is None:
        raise InputError(f"{task.name} has no way to change its examples: leave --augment and --outliers out.")
    if recipe.unlabelled and task.before is None:
        raise InputError(f"{task.name} has no unlabelled examples: leave --unlabelled out.")
    takes_dropout = "dropout" in inspect.signature(ZOO[name]).parameters
    if changes.get("dropout") and not takes_dropout:
        raise InputError(f"{name} has no dropout: leave --dropout out, or choose another model.")
    arguments = dict(task.entries[name].arguments) | ({"dropout": recipe.dropout} if takes_dropout else {})
    if recipe.outliers:
        arguments["outputs"] += 1  # for what is of no class
    return name, arguments, recipe


def enough_epochs(recipe: Recipe, examples: int) -> Recipe:
    """The recipe with more epochs where the data are so few that LEAST_UPDATES would not be reached."""
    batches = recipe.steps(max(1, round(examples * recipe.share))) // recipe.epochs
    return replace(recipe, epochs=max(recipe.epochs, -(-LEAST_UPDATES // batches)))


def prepare(plan: Plan) -> Plan:
    """The plan with the share of its examples that is used, and these encoded, where the task learns how from them."""
    task, data = plan.task, plan.data
    if plan.recipe.share < 1:
        _, few = split(len(data.train), plan.recipe.share, plan.recipe.seed)
        data = replace(data, train=data.train.part(few), groups=None if data.groups is None else data.groups[few])
    if task.fit_encoder is None:
        return replace(plan, data=data)
    encoder = task.fit_encoder(hold_out(data.train, plan.recipe.validation, data.groups)[0])
    data = replace(data, train=encoder.examples(data.train), test=encoder.examples(data.test))
    arguments = {**plan.arguments, "outputs": len(data.labels), **encoder.sizes()}
    return replace(plan, data=data, arguments=arguments, encoder=encoder)


def describe(plan: Plan, resume: bool = False) -> Summary:
    """The model's layers, and what its training will hold in memory.

    Raises as Plan.build.
    """
    model = plan.build(fresh=not resume)
    x = plan.data.train.x
    optimizer = plan.recipe.make_optimizer(len(x))
    shape = (max(1, int(x.lengths.mean())),) if isinstance(x, Ragged) else x.shape[1:]
    return summary(model, shape, recipe=plan.recipe, optimizer=optimizer, dtype=x.dtype)


def saved_recipe(run: Run) -> tuple[dict[str, Any], Recipe]:
    """({"model", "dataset", "start", "frozen", "teacher"}, recipe) of a run that is to go on.

    Raises InputError where there is no run, CheckpointError where it is damaged.
    """
    if not run.state.is_file():
        raise InputError(f"{run.folder} holds no run to resume: leave --resume out to start one there.")
    _, facts = run.load_state()
    try:
        known = {field.name for field in fields(Recipe)}
        recipe = Recipe(**{name: value for name, value in facts["recipe"].items() if name in known})
        start, frozen = str(facts.get("start", "")), int(facts.get("frozen", 0))
        chosen = {"model": str(facts["model"]), "dataset": str(facts["data"]["dataset"])}
        return chosen | {"start": start, "frozen": frozen, "teacher": str(facts.get("teacher", ""))}, recipe
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{run.state}: the file is damaged ({error})") from None


def train(
    plan: Plan,
    run: Run,
    *,
    resume: bool = False,
    threads: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Step | Epoch | Result]:
    """Train, and keep the run's files up to date: the state after every epoch, and every SAVE_EVERY seconds within.

    Yields the events of `core.fit`, then one Result, unless `stop` says so between two updates; then the state is
    saved first, and a later call with `resume` goes on to the same bits.

    Raises InputError where the folder holds another run or is in use by another training, CheckpointError where its
    files are damaged, NonFiniteLoss where the loss is not a number (what was saved stays).
    """
    learn, held = hold_out(plan.data.train, plan.recipe.validation, plan.data.groups)
    if plan.more is not None:
        learn = learn.plus(plan.more)
    model = plan.build(fresh=not resume)
    if not resume:
        run.begin()
    with run.locked():  # before anything in the folder is read or written
        if not resume:
            run.check_free()  # again: another training may have come and gone since
        state, history = _resumed(plan, run) if resume else (State(), [])
        try:
            yield from _train(plan, model, run, state, history, learn, held, threads, stop)
        except StateError as error:
            raise CheckpointError(f"{run.state}: {error}") from None


def _train(
    plan: Plan,
    model: Sequential,
    run: Run,
    state: State,
    history: list[Facts],
    learn: Examples,
    held: Examples | None,
    threads: int | None,
    stop: Callable[[], bool],
) -> Iterator[Step | Epoch | Result]:
    """Follow `core.fit`, and save what it leaves."""
    if (plan.recipe.augment or plan.recipe.outliers) and plan.task.augment is not None:
        learn = plan.task.augment(learn, plan.recipe, plan.dataset)
    if plan.task.initialise is not None:
        plan.task.initialise(model, learn)
    if plan.task.learn_from is not None and plan.taught is not None:
        plan.task.learn_from(model, plan.taught)
    optimizer = plan.recipe.make_optimizer(len(learn))
    loss = plan.task.loss(plan.recipe)
    facts = plan.facts()
    saved = perf_counter()
    events = fit(
        model,
        loss,
        optimizer,
        learn,
        plan.recipe,
        state=state,
        validation=held,
        metrics=plan.task.metrics,
        threads=threads,
    )
    for event in events:
        # after the last step of an epoch comes its end at once, which still needs that step's gradients
        ended = isinstance(event, Epoch)
        closing = isinstance(event, Step) and event.batch + 1 == event.batches
        if isinstance(event, Epoch):
            history.append(_line(event, state))
            run.add_to_history(history[-1])
        halted = not closing and stop()
        due = ended or halted or (not closing and (state.step == 1 or perf_counter() - saved > SAVE_EVERY))
        if due and state.is_finite():  # weights that are not finite end the training at its next step
            run.save_state(state, facts)
            saved = perf_counter()
        if ended:
            run.save_model(state.result(), facts | {"metrics": {}, "versions": versions()})
        yield event
        if halted:
            return
    seconds = sum(line["seconds"] for line in history)
    if plan.task.score is None:
        yield Result({}, 0, np.zeros((0, 0), np.int64), 0.0, seconds)
        return
    if plan.task.calibrate is not None and held is not None:
        plan.task.calibrate(model, held)
    calibration = calibrate(outputs(model, held.x, threads), held.t, len(plan.data.labels)) if held else Calibration()
    result = evaluate_on(
        plan.task, outputs(model, plan.data.test.x, threads), plan.data.test.t, calibration, len(plan.data.labels)
    )
    result = replace(result, seconds=seconds)
    run.save_model(state.result(), facts | {"calibration": calibration.facts()} | measured(result, plan.data.split))
    yield result


def measured(result: Result, split: str = "test") -> Facts:
    """What model.json says of a result."""
    return {"metrics": result.metrics, "split": split, "examples": result.examples, "versions": versions()}


def outputs(model: Sequential, x: Array | Ragged, threads: int | None = None) -> Array:
    """The logits of a model, the same on any number of threads."""
    with blas_threads(1):  # so that the result is that of one thread, whatever their number
        logits = predict(model, x, threads=cores() if threads is None else threads)
    return logits


def evaluate_on(task: Task, z: Array, t: Array, calibration: Calibration, classes: int) -> Result:
    """How good logits z (N, K or K + 1) are, read as the calibration says, where t (N,) are the true classes.

    Raises InputError where they are not finite.
    """
    if not np.isfinite(z).all():
        raise InputError(f"The outputs of this {task.name} model are not finite numbers: it is of no use.")
    assert task.score is not None
    logits = calibration.logits(z, classes)
    confusion = confusion_matrix(t, logits.argmax(axis=1), classes)
    known = float(calibration.knows(z, classes).mean())
    return Result(task.score(logits, t), len(t), confusion, known, 0.0)


def versions() -> dict[str, str]:
    """What a result may depend on, beside the recipe."""
    return {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()}


def _resumed(plan: Plan, run: Run) -> tuple[State, list[Facts]]:
    """The saved state and history. Raises InputError where the plan is not the one that was saved."""
    state, saved = run.load_state()
    now = plan.facts()
    for field, value in now["recipe"].items():
        was = saved["recipe"].get(field)
        if was != value:
            raise InputError(f"{run.folder} was begun with {field} {was}, not {value}: resume it as it was begun.")
    if any(saved.get(key) != json.loads(json.dumps(now[key])) for key in ("task", "model", "arguments")):
        raise InputError(f"{run.folder} trains {saved.get('task')} {saved.get('model')}: resume it with that model.")
    data = saved.get("data") or {}
    if data.get("fingerprint") != now["data"]["fingerprint"]:
        raise InputError(
            f"{run.folder} was begun on {data.get('name')}, and the data now are others ({now['data']['name']}):"
            " give --data as then."
        )
    if saved.get("more") != now.get("more"):
        raise InputError(f"{run.folder} was begun with other labels of {plan.teacher}: give that --teacher as it was.")
    history = run.read_history(state.epoch)
    run.save_history(history)
    return state, history


def hold_out(data: Examples, fraction: float, groups: Array | None = None) -> tuple[Examples, Examples | None]:
    """Examples to learn from, and those that are held out; groups (N,): which belong together, and are not parted.

    Raises InputError where either part would be empty.
    """
    if not fraction:
        return data, None
    try:
        if groups is None:
            learn, held = split(len(data), fraction, HELD_OUT)
        else:
            names = np.unique(groups)
            _, chosen = split(len(names), fraction, HELD_OUT)
            is_held = np.isin(groups, names[chosen])
            learn, held = np.flatnonzero(~is_held), np.flatnonzero(is_held)
    except ValueError as error:
        raise InputError(f"--validation {fraction:g}: {error}.") from None
    return data.part(learn), data.part(held)


def _line(event: Epoch, state: State) -> Facts:
    """One line of history.jsonl"""
    return {
        "epoch": event.epoch,
        "step": state.step,
        "loss": event.loss,
        **event.metrics,
        "validation": event.validation,
        "lr": event.lr,
        "seconds": event.seconds,
        "layers": [asdict(layer) for layer in event.layers],
    }
