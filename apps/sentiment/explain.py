"""What every word of a text contributed to an answer: exactly for n-grams, by integrated gradients for the rest.

An answer is explained in one number, the calibrated logit of a class minus the mean logit of the others; of two classes
it is the log-odds of the probability. The contributions of the words and the number of a text whose words say nothing
(`base`) add up to it. Nothing is rescaled to make them do so.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import (
    Array,
    Concat,
    Context,
    Dropout,
    Embedding,
    EmbeddingBag,
    EmbeddingConvMaxPool1D,
    Layer,
    Padded,
    Sequential,
)
from core.padded import call, values_of
from models.blend import Blend
from models.calibrated import Calibrated, bands
from models.ngrams import LogRatios, NGrams, Selected
from models.text import Known

SURE = 0.65  # below, an answer would be wrong more than once in three times: it is called uncertain
STRETCHES = 32  # at first
NEARLY_ZERO = 1e-6
TOLERANCE = 3e-4  # of the integral, beside its exact value
MOST_HALVINGS = 12
AT_A_TIME = 1 << 22  # numbers that go through a model at once


def explain(predictor: Any, text: str) -> dict[str, Any]:
    """{"explained": the label that contributions speak for, "base", "tokens": [{token, contribution}]}

    Of two labels the second is explained, of more the most probable one.
    """
    x, calibration = predictor.encode([text]), predictor.calibration
    logits = predictor.logits(x)
    (p,) = calibration.probabilities(logits, len(predictor.labels))
    k = 1 if len(p) == 2 else int(p.argmax())
    direction = np.full(len(p), -1 / (len(p) - 1), logits.dtype)  # of the number in the space of logits
    direction[k] = 1
    direction /= calibration.temperature
    contributions, base = attribute(predictor.model, x.values[np.newaxis], direction)
    words = predictor.encoder.split(text)
    return {
        "explained": predictor.labels[k],
        "base": float(base),
        "tokens": [{"token": word, "contribution": float(c)} for word, c in zip(words, contributions, strict=True)],
    }


def attribute(layer: Layer, ids: Array, direction: Array) -> tuple[Array, float]:
    """(T,) contributions of ids (1, T) to direction · layer(ids), and its value for words that say nothing

    Raises TypeError for a layer that is no model of texts.
    """
    if ids.shape[1] == 0:
        nothing = Padded(np.zeros((1, 1), np.int64), np.zeros(1, np.int64))
        return np.zeros(0), float(_forward(layer, nothing)[0] @ direction)
    if isinstance(layer, Calibrated):
        return attribute(layer.inner, ids, direction / layer.temperature.value[bands(ids)][0])
    if isinstance(layer, Blend):
        weight = layer.weight.value[bands(ids)][0]
        told = [attribute(part, ids, direction * a) for part, a in zip(layer.parts, weight, strict=True)]
        return sum((part for part, _ in told), np.zeros(ids.shape[1])), sum(base for _, base in told)
    if isinstance(layer, Sequential):
        return _attribute_chain(list(layer.layers), ids, direction)
    raise TypeError(f"{layer!r} is no model of texts")


def _attribute_chain(layers: list[Any], ids: Array, direction: Array) -> tuple[Array, float]:
    first = layers[0]
    if len(layers) == 1:
        return attribute(first, ids, direction)
    if isinstance(first, NGrams):
        return _attribute_ngrams(first, layers[1:], ids, direction)
    if isinstance(first, Embedding):
        return _integrate(values_of(_forward(first, ids)), Sequential(*layers[1:]), direction)
    if isinstance(first, EmbeddingConvMaxPool1D):
        return _attribute_chain([first.embedding, Concat(*first.filters), *layers[1:]], ids, direction)
    if isinstance(first, Known):
        contributions = np.zeros(ids.shape[1])
        read = values_of(_forward(first, ids))
        contributions[first.places(ids.shape[1])], base = _attribute_chain(layers[1:], read, direction)
        return contributions, base
    raise TypeError(f"{first!r} is no beginning of a model of texts")


def _forward(layer: Layer, x: Any) -> Any:
    return call(layer, x, Context())


# --- sums of n-grams ------------------------------------------------------------------------------------------------


def _attribute_ngrams(grams: NGrams, layers: list[Any], ids: Array, direction: Array) -> tuple[Array, float]:
    """Exact: what follows the bag is linear, so the number is a sum over n-grams; each one's words share its part."""
    found = grams.grams(ids.astype(np.int64))  # (1, orders · T)
    if isinstance(layers[0], Selected):
        found = _forward(layers.pop(0), found)
    ratios = layers.pop(0) if isinstance(layers[0], LogRatios) else None
    bag, *rest = layers
    after = _without_dropout(Sequential(*rest)) if rest else None
    assert isinstance(bag, EmbeddingBag)
    features = bag.weight.value.shape[1]
    empty = np.zeros((1, features), bag.weight.value.dtype)
    at_empty = empty if bag.bias is None else empty + bag.bias.value
    base, slope = _slope(after, at_empty, direction)  # of the number, in the space of the bag's output
    found = found[0]
    share = (found != 0).astype(np.float64)
    if grams.unique:
        _, inverse, times = np.unique(found, return_inverse=True, return_counts=True)
        share /= times[inverse]
    if bag.mode == "mean":
        share /= max(1.0, share.sum())
    if ratios is not None:
        share *= ratios.weight.value[found]
    parts = (share * (bag.weight.value[found].astype(np.float64) @ slope)).reshape(grams.orders, -1)  # (orders, T)
    length = ids.shape[1]
    contributions = np.zeros(length)
    for n, part in enumerate(parts, start=1):
        for k in range(min(n, length)):  # the k-th word of each n-gram
            contributions[k:] += part[: length - k] / n
    return contributions, base


