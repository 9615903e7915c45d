"""The command lines: flags in, progress on standard error, results on standard output.

Bad input ends with one sentence on standard error and exit status 2; Ctrl-C with status 130 and a run to resume.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import core
from apps.curves import draw_curves
from apps.ensemble import join
from apps.errors import InputError
from apps.predictor import Predictor, open_predictor
from apps.progress import Progress, counted, notice, report
from apps.run import Run, next_run, read_description
from apps.task import Recipe, Task, TaskData
from apps.tasks import TASKS
from apps.training import Plan, Result, choose, describe, enough_epochs, prepare, saved_recipe
from apps.training import train as training
from core import CheckpointError, NonFiniteLoss, load_arrays, write_atomically
from models import CARDS, RESULTS, WEIGHTS

EXTRAS = {"datasets", "huggingface_hub", "matplotlib", "PIL", "rich", "sklearn", "streamlit", "tokenizers", "pyarrow"}


def command(
    main: Callable[[argparse.Namespace], int],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    *,
    intermixed: bool = False,
) -> int:
    """Run a command; what a person can mend becomes one sentence and status 2.

    intermixed: flags may stand before inputs of which there may be none.
    """
    arguments = parser.parse_intermixed_args(argv) if intermixed else parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name or a sign that the terminal cannot show
    try:
        return main(arguments)
    except (InputError, CheckpointError) as error:
        notice(f"{parser.prog}: {error}")
    except NonFiniteLoss as error:
        notice(f"{parser.prog}: {error}. What was saved before stays; start again with another --out.")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        notice(
            f"{parser.prog}: {error.name} is not installed: pip install 'modelzoo[apps]', or in the project's folder"
            " pip install '.[apps]'."
        )
    except KeyboardInterrupt:
        notice(f"{parser.prog}: stopped.")
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        notice(f"{parser.prog}: {error.filename or 'a file'} cannot be used: {error.strerror or error}.")
    return 2


# --- train ----------------------------------------------------------------------------------------------------------


def train(task: Task, argv: Sequence[str] | None = None) -> int:
    """scripts/train_TASK.py"""
    parser = argparse.ArgumentParser(
        description=f"Train a model for {task.name} and test it. Without flags: {task.model}, on the data at hand.",
        epilog="A default of “as the model” is given by the recipe of the chosen model.",
    )
    parser.add_argument("--model", metavar="NAME", help=f"one of {', '.join(task.entries)} (default: {task.model})")
    _add_data(parser, task.datasets, task.datasets[0])
    if task.load_csv is not None:
        _add_csv(parser, "a data set of your own: any texts, any labels", label=True)
    if task.blend is not None:
        parser.add_argument(
            "--parts", type=Path, nargs="+", metavar="DIR", help="the runs that --model blend puts together"
        )
    if task.teach is not None:
        parser.add_argument(
            "--teacher",
            metavar="NAME",
            help="a model of the zoo or a run, whose labels of texts that nobody labelled are learned from as well",
        )
    told = field_help()
    for field in fields(Recipe):
        default = getattr(task.entries[task.model].recipe, field.name)
        more = ", more on small data" if field.name == "epochs" else ""
        kind = {"int": int, "float": float, "str": str}[str(field.type)]
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            metavar={int: "N", float: "X", str: "NAME"}[kind],
            help=f"{told[field.name]} (default: as the model; {task.model}: {default}{more})".replace("%", "%%"),
        )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="NAME",
        help="fine-tune: begin with the weights of a model of the zoo or a run",
    )
    parser.add_argument(
        "--freeze", dest="frozen", type=_positive, metavar="N", help="leave the first N layers with weights as they are"
    )
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="changes the time, never the result (default: all)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder of the run (default: a new one in runs)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, to the same bits")
    _add_json(parser)
    return command(lambda arguments: _train(task, arguments), parser, argv)


def field_help() -> dict[str, str]:
    """What each field of a recipe is for, as the docstrings of both recipes say."""
    told: dict[str, str] = {}
    for doc in (core.Recipe.__doc__ or "", Recipe.__doc__ or ""):
        for names, text in re.findall(r"^ {4}(\w[\w, ]*?) {2,}(\S.*(?:\n {6,}.*)*)", doc, re.MULTILINE):
            told |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return {field.name: told.get(field.name, "") for field in fields(Recipe)}


def _train(task: Task, arguments: argparse.Namespace) -> int:
    given = {f.name: getattr(arguments, f.name) for f in fields(Recipe) if getattr(arguments, f.name) is not None}
    chosen = {name: vars(arguments).get(name) for name in ("model", "dataset", "start", "frozen", "teacher")}
    if arguments.resume:
        if arguments.out is None:
            raise InputError("Which run is to go on? Give its folder: --out DIR --resume.")
        chosen, given = _as_begun(Run(arguments.out), chosen, given)
    elif arguments.out is not None:
        Run(arguments.out).check_free()
    # what is wrong is told before data are loaded
    name, sizes, recipe = choose(task, chosen["model"], given, chosen["dataset"])
    data, dataset = _load_any(task, arguments, chosen["dataset"] or task.datasets[0])
    if "epochs" not in given:
        recipe = enough_epochs(recipe, len(data.train))
    plan = Plan(task, data, dataset, name, sizes, recipe, chosen["start"] or "", chosen["frozen"] or 0)
    plan = prepare(plan) if name != "blend" or task.blend is None else task.blend(plan, arguments.parts or [])
    if chosen["teacher"]:
        plan = _taught(plan, arguments.data, chosen["teacher"], given)
    layers = describe(plan, arguments.resume)
    run = Run(arguments.out) if arguments.out else next_run(Path("runs"), f"{task.name}-{plan.model}")
    more = f", and {len(plan.more):,} labelled by {plan.teacher}" if plan.more is not None else ""
    notice(
        f"{plan.model} on {data.name}: {len(data.train):,} {task.unit} to learn from{more}."
        f" The run is kept in {run.folder}."
    )
    notice(str(layers))
    if recipe.unlabelled and not (arguments.resume and run.state.is_file()):
        taught = _after_unlabelled(plan, run, arguments)
        if taught is None:
            return 130
        plan = taught
    result = _watch(plan, run, arguments)
    if result is None:
        notice(f"Stopped; nothing is lost. Go on with --out {run.folder} --resume, and --data as before.")
        return 130
    draw_curves(run, run.read_history(plan.recipe.epochs), f"{task.name} {plan.model} on {data.name}")
    notice(f"{report(plan, result)}\n  trained in {result.seconds:.1f} s; the run is in {run.folder}")
    if arguments.json:
        _print_json(_summary(plan.task, plan.model, data, result) | {"run": str(run.folder)})
    return 0


def _taught(plan: Plan, data: str | None, teacher: str, given: dict[str, Any]) -> Plan:
    """The plan with what a teacher labels, and with as many epochs as so many examples need."""
    if plan.task.teach is None:
        raise InputError(f"{plan.task.name} takes no teacher: leave --teacher out.")
    plan = plan.task.teach(plan, data, teacher, partial(counted, f"{teacher} labels {plan.task.unit}"))
    if "epochs" in given:
        return plan
    recipe = replace(choose(plan.task, plan.model, given, plan.dataset)[2], share=1.0)
    epochs = enough_epochs(recipe, len(plan.data.train) + len(plan.more or ())).epochs
    return replace(plan, recipe=replace(plan.recipe, epochs=epochs))


def _after_unlabelled(plan: Plan, run: Run, arguments: argparse.Namespace) -> Plan | None:
    """The plan with what unlabelled examples taught, in a run of its own beside; None where Ctrl-C stopped it."""
    assert plan.task.before is not None
    before: Plan = plan.task.before(plan, arguments.data)
    beside = Run(run.folder.with_name(f"{run.folder.name}-unlabelled"))
    notice(f"First, {len(before.data.train):,} {before.task.unit} of {before.data.name}, kept in {beside.folder}.")
    again = argparse.Namespace(**vars(arguments) | {"resume": beside.state.is_file()})
    if _watch(before, beside, again) is None:
        notice(f"Stopped; nothing is lost. Go on with the same command, and --out {run.folder}.")
        return None
    return replace(plan, taught=load_arrays(beside.folder / "model.safetensors")[0])


def _watch(plan: Plan, run: Run, arguments: argparse.Namespace) -> Result | None:
    """Follow a training to its result; None where Ctrl-C stopped it."""
    with _interrupts() as interrupted, Progress(plan) as progress:
        for event in training(
            plan, run, resume=arguments.resume, threads=arguments.threads, stop=lambda: bool(interrupted)
        ):
            if isinstance(event, Result):
                return event
            progress.show(event)
    return None


def _as_begun(run: Run, chosen: dict[str, Any], given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was chosen, and the recipe, of the run that goes on. Raises InputError where a flag says otherwise."""
    began, recipe = saved_recipe(run)
    learned = {field.name: getattr(recipe, field.name) for field in fields(Recipe)}
    asked = chosen | given
    for name, was in (began | learned).items():
        if asked.get(name) is not None and asked[name] != was:
            raise InputError(f"{run.folder} was begun with {name} {was}, not {asked[name]}: resume it as it was begun.")
    return began, learned


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that Ctrl-C fills, to be looked at between updates; a second Ctrl-C ends at once, as ever."""
    seen: list[int] = []

    def remember(number: int, frame: object) -> None:
        seen.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- evaluate -------------------------------------------------------------------------------------------------------


def evaluate(argv: Sequence[str] | None = None) -> int:
    """scripts/evaluate.py"""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["credit"]:  # tables have flags of their own
        from apps.credit.command_line import evaluate as evaluate_credit

        return evaluate_credit(argv[1:])
    parser = argparse.ArgumentParser(
        description="Test a trained model on the test split of its data. For tables: evaluate.py credit --help"
    )
    _add_task_and_model(parser)
    _add_data(parser, sorted({name for task in TASKS.values() for name in task.datasets}), "the one it was trained on")
    _add_csv(parser, "a data set of your own, as in training; its test rows are tested on", label=True)
    _add_json(parser)
    return command(_evaluate, parser, argv)


def _evaluate(arguments: argparse.Namespace) -> int:
    task = TASKS[arguments.task]
    predictor = open_predictor(task, model=arguments.model, run=arguments.run, views=arguments.tta)
    dataset = arguments.dataset or predictor.facts["data"].get("dataset", task.datasets[0])
    data, dataset = _load_any(task, arguments, dataset, tested=True)
    if data.labels != predictor.labels:
        raise InputError(f"The model tells {', '.join(predictor.labels)} apart, but {data.name} has other classes.")
    began = perf_counter()
    result = predictor.evaluate(data.test)
    seconds = perf_counter() - began
    plan = Plan(task, data, dataset, predictor.facts["model"], predictor.facts["arguments"], Recipe())
    if arguments.json:
        summary = _summary(task, plan.model, data, result) | {"seconds": seconds}
        _print_json(summary | {"run": None if arguments.run is None else str(arguments.run)})
    else:
        print(report(plan, result))
    return 0


def _load_any(task: Task, arguments: argparse.Namespace, dataset: str, tested: bool = False) -> tuple[TaskData, str]:
    """(data, name of the data set), from a CSV where the flags name one."""
    if vars(arguments).get("csv") is None:
        if dataset == "csv":
            raise InputError("The model was trained on a CSV of yours: give --csv FILE --text COLUMN --label COLUMN.")
        return _load(task, arguments.data, dataset, tested), dataset
    if task.load_csv is None:
        raise InputError(f"{task.name} has no data sets in CSV files: leave --csv out.")
    if arguments.text is None or arguments.label is None:
        raise InputError("--csv needs --text COLUMN and --label COLUMN: give the names of both.")
    return task.load_csv(arguments.csv, arguments.text, arguments.label), "csv"


def _load(task: Task, data: str | None, dataset: str, tested: bool = False) -> TaskData:
    """The data, or of them what is tested on, and a notice where they are not what the user may expect."""
    if dataset not in task.datasets:
        raise InputError(f"There is no data set {dataset!r} for {task.name}: choose one of {', '.join(task.datasets)}.")
    loaded = task.load(data, dataset, tested)
    if loaded.notice:
        notice(loaded.notice)
    return loaded


def _summary(task: Task, model: str, data: TaskData, result: Result) -> dict[str, Any]:
    return {
        "task": task.name,
        "model": model,
        "dataset": data.name,
        "split": data.split,
        "examples": result.examples,
        "metrics": result.metrics,
        "seconds": result.seconds,
    }


# --- ensemble -------------------------------------------------------------------------------------------------------


def ensemble(argv: Sequence[str] | None = None) -> int:
    """scripts/ensemble.py"""
    parser = argparse.ArgumentParser(
        description="Put trained networks together: a model whose answer is the mean of theirs. They are runs of one"
        " model and recipe with different seeds."
    )
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("members", nargs="+", type=Path, metavar="RUN", help="folders of two runs or more")
    _add_data(
        parser, sorted({name for task in TASKS.values() for name in task.datasets}), "the one they were trained on"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the ensemble's folder (default: a new one in runs)")
    _add_json(parser)
    return command(_ensemble, parser, argv)


def _ensemble(arguments: argparse.Namespace) -> int:
    task = TASKS[arguments.task]
    if len(arguments.members) < 2:
        raise InputError("An ensemble has two members or more: give the folders of so many runs.")
    for folder in arguments.members:
        if not (folder / "model.json").is_file():
            raise InputError(f"{folder} is not the folder of a run: give those that trainings printed at their end.")
    if arguments.out is not None:
        Run(arguments.out).check_free()
    described = read_description(arguments.members[0] / "model.json")
    data = _load(task, arguments.data, arguments.dataset or described["data"].get("dataset"))
    run = Run(arguments.out) if arguments.out else next_run(Path("runs"), f"{task.name}-ensemble")
    facts, result = join(task, arguments.members, data, run)
    plan = Plan(task, data, "", facts["model"], facts["arguments"], Recipe())
    notice(f"{report(plan, result)}\n  the ensemble is in {run.folder}")
    if arguments.json:
        _print_json(_summary(task, plan.model, data, result) | {"run": str(run.folder)})
    return 0


# --- predict --------------------------------------------------------------------------------------------------------


def predict(argv: Sequence[str] | None = None) -> int:
    """scripts/predict.py"""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["credit"]:
        from apps.credit.command_line import predict as predict_credit

        return predict_credit(argv[1:])
    parser = argparse.ArgumentParser(
        description="Ask a trained model. mnist takes image files; sentiment takes texts, or - for a text a line of"
        " standard input, or --csv; for a CSV of applicants: predict.py credit --help"
    )
    _add_task_and_model(parser)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="image files, or texts, or -")
    _add_csv(parser, "texts in a column of a file", label=False)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a CSV as well")
    _add_json(parser)
    return command(_predict, parser, argv, intermixed=True)


def _predict(arguments: argparse.Namespace) -> int:
    task = TASKS[arguments.task]
    predictor = open_predictor(task, model=arguments.model, run=arguments.run, views=arguments.tta)
    out = None if arguments.out is None else file_to_write(arguments.out)
    answers = _answers(task, predictor, arguments)
    if out is not None:
        write_atomically(out, _table(answers).encode("utf-8", "surrogateescape"))
    if arguments.json:
        _print_json(answers)
    else:
        shown = [_shortened(answer["input"]) if task.read_csv else answer["input"] for answer in answers]
        width = max(map(len, shown))
        for given, answer in zip(shown, answers, strict=True):
            likely = sorted(answer["probabilities"].items(), key=lambda pair: -pair[1])[:3]
            label = "uncertain" if answer.get("uncertain") else answer["label"]
            print(f"{given:<{width}}  {label}   " + "  ".join(f"{k} {p:6.1%}" for k, p in likely))
    return 0


def file_to_write(path: Path) -> Path:
    """The file that --out names, links followed. Raises InputError where there is something else."""
    try:
        target = path.resolve()
        sound = target.is_file() or not target.exists()
    except (OSError, RuntimeError):  # a link to itself
        sound = False
    if not sound:
        raise InputError(f"{path} is not a file: give --out the name of a CSV file.")
    return target


def _shortened(text: str, most: int = 60) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _answers(task: Task, predictor: Predictor, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """An answer for every input; those of a whole file at once, without explanations."""
    if arguments.csv is not None:
        if task.read_csv is None or arguments.text is None or arguments.inputs:
            raise InputError("--csv FILE --text COLUMN is for texts, in place of an INPUT.")
        texts = task.read_csv(arguments.csv, arguments.text)
        told = zip(texts, predictor.probabilities(texts), strict=True)
        return [{"input": text, **predictor.answer(p)} for text, p in told]
    inputs = _standard_input() if arguments.inputs == ["-"] else arguments.inputs
    if not inputs:
        raise InputError("There is nothing to answer: give one INPUT or more.")

    def answer(raw: Any) -> dict[str, Any]:
        return predictor(raw) if arguments.json else predictor.verdict(predictor.encode([raw]))

    return [{"input": given, **answer(task.open(given))} for given in inputs]


def _standard_input() -> list[str]:
    """Its lines. Raises InputError where it is closed, or not UTF-8."""
    if sys.stdin is None:
        raise InputError("Standard input is closed: give the inputs themselves in place of -.")
    try:
        return [line.rstrip("\r\n") for line in sys.stdin]
    except UnicodeDecodeError:
        raise InputError("Standard input is not UTF-8: save it as UTF-8.") from None


def _table(answers: list[dict[str, Any]]) -> str:
    """input, label, and a column of probabilities for each label, as CSV"""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["input", "label", *answers[0]["probabilities"]])
    for answer in answers:
        writer.writerow([answer["input"], answer["label"], *(f"{p:.6f}" for p in answer["probabilities"].values())])
    return text.getvalue()


# --- zoo ------------------------------------------------------------------------------------------------------------


def zoo(argv: Sequence[str] | None = None) -> int:
    """scripts/zoo.py"""
    parser = argparse.ArgumentParser(description="The models there are, and what is known of them.")
    ways = parser.add_subparsers(dest="way", required=True)
    _add_json(ways.add_parser("list", help="all models with their results"))
    card = ways.add_parser("card", help="the card of one model")
    card.add_argument("name", metavar="NAME", help="as the list shows it, such as mnist_cnn")
    _add_json(card)
    return command(lambda arguments: _list(arguments) if arguments.way == "list" else _card(arguments), parser, argv)


def _list(arguments: argparse.Namespace) -> int:
    with open(RESULTS, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["shipped"] = "yes" if (WEIGHTS / f"{row['name']}.json").is_file() else "no"
    if arguments.json:
        _print_json([{name: _number(text) for name, text in row.items()} for row in rows])
        return 0
    shown = ("name", "dataset", "metric", "mean", "sd", "seeds", "parameters", "seconds", "answer_ms", "shipped")
    widths = [max(len(name), *(len(row[name]) for row in rows)) for name in shown]
    for line in (dict(zip(shown, shown, strict=True)), *rows):
        print("  ".join(line[name].ljust(width) for name, width in zip(shown, widths, strict=True)).rstrip())
    return 0


def _number(text: str) -> int | float | str:
    """The number a text stands for, if it stands for one."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _card(arguments: argparse.Namespace) -> int:
    known = sorted(path.stem for path in CARDS.glob("*.md"))
    if arguments.name not in known:
        raise InputError(f"There is no card of {arguments.name!r}: choose one of {', '.join(known)}.")
    text = (CARDS / f"{arguments.name}.md").read_text("utf-8")
    path = WEIGHTS / f"{arguments.name}.json"
    if arguments.json:
        facts = read_description(path) if path.is_file() else None
        _print_json({"name": arguments.name, "card": text, "model": facts})
    else:
        print(text)
    return 0


