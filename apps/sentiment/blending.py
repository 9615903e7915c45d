"""A blend of runs: their models as they are, and weights that are learned from texts that none of them learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from apps.errors import InputError
from apps.run import Facts, load_model
from apps.sentiment.encoder import TextEncoder
from apps.training import Plan, hold_out
from core import Array

INNER = "layers.0.inner."


def blend_runs(plan: Plan, runs: Sequence[Path]) -> Plan:
    """The plan with the parts that the runs hold, and, to learn from, what was held out of all of them.

    Raises InputError where there are fewer than two runs, or they were not trained alike; CheckpointError where one
    is damaged.
    """
    if len(runs) < 2:
        raise InputError("A blend needs runs to put together: give --parts DIR DIR …, two or more.")
    parts: list[tuple[str, dict[str, Any]]] = []
    start: dict[str, Array] = {}
    first: Facts = {}
    for i, run in enumerate(runs):
        if not run.is_dir():
            raise InputError(f"{run} is not a folder: give --parts the folders of runs.")
        model, facts = load_model(run / "model", plan.task.name)
        first = first or facts
        for what, of in (("data", "data"), ("encoder", "words"), ("labels", "labels")):
            if facts.get(what) != first.get(what):
                raise InputError(f"{run} has other {of} than {runs[0]}: blend runs of the same data and seed.")
        for field in ("validation", "share"):
            if facts["recipe"].get(field) != first["recipe"].get(field) or not facts["recipe"].get("validation"):
                raise InputError(f"{run} held out other texts than {runs[0]}, or none: train both with one --{field}.")
        sizes = {name: value for name, value in facts["arguments"].items() if name not in ("words", "outputs")}
        parts.append((facts["model"], sizes))
        for name, parameter in model.named_parameters():
            if name.startswith(INNER):
                start[f"{INNER}layers.0.parts.{i}.{name.removeprefix(INNER)}"] = parameter.value
    if first["data"]["fingerprint"] != plan.data.fingerprint:
        raise InputError(f"{runs[0]} was trained on other data ({first['data']['name']}): give --data as then.")
    encoder = TextEncoder.load(first["encoder"])
    _, held = hold_out(plan.data.train, first["recipe"]["validation"], plan.data.groups)
    assert held is not None
    data = replace(plan.data, train=encoder.examples(held), test=encoder.examples(plan.data.test), groups=None)
    arguments = {"parts": parts, "outputs": len(data.labels), **encoder.sizes()}
    return replace(plan, data=data, arguments=arguments, encoder=encoder, taught=start)
