"""What the page “Train” offers for each task: data, networks, recipes, and the columns of a visitor's table."""

from __future__ import annotations

import csv
import inspect
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apps.credit.entries import DEFAULT, ENTRIES, MODELS
from apps.errors import InputError
from apps.jobs import CSV
from apps.task import Recipe
from apps.tasks import TASKS
from models import ZOO

MOST_UPLOADED = 20  # MiB of a table
MOST_COLUMNS = 500
WHOLE = "the whole data set, where this machine has it"


@dataclass(frozen=True)
class Offer:
    """What can be trained for one task.

    title    what it is called
    data     {--data: what that is}
    columns  {what for: what is asked} of a visitor's table, as `Order.columns` takes them
    model    the network that is offered first
    unit     what an example is called, in the plural
    takes    fields of the recipe that mean something for this task, beside those of every training
    page     (file, label, icon) of the page that can choose the finished run
    """

    title: str
    data: Mapping[str, str]
    columns: Mapping[str, str]
    model: str
    unit: str
    takes: Sequence[str]
    page: tuple[str, str, str]


OFFERS: Mapping[str, Offer] = {
    "mnist": Offer(
        "Digits",
        {"sample": "the small sample", "": WHOLE},
        {},
        "mlp",
        "images",
        ("validation", "augment", "patience"),
        ("mnist/page.py", "Draw for it", ":material/draw:"),
    ),
    "sentiment": Offer(
        "Sentiment",
        {"sample": "the small sample", "": WHOLE, CSV: "a table of your own"},
        {"text": "Column of the texts", "label": "Column of their labels"},
        "ngram_linear",
        "texts",
        ("validation", "patience"),
        ("sentiment/page.py", "Type for it", ":material/rate_review:"),
    ),
    "credit": Offer(
        "Credit",
        {"sample": "the small sample, simulated", "": WHOLE, CSV: "a table of your own"},
        {"target": "Column that says who defaulted"},
        "additive",
        "applicants",
        (),
        ("credit/page.py", "Score with it", ":material/account_balance:"),
    ),
}


def networks(task: str) -> list[str]:
    """The networks that a page can train by themselves: no blends of others, none that first reads other texts."""
    if task == "credit":
        return sorted(MODELS, key=lambda name: name == DEFAULT)
    entries = TASKS[task].entries
    return [name for name, entry in entries.items() if name != "blend" and not entry.recipe.unlabelled]


def recipe_of(task: str, model: str) -> Recipe:
    """The recipe that suits a network; of a blend, that of its first part"""
    return ENTRIES[MODELS[model][0]].recipe if task == "credit" else TASKS[task].entries[model].recipe


def takes_dropout(task: str, model: str) -> bool:
    architecture = ENTRIES[MODELS[model][0]].architecture if task == "credit" else model
    return "dropout" in inspect.signature(ZOO[architecture]).parameters


def columns_of(table: bytes) -> list[str]:
    """The columns that the first line of a CSV file names.

    Raises InputError for a file that is too large, no UTF-8, or names no columns.
    """
    if len(table) > MOST_UPLOADED << 20:
        raise InputError(f"The file has more than {MOST_UPLOADED} MiB: give a smaller one.")
    try:
        names = next(csv.reader(io.StringIO(table.decode("utf-8-sig"), newline="")), [])
    except UnicodeDecodeError:
        raise InputError("The file is not UTF-8: save it as UTF-8.") from None
    except csv.Error as error:
        raise InputError(f"The first line of the file cannot be read ({error}).") from None
    names = [name.strip() for name in names]
    if not 1 < len(names) <= MOST_COLUMNS or "" in names or len({*names}) < len(names):
        raise InputError(
            f"The first line of the file names no 2 to {MOST_COLUMNS} different columns, with commas between them."
        )
    return names