def _slope(after: Layer | None, at: Array, direction: Array) -> tuple[float, Array]:
    """(direction · after(at), its gradient (F,)) for at (1, F)"""
    if after is None:
        return float(at[0] @ direction), direction.astype(np.float64)
    value, gradient = _value_and_gradient(after, at, direction)
    return float(value[0]), gradient[0].astype(np.float64)


# --- integrated gradients -------------------------------------------------------------------------------------------


def _integrate(embedded: Array, after: Sequential, direction: Array) -> tuple[Array, float]:
    """(contributions (T,), value at zeros): integrated gradients from vectors of zeros to those of a text, (1, T, E)

    These models are made of straight pieces, or nearly so. Over a stretch of the way, the gradient is taken to be that
    of its beginning up to some place, and that of its end from there on; the place follows from how much the value
    rises over the stretch. Where no place explains the rise, the stretch is halved. So it is by their making that the
    parts add up; that each of them is right is tested against a hundred times as many stretches.

    (Sundararajan, Taly & Yan, 2017)
    """
    after = _without_dropout(after)
    at_a_time = max(1, AT_A_TIME // (embedded.size * 16))
    places = np.arange(STRETCHES + 1) / STRETCHES
    places[0] = NEARLY_ZERO  # at zero all windows are alike, and have no gradient of their own
    values, products = _along(after, embedded, places, direction, at_a_time)
    begin, end = (values[:-1], products[:-1]), (values[1:], products[1:])
    total, base, width = np.zeros(embedded.shape[1]), float(_forward(after, 0 * embedded)[0] @ direction), 1 / STRETCHES
    begin[0][0] = base
    rounding = 8 * float(np.finfo(embedded.dtype).eps * np.abs(values).max())
    starts = np.arange(STRETCHES) / STRETCHES
    for halving in range(MOST_HALVINGS + 1):
        rise, slope, last = (end[0] - begin[0]) / width, begin[1].sum(axis=1), end[1].sum(axis=1)
        bend = np.where(slope == last, 1.0, slope - last)
        share = np.where(slope == last, 0.5, np.clip((rise - last) / bend, 0, 1))[:, np.newaxis]
        parts = share * begin[1] + (1 - share) * end[1]
        good = np.abs(parts.sum(axis=1) - rise) <= TOLERANCE + rounding / width
        good |= halving == MOST_HALVINGS
        total += width * parts[good].sum(axis=0)
        if good.all():
            break
        width /= 2
        begin, end, starts = _kept(begin, ~good), _kept(end, ~good), starts[~good]
        middle = _along(after, embedded, starts + width, direction, at_a_time)
        begin, end = _both(begin, middle), _both(middle, end)
        starts = np.concatenate([starts, starts + width])
    return total, base


def _kept(values: tuple[Array, Array], which: Array) -> tuple[Array, Array]:
    return values[0][which], values[1][which]


def _both(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
    return np.concatenate([first[0], then[0]]), np.concatenate([first[1], then[1]])


def _along(after: Layer, embedded: Array, nodes: Array, direction: Array, at_a_time: int) -> tuple[Array, Array]:
    """Values (S,) and, summed over each vector, gradient · vector (S, T) at some places along the way"""
    values, products = [], []
    for start in range(0, len(nodes), at_a_time):
        some = nodes[start : start + at_a_time].astype(embedded.dtype)
        value, gradient = _value_and_gradient(after, some[:, np.newaxis, np.newaxis] * embedded, direction)
        values.append(value)
        products.append(np.einsum("ste,te->st", gradient, embedded[0]))
    return np.concatenate(values).astype(np.float64), np.concatenate(products).astype(np.float64)


def _value_and_gradient(after: Layer, x: Array, direction: Array) -> tuple[Array, Array]:
    """direction · after(x) (S,) and its gradient, shaped as x, for x (S, …), (S, T, E) being whole sequences"""
    ctx = Context(train=True, dtype=x.dtype)  # no gradients of parameters
    given = Padded(x, np.full(len(x), x.shape[1])) if x.ndim == 3 else x
    y = call(after, given, ctx)
    dx = after.backward(np.broadcast_to(direction.astype(y.dtype), y.shape).copy(), ctx)
    assert dx is not None
    return y @ direction, values_of(dx)


def _without_dropout(layer: Any) -> Any:
    """The same layers but for dropout, which is there for training alone."""
    if isinstance(layer, Sequential):
        return Sequential(*(_without_dropout(each) for each in layer.layers if not isinstance(each, Dropout)))
    return layer
