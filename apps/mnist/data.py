"""Digits (and clothes) as arrays: MNIST and Fashion-MNIST from the hub or a folder, or the sample."""

from __future__ import annotations

import hashlib
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from apps.errors import InputError
from apps.mnist.image import SIDE, normalize, scale
from apps.source import Source, find_source, load_split
from apps.task import TaskData
from core import Examples

Pair = tuple[np.ndarray, np.ndarray]

CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
DATASETS = {  # name -> repository on the hub, labels, what is none of them
    "mnist": ("ylecun/mnist", tuple("0123456789"), "not a digit"),
    "fashion_mnist": ("zalando-datasets/fashion_mnist", tuple(CLOTHES.split(",")), "not a garment"),
}
SPLIT_KEY = 1797  # of the sample's division into training and test images


def load(data: str | None, dataset: str = "mnist", tested: bool = False) -> TaskData:
    """Training and test images; where only those `tested` on are wanted, these in both places.

    data: "hub", "sample", a folder or None, as `find_source` takes it.  dataset: a key of DATASETS.
    Raises InputError where the data set is unknown, cannot be had, or does not hold 28×28 grey images.
    """
    if dataset not in DATASETS:
        raise InputError(f"There is no data set {dataset!r}: give one of {', '.join(DATASETS)}.")
    repository, labels, stranger = DATASETS[dataset]
    source = find_source(data, repository)
    if source.kind != "sample":
        name = repository
        splits = ["test"] if tested else ["train", "test"]
        parts = [_read(source, split, len(labels)) for split in splits]
        train, test = parts[0], parts[-1]
    elif dataset == "mnist":
        name, (train, test) = "sample (scikit-learn digits, 8×8 enlarged)", _sample()
    else:
        trouble = ", and the hub cannot be reached" if source.notice else ""
        remedy = f"give --data hub, or --data FOLDER with a copy in FOLDER/{repository}"
        raise InputError(f"{dataset} comes without a sample{trouble}: {remedy}.")
    fingerprint = _fingerprint(*train, *test)
    return TaskData(name, _as_examples(*train), _as_examples(*test), labels, fingerprint, source.notice, stranger)


def _as_examples(pixels: np.ndarray, t: np.ndarray) -> Examples:
    """Pixels (N, 28, 28) uint8 -> x (N, 1, 28, 28) float32 in [0, 1], light on dark"""
    return Examples(scale(pixels)[:, np.newaxis], t)


def _read(source: Source, split: str, classes: int) -> Pair:
    """One split -> pixels (N, 28, 28) uint8, labels (N,) int64"""
    import datasets

    table, name = load_split(source, split), f"the {split} split of {source.folder or source.repository}"
    if not isinstance(table.features.get("image"), datasets.Image) or "label" not in table.features:
        raise InputError(f"No images with labels are in {name}: it needs the columns image and label.")
    t = np.asarray(table["label"][:])
    if t.size == 0 or t.dtype.kind != "i" or t.min() < 0 or t.max() >= classes:
        raise InputError(f"The labels of {name} are not whole numbers from 0 to {classes - 1}: give another copy.")
    images = table.cast_column("image", datasets.Image(decode=False))["image"][:]
    return _decode([image["bytes"] for image in images], name), t.astype(np.int64)


def _decode(files: list[bytes], name: str) -> np.ndarray:
    """PNG files of 28×28 grey pixels -> (N, 28, 28) uint8

    In one thread: Pillow holds the interpreter's lock for images so small, and two threads took longer.
    """
    from PIL import Image

    pixels = []
    for index, content in enumerate(files):
        try:
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                if image.mode != "L" or image.size != (SIDE, SIDE):
                    raise ValueError(f"{image.size} pixels of mode {image.mode}")
                pixels.append(image.tobytes())
        except Exception as error:  # damaged bytes: OSError, SyntaxError, ValueError, struct.error …
            message = f"Image {index} of {name} is not a PNG of 28×28 grey pixels: give another copy."
            raise InputError(message) from error
    return np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, SIDE, SIDE)


def _sample() -> tuple[Pair, Pair]:
    """scikit-learn's digits in MNIST's form: about four fifths of every class to train on, and the rest."""
    images, t = small_digits()
    pixels = np.stack([_enlarge(image) for image in images])
    order = np.random.default_rng(SPLIT_KEY).permutation(t.size)
    order = order[np.argsort(t[order], kind="stable")]  # class after class, shuffled within
    is_test = np.zeros(t.size, dtype=bool)
    is_test[order[::5]] = True
    return (pixels[~is_test], t[~is_test]), (pixels[is_test], t[is_test])


def small_digits() -> Pair:
    """scikit-learn's digits: images (N, 8, 8) of 0 … 16, labels (N,) int64

    From its file where this lies as usual, in a hundredth of the time that it takes to import scikit-learn.
    """
    spec = find_spec("sklearn")
    if spec is not None and spec.origin is not None:
        file = Path(spec.origin).with_name("datasets") / "data" / "digits.csv.gz"
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images, digits.target.astype(np.int64)


def _enlarge(image: np.ndarray) -> np.ndarray:
    """An 8×8 image of 0 … 16, drawn large on black, then sized and placed like any digit -> (28, 28) uint8"""
    from PIL import Image

    grey = np.pad(image * (255 / 16), 2).astype(np.uint8)  # (12, 12)
    picture = Image.fromarray(grey).resize((120, 120), Image.Resampling.BICUBIC)
    pixels: np.ndarray = np.rint(normalize(scale(np.asarray(picture))) * 255).astype(np.uint8)
    return pixels


def _fingerprint(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
