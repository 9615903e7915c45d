"""The tables of the page “Inside”: which numbers stand beside which, as frames for the page to show."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from apps.inside.subjects import Gram, Subject
from apps.inside.sums import Sum, slopes
from apps.inside.trace import Change, Step, Trace, Visit, Weight, belief
from apps.pictures import Palette, hexes
from core import Array, BinaryCrossEntropy, Dense, MeanSquaredError, SoftmaxCrossEntropy

MOST_ROWS, MOST_COLUMNS = 32, 12  # of a layer all of whose numbers are shown
IDS = ("NGrams", "Selected", "LogRatios")  # layers that make ids, which have no size
WIDE = 8  # columns
MOST_TERMS = 9  # of a longer sum that are shown


def figure(value: float, places: int = 6) -> str:
    """A number to some places; one that would vanish there, or is very large, by its power of ten."""
    if not np.isfinite(value):
        return "" if np.isnan(value) else str(value)
    small = 0 < abs(value) < 5 * 10.0 ** (1 - places)
    text = f"{value:.2e}" if small or abs(value) >= 1e6 else f"{value + 0.0:.{places}f}"
    return text.replace("-", "−") if value else text.replace("-", "")


def tinted(frame: pd.DataFrame, palette: Palette) -> Any:
    """Six places, four in a wide table, and a ground that says sign and size: of a layer's weights together, of other
    columns alone."""
    style = frame.style.format(partial(figure, places=4 if frame.shape[1] > WIDE else 6), na_rep="")
    if not (frame.index.is_unique and frame.columns.is_unique):
        return style
    weights = [name for name in frame.columns if str(name).startswith("→")]
    for columns in [weights, *([name] for name in frame.columns if name not in weights)]:
        numbers = frame[columns].to_numpy(np.float64)
        most = float(np.nanmax(np.abs(numbers), initial=0.0))
        if not most or not np.isfinite(most):
            continue
        css = np.vectorize(lambda value, most=most: _ground(value / most, palette), otypes=[object])(numbers)
        style = style.apply(lambda _, css=css: css, axis=None, subset=columns)
    return style


def _ground(depth: float, palette: Palette) -> str:
    """depth in [−1, 1] → the style of a cell; half the colour at most, so that a table stays calm"""
    if np.isnan(depth):
        return ""
    ((ground, text),) = hexes(np.array([abs(depth) / 2]), palette.for_ if depth >= 0 else palette.against, palette)
    return f"background-color: {ground}; color: {text}"


def is_small(visit: Visit) -> bool:
    """Whether all numbers of a layer fit on the page."""
    if isinstance(visit.layer, Dense):
        return visit.x.ndim == 1 and visit.x.size <= MOST_ROWS and visit.y.size <= MOST_COLUMNS
    return visit.x.ndim == 1 and visit.y.ndim == 1 and max(visit.x.size, visit.y.size) <= MOST_ROWS


def forward(subject: Subject, visit: Visit) -> pd.DataFrame:
    """All numbers of a small layer on the way forward.

    Dense: a row an input, with x and its weights; then b, and y below. Others: a row an output (and its input where
    every number is treated alike).
    """
    x_names = subject.called(visit.name, "x", visit.x.size, "x")
    y_names = subject.called(visit.name, "y", visit.y.size, "y")
    if isinstance(visit.layer, Dense):
        weights = {weight.name: weight.value for weight in visit.weights}
        bias = weights.get("bias", np.zeros(visit.y.size))
        numbers = np.vstack([weights["weight"], bias, visit.y])
        frame = pd.DataFrame(numbers, index=[*x_names, "b", "output"], columns=[f"→ {name}" for name in y_names])
        frame.insert(0, "x", [*visit.x, 1.0, np.nan])
        return frame
    return _beside(subject, visit, {"x": visit.x, "y": visit.y})


def backward(subject: Subject, visit: Visit) -> pd.DataFrame:
    """All numbers of a small layer on the way back.

    Dense: ∂L/∂y above; then a row an input, with ∂L/∂x and the gradient of its weights; then that of b.
    """
    assert visit.dy is not None
    if isinstance(visit.layer, Dense):
        x_names = subject.called(visit.name, "x", visit.x.size, "x")
        y_names = subject.called(visit.name, "y", visit.y.size, "y")
        grads = {weight.name: weight.grad for weight in visit.weights}
        missing = np.full((visit.x.size, visit.y.size), np.nan)
        weight, bias = grads["weight"], grads.get("bias")
        rows = [visit.dy, missing if weight is None else weight, *([] if bias is None else [bias])]
        index = ["∂L/∂y", *(f"∂L/∂W, {name}" for name in x_names), *([] if bias is None else ["∂L/∂b"])]
        frame = pd.DataFrame(np.vstack(rows), index=index, columns=[f"→ {name}" for name in y_names])
        dx = np.full(visit.x.size, np.nan) if visit.dx is None else visit.dx
        frame.insert(0, "∂L/∂x", [np.nan, *dx, *[np.nan] * (len(index) - 1 - visit.x.size)])
        return frame
    slope = slopes(visit)
    if slope is None:
        return _beside(subject, visit, {"∂L/∂y": visit.dy, "∂L/∂x": visit.dx})
    return _beside(subject, visit, {"∂L/∂y": visit.dy, "· slope ∂y/∂x": slope, "= ∂L/∂x": visit.dx})


def _beside(subject: Subject, visit: Visit, columns: dict[str, Array | None]) -> pd.DataFrame:
    """Columns of different lengths side by side, what is missing left empty; named by the longest one."""
    kept = {name: array.reshape(-1) for name, array in columns.items() if array is not None}
    count = max(map(len, kept.values()))
    side = "y" if len(visit.y.reshape(-1)) == count else "x"
    filled = {name: np.concatenate([array, np.full(count - len(array), np.nan)]) for name, array in kept.items()}
    return pd.DataFrame(filled, index=subject.called(visit.name, side, count, side))


def weight_table(weight: Weight, gradient: bool) -> pd.DataFrame | None:
    """A small parameter, or its gradient, as a frame; None where it is large"""
    array = weight.grad if gradient else weight.value
    if array is None:
        return None
    matrix = array.reshape(1, -1) if array.ndim < 2 else array.reshape(-1, array.shape[-1])
    if matrix.shape[0] > MOST_ROWS or matrix.shape[1] > MOST_COLUMNS:
        return None
    return pd.DataFrame(matrix, columns=[str(i + 1) for i in range(matrix.shape[1])])


def at_the_loss(subject: Subject, trace: Trace) -> pd.DataFrame:
    """From the outputs to the loss, and the gradient that starts the way back, a row an output."""
    loss, p = subject.example.loss, belief(trace.y, subject.example.loss)
    if isinstance(loss, SoftmaxCrossEntropy):
        t = np.eye(len(p))[int(subject.example.t[0])]
        powers = np.exp(trace.y - trace.y.max())
        columns = {"z": trace.y, "exp(z − max z)": powers, "p": p, "t": t, "∂L/∂z = p − t": trace.dy}
        return pd.DataFrame(columns, index=list(subject.labels))
    t = subject.example.t.reshape(-1)
    if isinstance(loss, BinaryCrossEntropy):
        return pd.DataFrame({"z": trace.y, "p": p[1:], "t": t, "∂L/∂z = p − t": trace.dy}, index=[subject.labels[1]])
    columns = {"y": trace.y, "t": t, "y − t": trace.y - t, "∂L/∂y = 2 (y − t)": trace.dy}
    return pd.DataFrame(columns, index=list(subject.labels))


def terms(found: Sum) -> tuple[pd.DataFrame, int]:
    """(the products of a sum, the largest first where they are many; the rest in one line; their total, and how many
    products are in that one line)"""
    order = np.argsort(-np.abs(found.products), kind="stable")
    few = len(order) <= MOST_ROWS
    shown = np.arange(len(order)) if few else order[:MOST_TERMS]
    left, right = found.symbols
    rows = [(found.places[i], found.a[i], found.b[i], found.products[i]) for i in shown]
    hidden = 0 if few else len(order) - MOST_TERMS
    if hidden:
        rows.append((f"the other {hidden:,}", np.nan, np.nan, found.products[order[MOST_TERMS:]].sum()))
    if found.constant:
        rows.append(("b", np.nan, np.nan, found.constant))
    rows.append(("together", np.nan, np.nan, found.value))
    frame = pd.DataFrame(rows, columns=["", left, right, f"{left} · {right}"]).set_index("")
    return frame, hidden


def chain(trace: Trace) -> pd.DataFrame:
    """The chain rule along the network: how large the gradient is, and by how much each layer makes it longer.

    ‖∂L/∂x‖ of a layer is ‖∂L/∂y‖ times its factor; and the next one's ‖∂L/∂y‖ is that ‖∂L/∂x‖.
    """
    rows = []
    for visit in trace.backward:
        if visit.name.count(".") > 1 or visit.dx is None or visit.dy is None:
            continue
        before, after = np.linalg.norm(visit.dy), np.linalg.norm(visit.dx)
        rows.append((f"{visit.name} {visit.kind}", before, after / before if before else np.nan, after))
    frame = pd.DataFrame(rows, columns=["layer", "‖∂L/∂y‖", "factor", "‖∂L/∂x‖"])
    return frame.set_index("layer")


def changes(found: Sequence[Change]) -> pd.DataFrame:
    """A row a parameter: how large it, its gradient and its change are."""
    rows = [
        (
            f"{change.name}, {shape(change.before)}",
            float(np.linalg.norm(change.before)),
            float(np.linalg.norm(change.grad)),
            float(np.linalg.norm(change.delta)),
            float((change.grad * change.delta).sum()),
        )
        for change in found
    ]
    return pd.DataFrame(rows, columns=["parameter", "‖θ‖", "‖g‖", "‖Δθ‖", "g · Δθ"]).set_index("parameter")


def every_change(found: Sequence[Change], most: int = 400) -> pd.DataFrame | None:
    """Every parameter's every number: before, gradient, change, after; None where there are more than `most`"""
    if sum(change.before.size for change in found) > most:
        return None
    rows = [
        (f"{change.name}{_index(at)}", change.before[at], change.grad[at], change.delta[at], change.after[at])
        for change in found
        for at in np.ndindex(change.before.shape)
    ]
    return pd.DataFrame(rows, columns=["parameter", "θ", "g", "Δθ", "θ + Δθ"]).set_index("parameter")


