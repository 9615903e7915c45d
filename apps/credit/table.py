"""Tables as they come: CSV files, read whole or by chunks, every fault told with its row and column."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TextIO

import numpy as np

from apps.errors import InputError

Column = np.ndarray | Sequence[str]
"""Numbers (N,) float64 with NaN where one is missing, or N texts as they were written."""

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "."})
MOST_ROWS = 5_000_000  # of a table that is read whole
MOST_CELL = 10_000  # characters
MOST_NUMBER = 1e100  # beyond, squares overflow
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Table:
    """Columns by name, all of one length; `first` is the number of the first row in its file, from 1."""

    columns: Mapping[str, Column]
    first: int = 1
    texts: dict[str, list[str]] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def take(self, rows: np.ndarray) -> Table:
        """Some rows, in the order given."""
        return Table({name: take_rows(column, rows) for name, column in self.columns.items()})

    def words(self, name: str) -> list[str]:
        """A column as texts in one form: "2" for 2, 2.0 and " 2 ", "" where it is missing."""
        column = self.columns[name]
        if isinstance(column, np.ndarray):
            return ["" if np.isnan(value) else canonical(repr(float(value))) for value in column]
        known: dict[str, str] = {}
        return [known[text] if text in known else known.setdefault(text, canonical(text)) for text in column]

    def numbers(self, name: str) -> tuple[np.ndarray, dict[int, str]]:
        """A column as numbers (N,), NaN where one is missing; and {index: text} of what is no finite number."""
        column = self.columns[name]
        if isinstance(column, np.ndarray):
            return column, {int(i): str(column[i]) for i in np.flatnonzero(np.isinf(column))}
        try:
            if "_" in "".join(column):  # which `float` would overlook
                raise ValueError
            values = np.array([float(text) for text in column])
            if np.isfinite(values).all():
                return values, {}
        except ValueError:
            pass
        known = {text: _number(text) for text in set(column)}
        values = np.array([known[text] for text in column])
        wrong = np.flatnonzero(np.isinf(values))
        faults = {i: column[i] for i in wrong.tolist()}
        values[wrong] = np.nan
        return values, faults


def take_rows(column: Column, rows: np.ndarray) -> Column:
    """Some entries of a column, in the order given."""
    if isinstance(column, np.ndarray):
        return np.asarray(column[rows])
    return [column[i] for i in rows.tolist()]


def canonical(text: str) -> str:
    """One form for what means the same: "2" for " 2.0", "" for what stands for missing."""
    text = text.strip()
    if text.lower() in MISSING:
        return ""
    try:
        value = float(text)
    except ValueError:
        return text
    return f"{value:.0f}" if isfinite(value) and value == int(value) and abs(value) < 1e15 else text


def _number(text: str) -> float:
    """NaN for missing, infinity for what is no finite number, or too large to reckon with."""
    text = text.strip()
    if text.lower() in MISSING:
        return float("nan")
    try:
        value = float(text) if "_" not in text else float("inf")
    except ValueError:
        return float("inf")
    return value if abs(value) <= MOST_NUMBER else float("inf")  # also of what is no number


def read_csv(path: Path) -> Table:
    """A whole CSV file: UTF-8, commas, names in the first line.

    Raises InputError for a file that is missing, empty, of another form or too long, with the row where it shows.
    """
    chunks = list(csv_chunks(path, 50_000, most=MOST_ROWS))
    names = chunks[0][0]
    if not any(rows for _, rows, _ in chunks):
        raise InputError(f"{path} has names of columns but no rows: give a file with applicants in it.")
    rows = [row for _, part, _ in chunks for row in part]
    return Table(dict(zip(names, zip(*rows, strict=True), strict=True)))


def csv_chunks(path: Path, size: int, most: int | None = None) -> Iterator[tuple[list[str], list[list[str]], int]]:
    """(names, up to `size` rows of texts, number of the first of them from 1), one chunk after the other

    Raises InputError as `read_csv`.
    """
    try:
        with open(path, "rb") as probe:
            _check_start(path, probe.read(4))
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from _chunks(path, file, size, most)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a CSV file.") from error


def parse_csv(content: bytes, name: str, *, most: int, cell: int = MOST_CELL) -> tuple[list[str], list[list[str]]]:
    """(names, rows of texts) of a file that was sent, of `most` rows, and `cell` characters in a cell, at most

    Raises InputError as `read_csv`, with `name` for the file.
    """
    _check_start(name, content)
    with io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="") as file:
        chunks = list(_chunks(name, file, most, most, cell))
    names, rows, _ = chunks[0]
    if not rows:
        raise InputError(f"{name} has names of columns but no rows: give a file with some.")
    return names, rows


def csv_of(names: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A CSV file of such a table, as bytes to send."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return file.getvalue().encode()


def _check_start(path: object, start: bytes) -> None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start[:2]:  # "a" is 61 00 or 00 61
        raise InputError(f"{path} is written in UTF-16: save it as UTF-8.")


def _chunks(
    path: object, file: TextIO, size: int, most: int | None, cell: int = MOST_CELL
) -> Iterator[tuple[list[str], list[list[str]], int]]:
    before = csv.field_size_limit(cell)
    try:
        reader = csv.reader(file, strict=True)
        names = _header(path, reader)
        rows: list[list[str]] = []
        number = 0
        for row in reader:
            if len(row) != len(names):
                if not row:
                    continue  # an empty line
                kind = "fewer" if len(row) < len(names) else "more"
                raise InputError(
                    f"{path}, row {number + 1} (line {reader.line_num}) has {len(row)} cells, {kind} than the"
                    f" {len(names)} columns: mend that row."
                )
            rows.append(row)
            number += 1
            if most is not None and number > most:
                raise InputError(f"{path} has more than {most:,} rows: give a sample of them.")
            if len(rows) == size:
                yield names, rows, number - size + 1
                rows = []
        if rows or not number:
            yield names, rows, number - len(rows) + 1
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 after about line {reader.line_num + 1}: save it as UTF-8.") from None
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: this is not a CSV file ({error}).") from None
    finally:
        csv.field_size_limit(before)


def _header(path: object, reader: Iterator[list[str]]) -> list[str]:
    try:
        names = [name.strip() for name in next(row for row in reader if row)]
    except StopIteration:
        raise InputError(f"{path} is empty: give a CSV file with names of columns in its first line.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8: save it as UTF-8.") from None
    if len(names) == 1:
        for separator, word in SEPARATORS.items():
            if separator in names[0]:
                raise InputError(f"{path} is separated by {word}: save it with commas between the columns.")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice or "" in names:
        fault = f"two columns called {twice[0]!r}" if twice and twice[0] else "a column without a name"
        raise InputError(f"{path} has {fault}: give each column a name of its own in the first line.")
    return names
