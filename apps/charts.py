"""The pages' charts, in Altair: numbers in, a chart out. What a colour means is in `apps.pictures.Palette`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from apps.pictures import Palette, hexes, percent
from core import Array

HIGHEST = 20.0  # loss that a chart of learning has room for; what is above lies on its edge
Layered = alt.LayerChart | alt.FacetChart  # what `alt.layer` may return


def probability_bars(probabilities: Mapping[str, float], answer: str | None, palette: Palette) -> Layered:
    """A bar a label; the answer's stands out by colour and by bold figures. answer: None where there is none."""
    table = pd.DataFrame(
        {
            "label": list(probabilities),
            "p": list(probabilities.values()),
            "kind": ["answer" if label == answer else "other" for label in probabilities],
            "shown": [percent(p) if p >= 0.0005 else "" for p in probabilities.values()],
        }
    )
    y = alt.Y("label:N", sort=None, title=None, axis=_axis(palette))
    colour = alt.Color(
        "kind:N", legend=None, scale=alt.Scale(domain=["answer", "other"], range=[palette.for_, palette.soft])
    )
    x = alt.X("p:Q", title=None, scale=alt.Scale(domain=[0, 1.16]), axis=None)
    base = alt.Chart(table).encode(y=y, x=x)
    bars = base.mark_bar(cornerRadiusEnd=3, height=16).encode(
        color=colour, tooltip=[alt.Tooltip("label:N"), alt.Tooltip("p:Q", format=".4f", title="probability")]
    )
    figures = base.mark_text(align="left", dx=6, fontSize=13, color=palette.text).encode(text="shown:N")
    bold = figures.transform_filter("datum.kind == 'answer'").mark_text(
        align="left", dx=6, fontSize=13, fontWeight="bold", color=palette.text
    )
    plain = figures.transform_filter("datum.kind == 'other'")
    return alt.layer(bars, bold, plain).properties(height=max(80, 26 * len(table)))


def answers_side_by_side(answers: Mapping[str, Mapping[str, float]], palette: Palette) -> Layered:
    """{model: {label: p}} → a row a model, a column a label, the probability in colour and in figures"""
    rows = [(model, label, p) for model, each in answers.items() for label, p in each.items()]
    table = pd.DataFrame(rows, columns=["model", "label", "p"])
    table["shown"] = [f"{100 * p:.0f}" if p >= 0.005 else "" for p in table["p"]]
    x = alt.X("label:N", sort=None, title="probability, %", axis=_axis(palette, orient="top"))
    y = alt.Y("model:N", sort=None, title=None, axis=_axis(palette, labelLimit=200))
    tooltip = ["model:N", "label:N", alt.Tooltip("p:Q", format=".4f", title="probability")]
    cells, figures = _cells(table, "p", palette.for_, x, y, tooltip, palette)
    return alt.layer(cells, figures).properties(height=40 * len(answers) + 40)


def confusion(matrix: Array, labels: Sequence[str], palette: Palette) -> Layered:
    """(K, K) counts, row = true class; a click selects a cell, as the selection “cell” with fields true and read"""
    rows = [(labels[i], labels[j], int(n), 0 if i == j else int(n)) for (i, j), n in np.ndenumerate(matrix)]
    table = pd.DataFrame(rows, columns=["true", "read", "count", "errors"])
    table["depth"] = table["errors"] / max(1, table["errors"].max())
    table["shown"] = [str(n) if n else "" for n in table["count"]]
    cell = alt.selection_point(name="cell", fields=["true", "read"], on="click", empty=False)
    x = alt.X("read:N", sort=None, title="read as", axis=_axis(palette, orient="top"))
    y = alt.Y("true:N", sort=None, title="true", axis=_axis(palette))
    cells, figures = _cells(table, "depth", palette.against, x, y, ["true:N", "read:N", "count:Q"], palette)
    cells = cells.encode(stroke=alt.condition(cell, alt.value(palette.text), alt.value("transparent")))
    return alt.layer(cells.encode(strokeWidth=alt.value(2)).add_params(cell), figures).properties(height=400)


def _cells(
    table: pd.DataFrame, depth: str, top: str, x: alt.X, y: alt.Y, tooltip: list[Any], palette: Palette
) -> tuple[alt.Chart, alt.Chart]:
    """Rectangles coloured by column `depth` in [0, 1], and the column “shown” in figures readable on them"""
    table[["colour", "figure"]] = hexes(table[depth].to_numpy(), top, palette)
    base = alt.Chart(table).encode(x=x, y=y, tooltip=tooltip)
    cells = base.mark_rect(cornerRadius=3).encode(color=alt.Color("colour:N", scale=None))
    return cells, base.mark_text(fontSize=12.5).encode(text="shown:N", color=alt.Color("figure:N", scale=None))


