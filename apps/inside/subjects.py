"""What can be followed through a network: a drawn digit, a sentence, an applicant, or two plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from apps.credit.model import CreditModel, Member
from apps.credit.table import Table
from apps.errors import InputError
from apps.inside.small import SIDE, pooled, small
from apps.inside.trace import Example, Trace, belief, example, nine_numbers
from apps.mnist.task import MNIST
from apps.predictor import Predictor
from apps.sentiment.encoder import TextEncoder
from apps.sentiment.task import SENTIMENT
from apps.serving import served, shipped, shipped_credit
from core import BinaryCrossEntropy, Context, EmbeddingBag, Ensemble, MeanSquaredError, SoftmaxCrossEntropy
from models.ngrams import LogRatios, NGrams, find

SMALL = "small"  # the network of apps/inside/small.py, as it is chosen on the page
CREDIT = ("logistic_woe", "additive")  # shipped networks that a page follows
AVERAGED = ("tabm", "blend")  # of applicants: implicit ensembles, and what holds one
MOST_WORDS = 300  # of a sentence that is followed
Names = Sequence[str]


@dataclass(frozen=True)
class Subject:
    """One input of one network, ready to be followed.

    example  judged by label 0 at first; `judged` gives it another
    labels   what the outputs are called; of one logit, what its two answers are called
    names    {"layers.0 x" or "layers.0 y": what the numbers are called there}; elsewhere they are numbered
    words    of a sentence, as they are encoded
    remark   how an answer of this network, on the page of its task, differs from what is traced; empty: not at all
    """

    example: Example
    labels: Names
    names: Mapping[str, Names] = field(default_factory=dict)
    words: Names = ()
    remark: str = ""

    def judged(self, t: float) -> Subject:
        """The same input, judged by another label or number."""
        given = self.example
        return replace(self, example=replace(given, t=np.full_like(given.t, t)))

    @property
    def answers(self) -> dict[str, float]:
        """{label: probability}; of a plain number {label: the number}"""
        return self.told(self.example.of(self.example.model)[0])

    def told(self, y: np.ndarray) -> dict[str, float]:
        """The same of other outputs (K,)"""
        return dict(zip(self.labels, map(float, belief(y, self.example.loss)), strict=True))

    def called(self, visit: str, side: str, count: int, letter: str) -> list[str]:
        """What the numbers of a layer's x or y are called."""
        names = list(self.names.get(f"{visit} {side}", ()))
        return names if len(names) == count else [f"{letter}{number}" for number in map(_lowered, range(1, count + 1))]


