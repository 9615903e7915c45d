"""The shipped digit reader on what it was not trained on: distorted digits, scanned ones, and what is no digit."""

import os
from functools import cache

import numpy as np
import pytest

from apps.mnist.data import load
from apps.mnist.image import encode
from apps.mnist.task import MNIST
from apps.predictor import open_predictor
from core.metrics import accuracy, calibration_error

pytest.importorskip("sklearn")
Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")
ImageFilter = pytest.importorskip("PIL.ImageFilter")

REAL = pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="ZOO_DATA names no folder with the real data sets")


@pytest.fixture(scope="module")
def reader():
    return open_predictor(MNIST)


@cache
def digits():
    test = load(None, "mnist").test
    return test.x[::5], test.t[::5]


def turned(image, rng):
    return image.rotate(rng.uniform(-25, 25), Image.Resampling.BICUBIC)


def blurred(image, rng):
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.3)))


def noisy(image, rng):
    noise = rng.normal(0, rng.uniform(10, 60), (28, 28))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


@REAL
@pytest.mark.parametrize("distort", [turned, blurred, noisy])
def test_it_knows_how_sure_it_may_be_of_distorted_digits(reader, distort):
    x, t = digits()
    rng = np.random.default_rng(5)
    images = [distort(Image.fromarray(np.uint8(each[0] * 255)), rng) for each in x]
    z = reader.logits(np.stack([np.float32(image)[None] / 255 for image in images]), threads=2)
    p = reader.calibration.probabilities(z, 10)
    assert calibration_error(t, p) <= 0.05
    assert accuracy(t, p) > 0.8  # so there is something to be sure of


@REAL
def test_ninety_eight_in_a_hundred_test_digits_pass_as_digits(reader):
    x, _ = digits()
    assert reader.calibration.knows(reader.logits(x, threads=2), 10).mean() > 0.98


def test_it_reads_scanned_digits_of_other_people(reader):
    from sklearn.datasets import load_digits

    scans = load_digits()
    labels = [reader(picture(scan))["label"] for scan in scans.images[:300]]
    assert np.mean([label == str(t) for label, t in zip(labels, scans.target, strict=False)]) >= 0.95


def picture(scan):
    """A scan of 8×8 pixels, 0 … 16, as dark ink on white paper, enlarged."""
    ink = np.pad(scan / 16, 2)
    return Image.fromarray(np.uint8(250 - ink * 230)).resize((240, 240), Image.Resampling.BICUBIC)


def rejected(reader, pictures):
    return np.mean([reader(each)["label"] == "not a digit" for each in pictures])


def page(grey, rng=None, grain=0.0):
    """Paper of a grey (a number, or one a pixel), with grain."""
    grey = np.broadcast_to(grey, (120, 150)) if np.ndim(grey) == 0 else grey
    return Image.fromarray(np.uint8((grey + (rng.normal(0, grain, grey.shape) if grain else 0)).clip(0, 255)))


def pages(rng):
    """What is on paper, or on a sensor, where nobody has written: kind → a picture"""
    y, x = np.mgrid[-1:1:120j, -1:1:150j]
    size = tuple(rng.integers(30, 240, 2))
    specks = rng.random(size) < np.exp(rng.uniform(np.log(0.005), np.log(0.2)))
    soft = ImageFilter.GaussianBlur(rng.uniform(0.7, 5))
    return {
        "blank": page(rng.integers(0, 256)),
        "grain": page(rng.uniform(30, 230), rng, rng.uniform(2, 25)),
        "static": Image.fromarray(rng.integers(0, 256, size, np.uint8)),
        "dust": Image.fromarray(np.where(specks, 20, 235).astype(np.uint8)),
        "stars": Image.fromarray(np.where(specks, 235, 10).astype(np.uint8)),
        "clouds": page(rng.uniform(60, 200), rng, rng.uniform(20, 120)).filter(soft),
        "lamp": page(230 - rng.uniform(20, 110) * (x**2 + y**2), rng, 3),
        "slope": page(rng.uniform(60, 255) + rng.uniform(-60, 60) * x, rng, 4),
        "weave": page(200 + 15 * np.sin(40 * x) + 15 * np.sin(40 * y), rng, 4),
    }


def test_blank_paper_and_noise_are_no_digits(reader):
    rng = np.random.default_rng(0)
    assert rejected(reader, [each for _ in range(25) for each in pages(rng).values()]) >= 0.99


def test_most_scribbles_are_no_digits(reader):
    assert rejected(reader, [scribble(np.random.default_rng(seed)) for seed in range(100)]) >= 0.9


def scribble(rng):
    paper = Image.new("L", (200, 200), 255)
    steps = rng.normal(0, 30, (int(rng.integers(12, 30)), 2))
    track = np.clip(100 + np.cumsum(steps - steps.mean(axis=0), axis=0), 5, 195)
    ImageDraw.Draw(paper).line([tuple(place) for place in track.tolist()], fill=20, width=int(rng.integers(4, 12)))
    return paper


def test_a_test_picture_is_encoded_as_the_data_are(reader):
    image = np.uint8(load("sample").test.x[0, 0] * 255)
    np.testing.assert_allclose(encode(Image.fromarray(image))[0], image / 255, atol=1e-6)