def _axis(palette: Palette, **more: Any) -> alt.Axis:
    """An axis of names, without lines."""
    plain: dict[str, Any] = {
        "ticks": False,
        "domain": False,
        "labelAngle": 0,
        "labelFontSize": 13,
        "labelColor": palette.text,
    }
    return alt.Axis(**plain | {"titleColor": palette.text, "titleFontWeight": "normal"} | more)


def selected(event: Any) -> tuple[str, str] | None:
    """(true, read) of the cell that was clicked in a confusion matrix, if any"""
    chosen = (event or {}).get("selection", {}).get("cell") or []
    return (str(chosen[0]["true"]), str(chosen[0]["read"])) if chosen else None


def learning(lines: Sequence[Mapping[str, Any]], value: str, palette: Palette) -> Layered:
    """Curves of some runs: {run, what: training or held out, step, and the value}; a colour a run, dots for held out"""
    table = pd.DataFrame([line for line in lines if line.get(value) is not None])
    if table.empty:
        table = pd.DataFrame(columns=["run", "what", "step", value])
    scale = alt.Scale(zero=False)
    if value == "loss":
        top: dict[str, Any] = {"domainMax": HIGHEST} if len(table) and table["loss"].max() > HIGHEST else {}
        scale = alt.Scale(type="log", clamp=True, **top)
    base = alt.Chart(table).encode(
        x=alt.X("step:Q", title="step", axis=_scaled(palette)),
        y=alt.Y(f"{value}:Q", title=value, scale=scale, axis=_scaled(palette)),
        color=alt.Color("run:N", title=None, legend=alt.Legend(orient="bottom", columns=3, labelColor=palette.text)),
        tooltip=["run:N", "what:N", "step:Q", alt.Tooltip(f"{value}:Q", format=".4g")],
    )
    trained = base.transform_filter("datum.what == 'training'").mark_line(strokeWidth=1.8)
    held = base.transform_filter("datum.what == 'held out'").mark_point(size=26, filled=True)
    return alt.layer(trained, held).properties(height=360)


def gradient_flow(history: Sequence[Mapping[str, Any]], palette: Palette) -> alt.Chart:
    """A line a layer: the root mean square of its gradient after each epoch"""
    rows = [
        (line["epoch"] + 1, place, each["name"], max(each["gradient"] or 0.0, 1e-12))
        for line in history
        for place, each in enumerate(line["layers"])
    ]
    table = pd.DataFrame(rows, columns=["epoch", "place", "layer", "gradient"])
    shades = alt.Scale(range=[palette.text, palette.for_, palette.soft])
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_line(point=True)
        .encode(
            x=alt.X("epoch:Q", axis=_scaled(palette, tickMinStep=1, format="d")),
            y=alt.Y("gradient:Q", scale=alt.Scale(type="log"), axis=_scaled(palette, format=".0e")),
            detail="layer:N",
            color=alt.Color("place:Q", scale=shades, legend=None),
            tooltip=["layer:N", "epoch:Q", alt.Tooltip("gradient:Q", format=".2e")],
        )
        .properties(height=240)
    )
    return chart


def travel(stations: Sequence[tuple[str, float | None, float | None]], current: int, palette: Palette) -> Layered:
    """[(layer, size of its output, size of the gradient that comes back to it)], and which one is looked at

    Sizes are root mean squares, on one scale of powers of ten; nothing is drawn of what has no size.
    """
    rows = []
    for place, (layer, output, gradient) in enumerate(stations):
        if output is not None:
            rows.append((place, layer, "output, forward", max(output, 1e-12)))
        if gradient is not None:
            rows.append((place, layer, "gradient, backward", max(gradient, 1e-12)))
    table = pd.DataFrame(rows, columns=["place", "layer", "what", "size"])
    names = [layer for layer, _, _ in stations]
    kinds = ["output, forward", "gradient, backward"]
    x = alt.X(
        "place:O",
        title=None,
        axis=_axis(
            palette,
            labelAngle=-35,
            labelFontSize=11,
            labelOverlap=False,
            labelExpr=f"{json.dumps(names, ensure_ascii=False)}[datum.value]",
        ),
    )
    legend = alt.Legend(title=None, orient="top", labelColor=palette.text, labelFontSize=12.5)
    low, high = (round(np.log10(extreme)) for extreme in (table["size"].min(), table["size"].max()))
    powers = [10.0**power for power in range(low, high + 1, max(1, (high - low) // 4))]
    base = alt.Chart(table).encode(
        x=x,
        y=alt.Y("size:Q", title=None, scale=alt.Scale(type="log"), axis=_scaled(palette, values=powers, format=".0e")),
        color=alt.Color("what:N", scale=alt.Scale(domain=kinds, range=[palette.for_, palette.against]), legend=legend),
        shape=alt.Shape("what:N", scale=alt.Scale(domain=kinds, range=["circle", "triangle-down"]), legend=legend),
        tooltip=["layer:N", "what:N", alt.Tooltip("size:Q", format=".3e")],
    )
    here = (
        alt.Chart(pd.DataFrame({"place": [current] if 0 <= current < len(stations) else []}, dtype=int))
        .mark_rule(strokeWidth=18, opacity=0.25, color=palette.soft)
        .encode(x=x)
    )
    lines = base.mark_line(strokeWidth=1.5).encode(shape=alt.Undefined)
    return alt.layer(here, lines, base.mark_point(size=70, filled=True)).properties(height=210)


def histogram(values: Array, title: str, palette: Palette, bins: int = 41) -> alt.Chart:
    """How many of some numbers are how large."""
    largest = float(np.abs(values).max()) or 1.0
    counts, edges = np.histogram(values, bins=bins, range=(-largest if values.min() < 0 else 0.0, largest))
    table = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "count": counts})
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_bar(color=palette.for_)
        .encode(
            x=alt.X("from:Q", bin="binned", title=title, axis=_scaled(palette, format=".2~g")),
            x2="to:Q",
            y=alt.Y("count:Q", title=None, axis=_scaled(palette, tickCount=3)),
            tooltip=[alt.Tooltip("from:Q", format=".3g"), alt.Tooltip("to:Q", format=".3g"), "count:Q"],
        )
        .properties(height=130)
    )
    return chart


