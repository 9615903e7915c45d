"""The wheel, in an environment that has nothing else: what is in it, what works, and what says how to get the rest."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UV = shutil.which("uv")


def run(*command, **more):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "ZOO_DATA")
    }
    return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=300, **more)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if UV is None:
        pytest.skip("uv, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    done = run(UV, "build", "--wheel", "--out-dir", folder, ROOT)
    if done.returncode:
        pytest.skip(f"the wheel cannot be built here: {done.stderr.strip().splitlines()[-1]}")
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """A Python with the wheel and what it needs, and nothing else; away from the sources."""
    folder = tmp_path_factory.mktemp("bare")
    assert run(UV, "venv", folder / "env").returncode == 0
    python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = run(UV, "pip", "install", "--python", python, wheel)
    if done.returncode:
        pytest.skip(f"its dependencies cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    return lambda *arguments: run(python, *arguments, cwd=folder)


def test_the_wheel_holds_engine_zoo_and_applications_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"core", "models", "apps"}
    for name in (
        "core/py.typed",
        "models/results.csv",
        "models/weights/mnist_cnn.safetensors",
        "models/cards/mnist_cnn.md",
    ):
        assert name in names


def test_the_engine_works_on_three_dependencies(bare):
    done = bare("-W", "error", "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    accuracy, extras = done.stdout.split()
    assert float(accuracy) > 0.9
    assert extras == "[]"


PROGRAM = """
import sys
import numpy as np
from core import *

x = np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32)
data = Examples(x, (x.sum(axis=1) > 0).astype(np.int64))
model = Sequential(Dense(2, 8, rng=np.random.default_rng(1)), ReLU(), Dense(8, 2, rng=np.random.default_rng(2)))
gradient_check(model, x[:5])
for event in fit(model, SoftmaxCrossEntropy(), Adam(0.01), data, Recipe(epochs=10, batch_size=30)):
    pass
save_weights("w.safetensors", model)
load_weights("w.safetensors", model)
extras = [name for name in ("datasets", "PIL", "sklearn", "matplotlib", "rich", "scipy") if name in sys.modules]
print(evaluate(model, data, SoftmaxCrossEntropy(), {"accuracy": correct})["accuracy"], extras)
"""


@pytest.mark.parametrize(
    ("script", "flags"), [("train_mnist.py", []), ("evaluate.py", ["mnist"]), ("predict.py", ["mnist", "digit.png"])]
)
def test_a_script_that_lacks_the_extra_names_the_command(bare, script, flags):
    done = bare(ROOT / "scripts" / script, *flags)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "pip install '.[apps]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_zoo_needs_no_extra(bare):
    assert "mnist_cnn" in bare(ROOT / "scripts" / "zoo.py", "list").stdout
