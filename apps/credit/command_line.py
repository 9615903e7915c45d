"""The command lines of the credit task: train, evaluate, predict."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from apps import command_line as shared
from apps.credit.data import DATASETS, Applicants, Choices, load
from apps.credit.derived import RULES
from apps.credit.entries import DEFAULT, MODELS
from apps.credit.measures import auc_interval, cost_at, score
from apps.credit.model import CreditModel, load_credit
from apps.credit.report import write_report
from apps.credit.schema import Feature
from apps.credit.scoring import ADDED, extra_columns, score_csv, scored_chunks
from apps.credit.stability import count
from apps.credit.table import csv_chunks
from apps.credit.training import Event, Plan, Trained, choose, saved_facts
from apps.credit.training import train as training
from apps.errors import InputError
from apps.progress import notice
from apps.run import Run, description_file, next_run
from apps.task import Recipe
from apps.training import versions
from core import Epoch, Step
from core.metrics import roc_auc, sigmoid
from models import WEIGHTS

MOST_SHOWN = 20
MOST_PRINTED = 100_000  # rows in one JSON value


# --- train ----------------------------------------------------------------------------------------------------------


def train(argv: Sequence[str] | None = None) -> int:
    """scripts/train_credit.py"""
    parser = argparse.ArgumentParser(
        description="Train a credit model, test it and write a validation report."
        f" Without flags: {DEFAULT}, on the data at hand.",
        epilog="A default of “as the model” is given by the recipe of the chosen model; flags of the recipe change the"
        " first part of a blend.",
    )
    parser.add_argument("--model", metavar="NAME", help=f"one of {', '.join(MODELS)} (default: {DEFAULT})")
    shared._add_data(parser, tuple(DATASETS), "taiwan")
    _add_csv(parser)
    told = shared.field_help()
    for field in fields(Recipe):
        kind = {"int": int, "float": float, "str": str}[str(field.type)]
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            metavar={int: "N", float: "X", str: "NAME"}[kind],
            help=f"{told[field.name]} (default: as the model)".replace("%", "%%"),
        )
    parser.add_argument("--class-weights", metavar="W0:W1", help="how much good and bad applicants count in training")
    parser.add_argument("--threads", type=shared._positive, metavar="N", help="changes the time, never the result")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder of the run (default: a new one in runs)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, to the same bits")
    shared._add_json(parser)
    return shared.command(_train, parser, argv)


def _add_csv(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a table of your own")
    group.add_argument("--csv", type=Path, metavar="FILE", help="UTF-8, commas, names of columns in the first line")
    group.add_argument("--target", metavar="COLUMN", help="says who defaulted")
    group.add_argument("--positive", metavar="VALUE", help="the value of the target that means default")
    group.add_argument("--protected", metavar="COLUMN,…", help="never enter the model; kept for the audit")
    group.add_argument("--exclude", metavar="COLUMN,…", help="left out altogether")
    group.add_argument("--monotone", metavar="COLUMN:+,…", help="+ may only raise the risk, - may only lower it")
    group.add_argument(
        "--derive",
        action="append",
        metavar="NAME=RULE(COLUMN,…)",
        help=f"a feature that follows from columns of numbers; the rules: {', '.join(RULES)}; may be given again",
    )
    group.add_argument("--cost", metavar="FP:FN", help="cost of a refused good and of an accepted bad applicant")
    group.add_argument("--score", metavar="COLUMN", help="an incumbent's score, to compare with")
    group.add_argument("--weight", metavar="COLUMN", help="how much a row counts in training")


def _choices(arguments: argparse.Namespace) -> Choices:
    cost = _pair("--cost", arguments.cost)
    if arguments.csv is None and arguments.target is not None:
        raise InputError("--target belongs to a table of your own: give --csv FILE as well.")
    return Choices(
        arguments.csv,
        arguments.target,
        arguments.positive,
        None if arguments.protected is None else _listed(arguments.protected),
        _listed(arguments.exclude),
        _directions(arguments.monotone),
        cost,
        arguments.score,
        arguments.weight,
        tuple(_derived(text) for text in arguments.derive or ()),
    )


def _derived(text: str) -> Feature:
    """NAME=RULE(COLUMN,…) as a feature"""
    told = re.fullmatch(r"\s*([^=]+?)\s*=\s*(\w+)\s*\((.+)\)\s*", text)
    if told is None:
        raise InputError(f"--derive {text}: give NAME=RULE(COLUMN,…), such as used=mean_share(owed,limit).")
    return Feature(told[1], "numeric", rule=told[2], sources=_listed(told[3]))


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _pair(flag: str, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        first, second = (float(part) for part in text.split(":"))
        if all(1e-9 < number < 1e9 for number in (first, second)):  # nor NaN
            return first, second
    except ValueError:
        pass
    raise InputError(f"{flag} {text}: give two numbers above 0 with a colon between them, such as 1:5.")


def _directions(text: str | None) -> dict[str, int]:
    directions = {}
    for part in _listed(text):
        column, colon, sign = part.rpartition(":")
        if not colon or sign not in ("+", "-", "−", "0"):
            raise InputError(f"--monotone {part}: give COLUMN:+ or COLUMN:-, with commas between several.")
        directions[column.strip()] = {"+": 1, "-": -1, "−": -1, "0": 0}[sign]
    return directions


def _train(arguments: argparse.Namespace) -> int:
    given = {f.name: getattr(arguments, f.name) for f in fields(Recipe) if getattr(arguments, f.name) is not None}
    model, dataset, seed = arguments.model or DEFAULT, arguments.dataset or "taiwan", given.pop("seed", 0)
    class_weights = _pair("--class-weights", arguments.class_weights)
    choose(model, given)  # what is wrong is told before data are loaded
    parts: dict[str, Recipe] | None = None
    if arguments.resume:
        if arguments.out is None:
            raise InputError("Which run is to go on? Give its folder: --out DIR --resume.")
        model, dataset, parts, seed, class_weights = _as_begun(Run(arguments.out), arguments, given)
    elif arguments.out is not None:
        Run(arguments.out).check_free()
    data = load(arguments.data, dataset, _choices(arguments))
    if data.notice:
        notice(data.notice)
    plan = Plan(data, model, parts or choose(model, given, len(data.train)), seed, class_weights, arguments.score)
    run = Run(arguments.out) if arguments.out else next_run(Path("runs"), f"credit-{model}")
    schema = data.schema
    notice(
        f"{model} on {data.name}: {len(data.train):,} applicants to learn from, {len(data.test):,} to test on;"
        f" {len(schema.features)} features. The run is kept in {run.folder}."
    )
    for column, reason in schema.dropped.items():
        notice(f"  left out: {column} ({reason})")
    if schema.protected:
        notice(f"  kept for the audit alone: {', '.join(schema.protected)}")
    if arguments.monotone and model != "additive":
        notice("  --monotone holds in the model additive alone; this one takes it as advice for what-if")
    trained = _watch(plan, run, arguments)
    if trained is None:
        notice(f"Stopped; nothing is lost. Go on with --out {run.folder} --resume, and the data as before.")
        return 130
    metrics = finish(run, plan, trained)
    notice(describe_result(model, data, trained.model, metrics))
    notice(f"  trained in {trained.seconds:.1f} s; the run and its report.html are in {run.folder}")
    if arguments.json:
        shared._print_json(_summary(model, data.name, "test", len(data.test), metrics, trained.seconds, run.folder))
    return 0


def _as_begun(
    run: Run, arguments: argparse.Namespace, given: dict[str, Any]
) -> tuple[str, str, dict[str, Recipe], int, tuple[float, float] | None]:
    """What a run that goes on was begun with. Raises InputError where a flag says otherwise."""
    saved = saved_facts(run)
    try:
        parts = {str(part): Recipe(**recipe) for part, recipe in saved["recipe"].items()}
        model, seed = str(saved["model"]), int(saved["seed"])
        if model not in MODELS or parts.keys() != {*MODELS[model]} or not 0 <= seed < 2**63:
            raise ValueError(f"no training of {model} is like it")
        weights = None if saved["class_weights"] is None else tuple(map(float, saved["class_weights"]))
        if weights is not None and not (len(weights) == 2 and all(1e-9 < weight < 1e9 for weight in weights)):
            raise ValueError(f"class weights of {weights}")
        dataset = str(saved["data"]["dataset"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.state}: the file is damaged ({error}).") from None
    first = next(iter(parts.values()))
    began = {name: getattr(first, name) for name in given} | {"model": model, "seed": seed}
    asked = given | {"model": arguments.model or model, "seed": seed if arguments.seed is None else arguments.seed}
    for name, was in began.items():
        if asked[name] != was:
            raise InputError(f"{run.folder} was begun with {name} {was}, not {asked[name]}: resume it as it was begun.")
    return model, dataset if dataset in DATASETS else "taiwan", parts, seed, weights


def _watch(plan: Plan, run: Run, arguments: argparse.Namespace) -> Trained | None:
    """Follow a training to its end; None where Ctrl-C stopped it."""
    with shared._interrupts() as interrupted, _Bar(plan) as bar:
        for event in training(
            plan, run, resume=arguments.resume, threads=arguments.threads, stop=lambda: bool(interrupted)
        ):
            if isinstance(event, Trained):
                return event
            bar.show(event)
    return None


class _Bar:
    """A bar over all networks on a terminal, elsewhere a line a network; on standard error."""

    def __init__(self, plan: Plan) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.epochs = {part: recipe.epochs for part, recipe in plan.parts.items()}
        console = Console(stderr=sys.stderr is not None, quiet=sys.stderr is None, highlight=False)
        columns = TextColumn("{task.description}"), BarColumn(bar_width=None), TimeRemainingColumn()
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=None)
        self.shown = 0.0

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def show(self, told: Event) -> None:
        event = told.event
        if isinstance(event, Step):
            if monotonic() - self.shown > 0.25:
                self.shown = monotonic()
                share = (event.epoch + (event.batch + 1) / event.batches) / self.epochs[told.part]
                self.bar.update(
                    self.task,
                    description=f"{told.part}, fold {told.fold + 1}: loss {event.loss:.3f}",
                    completed=told.job + share,
                    total=told.jobs,
                )
        elif isinstance(event, Epoch) and self.bar.disable and event.epoch + 1 == self.epochs[told.part]:
            notice(f"  {told.part}, fold {told.fold + 1}: loss {event.loss:.4f} after {event.epoch + 1} epochs")


def finish(run: Run, plan: Plan, trained: Trained) -> dict[str, float]:
    """Test a trained model, save it with the counts of its training rows, and write its report; the test's metrics."""
    data = plan.data
    metrics = measured(trained.model, data)
    facts = plan.facts() | {"metrics": metrics, "split": "test", "examples": len(data.test), "versions": versions()}
    facts |= count(trained.model, data.numbers()[data.train])
    trained.model.save(run.folder / "model", facts)
    write_report(run.folder / "report.html", plan, trained, load_credit(run.folder / "model"))
    return metrics


