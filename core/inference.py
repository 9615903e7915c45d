"""Models at work: predictions, and how good they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

import numpy as np

from core.context import Array, Context
from core.data import Examples
from core.layer import Layer, check_input, check_model, dtype_of
from core.losses import Loss
from core.padded import Padded, call
from core.parallel import Crew, blas_threads, even_cuts
from core.sequences import Ragged

Metric = Callable[[Array, Array], float]
"""(outputs, targets) of some examples → the sum over them, such as how many are right; sums over parts add up."""


class Inference:
    """`predict`, over and over: a model at work on one input after another.

    with Inference(model, threads=2) as infer:
        y = infer(x)

    Buffers stay, and inside of a `with` block so do the threads, with BLAS held to its own; so that the answer to one
    example takes the time of the pass. For one caller at a time; the model itself may be shared.

    micro_batch   examples that go through the model at once, at most
    threads       how many share a larger input
    blas_threads  threads of BLAS inside of a `with` block, for a model of few large products: these are shared sooner
    """

    def __init__(self, model: Layer, *, micro_batch: int = 256, threads: int = 1, blas_threads: int = 1) -> None:
        check_model(model)
        if micro_batch < 1:
            raise ValueError(f"micro_batch is a whole number from 1 up, not {micro_batch}")
        self.model, self.micro_batch, self.threads = model, micro_batch, max(1, threads)
        self.blas_threads = max(1, blas_threads)
        self._dtype = dtype_of(model)
        self._contexts = [Context(dtype=self._dtype)]  # one a thread
        self._crew: Crew | None = None
        self._open = ExitStack()

    def __enter__(self) -> Inference:
        self._open.enter_context(blas_threads(self.blas_threads))
        self._crew = self._open.enter_context(Crew(self.threads))
        return self

    def __exit__(self, *error: object) -> None:
        self._crew = None
        self._open.close()

    def __call__(self, x: Array | Padded | Ragged) -> Array:
        """The outputs of the model for x (N, …): see `predict`."""
        if not isinstance(x, Padded | Ragged):
            x = np.asarray(x)
            if not x.ndim:
                raise ValueError(f"x is an array (N, …) of examples, not {x!r}")
        count = len(x)
        if not count:
            raise ValueError("there is nothing to predict: 0 examples")
        if x.dtype.kind == "f" and x.dtype != self._dtype:
            check_input(x, self.model)
        if count <= self.micro_batch and not isinstance(x, Ragged):
            return self._outputs(x, self._contexts[0]).copy()
        order = np.argsort(x.lengths, kind="stable") if isinstance(x, Ragged) else np.arange(count)
        cuts = even_cuts(count, -(-count // self.micro_batch))
        parts: list[Array] = [np.empty(0)] * len(cuts)

        def run(ctx: Context, i: int) -> None:
            a, b = cuts[i]
            parts[i] = self._outputs(x.padded(order[a:b], ctx) if isinstance(x, Ragged) else x[a:b], ctx).copy()

        self._side_by_side(run, len(cuts))
        y = np.empty((count, *parts[0].shape[1:]), parts[0].dtype)
        for (a, b), part in zip(cuts, parts, strict=True):
            y[order[a:b]] = part
        return y

    def _outputs(self, x: Any, ctx: Context) -> Array:
        made = call(self.model, x, ctx)
        if isinstance(made, Padded):
            raise ValueError(f"the model gives sequences, {made.shape}: end it with a layer that pools them over time")
        if len(made) != len(x):
            raise ValueError(
                f"the model gave {len(made)} outputs for {len(x)} of x: is the batch axis missing? Use x[None]"
            )
        outputs: Array = made
        return outputs

    def _side_by_side(self, run: Callable[[Context, int], None], count: int) -> None:
        """Call run(ctx, i) for i = 0 … count − 1, a context a thread."""
        hands = max(1, min(self.threads, count))
        while len(self._contexts) < hands:
            self._contexts.append(Context(dtype=self._dtype))

        def work(hand: int) -> None:
            for i in range(hand, count, hands):
                run(self._contexts[hand], i)

        jobs = [partial(work, hand) for hand in range(hands)]
        if self._crew is not None:
            self._crew.run(jobs)
            return
        with Crew(hands) as crew, blas_threads(1) if hands > 1 else nullcontext():
            crew.run(jobs)


def predict(model: Layer, x: Array | Padded | Ragged, *, micro_batch: int = 256, threads: int = 1) -> Array:
    """The outputs of a model for x (N, …), as when serving (no dropout, running statistics): a new array (N, …).

    Large inputs are cut into micro-batches, so memory stays bounded; threads share the model, which a pass never
    writes, and the cut does not depend on them. `Ragged` sequences are sorted by length first, so that those of one
    micro-batch are about as long as each other; the outputs come in the order given. Where other threads train or
    serve, leave `threads` at 1. To predict over and over, use `Inference`.

    Raises ValueError where x is empty, has another floating type than the model, or a shape that a layer refuses.
    """
    return Inference(model, micro_batch=micro_batch, threads=threads)(x)


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

    Raises ValueError where data and model do not fit, TypeError where data or loss are of another kind.
    """
    for given, kind in ((data, Examples), (loss, Loss)):
        if not isinstance(given, kind):
            raise TypeError(f"evaluate takes Examples(x, t) and a loss that was made, not {given!r:.60}")
    outputs = predict(model, data.x, micro_batch=micro_batch, threads=threads)
    total = loss.total_weight(data.t, data.weight)
    value, _ = loss(outputs, data.t, 1 / total if total else 0.0, Context(dtype=outputs.dtype), data.weight)
    return {"loss": value} | {
        name: float(metric(outputs, data.t)) / len(data) for name, metric in (metrics or {}).items()
    }


def correct(outputs: Array, t: Array) -> float:
    """How many examples are told right: the metric behind an accuracy.

    outputs (N, K), t (N,) integers: the largest output is at the target
    outputs (N, K), t (N, K), a distribution each: it is where the largest of these is
    outputs (N,) or (N, 1) logits, t of the same size, 0 or 1: the output is above 0 where the target is 1

    Raises ValueError for other shapes.
    """
    if outputs.size == len(outputs) == t.size:
        return float(((outputs.reshape(-1) > 0) == (t.reshape(-1) > 0.5)).sum())
    if t.shape == outputs.shape and np.allclose(t.sum(axis=-1), 1, atol=1e-3):
        t = t.argmax(axis=-1)
    if outputs.ndim != 2 or t.shape != outputs.shape[:1]:
        raise ValueError(f"outputs {outputs.shape} and targets {t.shape} are not those of a classifier")
    return float((outputs.argmax(axis=1) == t).sum())
