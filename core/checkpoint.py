"""Arrays and weights on disk: written whole or not at all, and read without executing anything."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from errno import EISDIR
from glob import escape
from pathlib import Path
from threading import get_ident
from typing import Any
from zlib import crc32

import numpy as np

from core.context import Array
from core.layer import Layer

FORMAT = 1
_KEY = "modelzoo"  # under which a file says what it is
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8}


class CheckpointError(ValueError):
    """A file is missing, damaged, foreign, or newer than this program; the message names the file and the fault."""


def write_atomically(path: str | Path, content: bytes) -> None:
    """Replace a file as a whole: a crash leaves the old content or the new, never half of either.

    Written beside it under a temporary name, flushed to disk, then renamed. On Windows a file that another program
    is reading cannot be replaced for a moment, so the rename is tried for a second. What a writer that was killed left
    behind is swept up by a later one.

    Raises OSError where the folder cannot be written.
    """
    path = Path(path)
    if not path.name or path.is_dir():
        raise IsADirectoryError(EISDIR, "this is a folder", str(path))
    temporary = path.with_name(f".{path.name[:60]}.{os.getpid()}-{get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # nobody knows the temporary name
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sweep(path)
    if os.name != "nt":  # the rename itself reaches the disk with the folder
        with suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _replace(temporary: Path, path: Path) -> None:
    for attempt in range(20):
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            if os.name != "nt" or attempt == 19:
                raise
            time.sleep(0.05)


def _sweep(path: Path) -> None:
    """Remove temporary files that are an hour old: nobody is still writing them."""
    for left in path.parent.glob(f".{escape(path.name[:60])}.*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()


def save_arrays(path: str | Path, arrays: Mapping[str, Array], facts: Mapping[str, Any] | None = None) -> None:
    """Write named arrays, and facts that JSON can hold, into one safetensors file, atomically.

    Raises OSError where the folder cannot be written, TypeError for arrays of a type that `load_arrays` refuses,
    TypeError or ValueError for facts that JSON cannot hold.
    """
    from safetensors.numpy import save

    for name, array in arrays.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise TypeError(f"{name!r} cannot name an array: names are words, other than __metadata__")
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} is of type {type(array).__name__}, not an array")
        if array.dtype.type not in _DTYPES.values():
            raise TypeError(f"{name} is {array.dtype}, a type that no model here uses")
    # one entry of metadata: safetensors writes several in any order, and equal runs should be equal files
    contiguous = {name: np.asarray(a, a.dtype.newbyteorder("="), order="C") for name, a in arrays.items()}
    told = {"format": FORMAT, "checksum": _checksum(contiguous), "facts": dict(facts or {})}
    write_atomically(path, save(contiguous, {_KEY: json.dumps(told, allow_nan=False)}))


def load_arrays(path: str | Path, *, most: int = 4 << 30) -> tuple[dict[str, Array], dict[str, Any]]:
    """(arrays, facts) of a file that `save_arrays` wrote, of `most` bytes at most.

    Sizes are checked against the file before anything is allocated, and nothing in it is executed.

    Raises CheckpointError where the file is missing, damaged, not of this kind, or of a newer format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: there is no such file")
        if path.stat().st_size > most:
            raise CheckpointError(f"{path}: the file is larger than {most:,} bytes, and is not read")
        with safe_open(str(path), framework="numpy") as file:
            told = _told(path, file.metadata() or {})
            foreign = [name for name in file.keys() if file.get_slice(name).get_dtype() not in _DTYPES]  # noqa: SIM118
            if foreign:
                raise CheckpointError(f"{path}: {foreign[0]} has a type that no model here uses")
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: the file is damaged or is not of this program ({error})") from None
    if told.get("checksum") != _checksum(arrays):
        raise CheckpointError(f"{path}: the file is damaged: its numbers are not those that were written")
    return arrays, told["facts"]


def _checksum(arrays: Mapping[str, Array]) -> int:
    """CRC-32 of all names and numbers: chance damage is noticed, intent is not."""
    total = 0
    for name in sorted(arrays):
        total = crc32(arrays[name].tobytes(), crc32(f"{name}{arrays[name].shape}".encode(), total))
    return total


def _told(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a file says of itself: format, checksum, facts."""
    if _KEY not in metadata:
        raise CheckpointError(f"{path}: the file was not written by this program")
    told = json.loads(metadata[_KEY])
    complete = isinstance(told, dict) and type(told.get("format")) is int and isinstance(told.get("facts"), dict)
    if not complete or told["format"] < 1:
        raise CheckpointError(f"{path}: the file is damaged: what it says of itself is incomplete")
    if told["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: format {told['format']} is newer than this program's {FORMAT}; use a newer version of it"
        )
    return dict(told)


def save_weights(path: str | Path, model: Layer) -> None:
    """Write the parameters and running statistics of any model, by name, into a safetensors file.

    Raises OSError where the folder cannot be written.
    """
    save_arrays(path, {name: parameter.value for name, parameter in model.named_parameters()})


def load_weights(path: str | Path, model: Layer) -> None:
    """Read weights into a model of the same architecture; the model is changed only where all of them fit.

    Raises CheckpointError where the file is missing or damaged, or holds the weights of another model.
    """
    arrays, _ = load_arrays(path)
    put_weights(path, model, arrays)


def put_weights(path: str | Path, model: Layer, arrays: Mapping[str, Array]) -> None:
    """Copy named arrays, read from `path`, into a model; each takes the model's floating type.

    Raises CheckpointError where they are the weights of another model, or not finite.
    """
    named = dict(model.named_parameters())
    differing = sorted(named.keys() ^ arrays.keys())
    if differing:
        where = "lacks" if differing[0] in named else "has an unknown"
        raise CheckpointError(f"{path}: the weights are of another model: the file {where} {differing[0]}")
    fitting = {}
    for name, parameter in named.items():
        if arrays[name].shape != parameter.value.shape:
            raise CheckpointError(
                f"{path}: the weights are of another model: {name} is {arrays[name].shape}, not {parameter.value.shape}"
            )
        with np.errstate(over="ignore"):
            fitting[name] = arrays[name].astype(parameter.value.dtype, copy=False)
        if not np.isfinite(fitting[name]).all():
            raise CheckpointError(f"{path}: {name} holds numbers that are not finite in {parameter.value.dtype}")
    for name, parameter in named.items():
        np.copyto(parameter.value, fitting[name])
