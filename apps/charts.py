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

# Channels are written as objects: a shorthand alone, x="a:Q", costs Altair 6 ms, since it looks for its class anew.

# places that no data give; named as channels, since for `alt.value` Altair searches its schema for 20 ms at each call
AT_X: Any = alt.XValue
AT_Y: Any = alt.YValue
TO_X: Any = alt.X2Datum
TO_Y: Any = alt.Y2Value

HIGHEST = 20.0  # loss that a chart of learning has room for; what is above lies on its edge


class Layers(alt.LayerChart):
    """Charts on top of each other, shown as they are: to hold one against the schema of Vega-Lite takes 17 ms, or 60
    beside a busy browser, much of the time of an answer. The tests do (`tests/conftest.py`).
    """

    def to_dict(self, validate: bool = False, **more: Any) -> dict[str, Any]:
        return super().to_dict(validate=False, **more)


def layers(*charts: alt.Chart) -> Layers:
    """The first chart at the bottom. Raises ValueError as Altair does, for charts that cannot be layered."""
    return Layers(layer=list(charts))


def probability_bars(probabilities: Mapping[str, float], answer: str | None, palette: Palette) -> Layers:
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
    figures = base.mark_text(align="left", dx=6, fontSize=13, color=palette.text).encode(text=alt.Text("shown:N"))
    bold = figures.transform_filter("datum.kind == 'answer'").mark_text(
        align="left", dx=6, fontSize=13, fontWeight="bold", color=palette.text
    )
    plain = figures.transform_filter("datum.kind == 'other'")
    return layers(bars, bold, plain).properties(height=max(80, 26 * len(table)))


def answers_side_by_side(answers: Mapping[str, Mapping[str, float]], palette: Palette) -> Layers:
    """{model: {label: p}} → a row a model, a column a label, the probability in colour and in figures"""
    rows = [(model, label, p) for model, each in answers.items() for label, p in each.items()]
    table = pd.DataFrame(rows, columns=["model", "label", "p"])
    table["shown"] = [f"{100 * p:.0f}" if p >= 0.005 else "" for p in table["p"]]
    x = alt.X("label:N", sort=None, title="probability, %", axis=_axis(palette, orient="top"))
    y = alt.Y("model:N", sort=None, title=None, axis=_axis(palette, labelLimit=200))
    tooltip = [alt.Tooltip("model:N"), alt.Tooltip("label:N"), alt.Tooltip("p:Q", format=".4f", title="probability")]
    cells, figures = _cells(table, "p", palette.for_, x, y, tooltip, palette)
    return layers(cells, figures).properties(height=40 * len(answers) + 40)


def confusion(matrix: Array, labels: Sequence[str], palette: Palette) -> Layers:
    """(K, K) counts, row = true class; a click selects a cell, as the selection “cell” with fields true and read"""
    rows = [(labels[i], labels[j], int(n), 0 if i == j else int(n)) for (i, j), n in np.ndenumerate(matrix)]
    table = pd.DataFrame(rows, columns=["true", "read", "count", "errors"])
    table["depth"] = table["errors"] / max(1, table["errors"].max())
    table["shown"] = [str(n) if n else "" for n in table["count"]]
    cell = alt.selection_point(name="cell", fields=["true", "read"], on="click", empty=False)
    x = alt.X("read:N", sort=None, title="read as", axis=_axis(palette, orient="top"))
    y = alt.Y("true:N", sort=None, title="true", axis=_axis(palette))
    tooltip = [alt.Tooltip("true:N"), alt.Tooltip("read:N"), alt.Tooltip("count:Q")]
    cells, figures = _cells(table, "depth", palette.against, x, y, tooltip, palette)
    cells = cells.encode(stroke=alt.condition(cell, alt.value(palette.text), alt.value("transparent")))
    return layers(cells.encode(strokeWidth=alt.value(2)).add_params(cell), figures).properties(height=400)


