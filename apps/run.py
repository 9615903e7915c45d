"""A run is a folder: what a training leaves, what resumes it, and what serving needs.

state.safetensors   alone resumes: weights, optimizer slots, averages, position, recipe, data fingerprint
model.safetensors   the weights to serve
model.json          format, task, zoo name and arguments, labels, data set, recipe, metrics, versions
history.jsonl       one line an epoch
curves.png          the history, drawn
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from apps.eight_bit import unpack
from apps.errors import InputError
from apps.task import TaskData
from core import Array, CheckpointError, Sequential, State, load_arrays, save_arrays, write_atomically
from core.checkpoint import FORMAT, put_weights
from models import MOST_PARAMETERS, build

Facts = dict[str, Any]

MOST_JSON = 24 << 20  # bytes of a model.json: 50,000 words of 100 letters take 20 million
MOST_WEIGHTS = 8 * MOST_PARAMETERS  # bytes of a model.safetensors
_KINDS = {"task": str, "model": str, "arguments": dict, "labels": list, "data": dict, "recipe": dict, "metrics": dict}


@dataclass(frozen=True)
class Run:
    """The folder of one training."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state.safetensors"

    @property
    def history(self) -> Path:
        return self.folder / "history.jsonl"

    @property
    def curves(self) -> Path:
        return self.folder / "curves.png"

    def check_free(self) -> None:
        """Raises InputError where the folder holds a run already, or anything else, or is none."""
        if self.state.exists():
            raise InputError(f"{self.folder} holds a run already: give --resume to go on with it, or another --out.")
        try:
            if self.folder.exists() and any(not entry.name.startswith(".") for entry in self.folder.iterdir()):
                raise InputError(f"{self.folder} holds other files: give an --out that is empty or new.")
        except OSError as error:
            raise InputError(f"{self.folder} cannot be used ({error.strerror}): give another --out.") from error

    def begin(self) -> None:
        """Make the folder. Raises InputError where it is not free, or cannot be made."""
        self.check_free()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be used ({error.strerror}): give another --out.") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, no other process trains in this folder; the system forgets the lock with the process.

        Raises InputError where another one does.
        """
        from filelock import FileLock, Timeout  # late: who only reads a run does without

        lock = FileLock(self.folder / ".lock", thread_local=False)  # an iterator may end on another thread
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"Another training is writing to {self.folder}: wait for it, or give another --out."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def save_state(self, state: State, facts: Facts) -> None:
        """Replace the state, in one rename."""
        save_arrays(self.state, state.arrays(), facts | {"state": state.facts()})

    def load_state(self) -> tuple[State, Facts]:
        """The state and the facts saved with it. Raises CheckpointError where there is none, or it is damaged."""
        arrays, facts = load_arrays(self.state)
        position = facts.get("state")
        if not isinstance(position, dict) or not isinstance(facts.get("recipe"), dict):
            raise CheckpointError(f"{self.state}: this is not the state of a training")
        try:
            return State(arrays, position), facts
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{self.state}: the file is damaged ({error})") from None

    def save_model(self, arrays: Mapping[str, Array], facts: Facts) -> None:
        """Write what serving needs."""
        save_model(self.folder / "model", arrays, facts)

    def read_history(self, epochs: int) -> list[Facts]:
        """The lines of the first `epochs` epochs; what stands beyond was written for a state that never came to be.

        So was a last line without an end, which is being written, or was when the program was killed.
        """
        if not self.history.is_file():
            return []
        try:
            whole, _, _ = self.history.read_text("utf-8").rpartition("\n")
            lines = [json.loads(line) for line in whole.splitlines()]
            kept = [line for line in lines if line["epoch"] < epochs]
            for line in kept:
                told = [value for name, value in line.items() if name not in _NO_NUMBERS]
                told += line["validation"].values()
                needed = [line["loss"], line["lr"], line["seconds"]]
                if not all(map(is_number, needed + [value for value in told if value is not None])):
                    raise ValueError(f"epoch {line['epoch']} holds what is no number of a training")
            return kept
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            remedy = "remove it to go on without it"
            raise CheckpointError(f"{self.history}: the file is damaged ({error}); {remedy}") from None

    def save_history(self, lines: list[Facts]) -> None:
        """Replace the history."""
        write_atomically(self.history, b"".join(map(_encoded, lines)))

    def add_to_history(self, line: Facts) -> None:
        """Write one more line."""
        with open(self.history, "ab") as file:
            file.write(_encoded(line))
            file.flush()
            os.fsync(file.fileno())


def next_run(parent: Path, name: str) -> Run:
    """The first of parent/name-1, parent/name-2, … that is not taken; its folder is made, so nobody else takes it.

    Raises InputError where it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            with suppress(FileExistsError):
                (parent / f"{name}-{number}").mkdir()
                break
    except OSError as error:
        raise InputError(f"{parent} cannot be used ({error.strerror}): give --out.") from error
    return Run(parent / f"{name}-{number}")


