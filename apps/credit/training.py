"""Bagging over folds: a network for each part of a model and each fold, then blend, calibration and cut-off.

Every network learns from all folds but its own, with bins, scales and rare categories of those rows alone. What it says
of its own fold is out of fold: blend and calibration are fitted on that, and nothing else ever sees it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from apps.credit.data import Applicants, folds
from apps.credit.encoding import Encoder, arguments, fit_encoder
from apps.credit.entries import ENTRIES, FOLDS, LEAST_UPDATES, MODELS, Entry
from apps.credit.model import (
    CreditModel,
    Member,
    blend_weights,
    calibrate,
    make_references,
    mean_logit,
    percentiles,
    typical,
)
from apps.credit.schema import Schema
from apps.errors import InputError
from apps.run import Facts, Run, description
from apps.task import Recipe
from core import (
    Array,
    BinaryCrossEntropy,
    CheckpointError,
    Context,
    Epoch,
    Examples,
    Sequential,
    State,
    Step,
    fit,
    load_arrays,
    predict,
    save_arrays,
)
from core.checkpoint import put_weights
from core.diagnostics import LayerReport, inspect
from core.metrics import sigmoid
from core.state import StateError
from models import build

Weights = tuple[float, float]
EXAMINED = 256  # examples that a doctor's report looks at


class MembersLoss(BinaryCrossEntropy):
    """The mean over K outputs of their cross-entropy: each member of an ensemble learns from every example."""

    def __call__(
        self, y: Array, t: Array, scale: float, ctx: Context, weight: Array | None = None
    ) -> tuple[float, Array]:
        return super().__call__(y, np.broadcast_to(t.reshape(-1, 1), y.shape), scale, ctx, weight)


class Event(NamedTuple):
    """One network of several has made a step or finished an epoch.

    examine  reports on the layers of the network as it is now, on a few of the examples that it learns from
    """

    part: str
    fold: int
    job: int  # 0-based
    jobs: int
    event: Step | Epoch
    examine: Callable[[], list[LayerReport]]


class Bag:
    """A training of several networks, and where it stands.

    numbers (N, F)   t (N,) 0 or 1   weight (N,) or None: all of the rows to learn from, and no others
    parts   {name of an entry: recipe}
    """

    def __init__(
        self,
        schema: Schema,
        numbers: np.ndarray,
        t: np.ndarray,
        parts: Mapping[str, Recipe],
        *,
        weight: np.ndarray | None = None,
        class_weights: Weights | None = None,
        count: int = FOLDS,
        seed: int = 0,
    ) -> None:
        self.schema, self.numbers, self.t, self.weight = schema, numbers, t, weight
        self.parts, self.class_weights, self.seed = parts, class_weights, seed
        least = int(np.bincount(t, minlength=2).min())
        if least < count:
            raise InputError(f"One class has only {least} rows to learn from: {count} are needed for {count} folds.")
        self.fold = folds(t, count, np.random.default_rng([seed, 0xF01D]))
        self.jobs = [(part, fold) for part in parts for fold in range(count)]
        self.done: list[dict[str, Array]] = []
        self.state = State()
        self.began = False  # whether the network at work has made a step

    def prepare(self, part: str, fold: int) -> tuple[Encoder, Sequential, dict[str, Any]]:
        """The encoder of the rows outside a fold, and the network for it, with fresh weights."""
        entry: Entry = ENTRIES[part]
        rows = self.fold != fold
        weight = None if self.weight is None else self.weight[rows]
        encoder = fit_encoder(entry.form, self.schema, self.numbers[rows], self.t[rows], bins=entry.bins, weight=weight)
        wanted = dict(entry.arguments)
        if entry.architecture in ("mlp", "mlp_ple", "tabm"):
            wanted["dropout"] = self.parts[part].dropout
        told = arguments(encoder, wanted)
        rng = np.random.default_rng([self.seed, list(ENTRIES).index(part), fold])
        return encoder, build(entry.architecture, told, rng=rng), told

    def events(self, threads: int | None = None) -> Iterator[Event]:
        """Train what is left; between two events it may be saved."""
        while len(self.done) < len(self.jobs):
            job = len(self.done)
            part, fold = self.jobs[job]
            encoder, network, _ = self.prepare(part, fold)
            rows = np.flatnonzero(self.fold != fold)
            data = Examples(
                encoder(self.numbers[rows]),
                self.t[rows].astype(np.float32),
                None if self.weight is None else self.weight[rows].astype(np.float32),
            )
            recipe = replace(self.parts[part], seed=self.seed * 1000 + job)
            loss = MembersLoss(label_smoothing=recipe.label_smoothing, class_weights=self.class_weights)
            examine = partial(inspect, network, loss, data.x[:EXAMINED], data.t[:EXAMINED])
            for event in fit(
                network, loss, recipe.make_optimizer(len(data)), data, recipe, state=self.state, threads=threads
            ):
                self.began = True
                yield Event(part, fold, job, len(self.jobs), event, examine)
            self.done.append({name: array.copy() for name, array in self.state.result().items()})
            self.state, self.began = State(), False

    def finish(self, cost: tuple[float, float]) -> tuple[CreditModel, np.ndarray, np.ndarray]:
        """(model, logits out of fold (N,), the same calibrated on the other folds (N,))"""
        members, logits = [], {part: np.empty(len(self.t)) for part in self.parts}
        for (part, fold), arrays in zip(self.jobs, self.done, strict=True):
            encoder, network, told = self.prepare(part, fold)
            put_weights("the training", network, arrays)
            members.append(Member(ENTRIES[part].architecture, told, encoder, network))
            own = self.fold == fold
            logits[part][own] = mean_logit(predict(network, encoder(self.numbers[own])))
        if not all(np.isfinite(each).all() for each in logits.values()):
            raise InputError("The outputs of this credit model are not finite numbers: train with a smaller --lr.")
        weights = blend_weights(list(logits.values()), self.t)
        oof = np.stack(list(logits.values()), axis=1) @ np.array(weights)
        slope, intercept = calibrate(oof, self.t)
        if slope <= 0:
            raise InputError("The model has learned nothing that holds out of fold: check the target and the columns.")
        count = int(self.fold.max()) + 1
        spread = tuple(w / count for w in weights for _ in range(count))
        used = [i for i, w in enumerate(spread) if w > 0]
        model = CreditModel(
            self.schema,
            tuple(members[i] for i in used),
            tuple(spread[i] for i in used),
            slope,
            intercept,
            cost,
            percentiles=percentiles(self.numbers, self.schema),
        )
        p = sigmoid(intercept + slope * oof)
        accepted = np.argsort(np.where(p < model.cut, -p, np.inf), kind="stable")
        pool = self.numbers[accepted[: max(50, len(p) // 20)]]  # the twentieth next to the cut-off
        rng = np.random.default_rng([self.seed, 0xEF])
        references = make_references(model, pool, rng)
        model = replace(model, references=references, typical=typical(pool, self.schema))
        return model, oof, self._cross_calibrated(oof)

    def _cross_calibrated(self, oof: np.ndarray) -> np.ndarray:
        """Logits of each fold, calibrated on the others: what a calibration is worth on rows it never saw."""
        calibrated = np.empty_like(oof)
        for fold in range(int(self.fold.max()) + 1):
            own = self.fold == fold
            slope, intercept = calibrate(oof[~own], self.t[~own])
            calibrated[own] = intercept + slope * oof[own]
        return calibrated

    def arrays(self) -> dict[str, Array]:
        """All that it takes to go on: finished weights, and the state of the network at work."""
        finished = {f"done.{i}.{name}": array for i, each in enumerate(self.done) for name, array in each.items()}
        now = self.state.arrays() if self.began else {}
        return finished | {f"now.{name}": array for name, array in now.items()}

    def facts(self) -> Facts:
        """Where it stands, as JSON can hold it."""
        return {"done": len(self.done), "state": self.state.facts() if self.began else {}}

    def restore(self, arrays: Mapping[str, Array], facts: Facts) -> None:
        """Stand where `arrays` and `facts` say. Raises ValueError where they make no sense."""
        count = facts["done"]
        if type(count) is not int or not 0 <= count <= len(self.jobs):
            raise ValueError("the number of finished networks makes no sense")
        self.done = [
            {name.split(".", 2)[2]: a for name, a in arrays.items() if name.startswith(f"done.{i}.")}
            for i in range(count)
        ]
        now = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith("now.")}
        self.state, self.began = (State(now, facts["state"]), True) if now else (State(), False)


@dataclass(frozen=True)
class Plan:
    """Which model learns from what, and how: all that a run depends on.

    compare   a column with an incumbent's score, for the report
    """

    data: Applicants
    model: str
    parts: Mapping[str, Recipe]
    seed: int = 0
    class_weights: Weights | None = None
    compare: str | None = None

    def facts(self) -> Facts:
        """The plan as JSON can hold it."""
        return {
            "task": "credit",
            "model": self.model,
            "arguments": {},
            "labels": ["accept", "refuse"],
            "data": {"name": self.data.name, "dataset": self.data.dataset, "fingerprint": self.data.fingerprint()},
            "recipe": {part: asdict(recipe) for part, recipe in self.parts.items()},
            "seed": self.seed,
            "class_weights": None if self.class_weights is None else list(self.class_weights),
            "cost": list(self.data.cost),
        }


@dataclass(frozen=True)
class Trained:
    """A finished training: the model, and what its networks said out of fold."""

    model: CreditModel
    oof: np.ndarray
    calibrated: np.ndarray
    seconds: float


def train(
    plan: Plan,
    run: Run,
    *,
    resume: bool = False,
    threads: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event | Trained]:
    """Train, and keep the run's state up to date: after every network, and when `stop` says so between two updates.

    Yields events, then `Trained`, unless it was stopped; a later call with `resume` goes on to the same bits.

    Raises InputError where the folder holds another run, CheckpointError where its files are damaged, NonFiniteLoss.
    """
    numbers = plan.data.numbers()
    rows = plan.data.train
    weight = None if plan.data.weight is None else plan.data.weight[rows]
    bag = Bag(
        plan.data.schema,
        numbers[rows],
        plan.data.t[rows],
        plan.parts,
        weight=weight,
        class_weights=plan.class_weights,
        seed=plan.seed,
    )
    if not resume:
        run.begin()
    with run.locked():
        if not resume:
            run.check_free()
        history = _resume(plan, run, bag) if resume else []
        facts = plan.facts() | {"schema": plan.data.schema.facts()}
        description(run.folder / "model", facts)  # if it is too large, better now than after the training
        try:
            for event in bag.events(threads):
                halted = isinstance(event.event, Step) and stop()
                if isinstance(event.event, Epoch):
                    history.append(_line(event))
                    run.add_to_history(history[-1])
                if halted or isinstance(event.event, Epoch):
                    save_arrays(run.state, bag.arrays(), facts | {"bag": bag.facts()})
                yield event
                if halted:
                    return
        except StateError as error:
            raise CheckpointError(f"{run.state}: {error}") from None
        model, oof, calibrated = bag.finish(plan.data.cost)
        yield Trained(model, oof, calibrated, sum(line["seconds"] for line in history))


def _line(event: Event) -> Facts:
    assert isinstance(event.event, Epoch)
    told = event.event
    return {
        "epoch": told.epoch,
        "part": event.part,
        "fold": event.fold,
        "loss": told.loss,
        "lr": told.lr,
        "validation": {},
        "seconds": told.seconds,
        "layers": [asdict(layer) for layer in told.layers],
    }


def saved_facts(run: Run) -> Facts:
    """What a run that is to go on was begun with. Raises InputError where there is none."""
    if not run.state.is_file():
        raise InputError(f"{run.folder} holds no run to resume: leave --resume out to start one there.")
    _, facts = load_arrays(run.state)
    if facts.get("task") != "credit" or not isinstance(facts.get("recipe"), dict) or "bag" not in facts:
        raise CheckpointError(f"{run.state}: this is not the state of a credit training")
    return facts


def _resume(plan: Plan, run: Run, bag: Bag) -> list[Facts]:
    """Put the bag where the run stands. Raises InputError where the plan is not the one that was saved."""
    saved = saved_facts(run)
    arrays, _ = load_arrays(run.state)
    now = json.loads(json.dumps(plan.facts()))
    for key in ("model", "recipe", "seed", "class_weights", "cost"):
        if saved.get(key) != now[key]:
            raise InputError(f"{run.folder} was begun with {key} {saved.get(key)}: resume it as it was begun.")
    if saved["data"].get("fingerprint") != now["data"]["fingerprint"]:
        raise InputError(f"{run.folder} was begun on other data ({saved['data'].get('name')}): give them as then.")
    if saved.get("schema") != json.loads(json.dumps(plan.data.schema.facts())):
        raise InputError(f"{run.folder} was begun with other features: give --derive, --monotone and the like as then.")
    try:
        bag.restore(arrays, saved["bag"])
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{run.state}: the file is damaged ({error})") from None
    finished = len(bag.done) + bag.began
    history = run.read_history(10**9)
    order = {job: i for i, job in enumerate(bag.jobs)}
    kept = [line for line in history if order.get((str(line.get("part")), line.get("fold", -1)), len(order)) < finished]
    at = bag.jobs[len(bag.done)] if len(bag.done) < len(bag.jobs) else None
    kept = [line for line in kept if (line["part"], line["fold"]) != at or line["epoch"] < bag.state.epoch]
    run.save_history(kept)
    return kept


def choose(model: str, changes: Mapping[str, Any], rows: int | None = None) -> dict[str, Recipe]:
    """{part: recipe}; changes of a blend's recipe apply to its first part.

    rows: how many there are to learn from; where they are few, epochs that nobody chose become more.

    Raises InputError for what makes no sense.
    """
    if model not in MODELS:
        raise InputError(f"There is no model {model!r} for credit: choose one of {', '.join(MODELS)}.")
    parts: Sequence[str] = MODELS[model]
    try:
        recipes = {part: ENTRIES[part].recipe for part in parts}
        recipes[parts[0]] = replace(recipes[parts[0]], **changes)
        for part, recipe in recipes.items():
            if rows is not None and not (part == parts[0] and "epochs" in changes):
                updates = recipe.steps(max(1, rows * (FOLDS - 1) // FOLDS)) // recipe.epochs  # an epoch
                recipes[part] = replace(recipe, epochs=max(recipe.epochs, -(-LEAST_UPDATES // updates)))
    except (ValueError, OverflowError) as error:
        raise InputError(f"{error}.") from None
    first = recipes[parts[0]]
    for name in ("augment", "outliers", "validation", "patience"):
        if getattr(first, name):
            raise InputError(f"credit has no use for --{name}: its folds are what is held out; leave it out.")
    if first.dropout and ENTRIES[parts[0]].architecture in ("logistic_regression", "neural_additive"):
        raise InputError(f"{parts[0]} has no dropout: leave --dropout out, or choose another model.")
    return recipes