def _cells(
    table: pd.DataFrame, depth: str, top: str, x: alt.X, y: alt.Y, tooltip: list[Any], palette: Palette
) -> tuple[alt.Chart, alt.Chart]:
    """Rectangles coloured by column `depth` in [0, 1], and the column “shown” in figures readable on them"""
    table[["colour", "figure"]] = hexes(table[depth].to_numpy(), top, palette)
    base = alt.Chart(table).encode(x=x, y=y, tooltip=tooltip)
    cells = base.mark_rect(cornerRadius=3).encode(color=alt.Color("colour:N", scale=None))
    return cells, base.mark_text(fontSize=12.5).encode(
        text=alt.Text("shown:N"), color=alt.Color("figure:N", scale=None)
    )


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


def learning(lines: Sequence[Mapping[str, Any]], value: str, palette: Palette) -> Layers:
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
        tooltip=[
            alt.Tooltip("run:N"),
            alt.Tooltip("what:N"),
            alt.Tooltip("step:Q"),
            alt.Tooltip(f"{value}:Q", format=".4g"),
        ],
    )
    trained = base.transform_filter("datum.what == 'training'").mark_line(strokeWidth=1.8)
    held = base.transform_filter("datum.what == 'held out'").mark_point(size=26, filled=True)
    return layers(trained, held).properties(height=360)


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
            detail=alt.Detail("layer:N"),
            color=alt.Color("place:Q", scale=shades, legend=None),
            tooltip=[alt.Tooltip("layer:N"), alt.Tooltip("epoch:Q"), alt.Tooltip("gradient:Q", format=".2e")],
        )
        .properties(height=240)
    )
    return chart


def travel(stations: Sequence[tuple[str, float | None, float | None]], current: int, palette: Palette) -> Layers:
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
        tooltip=[alt.Tooltip("layer:N"), alt.Tooltip("what:N"), alt.Tooltip("size:Q", format=".3e")],
    )
    here = (
        alt.Chart(pd.DataFrame({"place": [current] if 0 <= current < len(stations) else []}, dtype=int))
        .mark_rule(strokeWidth=18, opacity=0.25, color=palette.soft)
        .encode(x=x)
    )
    lines = base.mark_line(strokeWidth=1.5).encode(shape=alt.Undefined)
    return layers(here, lines, base.mark_point(size=70, filled=True)).properties(height=210)


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
            x2=alt.X2("to:Q"),
            y=alt.Y("count:Q", title=None, axis=_scaled(palette, tickCount=3)),
            tooltip=[alt.Tooltip("from:Q", format=".3g"), alt.Tooltip("to:Q", format=".3g"), alt.Tooltip("count:Q")],
        )
        .properties(height=130)
    )
    return chart


def before_and_after(before: Mapping[str, float], after: Mapping[str, float], palette: Palette) -> Layers:
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
        color=colour,
        tooltip=[alt.Tooltip("label:N"), alt.Tooltip("when:N"), alt.Tooltip("p:Q", format=".6f", title="probability")],
    )
    figures = base.mark_text(align="left", dx=5, fontSize=11.5, color=palette.text).encode(text=alt.Text("shown:N"))
    return layers(bars, figures).properties(height=36 * len(before) + 40)


def along_a_step(curve: Array, slope: float, palette: Palette) -> Layers:
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
        tooltip=[alt.Tooltip("what:N"), alt.Tooltip("share:Q"), alt.Tooltip("loss:Q", format=".6f")],
    )
    lines = base.mark_line(strokeWidth=2).encode(
        color=alt.Color("what:N", scale=alt.Scale(domain=kinds, range=[palette.for_, palette.against]), legend=legend),
        strokeDash=alt.StrokeDash("what:N", scale=alt.Scale(domain=kinds, range=[[1, 0], [6, 4]]), legend=legend),
    )
    ends = base.transform_filter("datum.share == 0 || datum.share == 1").transform_filter(f"datum.what == '{kinds[0]}'")
    return layers(lines, ends.mark_point(size=60, filled=True, color=palette.text)).properties(height=240)


