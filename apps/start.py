"""Fine-tuning: a training that begins with the weights of a trained network, some of its layers left as they are."""

from __future__ import annotations

from pathlib import Path

from apps.errors import InputError
from apps.run import description_file, load_model
from apps.task import Task
from core import Layer, Parameter, Sequential
from models import WEIGHTS


def find_stem(task: Task, name: str, flag: str) -> Path:
    """Where the files of a trained model are. Raises InputError where `name`, given by the flag, is none."""
    for stem in (WEIGHTS / f"{task.name}_{name}", Path(name) / "model"):
        if description_file(stem).is_file():
            return stem
    raise InputError(f"{flag} {name}: this is neither a model with shipped weights nor the folder of a run.")


def begin_with(model: Sequential, task: Task, name: str, start: str, labels: tuple[str, ...]) -> None:
    """Give a model the weights that a trained one of its kind has; those of the last layer only for the same labels.

    name: of the model in the zoo. start: a zoo entry with shipped weights, or the folder of a run.
    The last layer tells the classes apart, so it begins afresh where these are others.

    Raises InputError where there are no such weights or they are of another kind of network, CheckpointError where they
    are damaged.
    """
    trained, facts = load_model(find_stem(task, start, "--from"), task.name)
    last = f"layers.{weighted(model)[-1]}."
    values = {name: parameter.value for name, parameter in trained.named_parameters()}

    def fits(name: str, parameter: Parameter) -> bool:
        return name in values and values[name].shape == parameter.value.shape

    parameters = dict(model.named_parameters())
    own = {name: parameter for name, parameter in parameters.items() if not name.startswith(last)}
    if tuple(facts["labels"]) == labels:
        own |= {name: parameter for name, parameter in parameters.items() if fits(name, parameter)}
    if not own:
        raise InputError(f"--from {start}: a {name} is one piece, of which nothing can be kept: leave --from out.")
    differs = facts["model"] != name or not all(fits(key, parameter) for key, parameter in own.items())
    if differs:
        raise InputError(
            f"--from {start}: that is a {facts['model']} of other sizes; a {name} of these begins with none."
        )
    for key, parameter in own.items():
        parameter.value = values[key].astype(parameter.value.dtype)


def freeze(model: Sequential, count: int) -> None:
    """Leave the first `count` layers that have weights as they are.

    Raises InputError where none would be left to learn.
    """
    places = weighted(model)
    if count >= len(places):
        raise InputError(f"--freeze {count}: the model has {len(places)} layers with weights, and one has to learn.")
    for place in places[:count]:
        model.layers[place].freeze()


def weighted(model: Sequential) -> list[int]:
    """The places of the layers that have weights."""
    return [place for place, layer in enumerate(model.layers) if _parameters(layer)]


def _parameters(layer: Layer) -> bool:
    return next(iter(layer.named_parameters()), None) is not None