# --- evaluate -------------------------------------------------------------------------------------------------------


def measured(model: CreditModel, data: Applicants, rows: np.ndarray | None = None) -> dict[str, float]:
    """score of the test rows, the mean cost of a decision, and where it is known the distance to the best there is"""
    rows = data.test if rows is None else rows
    numbers, faults = model.schema.numbers(data.table.take(rows))
    if faults:
        raise InputError(f"{data.name}, {faults[min(faults)]}: mend it, or train on these data.")
    logits, t = model.logits(numbers), data.t[rows]
    metrics = score(logits, t) | {"mean_cost": cost_at(sigmoid(logits), t, model.cost, model.cut)}
    if data.best is not None:
        best = data.best[rows]
        metrics |= {
            "bayes_roc_auc": roc_auc(t, best),
            "mean_pd_error": float(np.abs(sigmoid(logits) - best).mean()),
        }
    return metrics


def describe_result(name: str, data: Applicants, model: CreditModel, metrics: dict[str, float]) -> str:
    """The end of a training or evaluation, in a few lines."""
    lines = [f"credit {name} on {data.name}"]
    for key, value in metrics.items():
        text = f"  {key.replace('_', ' '):<18} {value:.4f}"
        if key == "roc_auc" and len(data.test):
            numbers, _ = model.schema.numbers(data.table.take(data.test))
            low, high = auc_interval(data.t[data.test], model.logits(numbers))
            text += f"   (95 % interval {low:.4f} to {high:.4f}, test rows)"
        lines.append(text)
    lines.append(
        f"  refused from a probability of default of {model.cut:.1%}, by a cost of {model.cost[0]:g}:{model.cost[1]:g}"
    )
    return "\n".join(lines)


