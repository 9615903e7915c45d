"""Tables of weights in 8 bits a number: a quarter of the bytes, for the zoo's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core import Array, CheckpointError

SCALE = ".scale"  # behind the name of a table
ZERO = 128


def pack(name: str, value: Array) -> dict[str, Array]:
    """{name: q (R, C) of 8 bits, name.scale: s (R,)} with value ≈ (q − 128) s, each row as fine as its largest number

    A number is off by half a step, 1/254 of the largest of its row, at most.
    """
    scale = np.abs(value).max(axis=1) / (ZERO - 1)
    steps = np.rint(value / np.where(scale > 0, scale, 1)[:, np.newaxis])
    return {name: (steps + ZERO).astype(np.uint8), name + SCALE: scale.astype(np.float32)}


def unpack(path: Path, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of a file, with what `pack` packed as it was, all but exactly.

    Raises CheckpointError where a table and its scale do not fit together.
    """
    scales = {name: array for name, array in arrays.items() if name.endswith(SCALE) and name[: -len(SCALE)] in arrays}
    whole = {name: array for name, array in arrays.items() if name not in scales}
    for name, scale in scales.items():
        table = name[: -len(SCALE)]
        q = whole[table]
        if q.dtype != np.uint8 or q.ndim != 2 or scale.shape != (len(q),) or not np.isfinite(scale).all():
            raise CheckpointError(f"{path}: the file is damaged: {table} and its scale do not fit together")
        values = q.astype(np.float32)
        values -= ZERO
        values *= scale.astype(np.float32)[:, np.newaxis]
        whole[table] = values
    return whole
