"""A CSV of applicants in, the same with scores out: chunk by chunk, so that memory does not grow with the rows."""

from __future__ import annotations

import csv
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from apps.credit.model import CreditModel
from apps.credit.reasons import MOST_REASONS, Wording, contributions, top_reasons
from apps.credit.table import Table, csv_chunks
from apps.errors import InputError
from core import cores
from core.metrics import sigmoid
from core.parallel import blas_threads

ADDED = ("pd", "points", "decision", *(f"reason_{i + 1}" for i in range(MOST_REASONS)))
CHUNK = 4096
LARGE = 2 << 20  # bytes of a file from which on starting processes pays, which need not share one interpreter
NOT_SCORED = "not scored"


@dataclass
class Tally:
    """What became of the rows."""

    rows: int = 0
    accepted: int = 0
    refused: int = 0
    not_scored: int = 0
    faults: list[str] = field(default_factory=list)


def score_table(model: CreditModel, table: Table, wording: Wording) -> tuple[list[list[str]], list[str]]:
    """(the cells of ADDED for each row, what was wrong with rows that have none)

    Reasons stand beside refusals. A row with a fault has no score; the fault is its first reason.
    """
    numbers, faults = model.schema.numbers(table)
    encoded = model.encode(numbers)
    logits = model.logits(numbers, encoded=encoded)
    refused = model.refused(logits)
    refused[list(faults)] = False
    pds = [f"{p:.6f}" for p in sigmoid(logits).tolist()]
    points = [f"{p:.0f}" for p in model.points(logits).tolist()]
    blank = [""] * MOST_REASONS
    cells = [[pd, point, "accept", *blank] for pd, point in zip(pds, points, strict=True)]
    rows = np.flatnonzero(refused)
    if len(rows):
        chosen = top_reasons(contributions(model, numbers[rows], [x[rows] for x in encoded])).tolist()
        for n, picked, values in zip(rows.tolist(), chosen, numbers[rows].tolist(), strict=True):
            cells[n][2] = "refuse"
            cells[n][3:] = _padded([wording(i, values[i]) for i in picked if i >= 0])
    for n, fault in faults.items():
        cells[n] = ["", "", NOT_SCORED, *_padded([fault])]
    return cells, [faults[n] for n in sorted(faults)]


def _padded(texts: Sequence[str]) -> list[str]:
    return [*texts, *[""] * (MOST_REASONS - len(texts))]


def score_csv(
    model: CreditModel,
    source: Path,
    out: Path,
    *,
    threads: int | None = None,
    seen: Callable[[int, int], None] = lambda rows, expected: None,
) -> Tally:
    """Write the rows of a CSV file with ADDED columns into another; `seen` is told rows done, and about how many to do.

    The file appears whole, in one rename. Raises InputError where the source cannot be read, lacks a column of the
    model, or has one of ADDED already.
    """
    if out.exists() and out.resolve() == source.resolve():
        raise InputError(f"{out} is the input itself: give another --out.")
    temporary = out.with_name(f".{out.name[:60]}.{os.getpid()}.tmp")
    tally = Tally()
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for names, rows, cells, faults, expected in scored_chunks(model, source, threads):
                if not tally.rows:
                    writer.writerow([*names, *ADDED])
                writer.writerows(row + more for row, more in zip(rows, cells, strict=True))
                decisions = [more[2] for more in cells]
                tally.rows += len(rows)
                tally.accepted += decisions.count("accept")
                tally.refused += decisions.count("refuse")
                tally.not_scored += len(faults)
                tally.faults += faults[: max(0, 5 - len(tally.faults))]
                seen(tally.rows, expected)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, out)
    except FileNotFoundError:
        raise InputError(f"{out.parent} is no folder: give --out a file in a folder that exists.") from None
    except OSError as error:  # nobody knows the temporary name
        name = out if error.filename == str(temporary) else error.filename
        raise OSError(error.errno, error.strerror, str(name)) from None
    finally:
        temporary.unlink(missing_ok=True)
    if not tally.rows:
        raise InputError(f"{source} has names of columns but no rows: give a file with applicants in it.")
    return tally


Chunk = tuple[list[str], list[list[str]], list[list[str]], list[str], int]


def scored_chunks(model: CreditModel, source: Path, threads: int | None = None) -> Iterator[Chunk]:
    """(names, rows, cells of ADDED, faults, about how many rows there are) of each chunk, in order."""
    hands = max(1, cores() if threads is None else threads)
    size, expected = source.stat().st_size if source.is_file() else 0, 0
    waiting: deque[tuple[list[str], list[list[str]], Future[Any]]] = deque()
    with blas_threads(1), _pool(model, hands if size >= LARGE else 1) as pool:
        for names, rows, first in csv_chunks(source, CHUNK):
            if not expected:
                check_names(model, source, names)
                length = sum(len(text) + 1 for row in rows[:1000] for text in row) / max(1, len(rows[:1000]))
                expected = max(len(rows), round(size / max(1.0, length)))
            if not rows:
                continue
            table = Table(dict(zip(names, zip(*rows, strict=True), strict=True)), first)
            waiting.append((names, rows, pool.submit(_score, table)))
            if len(waiting) > 2 * hands:
                yield _taken(waiting, expected)
        while waiting:
            yield _taken(waiting, expected)


def _pool(model: CreditModel, hands: int) -> Executor:
    """Some processes that score with a model; one alone is a thread of this process"""
    if hands == 1:
        return ThreadPoolExecutor(1, initializer=_begin, initargs=(model,))
    return ProcessPoolExecutor(hands, get_context("spawn"), _begin_process, (model,))


_hand = threading.local()  # what one of them works with


def _begin(model: CreditModel) -> None:
    _hand.model, _hand.wording = model, Wording(model)


def _begin_process(model: CreditModel) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for the process that was started by hand, which ends this one
    _hand.blas = blas_threads(1)
    _hand.blas.__enter__()  # as long as the process lives
    _begin(model)


def _score(table: Table) -> tuple[list[list[str]], list[str]]:
    return score_table(_hand.model, table, _hand.wording)


def _taken(waiting: deque[tuple[list[str], list[list[str]], Future[Any]]], expected: int) -> Chunk:
    names, rows, future = waiting.popleft()
    cells, faults = future.result()
    return names, rows, cells, faults, expected


def check_names(model: CreditModel, source: object, names: list[str]) -> None:
    """Raises InputError where a column of the model is missing, or one of ADDED is there already."""
    taken = [name for name in ADDED if name in names]
    if taken:
        raise InputError(f"{source} has a column {taken[0]!r} already: rename it, since scores are written there.")
    missing = [feature.name for feature in model.schema.asked if feature.name not in names]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{source} has no column {missing[0]!r}{more}: give every column that the model was trained on."
        )


def extra_columns(model: CreditModel, names: Sequence[str]) -> list[str]:
    """Columns that the model knows nothing of; they are kept, and not looked at."""
    schema = model.schema
    known = {feature.name for feature in schema.asked} | {schema.target, *schema.protected, *schema.dropped}
    return [name for name in names if name not in known]
