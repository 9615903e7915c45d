"""The history of a training, drawn: loss and accuracy by epoch, and the learning rate beneath."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from apps.run import Run
from core import write_atomically

INK, TRAIN, HELD, SOFT = "#22303c", "#2a6f97", "#e07a5f", "#d9dee3"


def draw_curves(run: Run, history: Sequence[dict[str, Any]], title: str) -> None:
    """Write the run's curves.png; none where there is no history."""
    if not history:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(4, 1))
    panels = [("loss", figure.add_subplot(grid[0, 0])), ("accuracy", figure.add_subplot(grid[0, 1]))]
    epochs = [line["epoch"] + 1 for line in history]
    for name, axes in panels:
        _line(axes, epochs, [line.get(name) for line in history], TRAIN, "training, as it went")
        _line(axes, epochs, [line["validation"].get(name) for line in history], HELD, "held out")
        axes.set_title(name, loc="left", color=INK, fontsize=11)
        if name == "loss":
            axes.set_yscale("log")
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    rate = figure.add_subplot(grid[1, :])
    _line(rate, epochs, [line["lr"] for line in history], INK, "")
    rate.set_title("learning rate", loc="left", color=INK, fontsize=9)
    rate.set_xlabel("epoch", color=INK)
    for axes in (*(axes for _, axes in panels), rate):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(SOFT)
        axes.tick_params(colors=INK, labelsize=8)
        axes.grid(axis="y", color=SOFT, linewidth=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    write_atomically(run.curves, file.getvalue())


def _line(axes: Any, epochs: Sequence[int], values: Sequence[float | None], colour: str, label: str) -> None:
    points = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, marker="o", markersize=3, label=label)
