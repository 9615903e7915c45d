"""Trainings asked for by the pages: one at a time, in a process of its own that is handed a folder, never objects.

A job is a folder with an unguessable name. What is in it tells all there is to know, so pages, a restarted server and
the training process need nothing else in common:

order.json    what is to be trained, and how; when it was asked for
status.json   state and sentence, written by the trainer
data.csv      a table that the visitor brought; removed when the training has ended
live.jsonl    a line for every few updates: step, loss, accuracy
doctor.json   the findings on each layer, after the last epoch
run/          the run, as `apps.run` keeps it
stop          there, if the visitor wants it to stop

The trainer, `python -m apps.trainer FOLDER`, holds a lock on the folder of the jobs while it works, so there is one; it
takes the oldest order that waits until none is left.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import time
from typing import Any, TextIO

from apps.errors import InputError
from apps.run import Run, is_number
from core import write_atomically

KEPT = 24 * 3600.0  # seconds from the order, after which a job is removed
MOST_POINTS = 400  # of a curve
MOST_JOBS = 50  # that wait or are kept
NAME = re.compile(r"[A-Za-z0-9_-]{22}")
STATES = ("waiting", "loading", "training", "stopped", "finished", "failed")
ENDED = ("finished", "failed")
CSV = "csv"  # the data of an order whose table the visitor brought


def folder() -> Path:
    """Where jobs are: the variable ZOO_RUNS, else runs/application."""
    return Path(os.environ.get("ZOO_RUNS") or Path("runs") / "application").absolute()


@dataclass(frozen=True)
class Order:
    """What a visitor wants trained.

    data       as --data of the scripts; CSV: the table that the visitor brought
    title      what the run is called on the charts
    recipe     {field of apps.task.Recipe: value} that differ from the model's own recipe
    arguments  {argument of the architecture: value} likewise
    examples   how many training examples are used; 0: all
    columns    {what for: name of a column} of the visitor's table: text and label, or target
    asked      when, in seconds since 1970
    """

    task: str
    model: str
    data: str
    dataset: str
    title: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    examples: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    asked: float = 0.0

    def is_sound(self) -> bool:
        """Whether every field is of its kind: a file may hold anything."""
        texts = (self.task, self.model, self.data, self.dataset, self.title)
        tables = (self.recipe, self.arguments, self.columns)
        return (
            all(isinstance(text, str) for text in texts)
            and all(isinstance(table, dict) for table in tables)
            and all(isinstance(name, str) for name in self.columns.values())
            and isinstance(self.examples, int)
            and is_number(self.asked)
        )


@dataclass(frozen=True)
class Job:
    """The folder of one training."""

    place: Path

    @property
    def name(self) -> str:
        """The unguessable id."""
        return self.place.name

    @property
    def run(self) -> Run:
        return Run(self.place / "run")

    @property
    def table(self) -> Path:
        """The visitor's table, as long as it is needed."""
        return self.place / "data.csv"

    @property
    def order(self) -> Order:
        """Raises InputError where it is gone or damaged."""
        try:
            order = Order(**json.loads((self.place / "order.json").read_text("utf-8")))
            if order.is_sound():
                return order
        except (OSError, ValueError, TypeError, RecursionError):
            pass
        raise InputError("This training is no longer here: it has expired, or was removed.")

    def status(self) -> dict[str, Any]:
        """{"state": waiting, loading, training, stopped, finished or failed; "said": a sentence; …}"""
        told = _read(self.place / "status.json") or {"state": "waiting", "said": ""}
        if _is_status(told):
            return told
        return {"state": "failed", "said": "Its files are damaged: start it again."}

    def tell(self, state: str, said: str = "", **more: Any) -> None:
        write_atomically(self.place / "status.json", json.dumps({"state": state, "said": said} | more).encode())

    def stop(self) -> None:
        """Ask the training to stop; a waiting one leaves the queue."""
        (self.place / "stop").touch()
        if self.status()["state"] == "waiting":
            self.tell("stopped")

    @property
    def is_to_stop(self) -> bool:
        return (self.place / "stop").exists()

    def resume(self) -> None:
        """Queue the job again, to go on where it stopped."""
        (self.place / "stop").unlink(missing_ok=True)
        self.tell("waiting")
        ensure_trainer()

    def live(self) -> list[dict[str, Any]]:
        """The lines of live.jsonl; a last one that is being written is left for the next time."""
        text = ""
        with suppress(OSError, ValueError):
            text = (self.place / "live.jsonl").read_text("utf-8")
        lines = [_parsed(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line and all(is_number(line.get(key)) for key in ("step", "loss"))]

    def open_live(self, resumes: bool) -> TextIO:
        """live.jsonl, for more lines; a last one that was cut off is taken away, and all where none `resumes`."""
        path = self.place / "live.jsonl"
        kept = path.read_bytes() if resumes and path.is_file() else b""
        path.write_bytes(kept[: kept.rfind(b"\n") + 1])
        return open(path, "a", encoding="utf-8")

    def history(self) -> list[dict[str, Any]]:
        """A line an epoch, as `Run` keeps it."""
        with suppress(ValueError, OSError):
            return [line for line in self.run.read_history(1 << 53) if _has_layers(line)]
        return []

    def findings(self) -> list[dict[str, Any]]:
        """What the doctor found after the last epoch: layer, kind, evidence, remedy."""
        found = (_read(self.place / "doctor.json") or {}).get("findings")
        words = ("layer", "kind", "evidence", "remedy")
        return [
            each
            for each in (found if isinstance(found, list) else [])
            if isinstance(each, dict) and all(isinstance(each.get(word), str) for word in words)
        ]


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        return _parsed(path.read_text("utf-8"))
    return None


def _parsed(text: str) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        content = json.loads(text)
        return content if isinstance(content, dict) else None
    return None


def _is_status(told: Mapping[str, Any]) -> bool:
    """Whether it is what `tell` writes: a known state, and beside it what a page shows of that state."""
    needed = {"state", "said"}
    needed |= {"metrics", "examples", "seconds"} if told.get("state") == "finished" else set()
    needed |= {"step", "left", "what"} if "steps" in told else set()
    needed |= {"unit"} if "rate" in told else set()
    metrics = told.get("metrics", {})
    return (
        needed <= told.keys()
        and told["state"] in STATES
        and all(isinstance(told.get(word, ""), str) for word in ("said", "what", "unit"))
        and all(is_number(told.get(name, 0)) for name in ("step", "steps", "rate", "left", "examples", "seconds"))
        and isinstance(metrics, dict)
        and all(isinstance(value, int | float) for value in metrics.values())
    )


def _has_layers(line: Mapping[str, Any]) -> bool:
    """Whether the layers of a line of the history are what a chart shows."""
    layers = line.get("layers", [])
    return isinstance(layers, list) and all(
        isinstance(each, dict)
        and isinstance(each.get("name"), str)
        and isinstance(each.get("gradient"), int | float | None)
        for each in layers
    )


# --- what a page does -----------------------------------------------------------------------------------------------


def submit(order: Order, table: bytes = b"") -> Job:
    """Queue a training, and see that a trainer is there. table: the CSV file to learn from, where the visitor has one.

    Raises InputError where too many are kept.
    """
    expire()
    if len(all_jobs()) >= MOST_JOBS:
        raise InputError("Too many trainings are kept on this machine: come back when some have expired.")
    place = folder() / secrets.token_urlsafe(16)
    place.mkdir(parents=True)
    job = Job(place)
    if table:
        write_atomically(job.table, table)
    content = asdict(order) | {"asked": time()}
    write_atomically(place / "order.json", json.dumps(content).encode())
    ensure_trainer()
    return job


def find(name: str) -> Job:
    """The job of an id, as it stands in a page's address. Raises InputError where there is none."""
    if not NAME.fullmatch(name) or not (folder() / name / "order.json").is_file():
        raise InputError("This training is not here: it has expired, or the address is not whole.")
    job = Job(folder() / name)
    _ = job.order  # whether it is one
    return job


def all_jobs() -> list[Job]:
    """Every job there is, the oldest first."""
    if not folder().is_dir():
        return []
    found = []
    for place in folder().iterdir():
        with suppress(InputError):
            if NAME.fullmatch(place.name):
                found.append((Job(place).order.asked, place))
    return [Job(place) for _, place in sorted(found)]


def ahead(job: Job) -> int:
    """How many trainings come before a waiting one, the one at work included."""
    jobs = all_jobs()
    names = [each.name for each in jobs]
    before = jobs[: names.index(job.name)] if job.name in names else []
    working = [each for each in jobs if each.status()["state"] in ("loading", "training")] if is_training() else []
    return len({each.name for each in before if each.status()["state"] == "waiting"} | {each.name for each in working})


def expire() -> None:
    """Remove the jobs that were asked for longer ago than KEPT, but for one at work."""
    for job in all_jobs():
        at_work = is_training() and job.status()["state"] in ("loading", "training")
        if time() - job.order.asked > KEPT and not at_work:
            shutil.rmtree(job.place, ignore_errors=True)


def ensure_trainer() -> None:
    """Start the process that trains, where none is at work; a second one would end at once."""
    if not is_training():
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(
            [sys.executable, "-m", "apps.trainer", str(folder())],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=process.wait, daemon=True).start()  # so that its end is taken note of


def is_training() -> bool:
    """Whether a trainer is at work."""
    folder().mkdir(parents=True, exist_ok=True)
    try:
        with Run(folder()).locked():
            return False
    except InputError:
        return True


def interrupted(job: Job) -> bool:
    """Whether a job says that it is trained, though nobody trains: the machine went down, say."""
    return job.status()["state"] in ("loading", "training") and not is_training()


def curves(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """[{run, step, what: training or held out, loss, accuracy}] of several jobs, for one chart"""
    lines = []
    for number, job in enumerate(jobs, start=1):
        name = f"{number} · {job.order.title}"
        live = job.live()
        every = 1 << (len(live) // MOST_POINTS).bit_length()  # a power of two, so that points stay where they are
        lines += [{"run": name, "what": "training"} | line for line in live[:-1:every] + live[-1:]]
        for line in job.history():
            if line["validation"] and "step" in line:
                lines.append({"run": name, "what": "held out", "step": line["step"]} | line["validation"])
    return lines
