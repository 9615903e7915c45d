"""Lessons: trainings side by side that show one thing each, all on the small sample of digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.jobs import Order


@dataclass(frozen=True)
class Trial:
    """One training of a lesson: what differs from the others, and how its recipe and architecture say so."""

    title: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lesson:
    """title, what to look at, the trials, and what they have in common."""

    title: str
    look: str
    trials: Sequence[Trial]
    recipe: Mapping[str, Any]
    examples: int = 0

    def orders(self) -> list[Order]:
        n = self.examples
        return [
            Order("mnist", "mlp", "sample", "mnist", trial.title, {**self.recipe, **trial.recipe}, trial.arguments, n)
            for trial in self.trials
        ]


PLAIN = {"schedule": "constant", "dropout": 0.0, "validation": 0.2}
DEEP = {"hidden": [32] * 20}

LESSONS: Sequence[Lesson] = (
    Lesson(
        "How fast to learn",
        "The same network four times, by plain gradient descent. Too low a learning rate hardly moves. Too high a one"
        " jumps about; higher still, the first steps throw the weights so far that no unit is ever on again: the loss"
        " stays at that of guessing, ln 10 = 2.3, and the doctor finds the dead.",
        (
            Trial("lr 0.0003", {"lr": 3e-4}),
            Trial("lr 0.1", {"lr": 0.1}),
            Trial("lr 0.5", {"lr": 0.5}),
            Trial("lr 1", {"lr": 1.0}),
        ),
        PLAIN | {"optimizer": "sgd", "epochs": 25},
    ),
    Lesson(
        "Gradients that vanish",
        "Twenty sigmoid layers: each multiplies the gradient by a quarter at most, so the first learn nothing. So"
        " says the doctor below the curves. The remedy: ReLU with He's initialization.",
        (
            Trial("20 × sigmoid", {}, DEEP | {"activation": "sigmoid", "initializer": "glorot_uniform"}),
            Trial("20 × ReLU, He", {}, DEEP | {"activation": "relu", "initializer": "he_normal"}),
        ),
        PLAIN | {"optimizer": "adam", "lr": 1e-3, "epochs": 25},
    ),
    Lesson(
        "Learning by heart",
        "Three hundred examples are soon known by heart: the loss in training falls to nothing, the held-out one rises."
        " Four remedies: L2, dropout, augmentation, and to stop early.",
        (
            Trial("nothing"),
            Trial("L2", {"l2": 0.003}),
            Trial("dropout ½", {"dropout": 0.5}),
            Trial("augmentation", {"augment": 1.0}),
            Trial("early stopping", {"patience": 5}),
        ),
        PLAIN | {"optimizer": "adam", "lr": 1e-3, "epochs": 80, "validation": 0.5, "batch_size": 32},
        examples=600,
    ),
    Lesson(
        "Five ways down",
        "One problem, five optimizers, each with a learning rate that suits it.",
        (
            Trial("SGD", {"optimizer": "sgd", "lr": 0.1}),
            Trial("momentum", {"optimizer": "momentum", "lr": 0.03}),
            Trial("AdaGrad", {"optimizer": "adagrad", "lr": 0.01}),
            Trial("RMSprop", {"optimizer": "rmsprop", "lr": 1e-3}),
            Trial("Adam", {"optimizer": "adam", "lr": 1e-3}),
        ),
        PLAIN | {"epochs": 15},
    ),
)
