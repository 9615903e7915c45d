"""The gradients of the parameters: one flat vector, and for tables the rows that occurred."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from core.context import Array, Context

if TYPE_CHECKING:
    from core.layer import Parameter, Statistic, Table


class Gradients:
    """The gradients of some parameters, as views into one flat vector in the order given.

    The first write of a step sets a gradient and later ones add to it, so nothing is zeroed between steps: call
    `start`, run the passes, call `finish` (which clears the gradients that nobody wrote). What layers add for
    frozen parameters is dropped. Of `tables`, only the rows that occurred are kept, outside of the vector.
    """

    def __init__(self, parameters: Iterable[Parameter], tables: Iterable[Parameter] = ()) -> None:
        parameters = list(parameters)
        dtype = parameters[0].value.dtype if parameters else np.dtype(np.float32)
        self.flat: Array = np.zeros(sum(p.value.size for p in parameters), dtype)
        self.rows: dict[Parameter, RowGradient] = {table: RowGradient(table.value) for table in tables}
        self.reports: list[tuple[Statistic, Array, int]] = []
        self._views: dict[Parameter, Array] = {}
        self._products: dict[Parameter, Array] = {}  # the views again, in the shape of a product
        self._scratch: dict[Parameter, Array] = {}
        self._written: set[Parameter] = set()
        start = 0
        for p in parameters:
            self._views[p] = self.flat[start : start + p.value.size].reshape(p.value.shape)
            start += p.value.size

    def __getitem__(self, parameter: Parameter) -> Array:
        """The gradient in the parameter's shape; of a table kept as rows, those rows alone (U, E)."""
        return self.rows[parameter].values if parameter in self.rows else self._views[parameter]

    def __contains__(self, parameter: Parameter) -> bool:
        return parameter in self._views or parameter in self.rows

    def start(self) -> None:
        """Begin a step: the next write of each gradient sets it."""
        self._written.clear()
        self.reports.clear()
        for rows in self.rows.values():
            rows.clear()

    def finish(self) -> None:
        """End a step: gradients that no pass wrote are zero."""
        if len(self._written) < len(self._views):
            for p in self._views.keys() - self._written:
                self._views[p].fill(0)

    def add(self, parameter: Parameter, grad: Array) -> None:
        """grad(parameter) += grad"""
        view = self._views.get(parameter)
        if view is None:
            _drop(parameter)
            return
        if grad.shape != view.shape:
            raise ValueError(f"a gradient of shape {grad.shape} was added for {parameter!r}")
        if parameter in self._written:
            np.add(view, grad, out=view)
        else:
            self._written.add(parameter)
            np.copyto(view, grad)

    def add_product(self, parameter: Parameter, a: Array, b: Array) -> None:
        """grad(parameter) += a @ b, straight into place: the product may have the parameter's shape or be 2-D."""
        view = self._products.get(parameter)
        if view is None:
            if parameter not in self._views:
                _drop(parameter)
                return
            view = self._products[parameter] = self._views[parameter].reshape(*a.shape[:-1], *b.shape[1:])
        if parameter not in self._written:
            self._written.add(parameter)
            np.dot(a, b, out=view)
            return
        scratch = self._scratch.get(parameter)
        if scratch is None:  # only where a step has several micro-batches
            scratch = self._scratch[parameter] = np.empty_like(view)
        np.dot(a, b, out=scratch)
        np.add(view, scratch, out=view)

    def add_rows(self, table: Table, rows: Array, grad: Array) -> None:
        """grad(table)[rows] += grad;  rows (U,), different from each other   grad (U, E)"""
        if table in self.rows:
            self.rows[table].add(rows, grad)
            return
        view = self._views.get(table)
        if view is None:
            _drop(table)
            return
        if table not in self._written:
            self._written.add(table)
            view.fill(0)
            view[rows] = grad
            return
        view[rows] += grad


def _drop(parameter: Parameter) -> None:
    """A gradient that nobody asked for: of a frozen parameter, or, by mistake, of one that the model does not list."""
    if not parameter.frozen:
        raise ValueError(
            f"a layer adds a gradient for {parameter!r}, which the model does not list: keep parameters in attributes,"
            " or in lists, tuples or dicts there"
        )


class RowGradient:
    """The gradient of a table (V, E), of which most rows are zero: those that are not, each once.

    ids      (U,) which rows, in the order in which they first came, until they are sorted
    values   (U, E) their gradients
    """

    def __init__(self, table: Array) -> None:
        self.ids: Array = np.empty(0, np.int64)
        self.values: Array = np.empty((0, table.shape[1]), table.dtype)
        self._held = self.ids, self.values  # memory that grows; the two above are its beginning
        self._memory = Context(dtype=table.dtype)
        self._height = len(table)
        self._places: Array = np.empty(0, np.int32)  # where each row of the table stands in `ids`, or -1
        self._placed = 0  # the first so many ids have their place noted

    def clear(self) -> None:
        """Nothing has occurred yet."""
        self._forget_places()
        self._resize(0)

    def add(self, ids: Array, values: Array) -> None:
        """Add to the gradient of some rows, which differ from each other."""
        if not len(self.ids):
            self._append(ids, values)
            return
        at = self._places_of(ids)
        old, new = np.flatnonzero(at >= 0), np.flatnonzero(at < 0)
        at = at[old]
        sums = self._memory.buffer("sums", (len(old), values.shape[1]))
        more = self._memory.buffer("more", (len(ids), values.shape[1]))
        np.take(self.values, at, 0, out=sums, mode="clip")
        sums += np.take(values, old, 0, out=more[: len(old)], mode="clip")
        self.values[at] = sums
        self._append(ids[new], np.take(values, new, 0, out=more[: len(new)], mode="clip"))

    def sort(self) -> None:
        """Put the rows in the order of the table."""
        if (self.ids[1:] > self.ids[:-1]).all():
            return
        self._forget_places()
        order = np.argsort(self.ids)
        self.ids[:] = self.ids[order]
        values = self._memory.buffer("sorted", self.values.shape)
        self.values[:] = np.take(self.values, order, 0, out=values, mode="clip")

    def _places_of(self, ids: Array) -> Array:
        if not len(self._places):  # only where there are several parts to add
            self._places = np.full(self._height, -1, np.int32)
        self._places[self.ids[self._placed :]] = np.arange(self._placed, len(self.ids))
        self._placed = len(self.ids)
        return self._places[ids]

    def _forget_places(self) -> None:
        self._places[self.ids[: self._placed]] = -1
        self._placed = 0

    def _append(self, ids: Array, values: Array) -> None:
        start = len(self.ids)
        self._resize(start + len(ids))
        self.ids[start:] = ids
        self.values[start:] = values

    def _resize(self, count: int) -> None:
        ids, values = self._held
        if count > len(ids):
            room = max(count, min(2 * count, self._height))
            self._held = np.empty(room, ids.dtype), np.empty((room, values.shape[1]), values.dtype)
            self._held[0][: len(self.ids)] = self.ids
            self._held[1][: len(self.ids)] = self.values
        self.ids, self.values = self._held[0][:count], self._held[1][:count]
