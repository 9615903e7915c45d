"""Sequences of different lengths: how they are kept, how a batch of them is padded, and in which order batches come.

`Ragged` holds data; `Padded` is a batch of them; `Sequences` are the examples of a training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from core.context import Array, Context
from core.data import Examples, batch_cuts, epoch_order
from core.padded import Padded


class Ragged:
    """N sequences one after the other: the i-th is values[offsets[i] : offsets[i + 1]].

    values   (M, …) the steps of all: ids (M,), or vectors (M, F)
    offsets  (N + 1,) from 0 to M, never falling
    weight   (M,) what each step counts, for an `EmbeddingBag`; None where all count 1

    r[i] is a sequence; r[rows] and r[a:b] are some of them.

    Raises ValueError where they do not fit together.
    """

    def __init__(self, values: Array, offsets: Array, weight: Array | None = None) -> None:
        values, offsets = np.asarray(values), np.asarray(offsets, np.int64)
        weight = None if weight is None else np.asarray(weight)
        if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(values):
            raise ValueError(f"offsets run from 0 to the {len(values)} steps there are")
        if (np.diff(offsets) < 0).any():
            raise ValueError(f"offsets never fall, but they do after sequence {int(np.argmax(np.diff(offsets) < 0))}")
        if weight is not None and weight.shape != values.shape[:1]:
            raise ValueError(f"there is a weight for each of {len(values)} steps, not {weight.shape}")
        self.values, self.offsets, self.weight = values, offsets, weight

    @classmethod
    def of(cls, sequences: Iterable[Any], dtype: npt.DTypeLike = np.int32) -> Ragged:
        """From lists or arrays, one a sequence. Raises ValueError where the numbers are not of that type."""
        parts = [np.asarray(sequence) for sequence in sequences]
        some = [part for part in parts if part.size]
        values = np.concatenate(some) if some else np.empty(0, dtype)
        with np.errstate(invalid="ignore"):  # of what is no number, or too large: told below
            made = values.astype(dtype) if values.dtype.kind in "iuf" else None
        if made is None or (made.dtype.kind in "iu" and not (made == values).all()):
            kind = np.dtype(dtype)
            raise ValueError(f"the sequences hold numbers that are no {kind}: give their type, dtype=np.float32 say")
        return cls(made, np.cumsum([0, *map(len, parts)]))

    @property
    def lengths(self) -> Array:
        """(N,)"""
        lengths: Array = np.diff(self.offsets)
        return lengths

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.values.dtype

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, int | np.integer):
            row = range(len(self))[rows]
            return self.values[self.offsets[row] : self.offsets[row + 1]]
        rows = np.arange(len(self))[rows]
        return self._stretches(self.offsets[rows], self.lengths[rows])

    def plus(self, other: Ragged) -> Ragged:
        """These sequences, and then others. Raises ValueError where only one of the two weighs its steps."""
        if (self.weight is None) != (other.weight is None):
            raise ValueError("sequences whose steps have weights do not go with others whose steps have none")
        weight = None if self.weight is None else np.concatenate([self.weight, other.weight])
        offsets = np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]])
        return Ragged(np.concatenate([self.values, other.values]), offsets, weight)

    def cut(self, most: int) -> Ragged:
        """The first `most` steps of every sequence. Raises ValueError where `most` is below 1."""
        if most < 1:
            raise ValueError(f"most is a whole number of steps from 1 up, not {most}")
        return self._stretches(self.offsets[:-1], np.minimum(self.lengths, most))

    def _stretches(self, starts: Array, lengths: Array) -> Ragged:
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        steps = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Ragged(self.values[steps], offsets, None if self.weight is None else self.weight[steps])

    def padded(self, rows: Array, ctx: Context) -> Padded:
        """Some sequences as a batch as long as the longest of them, zeros behind the ends, in the context's buffers."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        shape = len(rows), max(1, int(lengths.max(initial=0)))
        kind = self.values.dtype
        values = ctx.buffer(f"values {kind}", (*shape, *self.values.shape[1:]), kind)
        weight = None if self.weight is None else ctx.buffer(f"weight {self.weight.dtype}", shape, self.weight.dtype)
        values.fill(0)
        for i, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            values[i, :length] = self.values[start : start + length]
            if weight is not None and self.weight is not None:
                weight[i, :length] = self.weight[start : start + length]
        return Padded(values, lengths, weight)

    def __repr__(self) -> str:
        return f"Ragged({len(self)} sequences of {len(self.values)} steps)"


class Sequences(Examples):
    """Examples whose inputs are sequences: x a `Ragged`, or a list of id arrays; t (N, …) and weight (N,) as ever.

    most   sequences are cut to so many steps, their first; None: none is
    pool   batches that are filled together: of so many, each gets sequences of about one length

    Batches differ in length from each other and little within. Which sequences meet depends on (seed, epoch) alone;
    none is lost or repeated, and batches are as even as ever.

    Raises ValueError as `Examples` does, and where `most` or `pool` is below 1.
    """

    def __init__(
        self,
        x: Ragged | Iterable[Any],
        t: Array,
        weight: Array | None = None,
        *,
        most: int | None = None,
        pool: int = 50,
    ) -> None:
        if pool < 1:
            raise ValueError(f"pool is a whole number of batches from 1 up, not {pool}")
        ragged = x if isinstance(x, Ragged) else Ragged.of(x)
        if most is not None:
            ragged = ragged.cut(most)
        super().__init__(ragged.lengths, t, weight)
        self.x = ragged
        self.pool = pool

    def part(self, rows: Array) -> Sequences:
        """Some of them, as examples of their own."""
        return Sequences(self.x[rows], self.t[rows], None if self.weight is None else self.weight[rows], pool=self.pool)

    def plus(self, other: Examples) -> Sequences:
        """These, and then others."""
        return Sequences(self.x.plus(other.x), *self._targets_with(other), pool=self.pool)

    def take(self, rows: Array, epoch: int, ctx: Context) -> tuple[Padded, Array, Array | None]:
        """(x, t, weight) of some rows, x padded to the longest of them."""
        return self.x.padded(rows, ctx), self.t[rows], None if self.weight is None else self.weight[rows]

    def order(self, batch_size: int, seed: int, epoch: int) -> Array:
        """Shuffled; then, pool by pool, sorted by length and dealt out in stretches to batches in random order."""
        order = epoch_order(len(self), seed, epoch)
        cuts = batch_cuts(len(self), batch_size)
        lengths = self.x.lengths
        shuffled = epoch_order(len(cuts), seed, epoch)
        bucketed = np.empty_like(order)
        done = 0
        for start in range(0, len(cuts), self.pool):
            batches = shuffled[start : start + self.pool]
            size = sum(cuts[i][1] - cuts[i][0] for i in batches)
            rows = order[done : done + size]
            rows = rows[np.argsort(lengths[rows], kind="stable")]
            done += size
            for i in batches:
                a, b = cuts[i]
                bucketed[a:b], rows = rows[: b - a], rows[b - a :]
        return bucketed

    def fingerprint(self) -> str:
        """A short hash of everything in it: resuming a training on other data is refused by it."""
        digest = hashlib.sha256(f"{self.pool}".encode())
        for array in (self.x.values, self.x.offsets, self.x.weight, self.t, self.weight):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]