def _scaled(palette: Palette, **more: Any) -> alt.Axis:
    """An axis of numbers."""
    plain: dict[str, Any] = {"labelColor": palette.text, "titleColor": palette.text, "titleFontWeight": "normal"}
    return alt.Axis(**plain | {"tickCount": 5} | more)


# --- two classes ----------------------------------------------------------------------------------------------------


def leanings(
    probabilities: Mapping[str, float], labels: Sequence[str], sure: float, palette: Palette, names: bool = True
) -> Layers:
    """{model: probability of the second label} → a bar each, from one half to the side that it leans to

    Between 1 − sure and sure an answer is called uncertain: that band is shaded, and named.
    """
    table = pd.DataFrame({"model": list(probabilities), "p": list(probabilities.values())})
    table["side"] = np.where(table["p"] >= 0.5, labels[1], labels[0])
    table["shown"] = [percent(max(p, 1 - p)) for p in table["p"]]
    band = pd.DataFrame({"low": [1 - sure], "high": [sure]})
    places = {0: f"← {labels[0]}", 0.5: "uncertain", 1: f"{labels[1]} →"}
    said = " : ".join(f"datum.value == {at} ? {json.dumps(text)}" for at, text in places.items()) + " : ''"
    axis = _axis(palette, values=list(places), labelExpr=said, orient="top", labelFlush=True, grid=False)
    x = alt.X("p:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=axis)
    y = alt.Y("model:N", sort=None, title=None, axis=_axis(palette, labelLimit=160) if names else None)
    colour = alt.Color(
        "side:N", legend=None, scale=alt.Scale(domain=list(labels), range=[palette.against, palette.for_])
    )
    whole = (AT_Y(0), TO_Y("height"))
    middle = (
        alt.Chart(band)
        .mark_rect(color=palette.soft, opacity=0.45)
        .encode(*whole, x=alt.X("low:Q"), x2=alt.X2("high:Q"))
    )
    base = alt.Chart(table).encode(
        y=y, tooltip=[alt.Tooltip("model:N"), alt.Tooltip("p:Q", format=".4f", title=labels[1])]
    )
    bars = base.mark_bar(height=18, cornerRadiusEnd=3).encode(TO_X(0.5), x=x, color=colour)
    return layers(middle, bars).properties(height=40 + 34 * len(table))


def signed_bars(
    names: Sequence[str], values: Sequence[float], palette: Palette, format: str = "+.2f", up: str = "for_"
) -> Layers:
    """A bar each, to the right where a value is positive; up: the palette's colour of what is positive"""
    table = pd.DataFrame({"place": [str(i) for i in range(len(names))], "name": list(names), "value": list(values)})
    table["shown"] = [f"{value:{format}}".replace("-", "−") for value in values]
    table["side"] = np.where(table["value"] >= 0, "+", "−")
    most = max(1e-9, float(np.abs(table["value"]).max())) if len(table) else 1.0
    colours = [palette.for_, palette.against] if up == "for_" else [palette.against, palette.for_]
    called = f"{json.dumps(dict(zip(table['place'], table['name'], strict=True)))}[datum.value]"
    y = alt.Y("place:N", sort=None, title=None, axis=_axis(palette, labelExpr=called, labelLimit=220))
    x = alt.X("value:Q", title=None, axis=None, scale=alt.Scale(domain=[-1.25 * most, 1.25 * most]))
    base = alt.Chart(table).encode(
        y=y, x=x, tooltip=[alt.Tooltip("name:N"), alt.Tooltip("shown:N", title="contribution")]
    )
    colour = alt.Color("side:N", legend=None, scale=alt.Scale(domain=["+", "−"], range=colours))
    bars = base.mark_bar(height=15, cornerRadiusEnd=3).encode(color=colour)
    figures = base.encode(text=alt.Text("shown:N")).transform_filter("datum.value >= 0")
    right = figures.mark_text(align="left", dx=5, fontSize=12.5, color=palette.text)
    figures = base.encode(text=alt.Text("shown:N")).transform_filter("datum.value < 0")
    left = figures.mark_text(align="right", dx=-5, fontSize=12.5, color=palette.text)
    return layers(bars, left, right).properties(height=26 * max(1, len(table)))


# --- credit ---------------------------------------------------------------------------------------------------------


def on_scale(points: float, cut: float, words: tuple[str, str], palette: Palette, reach: float = 90) -> Layers:
    """Where an applicant stands on the scale of points; words: what those below and above the cut-off are called"""
    low, high = min(cut - reach, points - 10), max(cut + reach, points + 10)
    zones = pd.DataFrame({"from": [low, cut], "to": [cut, high], "word": list(words), "at": [low, high]})
    x = alt.X("from:Q", title=None, scale=alt.Scale(domain=[low, high], nice=False), axis=_scaled(palette, grid=False))
    whole = (AT_Y(8), TO_Y(30))
    colour = alt.Color(
        "word:N", legend=None, scale=alt.Scale(domain=list(words), range=[palette.against, palette.for_])
    )
    base = alt.Chart(zones)
    ground = base.mark_rect(opacity=0.3).encode(*whole, x=x, x2=alt.X2("to:Q"), color=colour)
    said = [
        base.transform_filter(f"datum.word == {json.dumps(word)}")
        .mark_text(align=side, dx=shift, fontSize=12.5, color=palette.text)  # type: ignore[arg-type]
        .encode(AT_Y(19), x=alt.X("at:Q"), text=alt.Text("word:N"))
        for word, side, shift in zip(words, ("left", "right"), (8, -8), strict=True)
    ]
    line = alt.Chart(zones.tail(1)).mark_rule(color=palette.text, strokeDash=[4, 3]).encode(x=alt.X("from:Q"))
    here = alt.Chart(pd.DataFrame({"points": [points]}))
    mark = here.mark_point(shape="diamond", size=220, filled=True, opacity=1, color=palette.text)
    return layers(
        ground, *said, line, mark.encode(AT_Y(19), x=alt.X("points:Q"), tooltip=alt.Tooltip("points:Q"))
    ).properties(height=70)


def score_histogram(points: Array, t: Array | None, cut: float, palette: Palette, bins: int = 36) -> Layers:
    """How many applicants have which points; stacked by outcome where it is known; the cut-off is dashed"""
    edges = np.linspace(points.min(), points.max() + 1e-9, bins + 1)
    kinds = {"applicants": np.ones(len(points), bool)} if t is None else {"paid": t == 0, "defaulted": t == 1}
    table = pd.concat(
        pd.DataFrame({"from": edges[:-1], "to": edges[1:], "n": np.histogram(points[own], edges)[0], "outcome": kind})
        for kind, own in kinds.items()
    )
    colour = alt.Color(
        "outcome:N",
        title=None,
        legend=None if t is None else alt.Legend(orient="top", labelColor=palette.text),
        scale=alt.Scale(domain=list(kinds), range=[palette.for_, palette.against][: len(kinds)]),
    )
    bars = (
        alt.Chart(table)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("from:Q", bin="binned", title="points", axis=_scaled(palette, grid=False)),
            x2=alt.X2("to:Q"),
            y=alt.Y("n:Q", title="applicants", axis=_scaled(palette)),
            color=colour,
            tooltip=[
                alt.Tooltip("outcome:N"),
                alt.Tooltip("n:Q"),
                alt.Tooltip("from:Q", format=".0f"),
                alt.Tooltip("to:Q", format=".0f"),
            ],
        )
    )
    return layers(bars, _rule(cut, palette)).properties(height=280)


