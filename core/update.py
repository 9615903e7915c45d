"""One optimizer step: all that learns, changed in cache-sized chunks on threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite, sqrt
from typing import Any

import numpy as np

from core.context import Array, Context
from core.flat import CHUNK, FlatParameters
from core.gradients import Gradients, RowGradient
from core.layer import Parameter
from core.optimizers import Slots
from core.parallel import Crew, even_cuts
from core.regularizers import Penalty

_NOTHING: Array = np.empty(0)
BLOCK = 4 * CHUNK  # elements of a table: more calls on smaller blocks wait for each other, on two threads
WORTH_A_THREAD = 100_000  # elements: below, handing over costs more than it gains


@dataclass
class _Chunk:
    """A stretch of the vector; a block of a table; or some rows of it, fetched from their homes and put back there."""

    w: Array
    grads: list[Array]  # one a lane; the first one ends as their sum
    slots: Slots
    scratch: Array
    average: Array | None
    factor: float
    decays: bool
    squares: float = 0.0  # Σ g²
    homes: Sequence[tuple[Array, Array, Array]] = ()  # (table, ids, those rows) of the weights and of each slot
    rows: Array | None = None  # of the block, to which the gradient belongs; None: to all of w

    def fetch(self) -> None:
        for table, ids, rows in self.homes:
            np.take(table, ids, 0, out=rows, mode="clip")

    def put_back(self) -> None:
        for table, ids, rows in self.homes:
            table[ids] = rows


def _add_up(grads: list[RowGradient]) -> RowGradient:
    """The sum of the lanes' gradients of a table, in their order"""
    for other in grads[1:]:
        grads[0].add(other.ids, other.values)
    return grads[0]