_NO_NUMBERS = ("validation", "layers", "part")  # in a line of the history


def is_number(value: Any) -> bool:
    """Whether it is a number that a training may tell, and a plot can show: finite, and below 1e100 either way."""
    return isinstance(value, int | float) and abs(value) < 1e100


def _encoded(line: Facts) -> bytes:
    return json.dumps(_finite(line)).encode() + b"\n"


def _finite(value: Any) -> Any:
    """The same with null where a number is not finite, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value


def weights_file(stem: Path) -> Path:
    """STEM.safetensors"""
    return stem.with_name(f"{stem.name}.safetensors")


def description_file(stem: Path) -> Path:
    """STEM.json"""
    return stem.with_name(f"{stem.name}.json")


def description(stem: Path, facts: Facts) -> bytes:
    """What STEM.json is to hold. Raises InputError where it would be larger than one that is read."""
    content = json.dumps({"format": FORMAT} | facts, indent=1, allow_nan=False, ensure_ascii=False).encode()
    if len(content) > MOST_JSON:
        raise InputError(
            f"{description_file(stem)} would have more than {MOST_JSON // 2**20} MiB: give data with fewer, or shorter,"
            " words or categories."
        )
    return content


def save_model(stem: Path, arrays: Mapping[str, Array], facts: Facts) -> None:
    """Write STEM.safetensors and STEM.json; the weights first, since a description without weights serves nobody.

    Raises InputError as `description`.
    """
    content = description(stem, facts)
    save_arrays(weights_file(stem), arrays)
    write_atomically(description_file(stem), content)


def load_model(stem: Path, task: str) -> tuple[Sequential, Facts]:
    """The model that STEM.json describes, with the weights of STEM.safetensors, and the description.

    Raises CheckpointError where a file is missing, damaged, newer, or of another task.
    """
    path, weights = description_file(stem), weights_file(stem)
    facts = read_description(path)
    if facts["task"] != task:
        raise CheckpointError(f"{path}: this is a model for {facts['task']}, not for {task}")
    arrays, _ = load_arrays(weights, most=MOST_WEIGHTS)
    arrays = unpack(weights, arrays)
    numbers = sum(array.size for array in arrays.values())
    try:
        model = build(facts["model"], facts["arguments"], rng=np.random.default_rng(0), most=numbers)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    put_weights(weights, model, arrays)
    return model, facts


def check_data(facts: Facts, data: TaskData) -> None:
    """Raises InputError where these are not the data that the described model learned from."""
    if facts["data"].get("fingerprint") != data.fingerprint:
        raise InputError(
            f"The model learned from {facts['data'].get('name')}, which {data.name} is not: give --data as then."
        )


def read_description(path: Path) -> Facts:
    """A model.json, its keys checked. Raises CheckpointError where it is missing, damaged or newer."""
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path}: this is not a file")
        with open(path, "rb") as file:
            content = file.read(MOST_JSON + 1)
        if len(content) > MOST_JSON:
            raise CheckpointError(f"{path}: the file is too large to describe a model")
        facts = json.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: the file is damaged ({error})") from None
    if not isinstance(facts, dict) or type(facts.get("format")) is not int or facts["format"] < 1:
        raise CheckpointError(f"{path}: the file does not describe a model of this program")
    if facts["format"] > FORMAT:
        raise CheckpointError(f"{path}: format {facts['format']} is newer than this program's {FORMAT}; update it")
    for key, kind in _KINDS.items():
        if not isinstance(facts.get(key), kind):
            raise CheckpointError(f"{path}: the file is damaged: {key} is missing or of the wrong kind")
    labels = facts["labels"]
    if len(labels) < 2 or not all(isinstance(label, str) and label for label in labels) or len({*labels}) < len(labels):
        raise CheckpointError(f"{path}: the file is damaged: its labels are not distinct words, two or more")
    return facts
