"""A task is a value: how to load its data, encode an input, build, train and score a model for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

import core
from core import OPTIMIZERS, SCHEDULES, Array, Examples, Loss, Optimizer
from core.inference import Metric


@dataclass(frozen=True)
class Recipe(core.Recipe):
    """All that a training may be told, beside its model and data; every field is a flag of the command line.

    optimizer        sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw or muon
    lr               the learning rate, at the peak of its schedule
    schedule         constant, step, exponential, cosine, warm_up, one_cycle or flat_cosine
    weight_decay     pulls the weights towards zero, beside the optimizer's rule; 0: off
    dropout          share of units silenced in training, where the model has dropout
    label_smoothing  share of a target spread over all classes
    augment          how strongly examples are changed at every visit: 1 as the task advises, 0 not at all
    outliers         share of visits at which an example is spoilt into one of no class; the model gets an output for it
    validation       share of the training examples that is held out and scored after each epoch; 0: none

    Raises ValueError for a value out of range.
    """

    optimizer: str = "adam"
    lr: float = 1e-3
    schedule: str = "one_cycle"
    weight_decay: float = 0.0
    dropout: float = 0.0
    label_smoothing: float = 0.0
    augment: float = 0.0
    outliers: float = 0.0
    validation: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)}")
        if not 0 <= self.augment <= 10:
            raise ValueError(f"augment is from 0 to 10, not {self.augment}")
        if not (isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr is a finite number above 0, not {self.lr}")
        for name in ("dropout", "label_smoothing", "outliers", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is from 0 up to, not including, 1; not {getattr(self, name)}")
        if self.patience and not self.validation:
            raise ValueError("patience needs validation above 0: without held-out examples nothing can get better")
        self.make_optimizer(1)

    def make_optimizer(self, examples: int) -> Optimizer:
        """The optimizer of a training on so many examples, its schedule stretched over all updates."""
        schedule = SCHEDULES[self.schedule](self.lr, self.steps(examples))
        return OPTIMIZERS[self.optimizer](schedule, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class TaskData:
    """Labelled examples, encoded.

    name          of the data set, as shown beside every result
    train, test   x as the task's models read it; t (N,) int64, an index of labels
    labels        what the classes are called
    fingerprint   16 hexadecimal digits that tell these examples from others
    notice        a sentence for the user where the data are not what they may expect, otherwise None
    stranger      what an input is called that is like none of the examples; empty: nothing is
    """

    name: str
    train: Examples
    test: Examples
    labels: tuple[str, ...]
    fingerprint: str
    notice: str | None = None
    stranger: str = ""


@dataclass(frozen=True)
class Entry:
    """How a task trains one architecture of the zoo: its arguments, and the recipe that suits it."""

    arguments: Mapping[str, Any]
    recipe: Recipe


@dataclass(frozen=True)
class Task:
    """What the scripts, the predictor and the pages need to know of a task.

    unit      what an example is called, in the plural
    load      (--data, --dataset) → TaskData
    datasets  the names that --dataset takes, the default first
    shape     of one encoded input
    open      what the command line is given (a path, a sentence) → raw input; InputError for what is unusable
    encode    raw input → x of one example: the one way from input to array
    model     the entry that is trained where none is named: a good one within a minute
    served    the entry that evaluates and predicts where none is named: the best one
    entries   {name in the zoo: Entry}
    loss      recipe → loss
    metrics   sums over examples that training reports beside the loss
    score     (logits (N, K), t (N,)) → {metric: value}: what an evaluation reports
    augment   (examples, recipe, dataset) → examples that are changed at every visit; None where there is no such way
    views     (x (N, …), M, dataset) → M arrays like x: x itself, then slight changes of it, over which an answer may
              be averaged; None likewise
    """

    name: str
    unit: str
    load: Callable[[str | None, str], TaskData]
    datasets: tuple[str, ...]
    shape: tuple[int, ...]
    open: Callable[[str], Any]
    encode: Callable[[Any], np.ndarray]
    model: str
    served: str
    entries: Mapping[str, Entry]
    loss: Callable[[Recipe], Loss]
    metrics: Mapping[str, Metric]
    score: Callable[[Array, Array], dict[str, float]]
    augment: Callable[[Examples, Recipe, str], Examples] | None = None
    views: Callable[[Array, int, str], Iterator[Array]] | None = None