def _rule(at: float, palette: Palette) -> alt.Chart:
    """A dashed upright line."""
    rule: alt.Chart = (
        alt.Chart(pd.DataFrame({"at": [at]})).mark_rule(color=palette.text, strokeDash=[4, 3]).encode(x=alt.X("at:Q"))
    )
    return rule


def against_diagonal(
    x: Sequence[float], y: Sequence[float], titles: tuple[str, str], palette: Palette, dots: bool
) -> Layers:
    """A curve from shares to shares, and the diagonal: a ROC curve, or a reliability plot with a dot a tenth"""
    most = 1.0 if not dots else 1.05 * max(*x, *y)
    scale = alt.Scale(domain=[0, most])
    table = pd.DataFrame({"x": list(x), "y": list(y)})
    axes = {
        "x": alt.X("x:Q", title=titles[0], scale=scale, axis=_scaled(palette, format=".0%")),
        "y": alt.Y("y:Q", title=titles[1], scale=scale, axis=_scaled(palette, format=".0%")),
    }
    line = alt.Chart(pd.DataFrame({"x": [0, most], "y": [0, most]})).mark_line(color=palette.soft, strokeDash=[4, 3])
    tooltip = [alt.Tooltip(f"{name}:Q", format=".1%", title=title) for name, title in zip("xy", titles, strict=True)]
    curve = alt.Chart(table).mark_line(color=palette.for_, point={"size": 45, "color": palette.for_} if dots else False)
    return layers(line.encode(**axes), curve.encode(**axes, tooltip=tooltip)).properties(height=300)