def before_and_after(before: Mapping[str, float], after: Mapping[str, float], palette: Palette) -> Layered:
    """A thin bar a label before a step, a full one after it, with the figures of both."""
    rows = [(label, when, each[label]) for when, each in (("before", before), ("after", after)) for label in before]
    table = pd.DataFrame(rows, columns=["label", "when", "p"])
    table["shown"] = [percent(p) if p >= 0.0005 else "" for p in table["p"]]
    kinds = ["before", "after"]
    y = alt.Y("label:N", sort=None, title=None, axis=_axis(palette))
    offset = alt.YOffset("when:N", sort=kinds)
    base = alt.Chart(table).encode(
        y=y, yOffset=offset, x=alt.X("p:Q", title=None, axis=None, scale=alt.Scale(domain=[0, 1.18]))
    )
    colour = alt.Color(
        "when:N",
        scale=alt.Scale(domain=kinds, range=[palette.soft, palette.for_]),
        legend=alt.Legend(title=None, orient="top", labelColor=palette.text, labelFontSize=12.5),
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(
        color=colour, tooltip=["label:N", "when:N", alt.Tooltip("p:Q", format=".6f", title="probability")]
    )
    figures = base.mark_text(align="left", dx=5, fontSize=11.5, color=palette.text).encode(text="shown:N")
    return alt.layer(bars, figures).properties(height=36 * len(before) + 40)


def along_a_step(curve: Array, slope: float, palette: Palette) -> Layered:
    """curve (S, 2): a share of the step, the loss there; slope: the loss that the first derivative foretells a step

    The loss as a full line, what its slope foretells as a dashed one; a dot where the step ends.
    """
    share, loss = curve[:, 0], curve[:, 1]
    kinds = ["the loss", "what its slope foretells"]
    table = pd.DataFrame(
        {
            "share": [*share, *share],
            "loss": [*loss, *(loss[0] + slope * share)],
            "what": [kinds[0]] * len(share) + [kinds[1]] * len(share),
        }
    )
    legend = alt.Legend(title=None, orient="top", labelColor=palette.text, labelFontSize=12.5)
    base = alt.Chart(table).encode(
        x=alt.X("share:Q", title="share of the step", axis=_scaled(palette)),
        y=alt.Y("loss:Q", title="loss", scale=alt.Scale(zero=False), axis=_scaled(palette)),
        tooltip=["what:N", "share:Q", alt.Tooltip("loss:Q", format=".6f")],
    )
    lines = base.mark_line(strokeWidth=2).encode(
        color=alt.Color("what:N", scale=alt.Scale(domain=kinds, range=[palette.for_, palette.against]), legend=legend),
        strokeDash=alt.StrokeDash("what:N", scale=alt.Scale(domain=kinds, range=[[1, 0], [6, 4]]), legend=legend),
    )
    ends = base.transform_filter("datum.share == 0 || datum.share == 1").transform_filter(f"datum.what == '{kinds[0]}'")
    return alt.layer(lines, ends.mark_point(size=60, filled=True, color=palette.text)).properties(height=240)


def _scaled(palette: Palette, **more: Any) -> alt.Axis:
    """An axis of numbers."""
    plain: dict[str, Any] = {"labelColor": palette.text, "titleColor": palette.text, "titleFontWeight": "normal"}
    return alt.Axis(**plain | {"tickCount": 5} | more)
