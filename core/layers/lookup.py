"""Rows of a table that occur in a batch of ids: which they are, and the sums of what belongs to each."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from core.context import Array, Context
from core.padded import lengths_of, values_of

FREQUENT = 24  # occurrences: from here on, an id is summed alone


def checked_ids(layer: str, x: Any, height: int, ctx: Context) -> Array:
    """(N, T) ids of a batch, 0 behind the ends, in a buffer; no longer than the longest sequence.

    Raises ValueError where they are not whole numbers from 0 up to, not including, `height`.
    """
    ids, lengths = values_of(x), lengths_of(x)
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise ValueError(f"{layer} takes whole ids (N, T), not {ids.dtype} {ids.shape}")
    longest = ids.shape[1] if lengths is None else max(1, int(lengths.max(initial=0)))
    at = ctx.buffer("ids", (len(ids), longest), np.int64)
    np.copyto(at, ids[:, :longest])
    if lengths is not None:
        mask = np.less(ctx.multiples(longest, 1), lengths[:, None], out=ctx.buffer("mask", at.shape, bool))
        np.multiply(at, mask, out=at)
    if at.size and not (at.min() >= 0 and at.max() < height):
        raise ValueError(f"{layer} has rows for ids from 0 to {height - 1}, but they run from {at.min()} to {at.max()}")
    return at


def distinct(ids: Array, height: int, ctx: Context) -> tuple[Array, Array]:
    """(rows, places): the ids that occur, (U,) in order, and where each occurrence stands among them, shaped as ids.

    Marks in a table of all ids, which is several times as fast as sorting.
    """
    seen = ctx.buffer("seen", (height,), bool)  # all false between two calls
    seen[ids] = True
    rows = np.flatnonzero(seen)
    seen[rows] = False
    place = ctx.buffer("place", (height,), np.int64)
    place[rows] = ctx.multiples(len(rows), 1)
    return rows, place.take(ids, 0, ctx.buffer("places", ids.shape, np.int64), "clip")


def distinct_vectors(ids: Array, table: Array, ctx: Context) -> tuple[Array, Array, Array, int]:
    """(rows, places, vectors, padding): as `distinct`, and the vectors (U, E) of those rows of a table (V, E).

    padding: how many rows there are before those that learn, 1 where id 0 occurs; its vector counts as zero.
    """
    rows, places = distinct(ids, len(table), ctx)
    vectors = table.take(rows, 0, ctx.buffer("vectors", (len(rows), table.shape[1])), "clip")
    padding = int(np.count_nonzero(rows[:1] == 0))  # rows are in order
    vectors[:padding] = 0
    return rows, places, vectors, padding


def sum_by_row(rows: Array, places: Array, d: Array, ctx: Context) -> tuple[Array, Array]:
    """(rows, sums): Σ of d over the occurrences of each row but 0, most frequent rows first.

    rows (U,)   places (N, T) from `distinct`   d (N, T, E)   sums (U, E)

    Occurrences are sorted by row. Rows that occur often are summed one by one; of all others together, the first
    occurrences are copied, then the second ones added to those that have them, and so on.
    """
    d = d.reshape(-1, d.shape[-1])
    order, counts, often_first = _sorted(places.reshape(-1), len(rows), ctx)
    starts = np.cumsum(counts, out=ctx.buffer("ends", counts.shape, np.int64))
    starts -= counts
    if len(rows) and rows[0] == 0:  # padding
        often_first = often_first[often_first != 0]
    rows, counts, starts = (
        np.take(each, often_first, 0, out=ctx.buffer(name, often_first.shape, np.int64), mode="clip")
        for name, each in (("rows", rows), ("counts", counts), ("starts", starts))
    )
    sums = ctx.buffer("sums", (len(often_first), d.shape[1]))
    often = int(np.count_nonzero(counts >= FREQUENT))
    ctx.side_by_side(
        (
            partial(_in_rounds, d, order, starts[often:], counts[often:], sums[often:], ctx[0]),
            partial(_one_by_one, d, order, starts[:often], counts[:often], sums[:often], ctx[1]),
        )
    )
    return rows, sums


def _sorted(places: Array, height: int, ctx: Context) -> tuple[Array, Array, Array]:
    """(occurrences sorted by place, how many there are of each place, the places that occur often first)"""
    small = ctx.buffer("small", places.shape, np.uint16 if height <= 1 << 16 else np.int64)  # 16 bits: radix sort
    np.copyto(small, places, casting="unsafe")
    counts = np.bincount(places, minlength=height)
    rare = np.minimum(counts, FREQUENT, out=ctx.buffer("rare", (height,), np.uint8), casting="unsafe")
    np.subtract(FREQUENT, rare, out=rare)
    return np.argsort(small, kind="stable"), counts, np.argsort(rare, kind="stable")


def _one_by_one(d: Array, order: Array, starts: Array, counts: Array, sums: Array, ctx: Context) -> None:
    """sums[i] = Σ_k d[order[starts[i] + k]], k < counts[i]"""
    for start, count, total in zip(starts.tolist(), counts.tolist(), sums, strict=True):
        some = ctx.buffer("some", (count, d.shape[1]))
        np.take(d, order[start : start + count], 0, out=some, mode="clip")
        np.dot(ctx.ones(count), some, out=total)


def _in_rounds(d: Array, order: Array, starts: Array, counts: Array, sums: Array, ctx: Context) -> None:
    """The same, the counts falling; `starts` moves on."""
    if not len(counts):
        return
    falling = np.negative(counts, out=counts)
    some, at = ctx.buffer("some", sums.shape), ctx.buffer("at", starts.shape, np.int64)
    for k in range(-int(falling[0])):
        having = int(np.searchsorted(falling, -k))  # how many occur more than k times
        occurrence = np.take(order, starts[:having], 0, out=at[:having], mode="clip")
        part = np.take(d, occurrence, 0, out=some[:having] if k else sums[:having], mode="clip")
        if k:
            sums[:having] += part
        starts += 1
