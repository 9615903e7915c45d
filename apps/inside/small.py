"""A network for digits so small that all its numbers fit on a page: 4×4 pixels, 12 units, 10 classes.

python -m apps.inside.small --data FOLDER trains it anew on MNIST, in seconds, and writes small.safetensors and
small.json beside this file.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from apps.mnist.data import load
from apps.run import load_model, save_model
from apps.task import Recipe
from core import Array, Epoch, Examples, Sequential, SoftmaxCrossEntropy, correct, evaluate, fit
from models import build

STEM = Path(__file__).with_name("small")
SIDE = 4  # of the picture that it is given
MARGIN = 4  # of an encoded digit, which holds no ink, or next to none
ARGUMENTS = {
    "inputs": SIDE * SIDE,
    "outputs": 10,
    "hidden": [12],
    "activation": "tanh",
    "initializer": "glorot_uniform",
}
RECIPE = Recipe(epochs=20, lr=1e-2, weight_decay=1e-4, optimizer="adamw")


def pooled(x: Array) -> Array:
    """x (N, 1, 28, 28) → (N, 16): the mean ink of each of 4×4 squares of 5×5 pixels, the margin left out"""
    n, inner = len(x), x[:, 0, MARGIN:-MARGIN, MARGIN:-MARGIN]
    squares: Array = inner.reshape(n, SIDE, 5, SIDE, 5).mean(axis=(2, 4), dtype=np.float64)
    return squares.reshape(n, SIDE * SIDE).astype(x.dtype)


def small() -> tuple[Sequential, float]:
    """(network, its accuracy on test images). Raises CheckpointError where its files are missing or damaged."""
    model, facts = load_model(STEM, "mnist")
    return model, float(facts["metrics"]["accuracy"])


def train(data: str | None) -> None:
    """Train it, and write its files."""
    digits = load(data)
    learn, test = (Examples(pooled(part.x), part.t) for part in (digits.train, digits.test))
    model = build("mlp", ARGUMENTS, rng=np.random.default_rng(RECIPE.seed))
    loss, metrics = SoftmaxCrossEntropy(), {"accuracy": correct}
    for event in fit(model, loss, RECIPE.make_optimizer(len(learn)), learn, RECIPE, metrics=metrics):
        if isinstance(event, Epoch):
            print(f"epoch {event.epoch + 1}  loss {event.loss:.4f}  accuracy {event.metrics['accuracy']:.4f}")
    found = evaluate(model, test, loss, metrics)
    print(f"tested on {len(test.t):,} images: {found}")
    facts = {
        "task": "mnist",
        "model": "mlp",
        "arguments": ARGUMENTS,
        "labels": list(digits.labels),
        "data": {"name": f"{digits.name}, 4×4 means of 5×5 pixels", "fingerprint": digits.fingerprint},
        "recipe": asdict(RECIPE),
        "metrics": {"accuracy": float(found["accuracy"])},
        "split": digits.split,
        "examples": len(test.t),
    }
    save_model(STEM, {name: parameter.value for name, parameter in model.named_parameters()}, facts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the small network of the page “Inside” anew.")
    parser.add_argument("--data", help="hub, sample or a folder, as the training scripts take it")
    train(parser.parse_args().data)
