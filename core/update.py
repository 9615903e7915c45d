"""One optimizer step: the trainable parameters as one flat vector, changed in cache-sized chunks on threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite, sqrt
from typing import Any

import numpy as np

from core.context import Array, Gradients
from core.layer import Layer, Parameter, Statistic, dtype_of
from core.optimizers import Optimizer, Slots
from core.parallel import Crew, even_cuts
from core.regularizers import Penalty

CHUNK = 1 << 16  # elements: w, g and the slots of a chunk stay in the second-level cache
WORTH_A_THREAD = 100_000  # elements: below, handing over costs more than it gains


class FlatParameters:
    """The parameters of a model, moved into one vector of which they become views.

    names       their names, in the order of the vector: those that learn, grouped by how they are updated (matrices
                whole, weights, biases; by learning-rate factor), then running statistics
    trainable   those that learn, in order; they fill vector[:learning]
    frozen      {name: value} of those that do neither, which stay where they are
    """

    def __init__(self, model: Layer, optimizer: Optimizer) -> None:
        named = list(model.named_parameters())
        self.optimizer = optimizer
        learning = sorted((pair for pair in named if not pair[1].frozen), key=lambda pair: self._group(pair[1]))
        observed = [pair for pair in named if isinstance(pair[1], Statistic)]
        self.frozen = {name: p.value for name, p in named if p.frozen and not isinstance(p, Statistic)}
        self.names = [name for name, _ in learning + observed]
        self.parameters = [parameter for _, parameter in learning + observed]
        self.trainable = self.parameters[: len(learning)]
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

    def _group(self, p: Parameter) -> tuple[bool, bool, float]:
        return self.optimizer.takes_matrix(p.value.shape), p.decays, p.lr_factor

    def stretches(self, groups: bool) -> list[tuple[int, int, Parameter]]:
        """(start, stop, a parameter that speaks for it): runs that are updated alike, at most CHUNK long.

        Matrices stand alone. Without `groups`, weights and biases are updated alike.
        """
        runs: list[tuple[int, int, Parameter]] = []
        start, before = 0, None
        for p in self.trainable:
            stop, matrix = start + p.value.size, self.optimizer.takes_matrix(p.value.shape)
            key = (self._group(p) if groups else p.lr_factor) if not matrix else p
            if runs and key == before:
                runs[-1] = runs[-1][0], stop, p
            else:
                runs.append((start, stop, p))
            start, before = stop, key
        return [
            (start + a, start + b, p)
            for start, stop, p in runs
            for a, b in (((0, stop - start),) if self.optimizer.takes_matrix(p.value.shape) else _chunks(stop - start))
        ]


def _chunks(n: int) -> tuple[tuple[int, int], ...]:
    return even_cuts(n, max(1, -(-n // CHUNK)))


@dataclass
class _Chunk:
    w: Array
    grads: list[Array]  # one a lane; the first one ends as their sum
    slots: Slots
    scratch: Array
    average: Array | None
    factor: float
    decays: bool
    squares: float = 0.0  # Σ g²


class Update:
    """w ← rule(w, Σ of the lanes' gradients), with penalties, clipping, weight decay and averaging.

    All of it is elementwise, or cut at places that depend on the model alone, so the bits are those of one thread.
    """

    def __init__(
        self,
        flat: FlatParameters,
        lanes: Sequence[Gradients],
        slots: dict[str, Array],
        *,
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
        longest = max((stop - start for start, stop, _ in stretches), default=0)
        # `Crew` gives chunk i to thread i mod threads, so that each thread has a scratch of its own, and keeps it hot
        scratch = [np.empty(longest, flat.vector.dtype) for _ in range(min(threads, max(1, len(stretches))))]
        self.chunks = [
            self._chunk(flat, lanes, slots, average, scratch[i % len(scratch)], *stretch)
            for i, stretch in enumerate(stretches)
        ]
        self._statistics = (flat.vector[flat.learning :], None if average is None else average[flat.learning :])
        self._learning = flat.learning

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
        shape: tuple[int, ...] = (stop - start,)
        if self.optimizer.takes_matrix(p.value.shape):
            shape = (-1, p.value.shape[-1])

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
        if self.clip_norm:
            self._each(crew, self._gather)
            self.norm = sqrt(sum(chunk.squares for chunk in self.chunks))
            scale = min(1.0, self.clip_norm / (self.norm + 1e-12))
        self._each(crew, partial(self._apply, lr=lr, t=t, scale=scale))
        self._average_statistics(t)
        return lr

    def _each(self, crew: Crew, job: Any) -> None:
        if crew.threads == 1 or self._learning < WORTH_A_THREAD:
            for chunk in self.chunks:
                job(chunk)
        else:
            crew.run([partial(job, chunk) for chunk in self.chunks])

    def _gather(self, chunk: _Chunk) -> None:
        """Add up the lanes, add the penalty's gradient, clip by value."""
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
        self.optimizer.update(chunk.w, g, chunk.slots, lr, t, chunk.scratch)
        if chunk.average is not None:
            self._move(chunk.average, chunk.w, t, chunk.scratch)

    def _move(self, average: Array, w: Array, t: int, scratch: Array) -> None:
        """average ← average + (1 − decay) (w − average), the decay growing from small so that the start is forgotten"""
        decay = min(self.average_decay, t / (t + 9))
        np.subtract(w, average, out=scratch)
        scratch *= 1 - decay
        average += scratch

    def _average_statistics(self, t: int) -> None:
        values, average = self._statistics
        if average is not None and len(values):
            self._move(average, values, t, np.empty_like(values))
