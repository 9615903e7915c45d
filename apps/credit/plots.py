"""The figures of the validation report, as SVG that stands inside the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from apps.credit.measures import Decile, roc_curve

INK, MAIN, OTHER, SOFT = "#22303c", "#2a6f97", "#e07a5f", "#d9dee3"


def draw(paint: Callable[[Any], None], *, size: tuple[float, float] = (4.6, 3.4)) -> str:
    """An SVG element; `paint` is given the axes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    paint(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=SOFT, linewidth=0.5)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, size=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "credit", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg)", "", file.getvalue(), flags=re.DOTALL)


def roc(t: np.ndarray, logits: np.ndarray) -> str:
    """Share of the bad caught over share of the good refused, at every cut-off"""
    good, bad = roc_curve(t, logits)

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1)
        axes.plot(good, bad, color=MAIN)
        axes.set(xlabel="share of the good refused", ylabel="share of the bad refused")

    return draw(paint)


def distributions(t: np.ndarray, points: np.ndarray, cut_points: float) -> str:
    """Points of the good and of the bad, and the cut-off"""
    edges = np.linspace(points.min(), points.max() + 1e-9, 40)

    def paint(axes: Any) -> None:
        axes.hist(points[t == 0], edges, density=True, color=MAIN, alpha=0.6, label="good")
        axes.hist(points[t == 1], edges, density=True, color=OTHER, alpha=0.6, label="bad")
        axes.axvline(cut_points, color=INK, linewidth=1, linestyle="--", label="cut-off")
        axes.set(xlabel="points", ylabel="density")

    return draw(paint)


def reliability(sets: Sequence[tuple[str, Sequence[Decile]]]) -> str:
    """Default rate over mean probability, by tenths of the applicants"""

    def paint(axes: Any) -> None:
        most = max(max(row.expected, row.rate) for _, rows in sets for row in rows) * 1.05
        axes.plot([0, most], [0, most], color=SOFT, linewidth=1)
        for (name, rows), colour in zip(sets, (MAIN, OTHER), strict=False):
            axes.plot([r.expected for r in rows], [r.rate for r in rows], color=colour, marker="o", ms=3, label=name)
        axes.set(xlabel="mean probability of default", ylabel="default rate")

    return draw(paint)


def cost_curve(pd: np.ndarray, cost: Callable[[float], float], cut: float) -> str:
    """Mean cost of an applicant over the cut-off"""
    places = np.unique(np.quantile(pd, np.linspace(0, 1, 120)))

    def paint(axes: Any) -> None:
        axes.plot(places, [cost(place) for place in places], color=MAIN)
        axes.axvline(cut, color=INK, linewidth=1, linestyle="--", label="cut-off")
        axes.set(xlabel="refused from this probability of default", ylabel="mean cost")

    return draw(paint)


def curve(name: str, values: np.ndarray, points: np.ndarray) -> str:
    """What a feature of an additive model adds to the points"""

    def paint(axes: Any) -> None:
        axes.plot(values, points, color=MAIN)
        axes.set(xlabel=name, ylabel="points")

    return draw(paint, size=(3.2, 2.2))