def evaluate(argv: Sequence[str] | None = None) -> int:
    """scripts/evaluate.py credit"""
    parser = argparse.ArgumentParser(prog="evaluate.py credit", description="Test a trained credit model.")
    _add_model(parser)
    shared._add_data(parser, tuple(DATASETS), "the one it was trained on")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="applicants whose defaults are known, all to test on")
    shared._add_json(parser)
    return shared.command(_evaluate, parser, argv)


def _evaluate(arguments: argparse.Namespace) -> int:
    model, name = open_credit(arguments.model, arguments.run)
    schema = model.schema
    told = model.facts["data"]
    if arguments.csv is not None or told.get("dataset") == "csv":
        path = arguments.csv or Path(str(told.get("name")))
        data = load(None, "csv", Choices(path, schema.target, schema.positive, (), _others(model, path)))
    else:
        dataset = arguments.dataset or str(told.get("dataset"))
        data = load(arguments.data, dataset, Choices(protected=schema.protected))
    if data.notice:
        notice(data.notice)
    same = data.fingerprint() == told.get("fingerprint")
    rows = data.test if same else np.arange(len(data.t))
    if not same:
        notice(f"{data.name} is not what the model was trained on: all {len(rows):,} rows are tested.")
    began = perf_counter()
    metrics = measured(model, data, rows)
    seconds = perf_counter() - began
    if arguments.json:
        split = "test" if same else "all"
        shared._print_json(_summary(name, data.name, split, len(rows), metrics, seconds, arguments.run))
    else:
        print(describe_result(name, data, model, metrics))
    return 0


