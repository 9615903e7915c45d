"""A task is a value: how to load its data, encode an input, build, train and score a model for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import core
from core import OPTIMIZERS, SCHEDULES, Array, Examples, Loss, Optimizer, Sequential
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
    unlabelled       passes over unlabelled examples before training, for models that can learn from them; 0: none
    share            share of the training examples that is used at all, labels being dear

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
    unlabelled: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share is above 0, and 1 at most, not {self.share}")
        if type(self.unlabelled) is not int or not 0 <= self.unlabelled <= 1000:
            raise ValueError(f"unlabelled is a whole number from 0 to 1000, not {self.unlabelled}")
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
    """Labelled examples, encoded; of a task that learns its encoder, as they came.

    name          of the data set, as shown beside every result
    train, test   x as the task's models read it; t (N,) int64, an index of labels
    labels        what the classes are called
    fingerprint   16 hexadecimal digits that tell these examples from others
    notice        a sentence for the user where the data are not what they may expect, otherwise None
    stranger      what an input is called that is like none of the examples; empty: nothing is
    split         what the examples to test on are called in the data set
    groups        (N,) which training examples belong together, so that they are held out together or not at all
    """

    name: str
    train: Examples
    test: Examples
    labels: tuple[str, ...]
    fingerprint: str
    notice: str | None = None
    stranger: str = ""
    split: str = "test"
    groups: Array | None = None


class Encoder(Protocol):
    """The way from raw inputs to arrays, where it is learned from the training examples and saved with the run."""

    def __call__(self, raw: Sequence[Any], /) -> Any:
        """N raw inputs → x of N examples."""

    def examples(self, raw: Examples) -> Examples:
        """Raw examples, encoded."""

    def sizes(self) -> dict[str, int]:
        """Arguments of the task's models that follow from it."""

    def state(self) -> dict[str, Any]:
        """What it learned, as JSON can hold it."""


@dataclass(frozen=True)
class Entry:
    """How a task trains one architecture of the zoo: its arguments, and the recipe that suits it.

    adapted  {data set: {field of the recipe: value}} where another data set wants it otherwise
    """

    arguments: Mapping[str, Any]
    recipe: Recipe
    adapted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def recipe_for(self, dataset: str | None) -> Recipe:
        """The recipe for one of the task's data sets."""
        return replace(self.recipe, **self.adapted.get(dataset or "", {}))


Watch = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Task:
    """What the scripts, the predictor and the pages need to know of a task.

    unit      what an example is called, in the plural
    load      (--data, --dataset, tested=False) → TaskData; where only what is tested on is asked for, as by an
              evaluation, `train` may be the same, and the fingerprint another
    datasets  the names that --dataset takes, the default first
    shape     of one encoded input
    open      what the command line is given (a path, a sentence) → raw input; InputError for what is unusable
    encode    raw input → x of one example: the one way from input to array
    model     the entry that is trained where none is named: a good one within a minute
    served    the entry that evaluates and predicts where none is named: the best one
    entries   {name in the zoo: Entry}
    loss      recipe → loss
    metrics   sums over examples that training reports beside the loss
    score     (logits (N, K), t (N,)) → {metric: value}: what an evaluation reports; None: there is none
    augment   (examples, recipe, dataset) → examples that are changed at every visit; None where there is no such way
    views     (x (N, …), M, dataset) → M arrays like x: x itself, then slight changes of it, over which an answer may
              be averaged; None likewise

    A task whose encoder is learned has, instead of `shape` and `encode`,

    fit_encoder   raw training examples → Encoder
    load_encoder  what `Encoder.state` gave, or anything else in a file, → Encoder; ValueError for the latter

    and any task may have

    load_csv      (file, column of inputs, column of labels) → TaskData: a data set of the user's
    read_csv      (file, column) → raw inputs
    initialise    (model, training examples): set the first weights that are counted from data, before training
    calibrate     (model, held-out examples): set what makes probabilities mean what they say, after training
    sure          where the most probable label is less probable, an answer is called uncertain; 0: never
    explain       (predictor, raw input) → what a prediction adds to the probabilities
    before        (plan, --data) → the plan of a training on unlabelled examples that goes before
    learn_from    (model, {name: weights that were learned before}): let the model begin with them
    blend         (plan, runs) → the plan by which the models of some runs are blended
    teach         (plan, --data, NAME, watch) → the plan with examples that nobody labelled, as a trained model labels
                  them; `watch` is handed the pieces of that work, and hands them back one by one
    """

    name: str
    unit: str
    load: Callable[..., TaskData]
    datasets: tuple[str, ...]
    open: Callable[[str], Any]
    model: str
    served: str
    entries: Mapping[str, Entry]
    loss: Callable[[Recipe], Loss]
    metrics: Mapping[str, Metric]
    score: Callable[[Array, Array], dict[str, float]] | None
    shape: tuple[int, ...] = ()
    encode: Callable[[Any], np.ndarray] | None = None
    augment: Callable[[Examples, Recipe, str], Examples] | None = None
    views: Callable[[Array, int, str], Iterator[Array]] | None = None
    fit_encoder: Callable[[Examples], Encoder] | None = None
    load_encoder: Callable[[Any], Encoder] | None = None
    load_csv: Callable[[Path, str, str], TaskData] | None = None
    read_csv: Callable[[Path, str], list[Any]] | None = None
    initialise: Callable[[Sequential, Examples], None] | None = None
    calibrate: Callable[[Sequential, Examples], None] | None = None
    sure: float = 0.0
    explain: Callable[[Any, Any], dict[str, Any]] | None = None
    before: Callable[[Any, str | None], Any] | None = None
    learn_from: Callable[[Sequential, Mapping[str, Array]], None] | None = None
    blend: Callable[[Any, Sequence[Path]], Any] | None = None
    teach: Callable[[Any, str | None, str, Watch], Any] | None = None
