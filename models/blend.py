"""Several models of the same words, and the sum of what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core import Array, Context, Layer, Parameter, Sequential
from core.padded import call
from models.calibrated import Calibrated, calibrated
from models.ngrams import ngram_bag, ngram_linear
from models.regions import region_cnn
from models.sizes import check_sizes
from models.text import text_bigru, text_cnn, text_gru, text_lstm, text_rnn

PARTS = (ngram_linear, ngram_bag, text_cnn, text_rnn, text_lstm, text_gru, text_bigru, region_cnn)
MOST_PARTS = 8


class Blend(Layer):
    """y = Σ_i a_i f_i(x),  the weights a_i being learned and the parts f_i as they are

    x as all parts take it   a (P,)   y (N, K) logits      (Wolpert, 1992)
    """

    takes_padded = True

    def __init__(self, *parts: Layer) -> None:
        self.parts = parts
        self.weight = Parameter(np.full(len(parts), 1 / len(parts), np.float32), decays=False)
        for part in parts:
            part.freeze()

    def forward(self, x: Any, ctx: Context) -> Array:
        made = [call(part, x, ctx[i]).copy() for i, part in enumerate(self.parts)]
        ctx.save(made)
        y: Array = sum((a * z for a, z in zip(self.weight.value, made, strict=True)), np.zeros_like(made[0]))
        return y

    def backward(self, dy: Array, ctx: Context) -> None:
        """The parts learn nothing, so nothing is handed on to them."""
        (made,) = ctx.saved
        ctx.add_grad(self.weight, np.array([(dy * z).sum() for z in made], self.weight.value.dtype))


def blend(
    *, words: int, outputs: int, parts: Sequence[tuple[str, Mapping[str, Any]]], rng: np.random.Generator
) -> Sequential:
    """(N, T) ids of words → (N, outputs) logits: a weighted sum of those of other models

    parts: (name, arguments) of each, all for the same words and outputs.

    Raises ValueError for a part that is none of PARTS.
    """
    known = {part.__name__: part for part in PARTS}
    if not isinstance(parts, list | tuple) or not 1 <= len(parts) <= MOST_PARTS:
        raise ValueError(f"a blend has 1 to {MOST_PARTS} parts")
    built = []
    for name, arguments in parts:
        if name not in known:
            raise ValueError(f"a blend cannot have {name!r} as a part: choose from {', '.join(known)}")
        check_sizes(arguments)
        (wrapped,) = known[name](**{**arguments, "words": words, "outputs": outputs}, rng=rng).layers
        assert isinstance(wrapped, Calibrated)
        built.append(wrapped.inner)  # without temperatures of its own
    return calibrated(Blend(*built))
