"""Labelled texts: reviews of IMDB, sentences of SST-2 and Rotten Tomatoes, the sample, or a CSV of the user's."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apps.errors import InputError
from apps.sentiment.constructions import constructed
from apps.sentiment.words import MOST_CHARACTERS, TAG, check_text
from apps.source import Source, find_source, load_split
from apps.task import TaskData
from core import Examples

LABELS = ("negative", "positive")
SAMPLE = Path(__file__).with_name("sample.tsv")
MOST_BYTES = 1 << 30  # of a CSV
MOST_CLASSES = 1000
LONGEST = 60  # words of a sentence that has parts
LONGEST_ENDING = 40  # words
REPEATED = 4  # times the sample is learned from beside the others: so few sentences would go under
REPEATED_CONSTRUCTIONS = 2


@dataclass(frozen=True)
class Corpus:
    """Where one data set is: its repository, the column of its texts, and the split it is tested on."""

    repository: str
    text: str
    test: str


CORPORA = {
    "imdb": Corpus("stanfordnlp/imdb", "text", "test"),
    "sst2": Corpus("stanfordnlp/sst2", "sentence", "validation"),
    "rotten_tomatoes": Corpus("cornell-movie-review-data/rotten_tomatoes", "text", "test"),
}
DATASETS = {  # name -> what is learned from, the first of which is what is tested on
    "imdb": ("imdb",),
    "sst2": ("sst2",),
    "rotten_tomatoes": ("rotten_tomatoes",),
    "films": ("imdb", "sst2", "rotten_tomatoes"),  # long reviews and short sentences
    "broad": ("imdb", "sst2", "rotten_tomatoes", "sample"),  # and how reviews end, and short sentences of other kinds
}
_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[A-Z\"'(])")  # of a sentence


class Texts(Examples):
    """Texts that no vocabulary has encoded yet: x a list of strings, t (N,) the index of a label."""

    def __init__(self, x: Sequence[str], t: Any) -> None:
        super().__init__(np.zeros(len(x), np.uint8), t)
        self.x = list(x)

    def part(self, rows: np.ndarray) -> Texts:
        """Some of them."""
        return Texts([self.x[row] for row in rows], self.t[rows])

    def fingerprint(self) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(self.t, np.int64).data)
        for text in self.x:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return digest.hexdigest()[:16]


def load(data: str | None, dataset: str = "imdb", tested: bool = False) -> TaskData:
    """Training and test texts; where only those `tested` on are wanted, these in both places.

    data: "hub", "sample", a folder or None, as `find_source` takes it.  dataset: a key of DATASETS.
    Raises InputError where the data set is unknown, cannot be had, or holds no texts with labels.
    """
    if dataset not in DATASETS:
        raise InputError(f"There is no data set {dataset!r}: give one of {', '.join(DATASETS)}.")
    parts = [CORPORA[name] for name in DATASETS[dataset] if name != "sample"]
    sources = [find_source(data, part.repository) for part in parts]
    if any(source.kind == "sample" for source in sources):
        told = next((source.notice for source in sources if source.notice), None)
        return _sample(told)
    train, groups = (None, None) if tested else _learned(sources, parts, dataset)
    test = _read(sources[0], parts[0].test, parts[0].text)
    name = " + ".join([part.repository for part in parts] + ["sample"] * ("sample" in DATASETS[dataset]))
    notice = next((source.notice for source in sources if source.notice), None)
    return _task_data(name, test if train is None else train, test, LABELS, notice, parts[0].test, groups)


def _learned(sources: Sequence[Source], parts: Sequence[Corpus], dataset: str) -> tuple[Texts, np.ndarray | None]:
    """What is learned from, and (N,) which of it belongs together."""
    learned = [_read(source, "train", part.text) for source, part in zip(sources, parts, strict=True)]
    if "sample" in DATASETS[dataset]:
        learned += [_sample(None).train] * REPEATED  # type: ignore[list-item]
        learned += [Texts(*constructed())] * REPEATED_CONSTRUCTIONS
    train = _joined(learned)
    groups = phrase_groups(train.x) if "sst2" in DATASETS[dataset] else None
    if "sample" in DATASETS[dataset]:
        rows, ended = endings(learned[0])
        train, groups = _joined([train, ended]), np.concatenate([groups, groups[rows]])  # type: ignore[index]
    return train, groups


def _joined(parts: Sequence[Texts]) -> Texts:
    return Texts([text for part in parts for text in part.x], np.concatenate([part.t for part in parts]))


def endings(reviews: Texts) -> tuple[np.ndarray, Texts]:
    """(which reviews, their last sentences with their labels), of those that end in 2 to LONGEST_ENDING words

    A review sums up where it ends, so the label of the whole serves for most of these sentences: a model that reads
    long reviews learns from them how single sentences sound.
    """
    last = [_END.split(TAG.sub(" ", text).strip())[-1].strip() for text in reviews.x]
    rows = np.flatnonzero([2 <= len(sentence.split()) <= LONGEST_ENDING for sentence in last])
    return rows, Texts([last[row] for row in rows], reviews.t[rows])


def phrase_groups(texts: Sequence[str]) -> np.ndarray:
    """(N,) for each text, the number of the first of those texts of which it is a part, itself included

    The training set of SST-2 holds the phrases of its sentences, and these are among those of Rotten Tomatoes: who
    holds out a sentence must hold out its parts. Blanks are not compared, and texts above LONGEST words are no parts.
    """
    words = [text.lower().split() for text in texts]
    joined = ["".join(each) for each in words]
    sought = {text for text, each in zip(joined, words, strict=True) if len(each) <= LONGEST}
    groups = np.arange(len(texts))
    whole: dict[str, int] = {}  # every stretch of words of the texts so far that is a text
    for i in sorted(range(len(texts)), key=lambda i: -len(words[i])):
        count = len(words[i])
        if count > LONGEST:
            continue
        found = whole.get(joined[i])
        if found is not None:
            groups[i] = found
            continue
        for start in range(count):
            stretch = ""
            for word in words[i][start:]:
                stretch += word
                if stretch in sought:
                    whole.setdefault(stretch, i)
    return groups


def load_unlabelled(data: str | None) -> list[str]:
    """The reviews of IMDB that nobody labelled. Raises InputError where they cannot be had."""
    source = find_source(data, CORPORA["imdb"].repository)
    if source.kind == "sample":
        raise InputError(
            "The sample has no unlabelled texts: give --data hub or a folder, or leave --unlabelled and --teacher out."
        )
    return _texts(load_split(source, "unsupervised"), "text", f"the unsupervised split of {source.repository}")


def _read(source: Source, split: str, column: str) -> Texts:
    table, name = load_split(source, split), f"the {split} split of {source.folder or source.repository}"
    texts = _texts(table, column, name)
    t = np.asarray(table["label"][:]) if "label" in table.features else np.empty(0)
    if t.size != len(texts) or t.dtype.kind != "i" or t.min() < 0 or t.max() >= len(LABELS):
        raise InputError(f"The labels of {name} are not 0 and 1: give another copy.")
    return Texts(texts, t.astype(np.int64))


def _texts(table: Any, column: str, name: str) -> list[str]:
    texts = table[column][:] if column in table.features else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f"No texts are in {name}: it needs the column {column}.")
    for row, text in enumerate(texts):
        check_text(text, f"Row {row} of {name}")
    return texts


def _sample(notice: str | None) -> TaskData:
    """The sentences written for this project; every fifth of a class is tested on."""
    labels, texts = read_csv(SAMPLE, "label"), read_csv(SAMPLE, "sentence")
    return _divided("sample (sentences written for this project)", texts, labels, notice)


# --- a CSV of the user's --------------------------------------------------------------------------------------------


def load_csv(path: Path, text: str, label: str) -> TaskData:
    """Any texts with labels, two classes or many; every fifth of a class is tested on.

    Raises InputError, naming the row, for a file that cannot be read, a column that is not there, a text that is
    too long, a row without a label, and a label that occurs once.
    """
    texts = read_csv(path, text)
    rows, labels = zip(*((row, name.strip()) for row, name in _column(path, label)), strict=True)
    if "" in labels:
        row = rows[labels.index("")]
        raise InputError(f"Row {row} of {path} has no {label}: fill it in, or leave the row out.")
    names, first, counts = np.unique(labels, return_index=True, return_counts=True)
    if len(names) < 2 or len(names) > MOST_CLASSES:
        raise InputError(
            f"The column {label} of {path} has {len(names):,} different labels: it takes 2 to {MOST_CLASSES:,}."
        )
    if counts.min() < 2:
        lonely = int(np.argmin(counts))
        raise InputError(
            f"The label {str(names[lonely])!r} occurs once in {path}, in row {rows[first[lonely]]}: every label needs"
            " two rows or more, to learn from and to test on; add some, or leave the row out."
        )
    return _divided(path.name, texts, list(labels), None)


def read_csv(path: Path, column: str) -> list[str]:
    """One column of a file of commas, or tabs where it ends in .tsv; its first row names the columns.

    Raises InputError, naming the row, for what cannot be read.
    """
    return [value for _, value in _column(path, column)]


def _column(path: Path, column: str) -> list[tuple[int, str]]:
    """(number of the row, value) of every row that is not empty"""
    values, at = [], -1
    for row, fields in _rows(path):
        if not fields:
            continue  # an empty line is none
        if at < 0:
            if fields.count(column) != 1:
                found = "has it twice" if column in fields else f"has {', '.join(fields[:30])[:600]}"
                raise InputError(f"{path} has no column {column!r} of its own: it {found}; give the name of one.")
            at = fields.index(column)
        else:
            if len(fields) <= at:
                raise InputError(f"Row {row} of {path} has {len(fields)} columns, so no {column}: mend the row.")
            values.append((row, check_text(fields[at], f"Row {row} of {path}")))
    if not values:
        raise InputError(f"{path} has no row below its head: give a file with some.")
    return values


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number, fields) of every row, the head being row 1."""
    if not path.is_file():
        raise InputError(f"{path} is not a file: give --csv the name of a CSV file.")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES:,} bytes: give a smaller file.")
    row = 1
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            tabs = path.suffix.lower() == ".tsv"
            for fields in (
                csv.reader(file, "excel-tab", quoting=csv.QUOTE_NONE) if tabs else csv.reader(file, strict=True)
            ):
                yield row, fields
                row += 1
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 near row {_bad_row(path)}: save it as UTF-8.") from None
    except csv.Error as error:
        if "field larger" in str(error):
            limit = f"a text may have {MOST_CHARACTERS:,} characters: cut it"
            raise InputError(f"Row {row} of {path} is too long: {limit}.") from None
        raise InputError(f"Row {row} of {path} cannot be read ({error}): mend the row.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None


def _bad_row(path: Path) -> int:
    """The line with the first bytes that are not UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _divided(name: str, texts: list[str], labels: list[str], notice: str | None) -> TaskData:
    """Every fifth text of a class, and at least one, to test on."""
    names, t = np.unique(labels, return_inverse=True)
    is_test = np.zeros(len(t), bool)
    for label in range(len(names)):
        is_test[np.flatnonzero(t == label)[1::5]] = True
    whole = Texts(texts, t.astype(np.int64))
    train, test = whole.part(np.flatnonzero(~is_test)), whole.part(np.flatnonzero(is_test))
    return _task_data(name, train, test, tuple(map(str, names)), notice, "test")


def _task_data(
    name: str,
    train: Texts,
    test: Texts,
    labels: tuple[str, ...],
    notice: str | None,
    split: str,
    groups: np.ndarray | None = None,
) -> TaskData:
    fingerprint = hashlib.sha256((train.fingerprint() + test.fingerprint()).encode()).hexdigest()[:16]
    return TaskData(name, train, test, labels, fingerprint, notice, split=split, groups=groups)
