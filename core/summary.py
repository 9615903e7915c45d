"""What a model is and what a training of it will cost, before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from core.context import Array, Context, Shape
from core.flat import CHUNK
from core.gradients import Gradients
from core.layer import Layer, Parameter, Statistic, Table, check_model, dtype_of
from core.observe import inner_layers, observe
from core.optimizers import Optimizer
from core.recipe import Recipe
from core.update import BLOCK


@dataclass(frozen=True)
class Row:
    """One layer: its output for one example, its parameters, its floating-point operations forward for one example."""

    name: str
    layer: str
    output: Shape
    parameters: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """Rows in the order of the pass, and what the arrays of a training hold in memory, in bytes.

    weights       parameters, running statistics, and the copies that averaging and patience keep
    gradients     one a lane; of tables, the rows that a batch can meet
    slots         what the optimizer remembers, and its scratch
    activations   what the lanes' contexts keep between forward and backward, with the buffers of both
    """

    rows: tuple[Row, ...]
    weights: int
    gradients: int
    slots: int
    activations: int

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def flops(self) -> int:
        return sum(row.flops for row in self.rows)

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.slots + self.activations

    def __str__(self) -> str:
        head = ("layer", "", "output", "parameters", "FLOPs")
        body = [
            (r.name, r.layer.split("(")[0], " × ".join(map(str, r.output)), f"{r.parameters:,}", f"{r.flops:,}")
            for r in self.rows
        ]
        table = [head, *body, ("total", "", "", f"{self.parameters:,}", f"{self.flops:,}")]
        widths = [max(len(line[i]) for line in table) for i in range(5)]
        lines = [
            "  ".join(
                cell.rjust(w) if i > 2 else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in table
        ]
        rule = "─" * (sum(widths) + 8)
        parts = ", ".join(
            f"{name} {_bytes(getattr(self, name))}" for name in ("weights", "gradients", "slots", "activations")
        )
        return "\n".join(
            [lines[0], rule, *lines[1:-1], rule, lines[-1], f"memory in training: {_bytes(self.memory)} ({parts})"]
        )


def summary(
    model: Layer,
    shape: Shape,
    *,
    recipe: Recipe | None = None,
    optimizer: Optimizer | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Summary:
    """Shapes, parameters, operations and memory of a model for inputs of a shape, (1, 28, 28) say, without N.

    A few examples of ones go forward and backward through scratch contexts, so it works for layers it has never
    seen; the memory of a training step is extrapolated from two such passes to the micro-batch of `recipe`. What a
    layer holds for each different id is not in it, since here all are alike. Nothing is changed. `dtype` is that of the
    inputs (default: the model's; give an integer type for ids).

    Raises ValueError where the shape is none, or, from the layer, does not fit; TypeError for another kind.
    """
    recipe = recipe or Recipe()
    _check_kinds(model, shape, recipe, optimizer)
    x = np.ones((8, *shape), dtype_of(model) if dtype is None else dtype)  # ids of 0 would be padding
    rows: list[Row] = []
    seen: set[Parameter] = set()  # a layer used twice has its parameters once

    def watch(name: str, layer: Layer, way: str, given: Array, made: Array | None) -> None:
        if way != "forward" or made is None:
            return
        own = [p for p in layer.parameters() if not isinstance(p, Statistic) and p not in seen]
        if own or not inner_layers(layer):  # of what holds layers, these have been called before it is done
            flops = layer.flops((1, *given.shape[1:]), (1, *made.shape[1:]))
            rows.append(Row(name, repr(layer), made.shape[1:], sum(p.value.size for p in own), flops))
            seen.update(own)

    observe(model, watch).forward(x, Context(dtype=dtype_of(model)))
    per_lane = -(-recipe.batch_size // recipe.lanes)
    pieces = -(-per_lane // recipe.micro_batch)
    held = _extrapolate(model, x, -(-per_lane // pieces))
    size = np.dtype(dtype_of(model)).itemsize
    learning = sum(p.value.size for p in model.trainable()) * size
    tables = [p for p in model.trainable() if isinstance(p, Table) and recipe.by_row]

    def met(examples: int) -> int:
        """The bytes of the rows of tables that so many examples can meet"""
        return sum(min(len(p.value), examples * prod(shape)) * p.value.shape[1] * size for p in tables)

    dense = learning - sum(p.value.nbytes for p in tables)
    whole = [p for p in model.trainable() if optimizer is not None and not isinstance(p, Table)]
    matrices = [p.value.nbytes for p in whole if optimizer is not None and optimizer.takes_matrix(p.value.shape)]
    copies = 1 + (recipe.average > 0) + (recipe.patience > 0)
    slots = len(optimizer.slots) if optimizer is not None else 0
    fetched = (1 + slots) * met(recipe.batch_size) if recipe.tables == "lazy" else 0
    blocks = [2 * min(p.value.size, BLOCK) * size for p in tables if recipe.tables == "dense"]
    return Summary(
        rows=tuple(rows),
        weights=sum(p.value.nbytes for p in model.parameters()) * copies,
        gradients=(dense * (2 if pieces > 1 else 1) + met(per_lane)) * recipe.lanes,
        slots=slots * learning + max([min(learning, CHUNK * size), *matrices, *blocks]) + fetched,
        activations=held * recipe.lanes,
    )


def _check_kinds(model: Any, shape: Any, recipe: Any, optimizer: Any) -> None:
    """Refuse another kind in words."""
    check_model(model)
    if not isinstance(recipe, Recipe) or not isinstance(optimizer, Optimizer | None):
        raise TypeError(f"recipe and optimizer are made, Recipe(…) and Adam(…) say, not {recipe!r} and {optimizer!r}")
    if not isinstance(shape, tuple | list) or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise ValueError(f"shape is that of one example, in whole numbers from 1 up, (1, 28, 28) say, not {shape!r}")


def _extrapolate(model: Layer, x: Array, micro_batch: int) -> int:
    """The bytes that one lane's contexts hold, the examples themselves included"""
    held = []
    for n in (4, 8):
        grads = Gradients(model.trainable())
        stream = np.random.Generator(np.random.SFC64(0))
        ctx = Context(True, grads, lambda stream=stream: stream, dtype_of(model))  # type: ignore[misc]
        ctx.needs_dx = False
        grads.start()
        model.backward(np.zeros_like(model.forward(x[:n], ctx)), ctx)
        held.append(ctx.nbytes + x[:n].nbytes)
    slope = (held[1] - held[0]) / 4
    return int(held[0] + slope * (micro_batch - 4))


def _bytes(n: int) -> str:
    return f"{n / 2**20:.1f} MiB" if n >= 2**20 else f"{n / 2**10:.1f} KiB"
