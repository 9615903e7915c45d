"""Where a data set comes from: the Hugging Face hub, a local folder, or the sample of the project."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from apps.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

PATIENCE = 4.0  # seconds within which the hub must answer
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")  # the hub client's own switches


@dataclass(frozen=True)
class Source:
    """Where one data set is read from.

    repository: its name on the hub, "owner/name".
    folder: the folder of this data set where kind is "folder", otherwise None.
    notice: a sentence for the user where the choice was not theirs, otherwise None.
    """

    repository: str
    kind: Literal["hub", "folder", "sample"]
    folder: Path | None = None
    notice: str | None = None


def find_source(data: str | None, repository: str, *, environ: Mapping[str, str] = os.environ) -> Source:
    """Decide where a data set comes from, within 5 seconds.

    data: "hub", "sample", a folder laid out as the hub (FOLDER/owner/name), or None. None means what the
    variable ZOO_DATA says; where it is unset, the hub; where the hub is out of reach, its cache on this
    machine; where that is empty, the sample.
    Raises InputError for a folder without the data set, and for "hub" where neither hub nor cache has it.
    """
    place = data or environ.get("ZOO_DATA")
    if place == "sample":
        return Source(repository, "sample")
    if place and place != "hub":
        return _local(place, repository, "--data" if data else "ZOO_DATA")
    if hub_answers(repository, environ):
        return Source(repository, "hub")
    trouble = f"The hub ({_endpoint(environ)}) cannot be reached for {repository}"
    if folder := _cached(repository):
        return Source(repository, "folder", folder, f"{trouble}: using the copy in its cache.")
    if place == "hub":
        raise InputError(
            f"{trouble}: check the network, or give --data sample, or --data FOLDER for FOLDER/{repository}."
        )
    return Source(repository, "sample", notice=f"{trouble}: using the small sample that comes with the project.")


def load_split(source: Source, split: str) -> Dataset:
    """One split ("train", "test" …) of the data set.

    Raises InputError where it is missing or damaged; ValueError for a sample, which each task keeps itself.
    """
    import datasets

    if source.kind == "sample":
        raise ValueError("a sample belongs to its task and is not loaded from a source")
    place = str(source.folder or source.repository)
    try:
        with _quiet():
            return datasets.load_dataset(place, split=split)
    except Exception as error:  # of `datasets`, its file readers and its network client: they share no base class
        raise InputError(
            f"The {split} split of {place} cannot be loaded ({_reason(error)}): "
            f"give --data sample, or --data FOLDER with a whole copy in FOLDER/{source.repository}."
        ) from error


def hub_answers(repository: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the hub describes the data set within PATIENCE, even where name lookup or server never answer.

    Raises ModuleNotFoundError where the hub's client is not installed.
    """
    if any(environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in OFFLINE):
        return False
    answer: Future[bool] = Future()

    def ask() -> None:
        try:
            from huggingface_hub import HfApi

            HfApi(endpoint=_endpoint(environ)).dataset_info(repository, timeout=PATIENCE)
            answer.set_result(True)
        except ModuleNotFoundError as error:
            answer.set_exception(error)
        except Exception:  # network, proxy, certificate, status, foreign answer: the hub is of no use
            answer.set_result(False)

    threading.Thread(target=ask, daemon=True).start()  # a name lookup has no time limit of its own: leave it behind
    try:
        return answer.result(timeout=PATIENCE)
    except TimeoutError:
        return False


def _endpoint(environ: Mapping[str, str]) -> str:
    return environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _local(place: str, repository: str, origin: str) -> Source:
    """The data set in a folder that the user named."""
    root = os.path.expanduser(place)
    folder = os.path.join(root, *repository.split("/"))
    if not os.path.isdir(root):
        raise InputError(f"{origin} {place}: there is no such folder; give the folder that holds {repository}.")
    if not os.path.isdir(folder):
        raise InputError(f"{origin} {place}: the folder has no {repository} in it; give the folder that holds it.")
    return Source(repository, "folder", Path(folder).absolute())


def _cached(repository: str) -> Path | None:
    """The copy of the data set in the cache of the hub's client, if there is one with data in it."""
    from huggingface_hub import try_to_load_from_cache

    card = try_to_load_from_cache(repository, "README.md", repo_type="dataset")
    if not isinstance(card, str):
        return None
    folder = Path(card).parent
    has_data = any(file.is_file() and file.name != "README.md" for file in folder.rglob("*"))
    return folder if has_data else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and log lines of `datasets`, which would mix with those of the project."""
    import datasets

    verbosity, had_bars = datasets.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if had_bars:
            datasets.enable_progress_bars()


def _reason(error: BaseException) -> str:
    """What went wrong, in the first line of the error that began it."""
    lines = str(error.__cause__ or error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
