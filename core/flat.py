"""The parameters of a model as one flat vector, of which they become views."""

from __future__ import annotations

import numpy as np

from core.context import Array
from core.layer import Layer, Parameter, Statistic, Table, dtype_of
from core.optimizers import Optimizer
from core.parallel import even_cuts

CHUNK = 1 << 16  # elements: w, g and the slots of a chunk stay in the second-level cache


class FlatParameters:
    """The parameters of a model, moved into one vector of which they become views.

    names       their names, in the order of the vector: those that learn, grouped by how they are updated (matrices
                whole, weights, biases; by learning-rate factor), then tables, then running statistics
    trainable   those that learn, in order; they fill vector[:learning]
    tables      the last of them: tables of whose gradient only rows are kept (none where not `by_row`)
    frozen      {name: value} of those that do neither, which stay where they are
    """

    def __init__(self, model: Layer, optimizer: Optimizer, *, by_row: bool = True) -> None:
        named = list(model.named_parameters())
        self.optimizer, self.by_row = optimizer, by_row
        learning = sorted((pair for pair in named if not pair[1].frozen), key=lambda pair: self._group(pair[1]))
        observed = [pair for pair in named if isinstance(pair[1], Statistic)]
        self.frozen = {name: p.value for name, p in named if p.frozen and not isinstance(p, Statistic)}
        self.names = [name for name, _ in learning + observed]
        self.parameters = [parameter for _, parameter in learning + observed]
        self.trainable = self.parameters[: len(learning)]
        self.tables = [p for p in self.trainable if self._by_row(p)]
        self.learning = sum(p.value.size for p in self.trainable)
        self.vector: Array = np.empty(sum(p.value.size for p in self.parameters), dtype_of(model))
        for parameter, view in zip(self.parameters, self.views(self.vector), strict=True):
            view[...] = parameter.value
            parameter.value = view

    def moved(self) -> bool:
        """Whether the parameters are views of another vector by now (the first one speaks for all)."""
        return bool(self.trainable) and self.trainable[0].value.base is not self.vector

    def views(self, vector: Array) -> list[Array]:
        """The parameters' shares of a vector like this one: slots, averages, best weights."""
        views, start = [], 0
        for parameter in self.parameters:
            stop = start + parameter.value.size
            if stop > len(vector):
                break
            views.append(vector[start:stop].reshape(parameter.value.shape))
            start = stop
        return views

    def named(self, vector: Array) -> dict[str, Array]:
        """{name: share of the vector}"""
        return dict(zip(self.names, self.views(vector), strict=False))

    @property
    def dense(self) -> list[Parameter]:
        """Those that learn and are updated as a whole."""
        return self.trainable[: len(self.trainable) - len(self.tables)]

    def _by_row(self, p: Parameter) -> bool:
        return self.by_row and isinstance(p, Table)

    def _matrix(self, p: Parameter) -> bool:
        """Whether the rule must see it whole; a table is no map of vectors, but vectors side by side."""
        return not isinstance(p, Table) and self.optimizer.takes_matrix(p.value.shape)

    def _group(self, p: Parameter) -> tuple[bool, bool, bool, float]:
        return self._by_row(p), self._matrix(p), p.decays, p.lr_factor

    def stretches(self, groups: bool) -> list[tuple[int, int, Parameter]]:
        """(start, stop, a parameter that speaks for it): runs that are updated alike, at most CHUNK long.

        Matrices stand alone. Without `groups`, weights and biases are updated alike.
        """
        runs: list[tuple[int, int, Parameter]] = []
        start, before = 0, None
        for p in self.dense:
            stop, matrix = start + p.value.size, self._matrix(p)
            key = (self._group(p) if groups else p.lr_factor) if not matrix else p
            if runs and key == before:
                runs[-1] = runs[-1][0], stop, p
            else:
                runs.append((start, stop, p))
            start, before = stop, key
        return [
            (start + a, start + b, p)
            for start, stop, p in runs
            for a, b in (((0, stop - start),) if self._matrix(p) else _chunks(stop - start))
        ]

    def rest(self) -> list[tuple[int, int]]:
        """(start, stop) of what no stretch covers, tables and running statistics, in pieces at most CHUNK long."""
        start = sum(p.value.size for p in self.dense)
        return [(start + a, start + b) for a, b in _chunks(len(self.vector) - start)]

    def shape(self, p: Parameter, size: int) -> tuple[int, ...]:
        """In which a stretch of so many elements is updated: a matrix whole, all else in a row."""
        return (-1, p.value.shape[-1]) if self._matrix(p) else (size,)


def _chunks(n: int) -> tuple[tuple[int, int], ...]:
    return even_cuts(n, max(1, -(-n // CHUNK)))
