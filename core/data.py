"""Examples in arrays, the order in which an epoch visits them, and how a batch is cut from them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from core.context import Array, Context
from core.parallel import even_cuts


class Examples:
    """Inputs x (N, …), targets t (N, …), and weights (N,) where some examples count more.

    `take(rows, epoch, ctx)` gives a batch, valid until the next call with that ctx. A subclass may override it to
    augment, with randomness keyed by (a seed of its own, epoch, row), so that a resumed training sees the same.

    Raises ValueError where something else than numbers is given, the lengths differ, there is no example, or a target
    or weight is not finite.
    """

    def __init__(self, x: Array, t: Array, weight: Array | None = None) -> None:
        x, t = np.asarray(x), np.asarray(t)
        weight = None if weight is None else np.asarray(weight)
        for name, array in (("x", x), ("t", t), *([] if weight is None else [("weight", weight)])):
            if not array.ndim or array.dtype.kind not in "biuf":
                raise ValueError(f"{name} is an array of numbers, an entry an example, not {array.dtype} {array.shape}")
        if len(x) != len(t) or (weight is not None and weight.shape != (len(x),)):
            raise ValueError(
                f"x, t and weight must hold one entry an example, but x is {x.shape}, t is {t.shape}"
                + ("" if weight is None else f" and weight is {weight.shape}")
            )
        if not len(x):
            raise ValueError("there is no example to learn from")
        if t.dtype.kind == "f" and not np.isfinite(t).all():
            raise ValueError(f"the target of example {int(np.argwhere(~np.isfinite(t))[0][0])} is not a finite number")
        if weight is not None and not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError("weights of examples are finite numbers from 0 up")
        self.x: Any = x
        self.t = t.astype(np.int64) if t.dtype == np.uint64 else t  # whose sums with other integers are no integers
        self.weight = weight

    def __len__(self) -> int:
        return len(self.x)

    def part(self, rows: Array) -> Examples:
        """Some of them, as examples of their own."""
        return Examples(self.x[rows], self.t[rows], None if self.weight is None else self.weight[rows])

    def plus(self, other: Examples) -> Examples:
        """These, and then others like them."""
        return Examples(np.concatenate([self.x, other.x]), *self._targets_with(other))

    def _targets_with(self, other: Examples) -> tuple[Array, Array | None]:
        """(t, weight) of both"""
        t = np.concatenate([self.t, other.t])
        if self.weight is None and other.weight is None:
            return t, None
        weights = [np.ones(len(each)) if each.weight is None else each.weight for each in (self, other)]
        return t, np.concatenate(weights)

    def take(self, rows: Array, epoch: int, ctx: Context) -> tuple[Any, Array, Array | None]:
        """(x, t, weight) of some rows, in the context's buffers."""
        # mode="clip" writes straight into `out`; the rows are a permutation's, hence in bounds
        x = self.x.take(rows, 0, ctx.buffer("x", (len(rows), *self.x.shape[1:]), self.x.dtype), "clip")
        t = self.t.take(rows, 0, ctx.buffer("t", (len(rows), *self.t.shape[1:]), self.t.dtype), "clip")
        return x, t, None if self.weight is None else self.weight[rows]

    def order(self, batch_size: int, seed: int, epoch: int) -> Array:
        """The order (N,) in which an epoch visits the examples; `batch_cuts` cuts it into batches."""
        return epoch_order(len(self), seed, epoch)

    def fingerprint(self) -> str:
        """A short hash of everything in it: resuming a training on other data is refused by it."""
        digest = hashlib.sha256()
        for array in (self.x, self.t) if self.weight is None else (self.x, self.t, self.weight):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


def epoch_order(n: int, seed: int, epoch: int) -> Array:
    """The order in which an epoch visits n examples: a permutation that depends on (seed, epoch) alone."""
    return np.random.Generator(np.random.SFC64([seed, epoch, n])).permutation(n)


def batch_cuts(n: int, batch_size: int) -> tuple[tuple[int, int], ...]:
    """The batches of an epoch as stretches of its order: of one size but for one example, none above batch_size.

    There is no small last batch, whose noisy gradient would count as much as a full one.
    """
    return even_cuts(n, -(-n // batch_size))


def split(n: int, fraction: float, seed: int) -> tuple[Array, Array]:
    """Rows to train on and rows held out: a random `fraction` of n, at least one; sorted.

    Raises ValueError where either part would be empty.
    """
    held = max(1, round(n * fraction))
    if not 0 < fraction < 1 or held >= n:
        raise ValueError(f"cannot hold out {fraction:g} of {n} examples: both parts need at least one")
    order = np.random.Generator(np.random.SFC64([seed, 0x5EED, n])).permutation(n)
    return np.sort(order[held:]), np.sort(order[:held])
