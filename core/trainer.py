"""The training loop, the only one: a generator that yields after every update and after every epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from time import perf_counter
from typing import NamedTuple

import numpy as np

from core.context import Array, Context
from core.data import Examples, batch_cuts
from core.diagnostics import LayerStatistics, NonFiniteLoss, layer_statistics
from core.flat import FlatParameters
from core.gradients import Gradients
from core.inference import Metric, evaluate
from core.layer import Layer, Statistic, check_input
from core.losses import Loss
from core.observe import NonFiniteValue, observe, stop_at_nonfinite
from core.optimizers import Optimizer
from core.padded import call
from core.parallel import Crew, blas_threads, cores, even_cuts
from core.recipe import Recipe
from core.regularizers import Penalty
from core.state import State
from core.update import Update


class Step(NamedTuple):
    """An update was made; everything is at rest."""

    epoch: int  # 0-based
    batch: int  # 0-based, within the epoch
    batches: int  # an epoch
    step: int  # updates made, this one included
    examples: int  # in this batch
    loss: float  # mean over the batch, before the update
    metrics: dict[str, float]  # likewise
    lr: float


@dataclass(frozen=True)
class Epoch:
    """All examples were visited once more; everything is at rest."""

    epoch: int  # 0-based
    loss: float  # mean over the epoch, while the weights moved
    metrics: dict[str, float]
    validation: dict[str, float]  # empty without validation data; with averaged weights where the recipe averages
    lr: float
    seconds: float  # of training, validation not counted
    layers: list[LayerStatistics] = field(repr=False)  # of the last gradient
    best: bool = False  # whether the validation is the best so far


def fit(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    data: Examples,
    recipe: Recipe,
    *,
    state: State | None = None,
    validation: Examples | None = None,
    metrics: Mapping[str, Metric] | None = None,
    threads: int | None = None,
) -> Iterator[Step | Epoch]:
    """Train a model in place; yields a `Step` after every update and an `Epoch` after each epoch.

    Nothing happens until it is iterated. `metrics` are sums over examples, such as `correct`, which the loop divides.
    The loss told is that of the data: L1 and L2 act on the gradient, and are not in it.

    Whoever iterates may print, draw, save `state`, or stop, between any two. A `state` that was loaded goes on where
    it was saved, to the same bits. At the end the model has its last weights; averaged ones where the recipe averages;
    the best ones where it has patience.

    threads: how many run the lanes (default: what the machine has); they change the time, never the result.

    Raises NonFiniteLoss where the loss is not a number, before the update, or where an epoch left weights that are not
    finite; ValueError where input, targets, state and model do not fit together; TypeError where an argument is of
    another kind; RuntimeError where another `fit` takes the model over meanwhile.
    """
    _check_kinds(model=model, loss=loss, optimizer=optimizer, data=data, recipe=recipe, validation=validation)
    if recipe.patience and validation is None:
        raise ValueError("patience needs validation data: there is nothing to get better")
    if validation is not None and recipe.monitor not in {"loss", *(metrics or {})}:
        raise ValueError(f"{recipe.monitor} cannot be monitored: there is loss, {', '.join(metrics or {})}")
    for examples in (data, *([] if validation is None else [validation])):
        check_input(examples.x, model)
    threads = max(1, cores() if threads is None else threads)
    state = State() if state is None else state
    flat = FlatParameters(model, optimizer, by_row=recipe.by_row)
    state.bind(flat, optimizer.slots, averages=recipe.average > 0, keeps_best=recipe.patience > 0)
    state.check_position(recipe.epochs, len(batch_cuts(len(data), recipe.batch_size)))
    lanes = [Lane(i, model, loss, data, metrics or {}, flat, recipe) for i in range(recipe.lanes)]
    penalty = Penalty(recipe.l1, recipe.l2) if recipe.l1 or recipe.l2 else None
    update = Update(
        flat,
        [lane.grads for lane in lanes],
        state.slots,
        lazy=recipe.tables == "lazy",
        penalty=penalty,
        clip_norm=recipe.clip_norm,
        clip_value=recipe.clip_value,
        average=state.average,
        average_decay=recipe.average,
        threads=threads,
    )
    with blas_threads(1 if recipe.lanes > 1 else recipe.blas_threads), Crew(threads) as crew:
        if recipe.lanes == recipe.blas_threads == 1:
            lanes[0].ctx.crew = crew  # who has no lane of his own lends a hand inside of layers
        while state.epoch < recipe.epochs and not state.stopped(recipe.patience):
            yield from _epoch(state, lanes, update, crew, data, recipe)
            yield _close_epoch(state, model, loss, update, lanes[0].grads, validation, metrics, recipe, threads)
    state.finish()


def _epoch(
    state: State, lanes: list[Lane], update: Update, crew: Crew, data: Examples, recipe: Recipe
) -> Iterator[Step]:
    """The rest of an epoch, from the batch the state stands at."""
    order = data.order(recipe.batch_size, recipe.seed, state.epoch)
    cuts = batch_cuts(len(data), recipe.batch_size)
    loss = lanes[0].loss
    weighted = data.weight is not None or loss.class_weights is not None
    while state.batch < len(cuts):
        began = perf_counter()
        start, stop = cuts[state.batch]
        rows, total = order[start:stop], float(stop - start)
        if weighted:
            total = loss.total_weight(data.t[rows], None if data.weight is None else data.weight[rows])
        scale = 1 / total if total else 0.0
        if lanes[0].flat.moved():
            raise RuntimeError("another training has taken this model over, or its parameters were replaced")
        jobs = [
            partial(lane.run, rows[a:b], scale, state.epoch, state.step)
            for lane, (a, b) in zip(lanes, even_cuts(stop - start, len(lanes)), strict=True)
        ]
        with np.errstate(all="ignore"):  # what overflows shows in the loss
            crew.run(jobs)
            value = sum(lane.value for lane in lanes)
            if not isfinite(value):
                raise _nonfinite(lanes, state)
            _move_statistics(lanes)  # first: the update averages them with the weights
            lr = update.step(state.step, crew)
        sums = {name: sum(lane.sums[name] for lane in lanes) for name in lanes[0].sums}
        state.advance(value * total, total, sums, stop - start, perf_counter() - began)
        means = {name: value / (stop - start) for name, value in sums.items()}
        yield Step(state.epoch, state.batch - 1, len(cuts), state.step, stop - start, value, means, lr)


def _nonfinite(lanes: list[Lane], state: State) -> NonFiniteLoss:
    """Find where it began, by running the lanes once more with every layer watched."""
    culprit = "the loss"
    for lane in lanes:
        lane.model = observe(lane.model, stop_at_nonfinite)
        try:
            lane.run(*lane.share)
        except NonFiniteValue as found:
            culprit = str(found)
            break
    return NonFiniteLoss(state.step, state.epoch, culprit)


def _move_statistics(lanes: list[Lane]) -> None:
    """Move running statistics towards what the passes of this step saw, in the order of lanes and micro-batches."""
    seen: dict[Statistic, tuple[Array, int]] = {}
    for lane in lanes:
        for statistic, value, weight in lane.grads.reports:
            total, count = seen.get(statistic, (np.zeros_like(value), 0))
            seen[statistic] = total + value * weight, count + weight
    for statistic, (total, count) in seen.items():
        statistic.value += statistic.rate * (total / count - statistic.value)


KINDS = {"model": Layer, "loss": Loss, "optimizer": Optimizer, "data": Examples, "recipe": Recipe}


def _check_kinds(validation: object, **given: object) -> None:
    """Refuse what stands in another one's place, is a class instead of one of it, or bare arrays."""
    for name, value in [*given.items(), *([] if validation is None else [("validation", validation)])]:
        kind = KINDS.get(name, Examples)
        if not isinstance(value, kind):
            told = f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
            remedy = ": put arrays into Examples(x, t)" if kind is Examples else ""
            raise TypeError(f"the {name} that fit takes is an object of {kind.__name__}, but this is {told}{remedy}")


