"""A trained model, ready to answer: the same for the command line and the pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.errors import InputError
from apps.run import Facts, load_model
from apps.task import Encoder, Task
from core import Array, CheckpointError, Sequential, predict
from core.metrics import softmax
from models import WEIGHTS


class Predictor:
    """Answers for raw inputs. One may be shared by many threads: a pass never writes the model.

    facts   what model.json says: zoo name, arguments, labels, data set, recipe, metrics, versions
    """

    def __init__(self, task: Task, stem: Path) -> None:
        """Raises CheckpointError where STEM.json or STEM.safetensors is missing, damaged or of another task."""
        self.task, self.stem = task, stem
        self.model: Sequential
        self.facts: Facts
        self.model, self.facts = load_model(stem, task.name)
        self.labels: tuple[str, ...] = tuple(self.facts["labels"])
        self.encoder: Encoder | None = None
        try:
            if task.load_encoder is not None:
                self.encoder = task.load_encoder(self.facts.get("encoder"))
            x = np.zeros((1, *task.shape), np.float32) if self.encoder is None else self.encoder([""])
            logits = self.logits(x)
        except ValueError as error:
            raise CheckpointError(f"{stem}.json: the model is not one for {task.name}: {error}") from None
        if logits.shape != (1, len(self.labels)) or not np.isfinite(logits).all():
            raise CheckpointError(f"{stem}.json: the model's outputs are not {len(self.labels)} finite numbers")

    def logits(self, x: Any, *, threads: int = 1) -> Array:
        """x (N, …) encoded inputs → (N, K)"""
        return predict(self.model, x, threads=threads)

    def encode(self, inputs: Sequence[Any]) -> Any:
        """Raw inputs → x (N, …)"""
        if self.encoder is not None:
            return self.encoder(inputs)
        assert self.task.encode is not None
        return np.stack([self.task.encode(each) for each in inputs])

    def probabilities(self, inputs: Sequence[Any]) -> Array:
        """Raw inputs → (N, K), each row a distribution over the labels"""
        return softmax(self.logits(self.encode(inputs)))

    def __call__(self, raw: Any) -> dict[str, Any]:
        """One raw input → {"label": the most probable, "probabilities": {label: p}}, and what the task adds"""
        (p,) = self.probabilities([raw])
        return self.answer(p) | ({} if self.task.explain is None else self.task.explain(self, raw))

    def answer(self, p: Array) -> dict[str, Any]:
        """Probabilities (K,) → {"label": the most probable, "probabilities": {label: p}}"""
        return {
            "label": self.labels[int(p.argmax())],
            "probabilities": dict(zip(self.labels, map(float, p), strict=True)),
        }


def open_predictor(task: Task, *, model: str | None = None, run: Path | None = None) -> Predictor:
    """The model of a run of the user's, or the shipped weights of a zoo entry: the task's default where none is named.

    Raises InputError for a name the task does not know or ships no weights of; CheckpointError as Predictor.
    """
    if run is not None:
        if not run.is_dir():
            raise InputError(f"{run} is not a folder: give the folder of a run, as printed at the end of its training.")
        return Predictor(task, run / "model")
    name = model or task.model
    if name not in task.entries:
        raise InputError(f"There is no model {name!r} for {task.name}: choose one of {', '.join(task.entries)}.")
    stem = WEIGHTS / f"{task.name}_{name}"
    if not stem.with_suffix(".json").is_file():
        raise InputError(f"{name} comes without trained weights: train it, then give --run and the folder of the run.")
    return Predictor(task, stem)
