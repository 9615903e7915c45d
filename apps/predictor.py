"""A trained model, ready to answer: the same for the command line and the pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.calibration import read_calibration
from apps.errors import InputError
from apps.run import Facts, description_file, load_model
from apps.task import Encoder, Task
from apps.training import Result, evaluate_on
from core import Array, CheckpointError, Examples, Sequential, cores, predict
from core.metrics import softmax
from core.parallel import blas_threads
from models import WEIGHTS


class Predictor:
    """Answers for raw inputs. One may be shared by many threads: a pass never writes the model.

    facts        what model.json says: zoo name, arguments, labels, data set, recipe, metrics, versions
    calibration  how its logits are read
    views        slight changes of an input over which its answer is averaged, the input itself one of them
    """

    def __init__(self, task: Task, stem: Path, *, views: int = 1) -> None:
        """Raises CheckpointError where STEM.json or STEM.safetensors is missing, damaged or of another task.

        InputError where the task knows no slight changes to average over.
        """
        if views > 1 and task.views is None:
            raise InputError(f"{task.name} has no way to change its inputs slightly: leave --tta out.")
        self.task, self.stem, self.views = task, stem, views
        self.model: Sequential
        self.facts: Facts
        self.model, self.facts = load_model(stem, task.name)
        self.labels: tuple[str, ...] = tuple(self.facts["labels"])
        self.calibration = read_calibration(self.facts, f"{stem}.json")
        self.encoder: Encoder | None = None
        try:
            if task.load_encoder is not None:
                self.encoder = task.load_encoder(self.facts.get("encoder"))
                if not self.encoder.sizes().items() <= self.facts["arguments"].items():
                    raise ValueError(f"its encoder has other sizes, {self.encoder.sizes()}")
            z = self.logits(np.zeros((1, *task.shape), np.float32) if self.encoder is None else self.encoder([""]))
        except ValueError as error:
            raise CheckpointError(f"{stem}.json: the model is not one for {task.name}: {error}") from None
        if z.shape not in {(1, len(self.labels)), (1, len(self.labels) + 1)} or not np.isfinite(z).all():
            raise CheckpointError(f"{stem}.json: the model's outputs are not {len(self.labels)} finite numbers")

    def logits(self, x: Any, *, threads: int = 1) -> Array:
        """x (N, …) encoded inputs → z (N, K), or (N, K + 1) where the model has an output for what is of no class

        Where views are averaged, ln of the mean of their probabilities.
        """
        if self.views == 1 or self.task.views is None:
            return predict(self.model, x, threads=threads)
        views = self.task.views(x, self.views, str(self.facts["data"].get("dataset")))
        p: Array = np.mean([softmax(predict(self.model, view, threads=threads)) for view in views], axis=0)
        averaged: Array = np.log(np.maximum(p, np.finfo(p.dtype).tiny))
        return averaged

    def evaluate(self, examples: Examples) -> Result:
        """How good the model is on labelled examples, as the task loads them.

        Raises InputError where its outputs are not finite.
        """
        if self.encoder is not None:
            examples = self.encoder.examples(examples)
        with blas_threads(1):  # so that the result is that of one thread, whatever their number
            z = self.logits(examples.x, threads=cores())
        return evaluate_on(self.task, z, examples.t, self.calibration, len(self.labels))

    def probabilities(self, inputs: Sequence[Any]) -> Array:
        """Raw inputs → (N, K), each row a distribution over the labels"""
        return self.calibration.probabilities(self.logits(self.encode(inputs)), len(self.labels))

    def encode(self, inputs: Sequence[Any]) -> Any:
        """Raw inputs → x (N, …)"""
        if self.encoder is not None:
            return self.encoder(inputs)
        assert self.task.encode is not None
        return np.stack([self.task.encode(each) for each in inputs])

    def __call__(self, raw: Any) -> dict[str, Any]:
        """One raw input → its verdict, and what the task adds to explain it, which takes longer"""
        explained = {} if self.task.explain is None else self.task.explain(self, raw)
        return self.verdict(self.encode([raw])) | explained

    def verdict(self, x: Any) -> dict[str, Any]:
        """One encoded input x (1, …) → {"label": the most probable, "probabilities": {label: p}}

        What is like nothing in the training, or blank, gets the label that the model has for a stranger, such as “not
        a digit”, and "nearest", the most probable label all the same. Where the task wants it, "uncertain" is added.
        """
        z = self.logits(x)
        (p,) = self.calibration.probabilities(z, len(self.labels))
        answer = self.answer(p)
        nearest = answer["label"]
        stranger = self.facts.get("stranger")
        known = not stranger or (x.any() and self.calibration.knows(z, len(self.labels))[0])
        return {
            "label": nearest if known else stranger,
            **({"nearest": nearest} if stranger else {}),
            "probabilities": answer["probabilities"],
            **({"uncertain": bool(p.max() < self.task.sure)} if self.task.sure else {}),
        }

    def answer(self, p: Array) -> dict[str, Any]:
        """Probabilities (K,) → {"label": the most probable, "probabilities": {label: p}}"""
        return {
            "label": self.labels[int(p.argmax())],
            "probabilities": dict(zip(self.labels, map(float, p), strict=True)),
        }


def open_predictor(task: Task, *, model: str | None = None, run: Path | None = None, views: int = 1) -> Predictor:
    """The model of a run of the user's, or the shipped weights of a zoo entry: the task's default where none is named.

    Raises InputError for a name the task does not know or ships no weights of; CheckpointError as Predictor.
    """
    if run is not None:
        if not run.is_dir():
            raise InputError(f"{run} is not a folder: give the folder of a run, as printed at the end of its training.")
        return Predictor(task, run / "model", views=views)
    name = model or task.served
    if name not in task.entries:
        raise InputError(f"There is no model {name!r} for {task.name}: choose one of {', '.join(task.entries)}.")
    stem = WEIGHTS / f"{task.name}_{name}"
    if not description_file(stem).is_file():
        raise InputError(f"{name} comes without trained weights: train it, then give --run and the folder of the run.")
    return Predictor(task, stem, views=views)
