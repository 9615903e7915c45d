"""Weights in 8 bits: how exact they are, and what a damaged file gets."""

from pathlib import Path

import numpy as np
import pytest

from apps.eight_bit import SCALE, pack, unpack
from core import CheckpointError

HERE = Path("model.safetensors")


def test_a_table_comes_back_within_half_a_step_of_its_rows():
    rng = np.random.default_rng(0)
    table = (rng.standard_normal((50, 20)) * np.geomspace(1e-4, 10, 50)[:, np.newaxis]).astype(np.float32)
    table[7] = 0
    packed = pack("table", table) | {"bias": np.ones(3, np.float32)}
    assert packed["table"].dtype == np.uint8
    whole = unpack(HERE, packed)
    assert set(whole) == {"table", "bias"}
    assert whole["table"].dtype == np.float32
    most = np.abs(table).max(axis=1, keepdims=True)
    assert (np.abs(whole["table"] - table) <= most / 254 * 1.001).all()
    assert not whole["table"][7].any()


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: {"table" + SCALE: packed["table" + SCALE][:-1]},
        lambda packed: {"table": packed["table"].astype(np.float32)},
        lambda packed: {"table": packed["table"].reshape(-1)},
        lambda packed: {"table" + SCALE: packed["table" + SCALE] * np.float32(np.inf)},
    ],
)
def test_a_table_and_a_scale_that_do_not_fit_are_refused(damage):
    packed = pack("table", np.ones((4, 5), np.float32))
    with pytest.raises(CheckpointError, match="table and its scale do not fit together"):
        unpack(HERE, packed | damage(packed))
