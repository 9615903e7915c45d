"""The models that the pages ask: loaded once, shared by all visitors."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import lru_cache

from apps.predictor import Predictor, open_predictor
from apps.task import Task
from apps.tasks import TASKS
from models import CARDS, RESULTS, WEIGHTS


def shipped(task: Task) -> tuple[str, ...]:
    """The models of a task that come with weights, the one that is served by default first."""
    names = [name for name in task.entries if (WEIGHTS / f"{task.name}_{name}.json").is_file()]
    return tuple(sorted(names, key=lambda name: name != task.served))


@lru_cache(maxsize=32)
def served(task: str, model: str) -> Predictor:
    """The predictor of a shipped model. Raises as open_predictor."""
    return open_predictor(TASKS[task], model=model)


def results() -> list[dict[str, str]]:
    """The rows of the zoo's table, as its file has them."""
    with open(RESULTS, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def card(name: str) -> str | None:
    """The card of a model, in Markdown; None where there is no such model."""
    known = {path.stem: path for path in CARDS.glob("*.md")}
    return known[name].read_text("utf-8") if name in known else None


def files(name: str) -> Mapping[str, bytes]:
    """{file name: content} of a shipped model's weights and description; empty where it ships none."""
    known = {path.stem for path in WEIGHTS.glob("*.json")}
    paths = [WEIGHTS / f"{name}.{kind}" for kind in ("safetensors", "json")] if name in known else []
    return {path.name: path.read_bytes() for path in paths if path.is_file()}
