"""A trained model in fewer bytes, as the zoo ships it: ratios in the weights they multiply, 8 and 16 bits a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from apps.eight_bit import pack
from apps.predictor import Predictor
from apps.run import Facts, load_model, save_model
from apps.task import Task, TaskData
from apps.training import measured
from core import Array, EmbeddingBag, Layer, Sequential
from models import build
from models.blend import Blend
from models.calibrated import Calibrated
from models.ngrams import LogRatios

SMALL = 1000  # numbers of an array that stays as it is
WIDE = 8  # numbers of a row, from which on a scale of its own costs little


def compact(task: Task, run: Path, stem: Path, data: TaskData) -> Facts:
    """Write the model of a run to STEM.json and STEM.safetensors, in fewer bits, with the metrics that it then has.

    Raises CheckpointError where the run is damaged.
    """
    model, facts = load_model(run / "model", task.name)
    arguments = _without_ratios(facts["model"], facts["arguments"])
    smaller = build(facts["model"], arguments, rng=np.random.default_rng(0))
    _copy(model, smaller)
    arrays: dict[str, Array] = {}
    for name, parameter in smaller.named_parameters():
        arrays |= _fewer_bits(name, parameter.value)
    facts = facts | {"arguments": arguments}
    save_model(stem, arrays, facts)
    facts |= measured(Predictor(task, stem).evaluate(data.test), data.split)
    save_model(stem, arrays, facts)
    return facts


def _without_ratios(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if name == "blend":
        parts = [[part, _without_ratios(part, sizes)] for part, sizes in arguments["parts"]]
        return arguments | {"parts": parts}
    return arguments | ({"ratios": False} if name == "ngram_linear" else {})


def _copy(old: Layer, new: Layer) -> None:
    """Give a model without ratios what one with them has learned."""
    match old, new:
        case Sequential(), Sequential():
            ratios = [layer for layer in old.layers if isinstance(layer, LogRatios)]
            for a, b in zip((layer for layer in old.layers if layer not in ratios), new.layers, strict=True):
                _copy(a, b)
                if ratios and isinstance(b, EmbeddingBag):
                    b.weight.value *= ratios[0].weight.value[:, np.newaxis]
        case Calibrated(), Calibrated():
            new.temperature.value[...] = old.temperature.value
            _copy(old.inner, new.inner)
        case Blend(), Blend():
            new.weight.value[...] = old.weight.value
            for a, b in zip(old.parts, new.parts, strict=True):
                _copy(a, b)
        case _:
            for p, q in zip(old.parameters(), new.parameters(), strict=True):
                q.value[...] = p.value


def _fewer_bits(name: str, value: Array) -> dict[str, Array]:
    """Tables of vectors in 8 bits, other weights in 16; few numbers, and the keys of n-grams, as they are."""
    if value.size < SMALL or name.endswith("keys"):
        return {name: value}
    if value.ndim == 2 and value.shape[1] >= WIDE and len(value) >= SMALL:
        return pack(name, value)
    return {name: value.astype(np.float16)}
