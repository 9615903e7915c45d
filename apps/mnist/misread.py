"""The digits that a shipped model misreads, in a small file beside its card, and the confusion matrix."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from apps.errors import InputError
from apps.mnist.image import SIDE
from apps.predictor import Predictor
from apps.task import TaskData
from core import Array, cores
from core.metrics import confusion_matrix
from core.parallel import blas_threads
from models import CARDS


@dataclass(frozen=True)
class Misread:
    """confusion (K, K), row = true class; true, read, row (M,) of the test split; p (M,) of what was read; images
    (M, 28, 28) uint8, the surest mistakes first"""

    data: str
    examples: int
    labels: tuple[str, ...]
    confusion: Array
    true: Array
    read: Array
    row: Array
    p: Array
    images: Array

    def of_cell(self, true: str, read: str) -> Array:
        """The places of the images that are `true` and were read as `read`."""
        at = (self.true == self.labels.index(true)) & (self.read == self.labels.index(read))
        places: Array = np.flatnonzero(at)
        return places

    def cells(self) -> list[tuple[str, str, int]]:
        """(true, read, how often) of all mistakes, the most frequent first"""
        off = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-off, axis=None, kind="stable")
        found = [(i // len(off), i % len(off)) for i in order.tolist()]
        return [(self.labels[i], self.labels[j], int(off[i, j])) for i, j in found if off[i, j]]


def find_misread(predictor: Predictor, data: TaskData) -> Misread:
    """What a model makes of the test split."""
    with blas_threads(1):
        z = predictor.logits(data.test.x, threads=cores())
    p = predictor.calibration.probabilities(z, len(data.labels))
    read, true = p.argmax(axis=1), data.test.t
    wrong = np.flatnonzero(read != true)
    wrong = wrong[np.argsort(-p[wrong, read[wrong]], kind="stable")]
    images = np.rint(data.test.x[wrong, 0] * 255).astype(np.uint8)
    confusion = confusion_matrix(true, read, len(data.labels))
    return Misread(
        data.name, len(true), data.labels, confusion, true[wrong], read[wrong], wrong, p[wrong, read[wrong]], images
    )


def to_json(found: Misread) -> str:
    """As the file has it: numbers, and one PNG of all images, one below the other."""
    from PIL import Image

    content: dict[str, Any] = {
        "data": found.data,
        "examples": found.examples,
        "labels": list(found.labels),
        "confusion": found.confusion.tolist(),
    }
    for name in ("true", "read", "row"):
        content[name] = getattr(found, name).tolist()
    content["p"] = [round(float(p), 4) for p in found.p]
    file = io.BytesIO()
    Image.fromarray(found.images.reshape(-1, SIDE)).save(file, "PNG", optimize=True)
    return json.dumps(content | {"images": base64.b64encode(file.getvalue()).decode("ascii")}) + "\n"


def read_misread(name: str) -> Misread | None:
    """What is kept beside the card of a model, such as mnist_cnn; None where nothing is.

    Raises InputError where the file is damaged.
    """
    from PIL import Image

    path = CARDS / f"{name}_misread.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
        with Image.open(io.BytesIO(base64.b64decode(content["images"])), formats=("PNG",)) as image:
            images = np.asarray(image.convert("L")).reshape(-1, SIDE, SIDE)
        confusion, true, read, row = (
            np.asarray(content[key], np.int64) for key in ("confusion", "true", "read", "row")
        )
        p = np.asarray(content["p"], np.float64)
        if len({len(each) for each in (images, true, read, row, p)}) != 1:
            raise ValueError("its columns differ in length")
        labels = tuple(map(str, content["labels"]))
        return Misread(str(content["data"]), int(content["examples"]), labels, confusion, true, read, row, p, images)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} is damaged ({error}): make it anew with scripts/misread.py.") from None