def _index(at: Sequence[int]) -> str:
    return f"[{', '.join(str(i + 1) for i in at)}]"


def grid(matrix: Array) -> pd.DataFrame:
    """Pixels, by row and column."""
    h, w = matrix.shape
    return pd.DataFrame(matrix, index=[f"row {i + 1}" for i in range(h)], columns=[f"column {j + 1}" for j in range(w)])


def column(x: Array, names: Sequence[str]) -> pd.DataFrame:
    """The inputs of a network, one a row."""
    return pd.DataFrame({"x": x}, index=list(names))


def of_grams(found: Sequence[Gram]) -> pd.DataFrame:
    """The n-grams of a sentence, a row each."""
    rows = [(gram.words, gram.ratio, gram.weight, gram.product, gram.grad) for gram in found]
    return pd.DataFrame(rows, columns=["n-gram", "r", "W", "r · W", "∂L/∂W"]).set_index("n-gram")


# --- words ----------------------------------------------------------------------------------------------------------


def shape(array: Array) -> str:
    """(16, 8) as “16 × 8”"""
    return " × ".join(map(str, array.shape)) or "1"


def size(array: Array) -> float:
    """The root mean square"""
    return float(np.sqrt(np.square(array, dtype=np.float64).mean()))


def stations(trace: Trace) -> list[tuple[str, float | None, float | None]]:
    """[(layer, size of what it makes, size of the gradient of that)]; None for ids, and where no gradient comes"""
    return [
        (
            visit.kind,
            None if visit.kind in IDS else size(visit.y),
            None if visit.dy is None else size(visit.dy),
        )
        for visit in trace.visits
    ]