def _lowered(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def followed(task: str, model: str) -> bool:
    """Whether a visitor's training of a model can be followed: not one of several outputs that are averaged."""
    return task != "credit" or model not in AVERAGED


# --- digits ---------------------------------------------------------------------------------------------------------


def digit_networks() -> tuple[str, ...]:
    """The small one first; ensembles are left out, being the same several times."""
    names = [name for name in shipped(MNIST) if not any(isinstance(layer, Ensemble) for layer in _layers(name))]
    order = ("softmax_regression", "mlp")
    return (SMALL, *sorted(names, key=lambda name: order.index(name) if name in order else len(order)))


def _layers(name: str) -> Sequence[Any]:
    return served(MNIST.name, name).model.layers


def digit(x: np.ndarray, network: Predictor | None) -> Subject:
    """An encoded picture x (1, 28, 28); network: None for the small one."""
    x = x[np.newaxis]
    if network is None:
        model, _ = small()
        places = [f"row {i + 1}, column {j + 1}" for i, j in np.ndindex(SIDE, SIDE)]
        digits = tuple("0123456789")
        names = {"layers.0 y": places, "layers.1 x": places, "layers.3 y": digits}
        return Subject(example(model, pooled(x), 0, SoftmaxCrossEntropy()), digits, names)
    stranger = network.facts.get("stranger")
    outputs = int(network.facts["arguments"]["outputs"])
    labels = (*network.labels, *([str(stranger)] if outputs > len(network.labels) else []))
    last = f"layers.{len(network.model.layers) - 1} y"
    return Subject(
        example(network.model, x, 0, SoftmaxCrossEntropy()), labels, {last: labels}, remark=_tempered(network)
    )


def _tempered(network: Predictor) -> str:
    """How the page of the task reads the outputs otherwise than the loss does."""
    temperature = network.calibration.temperature
    if temperature == 1:
        return ""
    return (
        f"On the page of its task the outputs are divided by a temperature of {temperature:.3f} before the softmax;"
        " here they are as in training, where the loss is taken."
    )


# --- sentences ------------------------------------------------------------------------------------------------------


def sentence_networks() -> tuple[str, ...]:
    """The sum of n-grams first; blends are left out, whose parts are followed by themselves."""
    names = [name for name in shipped(SENTIMENT) if name != "blend"]
    return tuple(sorted(names, key=lambda name: name != "ngram_linear"))


def sentence(text: str, network: Predictor) -> Subject:
    """Raises InputError for a text without words, or with more than MOST_WORDS."""
    ids = network.encode([text])
    length = int(ids.lengths[0])
    if not 0 < length <= MOST_WORDS:
        raise InputError(f"A sentence of 1 to {MOST_WORDS} words can be followed; this one has {length:,}.")
    x = ids.padded(np.arange(1), Context())
    assert isinstance(network.encoder, TextEncoder)
    words = network.encoder.split(text)
    given = example(network.model, x, 0, SoftmaxCrossEntropy())
    return Subject(given, network.labels, words=words, remark=_tempered(network))


@dataclass(frozen=True)
class Gram:
    """One n-gram of a sentence: y gets ratio · weight from it, and its weight gets the gradient ratio · ∂L/∂y."""

    words: str
    ratio: float
    weight: float
    grad: float

    @property
    def product(self) -> float:
        return self.ratio * self.weight


def grams(subject: Subject, trace: Trace) -> list[Gram]:
    """Of a model that is a sum over n-grams: the n-grams it knows, those that add most first; of others none"""
    model = subject.example.model
    layer, ratios, bag = (find(model, kind) for kind in (NGrams, LogRatios, EmbeddingBag))
    if layer is None or bag is None or bag.weight.value.shape[1] != 1 or bag.mode != "sum":
        return []
    (made,) = (visit for visit in trace.visits if visit.kind == "NGrams")
    (read,) = (visit for visit in trace.visits if visit.kind == "EmbeddingBag")
    places = layer.grams(made.x[np.newaxis]).reshape(layer.orders, -1)  # the same n-grams, where they begin
    words = subject.words
    called = {int(places[n, i]): " ".join(words[i : i + n + 1]) for n, i in np.ndindex(places.shape) if places[n, i]}
    (grad,) = (weight.grad for weight in read.weights if weight.name == "weight")
    assert grad is not None
    found = []
    for name, row in zip(made.y.tolist(), read.x.astype(np.int64).tolist(), strict=True):
        if row:
            ratio = 1.0 if ratios is None else float(ratios.weight.value[row])
            found.append(Gram(called[name], ratio, float(bag.weight.value[row, 0]), float(grad[row, 0])))
    return sorted(found, key=lambda gram: -abs(gram.product))


# --- applicants -----------------------------------------------------------------------------------------------------


def credit_networks() -> tuple[str, ...]:
    return tuple(name for name in CREDIT if name in shipped_credit())


def cells(model: CreditModel) -> dict[str, str]:
    """{feature: what a CSV file would say of it} of a made-up applicant who is typical near the cut-off"""
    return {
        feature.name: feature.cell(value)
        for feature, value in zip(model.schema.features, model.typical, strict=True)
        if not feature.rule
    }


def applicant(model: CreditModel, told: Mapping[str, str], part: int) -> Subject:
    """An applicant, as cells of a table tell, in one of the model's networks.

    Raises InputError where a cell cannot be used.
    """
    numbers, faults = model.schema.numbers(Table({name: [value] for name, value in told.items()}))
    if faults:
        raise InputError(f"{faults[min(faults)].partition(', ')[2].capitalize()}: mend it.")
    member = model.members[part]
    names = _columns(member, model)
    last = f"layers.{len(member.network.layers) - 1}"
    known = {f"{last} x": names, f"{last} y": ["z"], "layers.0 x": names, "layers.0 y": names}
    numeric = len(member.encoder.numeric)
    known |= {"layers.0.layers.0 y": names[:numeric], "layers.0.layers.1 y": names[numeric:]}
    known |= {"layers.0.layers.0 x": names, "layers.0.layers.1 x": names}
    if len(member.network.layers) == 1:
        known |= {"layers.0 y": ["z"]}
    remark = (
        f"The model is the mean of {len(model.members)} such networks, of which this is number {part + 1}; their mean"
        f" logit, times {model.slope:.3f}, {'plus' if model.intercept >= 0 else 'minus'} {abs(model.intercept):.3f},"
        " is what the page Credit scores with."
    )
    given = example(member.network, member.encoder(numbers), 0.0, BinaryCrossEntropy())
    return Subject(given, ("pays", "defaults"), known, remark=remark)


def _columns(member: Member, model: CreditModel) -> list[str]:
    """What the inputs of a network are called, one for each column."""
    owner = member.encoder.owner
    return [model.schema.features[i].words or model.schema.features[i].name for i in owner]


# --- two plain numbers ----------------------------------------------------------------------------------------------


def plain(x1: float, x2: float, t: float) -> Subject:
    """The network of nine numbers, and two inputs for it."""
    names = {
        "layers.0 x": ("x₁", "x₂"),
        "layers.0 y": ("z₁", "z₂"),
        "layers.1 x": ("z₁", "z₂"),
        "layers.1 y": ("h₁", "h₂"),
        "layers.2 x": ("h₁", "h₂"),
        "layers.2 y": ("y",),
    }
    return Subject(example(nine_numbers(), np.array([[x1, x2]]), t, MeanSquaredError()), ("y",), names)