def _close_epoch(
    state: State,
    model: Layer,
    loss: Loss,
    update: Update,
    grads: Gradients,
    validation: Examples | None,
    metrics: Mapping[str, Metric] | None,
    recipe: Recipe,
    threads: int,
) -> Epoch:
    """Validate, judge, and sum the epoch up."""
    if not state.is_finite():
        raise NonFiniteLoss(state.step, state.epoch, "the weights, after the last update of the epoch")
    lr = update.optimizer.lr(state.step - 1)
    layers = layer_statistics(model, grads)
    mean, means, seconds = state.close_epoch()
    scores: dict[str, float] = {}
    best = False
    if validation is not None:
        with state.at_average(), blas_threads(1):
            scores = evaluate(model, validation, loss, metrics, threads=threads)
        best = state.judge(-scores["loss"] if recipe.monitor == "loss" else scores[recipe.monitor])
    return Epoch(state.epoch - 1, mean, means, scores, lr, seconds, layers, best)


class Lane:
    """A fixed share of every batch: one context tree, one gradient. Recipes have lanes, machines have threads."""

    def __init__(
        self,
        index: int,
        model: Layer,
        loss: Loss,
        data: Examples,
        metrics: Mapping[str, Metric],
        flat: FlatParameters,
        recipe: Recipe,
    ) -> None:
        self.model, self.loss, self.data, self.metrics, self.recipe = model, loss, data, metrics, recipe
        self.index, self.flat = index, flat
        self.grads = Gradients(flat.dense, flat.tables)
        self.ctx, self.at_loss, self.at_data = (
            Context(True, self.grads, self._stream, flat.vector.dtype) for _ in range(3)
        )
        self.ctx.needs_dx = False  # nobody learns from the gradient of the examples
        self.value = 0.0
        self.sums = dict.fromkeys(metrics, 0.0)
        self._key = (0, 0)
        self._made: np.random.Generator | None = None

    def _stream(self) -> np.random.Generator:
        """The stream of (seed, step, lane, micro-batch), made when first asked for."""
        if self._made is None:
            self._made = np.random.Generator(
                np.random.SFC64([self.recipe.seed, self._key[0], self.index, self._key[1]])
            )
        return self._made

    def run(self, rows: Array, scale: float, epoch: int, step: int) -> None:
        """Forward, loss, backward over this lane's share of a batch."""
        self.share = rows, scale, epoch, step
        self.grads.start()
        self.value, self.sums = 0.0, dict.fromkeys(self.sums, 0.0)
        for piece, (a, b) in enumerate(even_cuts(len(rows), -(-len(rows) // self.recipe.micro_batch))):
            self._key, self._made = (step, piece), None
            x, t, weight = self.data.take(rows[a:b], epoch, self.at_data)
            y = call(self.model, x, self.ctx)
            value, dy = self.loss(y, t, scale, self.at_loss, weight)
            self.model.backward(dy, self.ctx)
            self.value += value
            for name, metric in self.metrics.items():
                self.sums[name] += float(metric(y, t))
        self.grads.finish()
