"""Several models of the same words, and the sum of what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core import Array, Context, Layer, Parameter, Sequential
from core.padded import call
from models.calibrated import BANDS, Calibrated, bands, calibrated
from models.ngrams import ngram_bag, ngram_linear
from models.regions import region_cnn
from models.sizes import check_sizes
from models.text import text_bigru, text_cnn, text_gru, text_lstm, text_rnn

PARTS = (ngram_linear, ngram_bag, text_cnn, text_rnn, text_lstm, text_gru, text_bigru, region_cnn)
MOST_PARTS = 8


class Blend(Layer):
    """y = Σ_i a_bi f_i(x),  b being the band of length of x; the weights a are learned, the parts f_i are as they are

    x as all parts take it   a (B, P)   y (N, K) logits      (Wolpert, 1992)

    So one part may speak louder of sentences, and another of long reviews.
    """

    takes_padded = True

    def __init__(self, *parts: Layer) -> None:
        self.parts = parts
        self.weight = Parameter(np.full((BANDS, len(parts)), 1 / len(parts), np.float32), decays=False)
        for part in parts:
            part.freeze()

    def forward(self, x: Any, ctx: Context) -> Array:
        made = np.stack([call(part, x, ctx[i]) for i, part in enumerate(self.parts)], axis=1)  # (N, P, K)
        band = bands(x)
        ctx.save(made, band)
        y: Array = np.einsum("np,npk->nk", self.weight.value[band], made)
        return y

    def backward(self, dy: Array, ctx: Context) -> None:
        """The parts learn nothing, so nothing is handed on to them."""
        made, band = ctx.saved
        grad = np.zeros_like(self.weight.value)
        np.add.at(grad, band, np.einsum("nk,npk->np", dy, made).astype(grad.dtype, copy=False))
        ctx.add_grad(self.weight, grad)


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