class _LazyTable:
    """A table's share of an update: the rows that occurred, in any lane."""

    def __init__(self, p: Parameter, slots: Slots, grads: list[RowGradient]) -> None:
        self.parameter, self.slots, self.grads = p, slots, grads
        self.height = max(1, CHUNK // p.value.shape[1])  # rows in a chunk, at most
        self._memory = Context(dtype=p.value.dtype)

    def chunks(self, scratch: list[Array], before: int) -> list[_Chunk]:
        """Cut the rows that occurred into chunks, which come after so many others."""
        grad = _add_up(self.grads)
        count, width = grad.values.shape
        w = self._memory.buffer("w", (count, width))
        slots = {name: self._memory.buffer(f"slot {name}", (count, width)) for name in self.slots}
        pairs = [(self.parameter.value, w), *((self.slots[name], rows) for name, rows in slots.items())]
        chunks = []
        for i, (a, b) in enumerate(even_cuts(count, -(-count // self.height))):
            chunks.append(
                _Chunk(
                    w=w[a:b].reshape(-1),
                    grads=[grad.values[a:b].reshape(-1)],
                    slots={name: rows[a:b].reshape(-1) for name, rows in slots.items()},
                    scratch=scratch[(before + i) % len(scratch)][: (b - a) * width],
                    average=None,
                    factor=self.parameter.lr_factor,
                    decays=self.parameter.decays,
                    homes=[(table, grad.ids[a:b], rows[a:b]) for table, rows in pairs],
                )
            )
        return chunks


class _DenseTable:
    """A table's share of an update: all rows, in blocks, with the gradient of those that occurred, in any lane."""

    def __init__(self, p: Parameter, slots: Slots, grads: list[RowGradient]) -> None:
        self.grads = grads
        height, width = p.value.shape
        cuts = even_cuts(height, -(-height // max(1, BLOCK // width)))
        self.edges = [a for a, _ in cuts] + [height]
        self.blocks = [
            _Chunk(
                w=p.value[a:b],
                grads=[],
                slots={name: slot[a:b] for name, slot in slots.items()},
                scratch=_NOTHING,
                average=None,
                factor=p.lr_factor,
                decays=p.decays,
            )
            for a, b in cuts
        ]

    def chunks(self, scratch: list[Array], before: int) -> list[_Chunk]:
        """Give each block its rows of the gradient; the blocks come after so many other chunks."""
        grad = _add_up(self.grads)
        grad.sort()
        cuts = np.searchsorted(grad.ids, self.edges).tolist()
        for i, (block, start, a, b) in enumerate(zip(self.blocks, self.edges, cuts, cuts[1:], strict=False)):
            block.rows, block.grads = grad.ids[a:b] - start, [grad.values[a:b]]
            block.scratch = scratch[(before + i) % len(scratch)][: 2 * block.w.size].reshape(2, *block.w.shape)
        return self.blocks


class Update:
    """w ← rule(w, Σ of the lanes' gradients), with penalties, clipping, weight decay and averaging.

    All of it is elementwise, or cut at places that depend on model and batch alone, so the bits are those of one
    thread. Of a table, where it is `lazy`, only the rows that occurred are touched: the others neither decay nor move
    on by momentum. The average is that of all rows.
    """

    def __init__(
        self,
        flat: FlatParameters,
        lanes: Sequence[Gradients],
        slots: dict[str, Array],
        *,
        lazy: bool = True,
        penalty: Penalty | None = None,
        clip_norm: float = 0.0,
        clip_value: float = 0.0,
        average: Array | None = None,
        average_decay: float = 0.0,
        threads: int = 1,
    ) -> None:
        self.optimizer, self.penalty = flat.optimizer, penalty
        self.clip_norm, self.clip_value, self.average_decay = clip_norm, clip_value, average_decay
        self.norm = 0.0  # of the last gradient, where it is clipped by norm
        groups = penalty is not None or flat.optimizer.weight_decay > 0
        stretches = flat.stretches(groups)
        rest = [] if average is None else flat.rest()
        lengths = [stop - start for start, stop, _ in stretches] + [b - a for a, b in rest]
        lengths += [
            max(CHUNK, p.value.shape[1]) if lazy else 2 * min(p.value.size, max(BLOCK, p.value.shape[1]))
            for p in flat.tables
        ]
        # `Crew` gives chunk i to thread i mod threads, so that each thread has a scratch of its own, and keeps it hot
        self.scratch = [np.empty(max(lengths, default=0), flat.vector.dtype) for _ in range(threads)]
        self.chunks = [
            self._chunk(flat, lanes, slots, average, self.scratch[i % threads], *stretch)
            for i, stretch in enumerate(stretches)
        ]
        first = len(flat.dense)  # tables come after what is dense
        views = {name: flat.views(vector)[first:] for name, vector in slots.items()}
        table = _LazyTable if lazy else _DenseTable
        self.tables = [
            table(p, {name: held[i] for name, held in views.items()}, [lane.rows[p] for lane in lanes])
            for i, p in enumerate(flat.tables)
        ]
        self._rest = [  # averaged, though no chunk speaks for it: tables and running statistics
            (flat.vector[a:b], average[a:b], self.scratch[i % threads][: b - a])
            for i, (a, b) in enumerate(rest)
            if average is not None
        ]

    def _chunk(
        self,
        flat: FlatParameters,
        lanes: Sequence[Gradients],
        slots: dict[str, Array],
        average: Array | None,
        scratch: Array,
        start: int,
        stop: int,
        p: Parameter,
    ) -> _Chunk:
        shape = flat.shape(p, stop - start)

        def cut(vector: Array) -> Array:
            return vector[start:stop].reshape(shape)

        w = cut(flat.vector)
        return _Chunk(
            w=w,
            grads=[cut(lane.flat) for lane in lanes],
            slots={name: cut(vector) for name, vector in slots.items()},
            scratch=scratch[: stop - start].reshape(w.shape),
            average=None if average is None else cut(average),
            factor=p.lr_factor,
            decays=p.decays,
        )

    def step(self, step: int, crew: Crew) -> float:
        """The update number `step`, 0-based; returns its learning rate."""
        lr, t = self.optimizer.lr(step), step + 1
        scale = 1.0
        chunks = self.chunks
        for table in self.tables:
            chunks = chunks + table.chunks(self.scratch, len(chunks))
        if self.clip_norm:
            self._each(crew, self._gather, chunks)
            self.norm = sqrt(sum(chunk.squares for chunk in chunks))
            scale = min(1.0, self.clip_norm / (self.norm + 1e-12))
        self._each(crew, partial(self._apply, lr=lr, t=t, scale=scale), chunks)
        if self._rest:
            decay = self._decay(t)
            crew.run([partial(_move, average, w, decay, scratch) for w, average, scratch in self._rest])
        return lr

    def _each(self, crew: Crew, job: Any, chunks: list[_Chunk]) -> None:
        if crew.threads == 1 or sum(chunk.w.size for chunk in chunks) < WORTH_A_THREAD:
            for chunk in chunks:
                job(chunk)
        else:
            crew.run([partial(job, chunk) for chunk in chunks])

    def _gather(self, chunk: _Chunk) -> None:
        """Add up the lanes, add the penalty's gradient, clip by value."""
        chunk.fetch()
        g = chunk.grads[0]
        for other in chunk.grads[1:]:
            np.add(g, other, out=g)
        if self.penalty is not None and chunk.decays:
            self.penalty.add_gradient(chunk.w, g, chunk.scratch)
        if self.clip_value:
            np.clip(g, -self.clip_value, self.clip_value, out=g)
        if self.clip_norm:
            chunk.squares = float(np.dot(g.reshape(-1), g.reshape(-1)))
            if not isfinite(chunk.squares):  # too large for a square in this precision
                chunk.squares = float(np.square(g, dtype=np.float64).sum())

    def _apply(self, chunk: _Chunk, lr: float, t: int, scale: float) -> None:
        if not self.clip_norm:
            self._gather(chunk)
        g = chunk.grads[0]
        if scale != 1.0:
            np.multiply(g, scale, out=g)
        lr *= chunk.factor
        if self.optimizer.weight_decay and chunk.decays:
            np.multiply(chunk.w, 1 - lr * self.optimizer.weight_decay, out=chunk.w)
        if chunk.rows is None:
            self.optimizer.update(chunk.w, g, chunk.slots, lr, t, chunk.scratch)
        else:
            self.optimizer.update_table(chunk.w, chunk.rows, g, chunk.slots, lr, t, chunk.scratch)
        chunk.put_back()
        if chunk.average is not None:
            _move(chunk.average, chunk.w, self._decay(t), chunk.scratch)

    def _decay(self, t: int) -> float:
        """It grows from small, so that the start is forgotten."""
        return min(self.average_decay, t / (t + 9))


def _move(average: Array, w: Array, decay: float, scratch: Array) -> None:
    """average ← average + (1 − decay) (w − average)"""
    np.subtract(w, average, out=scratch)
    scratch *= 1 - decay
    average += scratch
