"""The model zoo: architectures as functions, trained weights, cards and results.

An architecture takes sizes, never data, and `rng=` for its first weights. Files name it by its key in `ZOO`, and give
its arguments; `build` is the only way from there to a model, so nothing a file says is executed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from core import Sequential
from models.blend import blend
from models.cnn import cnn, quick_cnn
from models.lenet import lenet5
from models.mlp import mlp, softmax_regression
from models.ngrams import ngram_bag, ngram_linear
from models.regions import region_cnn, region_predictor
from models.resnet import resnet
from models.sizes import MOST_PARAMETERS, check_sizes
from models.tabular import logistic_regression, mlp_ple, neural_additive, tabm
from models.text import text_bigru, text_cnn, text_gru, text_lstm, text_rnn
from models.vgg import vgg, vgg_ensemble

__all__ = [
    "CARDS",
    "MOST_PARAMETERS",
    "RESULTS",
    "WEIGHTS",
    "ZOO",
    "blend",
    "build",
    "cnn",
    "lenet5",
    "logistic_regression",
    "mlp",
    "mlp_ple",
    "neural_additive",
    "ngram_bag",
    "ngram_linear",
    "quick_cnn",
    "region_cnn",
    "region_predictor",
    "resnet",
    "softmax_regression",
    "tabm",
    "text_bigru",
    "text_cnn",
    "text_gru",
    "text_lstm",
    "text_rnn",
    "vgg",
    "vgg_ensemble",
]

Builder = Callable[..., Sequential]

IMAGES: tuple[Builder, ...] = (softmax_regression, mlp, lenet5, cnn, quick_cnn, resnet, vgg, vgg_ensemble)
TEXTS: tuple[Builder, ...] = (
    *(ngram_linear, ngram_bag, text_cnn, text_rnn, text_lstm, text_gru, text_bigru),
    *(region_predictor, region_cnn, blend),
)
TABLES: tuple[Builder, ...] = (logistic_regression, mlp_ple, tabm, neural_additive)
ZOO: Mapping[str, Builder] = {build.__name__: build for build in (*IMAGES, *TEXTS, *TABLES)}

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "weights"
CARDS = FOLDER / "cards"
RESULTS = FOLDER / "results.csv"


def build(
    name: str, arguments: Mapping[str, Any], *, rng: np.random.Generator, most: int = MOST_PARAMETERS
) -> Sequential:
    """A model of the zoo with fresh weights.

    Raises ValueError for an unknown name, arguments that the architecture does not take, or more than `most`
    parameters, before they are allocated: the arguments may come from a file.
    """
    if name not in ZOO:
        raise ValueError(f"there is no model {name!r} in the zoo: choose one of {', '.join(ZOO)}")
    known = inspect.signature(ZOO[name]).parameters.keys() - {"rng"}
    if unknown := sorted(arguments.keys() - known):
        raise ValueError(f"{name} takes no {unknown[0]!r}, only {', '.join(sorted(known))}")
    check_sizes(arguments)
    try:
        return ZOO[name](**arguments, rng=_Counted(rng, most))
    except (TypeError, AttributeError, LookupError, OverflowError, MemoryError) as error:
        raise ValueError(f"{name} cannot be built from {dict(arguments)}: {error}") from None


class _Counted:
    """A generator that draws no more than so many numbers: one for each weight."""

    def __init__(self, rng: np.random.Generator, most: int) -> None:
        self.rng, self.left = rng, most

    def standard_normal(self, size: tuple[int, ...]) -> np.ndarray:
        self._count(size)
        return self.rng.standard_normal(size)

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
        self._count(size)
        return self.rng.uniform(low, high, size)

    def _count(self, size: tuple[int, ...]) -> None:
        self.left -= prod(size)
        if self.left < 0:
            raise ValueError("the sizes ask for more parameters than there may be")