def _others(model: CreditModel, path: Path) -> tuple[str, ...]:
    """Columns of a file that the model does not read"""
    names, _, _ = next(csv_chunks(path, 1))
    return tuple(set(names) - {feature.name for feature in model.schema.asked} - {model.schema.target})


def _add_model(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="NAME", help=f"a shipped model (default: {DEFAULT})")
    which.add_argument("--run", type=Path, metavar="DIR", help="the folder of a run of yours")


def open_credit(model: str | None, run: Path | None) -> tuple[CreditModel, str]:
    """(model, its name): of a run, or shipped.

    Raises InputError where there is none, CheckpointError as `load_credit`.
    """
    if run is not None:
        if not run.is_dir():
            raise InputError(f"{run} is not a folder: give the folder of a run, as printed at the end of its training.")
        loaded = load_credit(run / "model")
        return loaded, str(loaded.facts["model"])
    name = model or DEFAULT
    if name not in MODELS:
        raise InputError(f"There is no model {name!r} for credit: choose one of {', '.join(MODELS)}.")
    stem = WEIGHTS / f"credit_{name}"
    if not description_file(stem).is_file():
        raise InputError(f"{name} comes without trained weights: train it, then give --run and the folder of the run.")
    return load_credit(stem), name


def _summary(
    model: str, dataset: str, split: str, examples: int, metrics: dict[str, float], seconds: float, run: Path | None
) -> dict[str, Any]:
    told = {"task": "credit", "model": model, "dataset": dataset, "split": split, "examples": examples}
    return told | {"metrics": metrics, "seconds": seconds, "run": None if run is None else str(run)}


# --- predict --------------------------------------------------------------------------------------------------------


