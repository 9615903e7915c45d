"""The models of the credit task: which architecture reads which inputs, by which recipe, and which are blended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.task import Recipe


@dataclass(frozen=True)
class Entry:
    """How one part of a model is trained.

    architecture  its name in the zoo
    form          of its inputs, one of `apps.credit.encoding.FORMS`
    arguments     of the architecture, beside the sizes that follow from the data
    bins          at most, a number
    """

    architecture: str
    form: str
    arguments: Mapping[str, Any]
    recipe: Recipe
    bins: int = 32


_CONVEX = Recipe(epochs=20, batch_size=256, micro_batch=256, optimizer="adamw", lr=2e-2, schedule="cosine")
_CURVES = Recipe(
    epochs=20, batch_size=64, micro_batch=64, optimizer="adamw", lr=2e-2, schedule="cosine", weight_decay=0.1
)

ENTRIES: Mapping[str, Entry] = {
    "logistic": Entry("logistic_regression", "robust", {}, _CONVEX),
    "logistic_woe": Entry("logistic_regression", "woe", {}, _CONVEX),
    "mlp": Entry(
        "mlp",
        "quantile",
        {"outputs": 1, "hidden": (64, 64), "activation": "silu"},
        Recipe(epochs=10, batch_size=256, optimizer="muon", lr=4e-3, schedule="cosine", weight_decay=0.03, dropout=0.3),
    ),
    "mlp_ple": Entry(
        "mlp_ple",
        "bins",
        {"width": 12, "hidden": (64,)},
        Recipe(epochs=6, batch_size=128, optimizer="muon", lr=4e-3, schedule="cosine", weight_decay=0.03, dropout=0.4),
        bins=24,
    ),
    "tabm": Entry(
        "tabm",
        "bins",
        {"width": 8, "hidden": (64,), "members": 4},
        Recipe(
            epochs=8,
            batch_size=256,
            lanes=2,
            optimizer="muon",
            lr=8e-3,
            schedule="cosine",
            weight_decay=0.03,
            dropout=0.1,
        ),
    ),
    "additive": Entry(
        "neural_additive",
        "bins",
        {"directions": True},
        _CURVES,
        bins=10,
    ),
    "additive_free": Entry(
        "neural_additive",
        "bins",
        {"directions": False},
        _CURVES,
        bins=10,
    ),
}

MODELS: Mapping[str, tuple[str, ...]] = {
    "blend": ("tabm", "mlp_ple", "additive"),
    **{name: (name,) for name in ENTRIES},
}
DEFAULT = "blend"
FOLDS = 5
LEAST_UPDATES = 200  # of a network whose number of epochs nobody chose
