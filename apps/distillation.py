"""Learning what a trained model makes of every example, instead of its label: distillation."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from apps.errors import InputError
from apps.run import load_model
from apps.start import find_stem
from apps.task import Watch
from core import Array, Context, Examples, Sequential
from core.metrics import softmax
from core.padded import call

if TYPE_CHECKING:
    from apps.training import Plan


class Distilled(Examples):
    """Examples with the teacher's probabilities (N, K) for labels, of each input just as the student is shown it.

    What is distorted anew at every visit gets a new answer every time, and an ambiguous digit an ambiguous one: so a
    network can learn what several of them know together. (Hinton, Vinyals & Dean, 2015; Beyer et al., 2022)
    """

    def __init__(self, examples: Examples, teacher: Sequential) -> None:
        super().__init__(examples.x, examples.t, examples.weight)
        self.examples, self.teacher = examples, teacher
        self._passes: dict[Context, Context] = {}  # of whoever takes -> of the teacher's pass

    def take(self, rows: Array, epoch: int, ctx: Context) -> tuple[Any, Array, Array | None]:
        x, _, weight = self.examples.take(rows, epoch, ctx)
        z = call(self.teacher, x, self._passes.setdefault(ctx, Context(dtype=ctx.dtype)))
        return x, softmax(z), weight


def distil(plan: Plan, data: str | None, teacher: str, watch: Watch = iter) -> Plan:
    """The plan by which the model learns from what a teacher makes of the examples; `data` and `watch` are not needed.

    Raises InputError where there is no such teacher, or it does not answer with the student's classes.
    """
    model, facts = load_model(find_stem(plan.task, teacher, "--teacher"), plan.task.name)
    if tuple(facts["labels"]) != plan.data.labels or facts["arguments"]["outputs"] != plan.arguments["outputs"]:
        raise InputError(
            f"--teacher {teacher} has {facts['arguments']['outputs']} outputs, and {plan.model} would have"
            f" {plan.arguments['outputs']}, or other labels: choose a teacher of the same data and --outliers."
        )
    return replace(plan, teacher=teacher, guide=model)


def fingerprint(model: Sequential) -> str:
    """A short hash of all weights."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name}{parameter.value.shape}".encode())
        digest.update(np.ascontiguousarray(parameter.value).data)
    return digest.hexdigest()[:16]
