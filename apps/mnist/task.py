"""MNIST digit recognition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from apps.errors import InputError
from apps.mnist.augment import Augmented, Distortion, several
from apps.mnist.data import DATASETS, load
from apps.mnist.image import encode, open_image
from apps.task import Entry, Recipe, Task
from core import Array, Examples, Loss, SoftmaxCrossEntropy, correct
from core.metrics import accuracy, calibration_error, nll, softmax


def loss(recipe: Recipe) -> Loss:
    return SoftmaxCrossEntropy(label_smoothing=recipe.label_smoothing)


VIEWED = 0.4  # strength of the distortions over which an answer is averaged
DISTORTIONS = {  # data set -> how its images vary
    "mnist": Distortion(),
    "fashion_mnist": Distortion(turn=4, slant=0.05, bend=0.3, pen=0.0, flag=0.0, mirror=True),
}


def augment(examples: Examples, recipe: Recipe, dataset: str) -> Examples:
    if recipe.outliers and dataset != "mnist":
        raise InputError(f"Images that are none of the classes are made from digits only: no --outliers for {dataset}.")
    return Augmented(examples, DISTORTIONS[dataset].scaled(recipe.augment), recipe.seed, recipe.outliers)


def views(x: Array, count: int, dataset: str) -> Iterator[Array]:
    return several(x, DISTORTIONS[dataset].scaled(VIEWED), count)


def score(logits: Array, t: Array) -> dict[str, float]:
    """accuracy and error in [0, 1], negative log-likelihood in nats, expected calibration error in [0, 1]"""
    p = softmax(logits)
    right = accuracy(t, p)
    return {"accuracy": right, "error": 1 - right, "nll": nll(t, p), "calibration_error": calibration_error(t, p)}


DEEP = Recipe(  # of networks with batch normalisation, which gain from longer training
    epochs=26,
    batch_size=64,
    lr=2e-3,
    optimizer="adamw",
    weight_decay=0.02,
    dropout=0.2,
    average=0.999,
    augment=0.75,
    outliers=0.06,
    validation=0.05,
    lanes=2,
    micro_batch=32,
)

WIDE = {"channels": (32, 64, 96, 128), "hidden": 96}
CLOTHED = {"fashion_mnist": {"outliers": 0.0}}  # what is no garment cannot be made from garments
QUICKLY_CLOTHED = {  # within five minutes, in which distortions would cost more than they gain
    "fashion_mnist": {"outliers": 0.0, "epochs": 8, "augment": 0.0, "dropout": 0.1}
}

MNIST = Task(
    name="mnist",
    unit="images",
    load=load,
    datasets=tuple(DATASETS),
    shape=(1, 28, 28),
    open=open_image,
    encode=encode,
    model="cnn",
    served="vgg",
    entries={
        "softmax_regression": Entry(
            {"inputs": 784, "outputs": 10},
            Recipe(epochs=12, lr=5e-3, schedule="cosine", validation=0.05, blas_threads=1),
        ),
        "mlp": Entry(
            {"inputs": 784, "outputs": 10, "hidden": (256, 128)},
            Recipe(epochs=15, lr=2e-3, dropout=0.2, validation=0.05, lanes=2),
        ),
        "lenet5": Entry(
            {"outputs": 10},
            Recipe(
                epochs=16,
                lr=3e-3,
                optimizer="adamw",
                weight_decay=0.1,
                dropout=0.2,
                validation=0.05,
                lanes=2,
                micro_batch=64,
            ),
        ),
        "cnn": Entry(
            {"outputs": 10, "hidden": (128,)},
            Recipe(epochs=8, lr=3e-3, dropout=0.3, validation=0.05, lanes=2, micro_batch=32),
        ),
        "quick_cnn": Entry({"outputs": 10}, Recipe(epochs=3, lr=1e-2, validation=0.05, lanes=2, micro_batch=64)),
        "resnet": Entry({"outputs": 10}, replace(DEEP, epochs=8), CLOTHED),
        "vgg": Entry({"outputs": 10, **WIDE}, replace(DEEP, dropout=0.3), QUICKLY_CLOTHED),
        "vgg_ensemble": Entry({"outputs": 10, **WIDE}, replace(DEEP, dropout=0.3), CLOTHED),
    },
    loss=loss,
    metrics={"accuracy": correct},
    score=score,
    augment=augment,
    views=views,
)