def norms(visit: Visit) -> str:
    """How long the gradients of a layer are."""
    assert visit.dy is not None
    parts = [f"‖∂L/∂y‖ = {figure(float(np.linalg.norm(visit.dy)))}"]
    if visit.dx is not None:
        parts.append(f"‖∂L/∂x‖ = {figure(float(np.linalg.norm(visit.dx)))}")
    for weight in visit.weights:
        if weight.grad is not None:
            parts.append(f"‖∂L/∂{weight.name}‖ = {figure(float(np.linalg.norm(weight.grad)))}")
    return "   ".join(parts)


def product(frame: pd.DataFrame) -> str:
    """The factors of a chain, multiplied out."""
    factors = " · ".join(f"{factor:.4g}" for factor in frame["factor"])
    first, last = frame["‖∂L/∂y‖"].iloc[0], frame["‖∂L/∂x‖"].iloc[-1]
    return f"‖∂L/∂x‖ = {first:.4g} · {factors} = **{last:.4g}**"


def loss_in_figures(subject: Subject, trace: Trace) -> str:
    """The loss, with the number that it is of."""
    t, loss = subject.example.t.reshape(-1)[0], subject.example.loss
    if isinstance(loss, MeanSquaredError):
        return f"L = ({figure(trace.y[0])} − {figure(t)})² = **{figure(trace.loss)}**"
    p = float(belief(trace.y, loss)[int(t)])
    return f"L = −ln {figure(p)} = **{figure(trace.loss)}** nats, for the label {subject.labels[int(t)]}"


def foretold(trace: Trace, done: Step, lr: float) -> str:
    """What the slopes say that a step changes, beside what it did."""
    changed = done.loss - trace.loss
    told = f"The slopes foretell that the loss changes by Σ g · Δθ = **{figure(done.foretold)}**"
    plain = -lr * trace.squares
    told += " = −η ‖g‖²" if np.isclose(plain, done.foretold, rtol=1e-9) else f" (plain descent: {figure(plain)})"
    told += f"; it changes by **{figure(changed)}**"
    return told + (f", {100 * changed / done.foretold:.1f} % of that." if abs(done.foretold) > 1e-12 else ".")