def trade_off(
    lines: Sequence[tuple[float, float, float, float]], cut: float, palette: Palette
) -> tuple[Layers, Layers]:
    """[(cut-off, mean cost, share accepted, share of bad among them)] → the cost, and the shares; the cut-off dashed"""
    kinds = ["accepted", "bad among the accepted"]
    table = pd.DataFrame(lines, columns=["cut", "cost", *kinds])
    x = alt.X("cut:Q", title="refused from this probability of default", axis=_scaled(palette, format=".0%"))
    cost = alt.Chart(table).mark_line(color=palette.text)
    cost = cost.encode(
        x=x,
        y=alt.Y("cost:Q", title="mean cost of an applicant", axis=_scaled(palette)),
        tooltip=[alt.Tooltip("cut:Q", format=".1%"), alt.Tooltip("cost:Q", format=".3f")],
    )
    legend = alt.Legend(orient="top", labelColor=palette.text, labelLimit=200)
    scale = alt.Scale(domain=kinds, range=[palette.for_, palette.against])
    shares = alt.Chart(table.melt("cut", kinds, "share", "value")).mark_line()
    shares = shares.encode(
        x=x,
        y=alt.Y("value:Q", title="share", axis=_scaled(palette, format=".0%")),
        color=alt.Color("share:N", title=None, legend=legend, scale=scale),
        strokeDash=alt.StrokeDash(
            "share:N", title=None, legend=legend, scale=alt.Scale(domain=kinds, range=[[1, 0], [6, 3]])
        ),
        tooltip=[alt.Tooltip("share:N"), alt.Tooltip("cut:Q", format=".1%"), alt.Tooltip("value:Q", format=".1%")],
    )
    rule = _rule(cut, palette)
    return layers(cost, rule).properties(height=300), layers(shares, rule).properties(height=300)


