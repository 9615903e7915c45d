"""Several trained networks of one kind put together: one model, whose answer is the mean of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from apps.calibration import Calibration, calibrate
from apps.errors import InputError
from apps.run import Facts, Run, check_data, load_model
from apps.task import Recipe, Task, TaskData
from apps.training import Result, evaluate_on, hold_out, measured, outputs
from core import Array
from models import ZOO, build

ALIKE = ("model", "arguments", "labels", "data")  # what the members have in common


def join(task: Task, members: Sequence[Path], data: TaskData, run: Run) -> tuple[Facts, Result]:
    """Write the ensemble of some runs' models into a run of its own, calibrated and tested as a training's model is.

    The members were trained with one recipe but for the seed, on `data`, so all of them held out the same examples.

    Raises InputError where they do not belong together, CheckpointError where one of them is damaged.
    """
    trained = [load_model(folder / "model", task.name) for folder in members]
    facts = trained[0][1]
    name = f"{facts['model']}_ensemble"
    if name not in ZOO:
        raise InputError(f"There is no ensemble of {facts['model']} in the zoo: put other runs together.")
    recipes = [replace(Recipe(**each["recipe"]), seed=0) for _, each in trained]
    for folder, recipe, (_, each) in zip(members, recipes, trained, strict=True):
        if any(each[key] != facts[key] for key in ALIKE) or recipe != recipes[0]:
            raise InputError(f"{folder} and {members[0]} were not trained alike but for the seed: choose others.")
    check_data(facts, data)
    arguments = facts["arguments"] | {"members": len(trained)}
    model = build(name, arguments, rng=np.random.default_rng(0))
    for (member, _), place in zip(trained, model.layers[0].members, strict=True):  # type: ignore[attr-defined]
        for parameter, value in zip(place.parameters(), member.parameters(), strict=True):
            parameter.value = value.value
    test, classes = data.test, len(data.labels)
    _, held = hold_out(data.train, recipes[0].validation)
    calibration = calibrate(outputs(model, held.x), held.t, classes) if held else Calibration()
    result = evaluate_on(task, outputs(model, test.x), test.t, calibration, classes)
    weights: dict[str, Array] = {key: parameter.value for key, parameter in model.named_parameters()}
    seeds = [each["recipe"]["seed"] for _, each in trained]
    facts = facts | {"model": name, "arguments": arguments, "seeds": seeds, "calibration": calibration.facts()}
    run.folder.mkdir(parents=True, exist_ok=True)
    run.save_model(weights, facts | measured(result))
    return facts, result
