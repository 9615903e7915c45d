"""Probabilities that mean what they say: logits divided by a temperature that depends on how long the text is."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array, Context, Layer, Parameter, Sequential
from core.metrics import softmax
from core.padded import call, lengths_of, values_of

ENDS = (12, 48, 160)  # words: of the first bands of length; the last one has no end
BANDS = len(ENDS) + 1
LEAST = 200  # texts of a band: a temperature from fewer means little
TEMPERATURES = np.geomspace(0.25, 4, 161)  # that are tried


class Calibrated(Layer):
    """y = inner(x) / T,  T the temperature of the band of length that a text is in

    x (N, T) ids, an array or `Padded`   y (N, K) logits      (Guo et al., 2017; one temperature there)

    Temperatures are 1 until `fit_temperatures` sets them, and are not learned.
    """

    takes_padded = True

    def __init__(self, inner: Layer) -> None:
        self.inner = inner
        self.temperature = Parameter(np.ones(BANDS, np.float32), decays=False)
        self.temperature.frozen = True

    def forward(self, x: Any, ctx: Context) -> Array:
        each = self.temperature.value[bands(x)][:, np.newaxis]
        ctx.save(each)
        z = call(self.inner, x, ctx[0])
        y: Array = np.divide(z, each, out=ctx.like("y", z))
        return y

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        (each,) = ctx.saved
        ctx[0].needs_dx = ctx.needs_dx
        return self.inner.backward(np.divide(dy, each, out=ctx.like("dz", dy)), ctx[0])


def bands(x: Any) -> Array:
    """(N,) the band of length of each text"""
    lengths = lengths_of(x)
    if lengths is None:
        lengths = np.full(len(x), values_of(x).shape[1])
    band: Array = np.searchsorted(ENDS, lengths)
    return band


def calibrated(*layers: Layer) -> Sequential:
    """The layers as a model, with temperatures."""
    return Sequential(Calibrated(Sequential(*layers)))


def fit_temperatures(model: Sequential, logits: Array, lengths: Array, t: Array) -> None:
    """Set the temperatures to those of the least negative log-likelihood of held-out texts, band by band.

    logits (N, K) of the model as it is   lengths (N,)   t (N,) classes

    A band with few texts takes the temperature of all together.
    """
    (wrapper,) = model.layers
    assert isinstance(wrapper, Calibrated)
    band = np.searchsorted(ENDS, lengths)
    factor = wrapper.temperature.value[band]
    z = logits * factor[:, np.newaxis]
    everywhere = _best(z, t)
    for k in range(BANDS):
        inside = band == k
        wrapper.temperature.value[k] = _best(z[inside], t[inside]) if inside.sum() >= LEAST else everywhere


def _best(z: Array, t: Array) -> float:
    likelihood = [np.log(softmax(z / each)[np.arange(len(t)), t] + 1e-12).sum() for each in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmax(likelihood))])