# --- flags that several commands share ------------------------------------------------------------------------------


def _add_data(parser: argparse.ArgumentParser, datasets: Sequence[str], default: str) -> None:
    parser.add_argument(
        "--data",
        metavar="WHERE",
        help="hub, a folder laid out as the hub, or sample (default: the variable ZOO_DATA, else the hub,"
        " else the sample)",
    )
    parser.add_argument("--dataset", choices=datasets, help=f"default: {default}")


def _add_csv(parser: argparse.ArgumentParser, what: str, *, label: bool) -> None:
    parser.add_argument("--csv", type=Path, metavar="FILE", help=f"{what}, in UTF-8, with the names of columns first")
    parser.add_argument("--text", metavar="COLUMN", help="the column of --csv that holds the texts")
    if label:
        parser.add_argument("--label", metavar="COLUMN", help="the column of --csv that holds the labels")


def _add_task_and_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="NAME", help="a model of the zoo (default: the task's best)")
    which.add_argument("--run", type=Path, metavar="DIR", help="the folder of a run of yours")
    parser.add_argument(
        "--tta",
        type=_positive,
        default=1,
        metavar="N",
        help="test-time averaging: the mean answer to an input and N − 1 slight changes of it (default: 1, none)",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON value on standard output, and nothing else")


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)