def predict(argv: Sequence[str] | None = None) -> int:
    """scripts/predict.py credit"""
    parser = argparse.ArgumentParser(prog="predict.py credit", description="Score a CSV of applicants.")
    _add_model(parser)
    parser.add_argument(
        "input", type=Path, metavar="FILE.csv", help="UTF-8, commas, names of columns in the first line"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"write the table with {', '.join(ADDED)} added")
    parser.add_argument("--threads", type=shared._positive, metavar="N", help="changes the time, never the result")
    shared._add_json(parser)
    return shared.command(_predict, parser, argv)


def _predict(arguments: argparse.Namespace) -> int:
    model, _ = open_credit(arguments.model, arguments.run)
    source: Path = arguments.input
    names, _, _ = next(csv_chunks(source, 1))
    if extra := extra_columns(model, names):
        notice(f"Columns that the model does not know are kept and not looked at: {', '.join(extra[:10])}.")
    if arguments.out is not None:
        out = shared.file_to_write(arguments.out)
        with _counter() as seen:
            tally = score_csv(model, source, out, threads=arguments.threads, seen=seen)
        notice(
            f"{tally.rows:,} rows: {tally.accepted:,} accepted, {tally.refused:,} refused; written to {arguments.out}."
        )
        _tell_faults(tally.not_scored, tally.faults)
        if arguments.json:
            counts = {"rows": tally.rows, "accepted": tally.accepted, "refused": tally.refused}
            shared._print_json(
                [{"input": str(source), "out": str(arguments.out)} | counts | {"not_scored": tally.not_scored}]
            )
        return 0
    answers: list[dict[str, Any]] = []
    wrong: list[str] = []
    count = 0
    for _, rows, cells, faults, _ in scored_chunks(model, source, arguments.threads):
        wrong += faults
        room = (MOST_PRINTED if arguments.json else MOST_SHOWN) - len(answers)
        answers += [_answer(f"{source} row {count + n + 1}", each) for n, each in enumerate(cells[: max(0, room)])]
        count += len(rows)
    if arguments.json:
        if count > MOST_PRINTED:
            raise InputError(f"{source} has {count:,} rows, too many for one JSON value: give --out FILE.")
        shared._print_json(answers)
    else:
        _print_answers(answers, count)
    _tell_faults(len(wrong), wrong)
    return 0


def _answer(name: str, cells: list[str]) -> dict[str, Any]:
    """One row's answer as JSON holds it; label and probabilities are null where it has no score."""
    if not cells[0]:
        return {"input": name, "label": None, "probabilities": None, "points": None, "fault": cells[3]}
    p = float(cells[0])
    reasons = [reason for reason in cells[3:] if reason]
    odds = {"accept": 1 - p, "refuse": p}
    return {
        "input": name,
        "label": cells[2],
        "probabilities": odds,
        "pd": p,
        "points": int(cells[1]),
        "reasons": reasons,
    }


def _print_answers(answers: list[dict[str, Any]], count: int) -> None:
    for answer in answers:
        if answer["label"] is None:
            print(f"{answer['input']}  not scored: {answer['fault']}")
            continue
        print(f"{answer['input']}  {answer['label']}  {answer['pd']:6.1%}  {answer['points']} points")
        for reason in answer["reasons"]:
            print(f"    {reason}")
    if count > len(answers):
        print(f"… and {count - len(answers):,} more rows: give --out FILE for all of them.")


def _tell_faults(count: int, faults: Sequence[str]) -> None:
    if count:
        notice(f"{count:,} row{'s' if count > 1 else ''} could not be scored, such as: {'; '.join(faults[:3])}.")


class _counter:
    """A bar of rows, on a terminal."""

    def __enter__(self) -> Callable[[int, int], None]:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=sys.stderr is not None, quiet=sys.stderr is None, highlight=False)
        columns = TextColumn("{task.completed:,.0f} rows"), BarColumn(bar_width=None), TimeRemainingColumn()
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=None)
        self.bar.start()
        return lambda rows, expected: self.bar.update(self.task, completed=rows, total=max(rows, expected))

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()