def shift_bars(rows: Sequence[tuple[str, float]], bounds: tuple[float, float], palette: Palette) -> Layers:
    """[(what, PSI)] → a bar each; dashed lines where stable ends and shifted begins"""
    table = pd.DataFrame(rows, columns=["what", "psi"])
    table["said"] = ["stable" if p < bounds[0] else "watch" if p < bounds[1] else "shifted" for p in table["psi"]]
    table["shown"] = [f"{p:.3f} {said}" for p, said in zip(table["psi"], table["said"], strict=True)]
    most = max(1.1 * bounds[1], float(table["psi"].max()))
    y = alt.Y("what:N", sort=None, title=None, axis=_axis(palette, labelLimit=220))
    x = alt.X("psi:Q", title=None, scale=alt.Scale(domain=[0, 1.3 * most]), axis=None)
    base = alt.Chart(table).encode(x=x, y=y)
    kinds = alt.Scale(domain=["stable", "watch", "shifted"], range=[palette.for_, palette.soft, palette.against])
    bars = base.mark_bar(height=14, cornerRadiusEnd=3).encode(color=alt.Color("said:N", legend=None, scale=kinds))
    figures = base.mark_text(align="left", dx=5, fontSize=12.5, color=palette.text).encode(text=alt.Text("shown:N"))
    rules = alt.Chart(pd.DataFrame({"at": list(bounds)})).mark_rule(color=palette.text, strokeDash=[3, 3], opacity=0.6)
    return layers(bars, figures, rules.encode(x=alt.X("at:Q", axis=None))).properties(height=26 * len(table))


def groups(rows: Sequence[tuple[str, float, int]], palette: Palette) -> Layers:
    """[(group, share accepted, applicants)] → a bar a group; dashed, four fifths of the highest share"""
    table = pd.DataFrame(rows, columns=["group", "accepted", "n"])
    table["shown"] = [f"{100 * share:.1f} % of {n:,}" for share, n in zip(table["accepted"], table["n"], strict=True)]
    y = alt.Y("group:N", sort=None, title=None, axis=_axis(palette, labelLimit=180))
    x = alt.X("accepted:Q", title=None, scale=alt.Scale(domain=[0, 1.35]), axis=None)
    base = alt.Chart(table).encode(x=x, y=y)
    bars = base.mark_bar(height=18, cornerRadiusEnd=3, color=palette.for_)
    figures = base.mark_text(align="right", fontSize=12.5, color=palette.text)
    figures = figures.encode(AT_X("width"), text=alt.Text("shown:N"))
    rule = _rule(0.8 * float(table["accepted"].max()), palette)
    return layers(bars, figures, rule).properties(height=34 * len(table))


def scorecard_bins(rows: Sequence[tuple[str, float, float, float]], own: str | None, palette: Palette) -> Layers:
    """[(bin, lowest, highest, mean points)] of one feature → bars of the mean, whiskers; their own bin stands out"""
    table = pd.DataFrame(rows, columns=["bin", "lowest", "highest", "mean"])
    table["kind"] = ["own" if name == own else "other" for name in table["bin"]]
    table["shown"] = [
        f"{mean:.1f}{'  ← the applicant' if name == own else ''}"
        for name, mean in zip(table["bin"], table["mean"], strict=True)
    ]
    low, high = min(0.0, table["lowest"].min()), max(0.0, table["highest"].max())
    y = alt.Y("bin:N", sort=None, title=None, axis=_axis(palette, labelLimit=200))
    x = alt.X("mean:Q", title=None, axis=None, scale=alt.Scale(domain=[low, high + 0.45 * (high - low) + 1e-9]))
    base = alt.Chart(table).encode(
        y=y,
        tooltip=[alt.Tooltip("bin:N"), *(alt.Tooltip(f"{k}:Q", format=".1f") for k in ("lowest", "mean", "highest"))],
    )
    colour = alt.Color(
        "kind:N", legend=None, scale=alt.Scale(domain=["own", "other"], range=[palette.for_, palette.soft])
    )
    bars = base.mark_bar(height=15, cornerRadiusEnd=3).encode(x=x, color=colour)
    spans = base.mark_rule(color=palette.text).encode(x=alt.X("lowest:Q"), x2=alt.X2("highest:Q"))
    figures = base.mark_text(align="left", dx=8, fontSize=12.5, color=palette.text).encode(
        x=alt.X("highest:Q"), text=alt.Text("shown:N")
    )
    return layers(bars, spans, figures).properties(height=27 * len(table))
