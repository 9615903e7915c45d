"""Draw docs/digit.png: one digit on its way through the shipped network: python scripts/draw_digit.py --help"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np

from apps.mnist.data import load
from apps.mnist.task import MNIST
from apps.predictor import open_predictor
from core import Array, Context, Layer, write_atomically
from core.metrics import softmax
from core.observe import observe

INK, SOFT, BLUE, CORAL = "#22303c", "#8d99a6", "#2a6f97", "#e07a5f"
TARGET = Path(__file__).parent.parent / "docs" / "digit.png"


def activations(model: Layer, x: Array) -> dict[str, Array]:
    """{"layers.0": what came out of it, …} of one example, copied"""
    found: dict[str, Array] = {}

    def watch(name: str, layer: Layer, way: str, given: Array, made: Array | None) -> None:
        if made is not None:
            found[name] = made[0].copy()

    observe(model, watch).forward(x, Context())
    return found


def mosaic(maps: Array, across: int, gap: int = 1) -> Array:
    """(C, H, W) → one picture, `across` maps a row, each scaled to its own brightest"""
    c, h, w = maps.shape
    down = -(-c // across)
    picture = np.full((down * (h + gap) - gap, across * (w + gap) - gap), np.nan, np.float32)
    for i, one in enumerate(maps):
        y, x = i // across * (h + gap), i % across * (w + gap)
        picture[y : y + h, x : x + w] = one / (one.max() or 1.0)
    return picture


def draw(x: Array, label: str) -> bytes:
    """The picture, as a PNG file; x (1, 1, 28, 28)"""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    predictor = open_predictor(MNIST, model="cnn")
    outputs = activations(predictor.model, x)
    first, second, hidden, logits = (outputs[f"layers.{i}"] for i in (1, 3, 7, 9))
    ink = LinearSegmentedColormap.from_list("ink", ["#f4f1ea", BLUE, "#0b2538"])
    figure = Figure(figsize=(12, 4.1), dpi=140, facecolor="white")
    FigureCanvasAgg(figure)
    panels = [
        (0.015, 0.19, x[0, 0], "the digit", "28 × 28"),
        (0.235, 0.19, mosaic(first, 6), "32 maps of edges", "13 × 13 each"),
        (0.455, 0.19, mosaic(second, 8), "64 maps of strokes", "5 × 5 each"),
        (0.667, 0.085, hidden.reshape(16, 8), "128 units", "each one number"),
    ]
    for left, width, values, title, size in panels:
        axes = figure.add_axes((left, 0.16, width, 0.62))
        axes.imshow(values, cmap=ink, aspect="equal", interpolation="nearest")
        axes.set_axis_off()
        _caption(figure, left + width / 2, title, size)
    axes = figure.add_axes((0.80, 0.16, 0.185, 0.62))
    _bars(axes, softmax(logits), int(label))
    _caption(figure, 0.88, "ten probabilities", "one for each digit")
    for left in (0.220, 0.440, 0.655, 0.777):
        figure.text(left, 0.47, "→", color=SOFT, fontsize=20, ha="center", va="center")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _caption(figure: Any, middle: float, title: str, size: str) -> None:
    figure.text(middle, 0.86, title, color=INK, fontsize=12, ha="center")
    figure.text(middle, 0.06, size, color=SOFT, fontsize=10, ha="center")


def _bars(axes: Any, p: Array, truth: int) -> None:
    digits = np.arange(10)
    axes.barh(digits, p, color=[CORAL if digit == truth else BLUE for digit in digits], height=0.72)
    for digit in digits:
        axes.text(p[digit] + 0.02, digit, f"{p[digit]:.1%}", va="center_baseline", fontsize=8, color=INK)
    axes.set_yticks(digits)
    axes.set_xlim(0, 1.25)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.tick_params(length=0, labelsize=10, colors=INK)
    axes.spines[:].set_visible(False)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw docs/digit.png from the shipped network.")
    parser.add_argument("--data", default="sample", help="where the digit comes from (default: sample)")
    parser.add_argument("--row", type=int, default=14, help="which test image")
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    test = load(arguments.data).test
    write_atomically(arguments.out, draw(test.x[arguments.row : arguments.row + 1], str(test.t[arguments.row])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
