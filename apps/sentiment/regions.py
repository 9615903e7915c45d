"""Learning from texts that nobody labelled: vectors of words by which to predict what stands around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from apps.errors import InputError
from apps.sentiment.data import load, load_unlabelled
from apps.sentiment.words import Words
from apps.task import Entry, Recipe, Task, TaskData
from apps.training import Plan
from core import Array, Context, Embedding, Examples, Layer, Loss, Ragged
from models import build
from models.ngrams import find
from models.regions import AROUND, WIDTH, AroundLoss, Regions

COMMON = 60  # words so frequent that they say nothing of what a text is about are not predicted
STRIDE = 4  # words from one region to the next


class RegionExamples(Examples):
    """Regions of texts: x (N, 15) ids, t (N, 10) the words around. Every fourth word is the middle of one, and in each
    epoch the next.

    Ids from `vocabulary` up are unknown; unknown and very frequent words are not predicted.
    """

    def __init__(self, texts: Ragged, vocabulary: int, stride: int = STRIDE) -> None:
        gap = WIDTH // 2 + AROUND // 2 + STRIDE  # between texts, so that no region sees two
        lengths = texts.lengths
        starts = texts.offsets[:-1] + gap * np.arange(1, len(texts) + 1)
        self.flat = np.zeros(len(texts.values) + gap * (len(texts) + 1), np.int32)
        step = np.arange(len(texts.values)) + np.repeat(starts - texts.offsets[:-1], lengths)
        self.flat[step] = np.where(texts.values < vocabulary, texts.values, 1)
        middles = step[::stride]
        super().__init__(middles, np.zeros(len(middles), np.uint8))
        half, side = WIDTH // 2, AROUND // 2
        self.columns = np.r_[-half : half + 1, -half - side : -half, half + 1 : half + 1 + side]

    def take(self, rows: Array, epoch: int, ctx: Context) -> tuple[Array, Array, None]:
        x = self.flat[(self.x[rows] + epoch % STRIDE)[:, np.newaxis] + self.columns]
        around = x[:, WIDTH:]
        around[around < COMMON + 2] = 0
        return x, around, None

    def fingerprint(self) -> str:
        return Examples(self.flat, self.flat).fingerprint()


def learn_from(model: Layer, arrays: Mapping[str, Array]) -> None:
    """Give a model the vectors of words of a `region_predictor`, and its bias where it reads regions; or give a blend
    its parts.

    Raises InputError where the sizes are others.
    """
    named = dict(model.named_parameters())
    if arrays.keys() <= named.keys():
        for name, array in arrays.items():
            np.copyto(named[name].value, array)
        return
    vectors, bias = arrays["layers.0.inward.weight"], arrays["layers.0.inward.bias"]
    embedding, regions = find(model, Embedding), find(model, Regions)
    if embedding is None or embedding.weight.value.shape != vectors.shape:
        raise InputError("The model has no vectors of words of the size that was learned: leave --unlabelled out.")
    np.copyto(embedding.weight.value, vectors)
    if regions is not None:
        np.copyto(regions.bias.value, bias)


def loss(recipe: Recipe) -> Loss:
    return AroundLoss()


def before(plan: Plan, data: str | None) -> Plan:
    """The plan by which vectors of words are learned from the reviews that nobody labelled, and those labelled."""
    encoder, train = plan.encoder, plan.data.train
    assert isinstance(encoder, Words)
    model = build(plan.model, plan.arguments, rng=np.random.default_rng(0))
    embedding = find(model, Embedding)
    if embedding is None:
        raise InputError(
            f"{plan.model} has no vectors of words to learn from unlabelled texts: leave --unlabelled out."
        )
    vocabulary, features = embedding.weight.value.shape
    more = encoder(load_unlabelled(data))
    whole = RegionExamples(train.x.plus(more), vocabulary)
    regions = TaskData("texts without their labels", whole, whole, (), whole.fingerprint())
    arguments = {"words": len(encoder.words) + 2, "vocabulary": vocabulary, "features": features}
    recipe = replace(REGIONS.entries["region_predictor"].recipe, epochs=plan.recipe.unlabelled, seed=plan.recipe.seed)
    return Plan(REGIONS, regions, plan.dataset, "region_predictor", arguments, recipe)


REGIONS = Task(  # not among TASKS: what it predicts serves to learn, and for nothing else
    name="regions",
    unit="regions",
    load=load,
    datasets=(),
    open=str,
    model="region_predictor",
    served="region_predictor",
    entries={"region_predictor": Entry({}, Recipe(batch_size=1024, micro_batch=128, lanes=2, lr=1e-2))},
    loss=loss,
    metrics={},
    score=None,
)
