"""Models at work: predictions, and how good they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext

import numpy as np

from core.context import Array, Context
from core.data import Examples
from core.layer import Layer, check_input, dtype_of
from core.losses import Loss
from core.padded import Padded, call
from core.parallel import Crew, blas_threads, even_cuts
from core.sequences import Ragged

Metric = Callable[[Array, Array], float]
"""(outputs, targets) of some examples → the sum over them, such as how many are right; sums over parts add up."""


def predict(model: Layer, x: Array | Padded | Ragged, *, micro_batch: int = 256, threads: int = 1) -> Array:
    """The outputs of a model for x (N, …), as when serving (no dropout, running statistics): a new array (N, …).

    Large inputs are cut into micro-batches, so memory stays bounded; threads share the model, which a pass never
    writes, and the cut does not depend on them. `Ragged` sequences are sorted by length first, so that those of one
    micro-batch are about as long as each other; the outputs come in the order given. Where other threads train or
    serve, leave `threads` at 1.

    Raises ValueError where x has another floating type than the model, or a shape that a layer refuses.
    """
    x = x if isinstance(x, Padded | Ragged) else np.asarray(x)
    check_input(x, model)
    if not len(x) or micro_batch < 1:
        raise ValueError(f"there is nothing to predict: {len(x)} examples, {micro_batch} at a time")
    order = np.argsort(x.lengths, kind="stable") if isinstance(x, Ragged) else np.arange(len(x))

    def outputs(ctx: Context, a: int, b: int) -> Array:
        made = call(model, x.padded(order[a:b], ctx) if isinstance(x, Ragged) else x[a:b], ctx)
        if isinstance(made, Padded):
            raise ValueError(f"the model gives sequences, {made.shape}: end it with a layer that pools them over time")
        array: Array = made
        return array

    cuts = even_cuts(len(x), max(1, -(-len(x) // micro_batch)))
    first = outputs(Context(dtype=dtype_of(model)), *cuts[0])
    if len(first) != cuts[0][1]:
        raise ValueError(
            f"the model gave {len(first)} outputs for {cuts[0][1]} of x: is the batch axis missing? Use x[None]"
        )
    y = np.empty((len(x), *first.shape[1:]), first.dtype)

    y[order[slice(*cuts[0])]] = first

    def put(ctx: Context, a: int, b: int) -> None:
        y[order[a:b]] = outputs(ctx, a, b)

    _over_parts(put, model, cuts[1:], threads)
    return y


@np.errstate(all="ignore")  # what overflows shows in the result
def evaluate(
    model: Layer,
    data: Examples,
    loss: Loss,
    metrics: Mapping[str, Metric] | None = None,
    *,
    micro_batch: int = 256,
    threads: int = 1,
) -> dict[str, float]:
    """{"loss": …, and each metric}, as when serving: means over the examples.

    The loss is weighted as in training; metrics count every example once.

    Raises ValueError where data and model do not fit.
    """
    outputs = predict(model, data.x, micro_batch=micro_batch, threads=threads)
    total = loss.total_weight(data.t, data.weight)
    value, _ = loss(outputs, data.t, 1 / total if total else 0.0, Context(dtype=outputs.dtype), data.weight)
    return {"loss": value} | {
        name: float(metric(outputs, data.t)) / len(data) for name, metric in (metrics or {}).items()
    }


def correct(outputs: Array, t: Array) -> float:
    """How many examples are told right: the metric behind an accuracy.

    outputs (N, K), t (N,) integers: the largest output is at the target
    outputs (N,) or (N, 1) logits, t of the same size, 0 or 1: the output is above 0 where the target is 1

    Raises ValueError for other shapes.
    """
    if outputs.size == len(outputs) == t.size:
        return float(((outputs.reshape(-1) > 0) == (t.reshape(-1) > 0.5)).sum())
    if outputs.ndim != 2 or t.shape != outputs.shape[:1]:
        raise ValueError(f"outputs {outputs.shape} and targets {t.shape} are not those of a classifier")
    return float((outputs.argmax(axis=1) == t).sum())


def _over_parts(
    run: Callable[[Context, int, int], None], model: Layer, cuts: tuple[tuple[int, int], ...], threads: int
) -> None:
    """Call run(ctx, start, stop) for every cut, a context a thread."""
    hands = max(1, min(threads, len(cuts)))

    def work(hand: int) -> None:
        ctx = Context(dtype=dtype_of(model))
        for a, b in cuts[hand::hands]:
            run(ctx, a, b)

    with Crew(hands) as crew, blas_threads(1) if hands > 1 else nullcontext():
        crew.run([lambda hand=hand: work(hand) for hand in range(hands)])  # type: ignore[misc]
