"""The command lines as a user meets them: results, resuming, interruptions, and every wrong turn."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps import command_line
from apps.errors import InputError
from apps.mnist.data import load
from apps.mnist.task import MNIST
from apps.predictor import open_predictor
from apps.run import Run, check_data, next_run
from apps.training import Plan, choose, outputs
from core import load_arrays, save_arrays
from core.metrics import softmax

pytest.importorskip("sklearn")
pytest.importorskip("rich")
Image = pytest.importorskip("PIL.Image")

ROOT = Path(__file__).parent.parent
QUICK = ["--data", "sample", "--model", "softmax_regression", "--epochs", "2"]


@pytest.fixture(scope="module")
def sample():
    return load("sample")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch, sample):
    """Runs land in the test's folder, and the sample is made once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_DATA", raising=False)
    use(monkeypatch, sample)


def use(monkeypatch, data):
    """Let the task load these data at once."""
    monkeypatch.setattr(
        command_line, "TASKS", {"mnist": replace(MNIST, load=lambda where, dataset, tested=False: data)}
    )


def train(*flags):
    return command_line.train(command_line.TASKS["mnist"], [*QUICK, *flags])


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.name != ".lock"}


def script(name, *flags, **more):
    """Start a script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts" / name, *map(str, flags)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.fixture
def digit(tmp_path, sample):
    """An image file of a test digit, and its label."""
    path = tmp_path / "digit.png"
    Image.fromarray(np.uint8(sample.test.x[3, 0] * 255)).save(path)
    return path, str(sample.test.t[3])


# What a training leaves and prints


def test_a_training_leaves_a_run_and_prints_one_json_value(capsys, sample):
    assert train("--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert list(result) == ["task", "model", "dataset", "split", "examples", "metrics", "seconds", "run"]
    assert (result["task"], result["model"], result["split"]) == ("mnist", "softmax_regression", "test")
    assert result["examples"] == len(sample.test)
    assert "sample" in result["dataset"]
    assert set(result["metrics"]) == {"accuracy", "error", "nll", "calibration_error"}
    assert result["metrics"]["accuracy"] > 0.8
    assert set(files(result["run"])) == {
        "state.safetensors", "model.safetensors", "model.json", "history.jsonl", "curves.png",
    }  # fmt: skip
    assert "epoch   2/2" in err
    assert "most often mistaken" in err
    assert result["run"] in err
    with Image.open(Path(result["run"]) / "curves.png") as curves:
        assert curves.size == (1080, 504)


def test_the_default_learns_the_sample(capsys):
    assert command_line.train(command_line.TASKS["mnist"], ["--data", "sample", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"] == "cnn"
    assert result["metrics"]["accuracy"] >= 0.97


def test_runs_get_folders_of_their_own(capsys):
    train()
    train()
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "mnist-softmax_regression-1",
        "mnist-softmax_regression-2",
    ]


def test_a_run_says_all_that_serving_needs(capsys):
    train("--out", "run", "--seed", "3")
    facts = json.loads(Path("run/model.json").read_text())
    assert facts["format"] == 1
    assert facts["model"] == "softmax_regression"
    assert facts["arguments"] == {"inputs": 784, "outputs": 10}
    assert facts["labels"] == list("0123456789")
    assert facts["recipe"]["seed"] == 3
    assert len(facts["data"]["fingerprint"]) == 16
    assert facts["metrics"]["accuracy"] > 0.8
    assert facts["versions"]["numpy"] == np.__version__


def test_evaluating_a_run_repeats_its_result(capsys):
    train("--json", "--out", "run")
    trained = json.loads(capsys.readouterr().out)
    assert command_line.evaluate(["mnist", "--run", "run", "--data", "sample", "--json"]) == 0
    tested = json.loads(capsys.readouterr().out)
    assert tested["metrics"] == trained["metrics"]
    assert list(tested) == list(trained)
    assert command_line.evaluate(["mnist", "--run", "run", "--data", "sample"]) == 0
    assert "95 % interval" in capsys.readouterr().out


def test_predicting_an_image_file(capsys, digit):
    train("--epochs", "10", "--out", "run")
    capsys.readouterr()
    path, label = digit
    assert command_line.predict(["mnist", "--run", "run", "--json", "--out", "table.csv", str(path), str(path)]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first == second
    assert first["input"] == str(path)
    assert first["label"] == label
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    rows = list(csv.DictReader(Path("table.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == [label, label]
    assert float(rows[0][label]) == pytest.approx(first["probabilities"][label], abs=1e-6)
    assert command_line.predict(["mnist", "--run", "run", str(path)]) == 0
    assert f"{path}  {label}" in capsys.readouterr().out


# Resuming


def test_an_interrupted_training_ends_in_the_same_bits(capsys, monkeypatch):
    recipe = ["--validation", "0.1", "--patience", "5", "--average", "0.9", "--augment", "1"]
    train(*recipe, "--out", "whole")
    steps = iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(command_line, "_interrupts", lambda: _Switch(lambda: next(steps) >= 13))
        assert train(*recipe, "--out", "cut") == 130
    assert "--out cut --resume" in capsys.readouterr().err
    assert train(*recipe, "--out", "cut", "--resume") == 0
    for name in ("model.safetensors", "state.safetensors"):
        a, b = load_arrays(Path("whole") / name)[0], load_arrays(Path("cut") / name)[0]
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


class _Switch:
    """In the place of Ctrl-C: true once a condition holds."""

    def __init__(self, condition):
        self.condition = condition

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __bool__(self):
        return self.condition()


def test_resuming_refuses_another_recipe_or_model(capsys):
    train("--out", "run")
    before = files("run")
    assert train("--out", "run", "--resume", "--lr", "0.5") == 2
    assert capsys.readouterr().err.endswith("was begun with lr 0.005, not 0.5: resume it as it was begun.\n")
    assert command_line.train(MNIST, ["--out", "run", "--resume", "--model", "mlp"]) == 2
    assert "begun with model softmax_regression, not mlp" in capsys.readouterr().err
    assert files("run") == before


def test_resuming_refuses_other_data(capsys, monkeypatch, sample):
    train("--out", "run")
    use(monkeypatch, replace(sample, fingerprint="0" * 16))
    assert train("--out", "run", "--resume") == 2
    assert "the data now are others" in capsys.readouterr().err


def test_history_beyond_the_saved_state_is_dropped(capsys):
    train("--out", "run")
    history = Path("run/history.jsonl")
    lines = history.read_text()
    history.write_text(lines + lines.splitlines()[-1].replace('"epoch": 1', '"epoch": 2') + "\n")
    assert train("--out", "run", "--resume") == 0
    assert len(history.read_text().splitlines()) == 2


def test_a_description_that_nobody_would_read_is_not_written(capsys, monkeypatch):
    monkeypatch.setattr("apps.run.MOST_JSON", 300)
    assert train("--out", "run") == 2
    assert "model.json would have more than" in capsys.readouterr().err
    assert not Path("run/model.json").exists()


def test_a_state_that_names_a_teacher_where_there_is_none_is_refused(capsys):
    train("--out", "run")
    arrays, facts = load_arrays("run/state.safetensors")
    save_arrays("run/state.safetensors", arrays, facts | {"teacher": "cnn"})
    assert train("--out", "run", "--resume") == 2
    assert "takes no teacher: leave --teacher out" in capsys.readouterr().err


def test_a_line_of_history_that_was_cut_off_is_not_one(capsys):
    train("--out", "run")
    run, history = Run(Path("run")), Path("run/history.jsonl")
    whole, lines = history.read_bytes(), run.read_history(9)
    assert len(lines) == 2
    run.add_to_history(lines[-1] | {"epoch": 2})
    assert history.read_bytes().startswith(whole)
    assert len(run.read_history(9)) == 3
    for cut in (1, 5, 200):
        history.write_bytes(history.read_bytes()[:-cut])
        assert run.read_history(9) == lines
    assert train("--out", "run", "--resume") == 0
    assert history.read_bytes() == whole


def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path):
    flags = ["--data", "sample", "--model", "mlp", "--epochs", "400", "--out", tmp_path / "run"]
    process = script("train_mnist.py", *flags)
    try:
        _wait_for(tmp_path / "run" / "history.jsonl", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert "nothing is lost" in err
    assert "Traceback" not in err
    _, facts = load_arrays(tmp_path / "run" / "state.safetensors")
    assert facts["state"]["step"] > 0


def test_a_killed_training_leaves_a_run_that_loads_and_goes_on_to_the_same_bits(tmp_path):
    flags = ["--data", "sample", "--model", "mlp", "--epochs", "16"]
    whole = script("train_mnist.py", *flags, "--out", tmp_path / "whole")
    process = script("train_mnist.py", *flags, "--out", tmp_path / "cut")
    try:
        for lines in (2, 9):
            _wait_for(tmp_path / "cut" / "history.jsonl", process, lines)
            process.kill()
            process.communicate()
            load_arrays(tmp_path / "cut" / "state.safetensors")
            process = script("train_mnist.py", *flags, "--out", tmp_path / "cut", "--resume")
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert whole.wait(timeout=120) == 0
    finally:
        for each in (whole, process):
            each.kill()
            each.communicate()
    a, b = (load_arrays(tmp_path / name / "model.safetensors")[0] for name in ("whole", "cut"))
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def _wait_for(path, process, lines=1):
    until = time.monotonic() + 90
    while not (path.exists() and path.read_text().count("\n") >= lines):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


# Wrong turns: one sentence, status 2, nothing overwritten


def test_a_run_is_never_overwritten(capsys):
    train("--out", "run")
    before = files("run")
    assert train("--out", "run") == 2
    assert "holds a run already: give --resume" in capsys.readouterr().err
    assert files("run") == before


def test_a_folder_of_other_things_is_left_alone(capsys):
    Path("home").mkdir()
    Path("home/letter.txt").write_text("dear")
    assert train("--out", "home") == 2
    assert "holds other files" in capsys.readouterr().err
    assert files("home") == {"letter.txt": b"dear"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "resnet9000"], "no model 'resnet9000' for mnist: choose one of softmax_regression, mlp"),
        (["--epochs", "0"], "epochs is a whole number from 1 up, not 0"),
        (["--lr", "-1"], "lr is a finite number above 0, not -1"),
        (["--lr", "nan"], "lr is a finite number above 0, not nan"),
        (["--optimizer", "newton"], "optimizer is one of sgd"),
        (["--schedule", "random"], "schedule is one of constant"),
        (["--dropout", "0.5"], "softmax_regression has no dropout"),
        (["--patience", "3", "--validation", "0"], "patience needs validation above 0"),
        (["--validation", "1"], "validation is from 0 up to, not including, 1"),
        (["--clip-norm", "-2"], "clip_norm is a finite number from 0 up"),
        (["--monitor", "beauty"], "monitor is one of loss, accuracy, not beauty"),
        (["--resume"], "--out DIR --resume"),
        (["--out", "nowhere", "--resume"], "holds no run to resume"),
        (["--out", "file.txt"], "cannot be used"),
        (["--lr", "1e39", "--optimizer", "sgd"], "the loss is not finite at step"),
    ],
)
def test_a_wrong_flag_is_one_sentence(capsys, flags, message):
    Path("file.txt").write_text("not a folder")
    assert train(*flags) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]


def test_a_loss_that_is_not_finite_names_step_layer_and_remedy(capsys):
    assert train("--lr", "1e39", "--optimizer", "sgd", "--schedule", "constant", "--out", "run") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "at step 1" in last
    assert "layers.1 (Dense(784, 10))" in last
    assert "learning rate a tenth" in last
    assert not Path("run/state.safetensors").exists()  # weights that are not finite are not worth keeping


@pytest.mark.parametrize("flags", [["--threads", "0"], ["--threads", "x"], ["--epochs", "two"], ["--nonsense"]])
def test_what_is_no_number_is_refused_by_the_parser(capsys, flags):
    with pytest.raises(SystemExit) as stop:
        train(*flags)
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def labelled(labels):
    return lambda content: json.dumps(json.loads(content) | {"labels": labels}).encode()


def asking(**arguments):
    return lambda content: json.dumps(json.loads(content) | {"model": "mlp", "arguments": arguments}).encode()


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("model.safetensors", lambda b: b[:100], "damaged"),
        ("model.safetensors", lambda b: b"", "damaged"),
        ("model.json", lambda b: b[:-20], "damaged"),
        ("model.json", lambda b: b"[" * 100_000, "damaged"),
        ("model.json", lambda b: b.replace(b'"format": 1', b'"format": 2'), "newer"),
        ("model.json", lambda b: b.replace(b'"softmax_regression"', b'"os.system"'), "no model 'os.system'"),
        ("model.json", lambda b: b.replace(b'"inputs": 784', b'"inputs": 10000000'), "parameters"),
        ("model.json", lambda b: b.replace(b'"inputs": 784', b'"inputs": 783'), "another model"),
        ("model.json", lambda b: b.replace(b'"mnist"', b'"sentiment"'), "a model for sentiment, not for mnist"),
        ("model.json", lambda b: b.replace(b'"inputs"', b'"rng"'), "takes no 'rng'"),
        ("model.json", labelled([]), "not distinct words"),
        ("model.json", labelled(["0"] * 10), "not distinct words"),
        ("model.json", labelled(["0"]), "not distinct words, two or more"),
        ("model.json", labelled([None] * 10), "not distinct words"),
        ("model.json", labelled(list("01234567")), "not 8 finite numbers"),
        ("model.json", asking(inputs=784, outputs=10, hidden=[7000] * 60), "parameters"),
        ("model.json", asking(inputs=784, outputs=10, hidden=[7000, 7000], initializer="orthogonal"), "parameters"),
        ("model.json", lambda b: b.replace(b'"format": 1', b'"format": true'), "does not describe a model"),
    ],
)
def test_a_damaged_or_foreign_run_is_named(capsys, digit, name, damage, message):
    train("--out", "run")
    path = Path("run") / name
    path.write_bytes(damage(path.read_bytes()))
    capsys.readouterr()
    assert command_line.predict(["mnist", "--run", "run", str(digit[0])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err
    assert "run/model." in err


@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b"", lambda b: b[::-1]])
def test_a_damaged_state_is_named_and_left_as_it_is(capsys, damage):
    train("--out", "run")
    path = Path("run/state.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    before = files("run")
    capsys.readouterr()
    assert train("--out", "run", "--resume") == 2
    assert "damaged" in capsys.readouterr().err
    assert files("run") == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.png", "missing.png cannot be read"),
        (".", "cannot be read"),
        ("text.png", "is not a whole image"),
        ("bomb.png", "megapixels"),
    ],
)
def test_an_unusable_image_is_named(capsys, tmp_path, given, message):
    train("--out", "run")
    Path("text.png").write_text("not an image")
    Image.new("1", (9000, 9000)).save("bomb.png")
    capsys.readouterr()
    assert command_line.predict(["mnist", "--run", "run", "--out", "table.csv", given]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert not Path("table.csv").exists()


def test_a_model_or_run_that_is_not_there_is_named(capsys, digit):
    assert command_line.predict(["mnist", "--model", "nothing", str(digit[0])]) == 2
    assert "no model 'nothing'" in capsys.readouterr().err
    assert command_line.predict(["mnist", "--run", "nowhere", str(digit[0])]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err


def test_a_missing_extra_names_the_command_that_installs_it(tmp_path):
    """As after a plain `pip install .`: none of the extra's packages can be imported."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfor name in ('datasets', 'huggingface_hub', 'matplotlib', 'PIL', 'rich', 'sklearn'):\n"
        "    sys.modules[name] = None\n"
    )
    for name, flags in (("train_mnist.py", ["--data", "sample"]), ("evaluate.py", ["mnist"])):
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / name, *flags],
            env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert "pip install '.[apps]'" in done.stderr
        assert "Traceback" not in done.stderr


# Help, and the zoo


@pytest.mark.parametrize("name", ["train_mnist.py", "evaluate.py", "predict.py", "zoo.py"])
def test_help_teaches_without_heavy_imports(name):
    out, err = script(name, "--help").communicate(timeout=30)
    assert err == ""
    assert "usage" in out


def test_every_flag_says_what_it_does():
    assert all(len(text) > 10 for text in command_line.field_help().values())


def test_the_zoo_lists_its_models_and_shows_their_cards(capsys):
    assert command_line.zoo(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = {row["name"] for row in rows}
    assert {f"mnist_{name}" for name in MNIST.entries} <= names
    assert command_line.zoo(["list"]) == 0
    assert "mnist_cnn" in capsys.readouterr().out
    for name in names:
        assert command_line.zoo(["card", name]) == 0
        card = capsys.readouterr().out
        for heading in ("What it is", "Data", "Training", "Results", "Limits"):
            assert heading in card, (name, heading)
    assert command_line.zoo(["card", "nothing"]) == 2
    assert "no card of 'nothing'" in capsys.readouterr().err


# What a hostile tester found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no fifos here")
def test_nothing_waits_for_a_fifo(capsys, digit):
    os.mkfifo("pipe")
    assert command_line.predict(["mnist", "pipe"]) == 2
    assert "it is not a file" in capsys.readouterr().err
    assert command_line.predict(["mnist", "--out", "pipe", str(digit[0])]) == 2
    assert "pipe is not a file: give --out the name of a CSV file" in capsys.readouterr().err
    assert Path("pipe").is_fifo()
    train("--out", "run")
    Path("run/model.json").unlink()
    os.mkfifo("run/model.json")
    assert command_line.predict(["mnist", "--run", "run", str(digit[0])]) == 2
    assert "this is not a file" in capsys.readouterr().err


def test_a_link_to_itself_is_no_file_to_write(capsys, digit):
    Path("loop").symlink_to("loop")
    assert command_line.predict(["mnist", "--out", "loop", str(digit[0])]) == 2
    assert "loop is not a file: give --out the name of a CSV file" in capsys.readouterr().err
    assert Path("loop").is_symlink()


def test_a_link_is_followed_and_not_replaced(capsys, digit):
    Path("link.csv").symlink_to("table.csv")
    assert command_line.predict(["mnist", "--out", "link.csv", str(digit[0])]) == 0
    assert Path("link.csv").is_symlink()
    assert Path("table.csv").read_text().startswith("input,label,0")


@pytest.mark.parametrize("out", ["", ".", "/", "run"])
def test_a_folder_is_no_file_to_write(capsys, digit, out):
    Path("run").mkdir()
    assert command_line.predict(["mnist", f"--out={out}", str(digit[0])]) == 2
    assert "is not a file: give --out the name of a CSV file" in capsys.readouterr().err
    assert Path("run").is_dir()


def test_two_trainings_never_share_a_folder(capsys):
    first, second = next_run(Path("runs"), "a"), next_run(Path("runs"), "a")
    assert first != second
    with first.locked(), pytest.raises(InputError, match="Another training is writing to runs"), first.locked():
        pass
    with first.locked():  # free again
        pass


def test_an_evaluation_is_the_same_on_any_number_of_threads(sample):
    model = open_predictor(MNIST, model="mlp").model
    one, two, four = (outputs(model, sample.train.x, threads) for threads in (1, 2, 4))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, four)


@pytest.mark.parametrize("fraction", ["0.9999", "0.99999999"])
def test_too_few_examples_to_hold_out_are_told_before_a_folder_is_made(capsys, fraction):
    assert train("--validation", fraction, "--out", "run") == 2
    assert "both parts need at least one" in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_stop_at_the_end_of_an_epoch_leaves_the_same_history(capsys, monkeypatch):
    train("--out", "whole")
    for at in (10, 11, 12):  # an epoch has twelve steps
        steps = iter(range(1000))
        with monkeypatch.context() as patch:
            patch.setattr(command_line, "_interrupts", lambda steps=steps, at=at: _Switch(lambda: next(steps) >= at))
            assert train("--out", f"cut-{at}") == 130
        assert train("--out", f"cut-{at}", "--resume") == 0
        histories = [json.loads(line) for line in Path(f"cut-{at}/history.jsonl").read_text().splitlines()]
        for line, other in zip(histories, Path("whole/history.jsonl").read_text().splitlines(), strict=True):
            assert line["layers"] == json.loads(other)["layers"]


@pytest.mark.parametrize(
    "line",
    [
        '{"epoch": 0}',
        '{"epoch": 0, "seconds": "x"}',
        '{"epoch": 0, "seconds": 1e999, "loss": 1.0, "lr": 0.1, "validation": {}}',
        '{"epoch": 0, "seconds": 1.0, "loss": 1.0, "lr": 0.1, "validation": []}',
        '{"epoch": 0, "seconds": 1.0, "loss": 1.0, "lr": 1e308, "validation": {}}',
        '{"epoch": 0, "seconds": 1.0, "loss": null, "lr": 0.1, "validation": {}}',
        '{"epoch": 0, "seconds": 1.0, "loss": 1.0, "lr": 0.1, "validation": {}, "accuracy": {"a": 1}}',
        '{"epoch": 0, "seconds": 1.0, "loss": 1.0, "lr": 0.1, "validation": {}, "fold": []}',
        "[" * 100_000,
    ],
)
def test_a_damaged_history_is_named(capsys, line):
    train("--out", "run")
    Path("run/history.jsonl").write_text(line + "\n")
    assert train("--out", "run", "--resume") == 2
    err = capsys.readouterr().err
    assert "history.jsonl: the file is damaged" in err
    assert "remove it to go on without it" in err
    Path("run/history.jsonl").unlink()
    assert train("--out", "run", "--resume") == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays, facts: (arrays | {"extra": np.zeros(1)}, facts),
        lambda arrays, facts: ({k: a.astype(np.float64) for k, a in arrays.items()}, facts),
        lambda arrays, facts: ({k: np.full_like(a, np.nan) for k, a in arrays.items()}, facts),
        lambda arrays, facts: (arrays, facts | {"state": facts["state"] | {"epoch": 1}}),
        lambda arrays, facts: (arrays, facts | {"state": facts["state"] | {"epoch": 10**400}}),
        lambda arrays, facts: (arrays, facts | {"state": facts["state"] | {"batch": 7}}),
        lambda arrays, facts: (arrays, facts | {"recipe": facts["recipe"] | {"lanes": 10**7}}),
        lambda arrays, facts: (arrays, facts | {"recipe": facts["recipe"] | {"epochs": 10**400}}),
        lambda arrays, facts: (arrays, facts | {"recipe": facts["recipe"] | {"monitor": []}}),
        lambda arrays, facts: (arrays, facts | {"recipe": facts["recipe"] | {"average": 0.5}}),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(capsys, spoil):
    train("--out", "run")
    save_arrays("run/state.safetensors", *spoil(*load_arrays("run/state.safetensors")))
    capsys.readouterr()
    assert train("--out", "run", "--resume") == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--epochs", "9" * 400], ["--lanes", "9" * 400], ["--lanes", "1000000000"]])
def test_absurd_numbers_are_refused(capsys, flags):
    assert command_line.train(command_line.TASKS["mnist"], ["--model", "mlp", *flags]) == 2
    assert "at most" in capsys.readouterr().err


def test_a_name_that_is_no_text_is_shown_all_the_same(tmp_path, digit):
    name = os.fsencode(tmp_path) + b"/\xff.png"
    with open(name, "wb") as file:
        file.write(digit[0].read_bytes())
    for flags in ([], ["--json"]):
        out, err = script("predict.py", "mnist", os.fsdecode(name), *flags).communicate(timeout=60)
        assert err == ""
        assert "ff.png" in out


# A stranger, averaged views, fine-tuning, ensembles


def answer(capsys, *flags):
    capsys.readouterr()
    assert command_line.predict(["mnist", "--json", *map(str, flags)]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_is_no_digit_is_called_so(capsys, tmp_path, digit):
    flags = ["--outliers", "0.3", "--validation", "0.2", "--model", "mlp", "--epochs", "25"]
    assert train(*flags, "--out", "run") == 0
    blank, crowd = tmp_path / "blank.png", tmp_path / "crowd.png"
    Image.new("L", (60, 40), 200).save(blank)
    two = np.zeros((28, 28), np.uint8)
    two[4:24, ::3] = 255  # a comb
    Image.fromarray(two).save(crowd)
    real, nothing, comb = answer(capsys, "--run", "run", digit[0], blank, crowd)
    assert real["label"] == real["nearest"] == digit[1]
    assert nothing["label"] == comb["label"] == "not a digit"
    assert comb["nearest"] in comb["probabilities"]
    assert len(comb["probabilities"]) == 10
    assert sum(comb["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    facts = json.loads(Path("run/model.json").read_text())
    assert facts["arguments"]["outputs"] == 11
    assert 0 < facts["calibration"]["ceiling"] < 1


def test_outliers_are_made_of_digits_only(capsys, monkeypatch, sample):
    clothes = replace(sample, name="clothes", stranger="not a garment")
    monkeypatch.setattr(
        command_line, "TASKS", {"mnist": replace(MNIST, load=lambda where, dataset, tested=False: clothes)}
    )
    assert train("--outliers", "0.1", "--dataset", "fashion_mnist") == 2
    assert "made from digits only" in capsys.readouterr().err


def test_an_answer_may_be_averaged_over_views(capsys, digit):
    train("--out", "run")
    (once,), (again,) = answer(capsys, "--run", "run", digit[0]), answer(capsys, "--run", "run", "--tta", "1", digit[0])
    (averaged,) = answer(capsys, "--run", "run", "--tta", "5", digit[0])
    assert once == again != averaged
    assert averaged["label"] == digit[1]
    assert averaged == answer(capsys, "--run", "run", "--tta", "5", digit[0])[0]
    assert command_line.evaluate(["mnist", "--run", "run", "--tta", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"] > 0.7


def test_fine_tuning_begins_with_trained_weights_and_leaves_the_first_layers_alone(capsys):
    train("--model", "mlp", "--out", "first")
    assert train("--model", "mlp", "--from", "first", "--freeze", "1", "--seed", "3", "--out", "second") == 0
    before, after = (load_arrays(Path(run) / "model.safetensors")[0] for run in ("first", "second"))
    same = {name for name in before if (before[name] == after[name]).all()}
    assert same == {"layers.1.weight", "layers.1.bias"}  # layers.0 flattens the image
    facts = json.loads(Path("second/model.json").read_text())
    assert (facts["start"], facts["frozen"]) == ("first", 1)


def test_an_interrupted_fine_tuning_goes_on_without_what_it_began_with(capsys, monkeypatch):
    train("--model", "mlp", "--out", "first")
    tune = ["--model", "mlp", "--from", "first", "--freeze", "1", "--out"]
    train(*tune, "whole")
    steps = iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(command_line, "_interrupts", lambda: _Switch(lambda: next(steps) >= 13))
        assert train(*tune, "cut") == 130
    (Path("first") / "model.json").unlink()
    assert train(*tune, "cut", "--resume") == 0
    a, b = (load_arrays(Path(run) / "model.safetensors")[0] for run in ("whole", "cut"))
    for name, values in a.items():
        np.testing.assert_array_equal(values, b[name])
    assert train("--model", "mlp", "--freeze", "2", "--out", "cut", "--resume") == 2
    assert "begun with frozen 1, not 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--from", "nowhere"], "neither a model with shipped weights nor the folder of a run"),
        (["--model", "mlp", "--from", "first"], "that is a softmax_regression"),
        (["--freeze", "1"], "1 layers with weights, and one has to learn"),
    ],
)
def test_fine_tuning_that_cannot_be_is_one_sentence(capsys, flags, message):
    train("--out", "first")
    capsys.readouterr()
    assert train(*flags, "--out", "second") == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not Path("second").exists()


@pytest.mark.parametrize(("labels", "kept"), [(None, True), (tuple("abcdefghij"), False)])
def test_the_last_layer_begins_afresh_for_other_labels_alone(sample, labels, kept):
    train("--model", "mlp", "--out", "first")
    before, _ = load_arrays(Path("first/model.safetensors"))
    name, arguments, recipe = choose(MNIST, "mlp")
    plan = Plan(MNIST, replace(sample, labels=labels or sample.labels), "mnist", name, arguments, recipe, "first")
    after = {name: parameter.value for name, parameter in plan.build().named_parameters()}
    same = {name for name in before if (before[name] == after[name]).all()}
    last = {name for name in before if name.startswith(f"layers.{len(plan.build().layers) - 1}.")}
    assert same == set(before) - (set() if kept else last)
    assert last


NET = ["--model", "vgg", "--epochs", "1", "--batch-size", "512", "--validation", "0.1", "--outliers", "0"]


def test_an_ensemble_is_the_mean_of_its_members(capsys, sample):
    for seed in "01":
        assert train(*NET, "--seed", seed, "--out", f"net{seed}") == 0
    capsys.readouterr()
    assert command_line.ensemble(["mnist", "net0", "net1", "--out", "both", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["model"], result["run"]) == ("vgg_ensemble", "both")
    x = sample.test.x[:20]
    members = [softmax(open_predictor(MNIST, run=Path(run)).logits(x)) for run in ("net0", "net1")]
    together = softmax(open_predictor(MNIST, run=Path("both")).logits(x))
    np.testing.assert_allclose(together, (members[0] + members[1]) / 2, atol=1e-6)
    assert command_line.evaluate(["mnist", "--run", "both", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == result["metrics"]


def test_a_model_belongs_to_the_data_that_it_learned_from(sample):
    facts = {"data": {"name": "old digits", "fingerprint": sample.fingerprint}}
    check_data(facts, sample)
    with pytest.raises(InputError, match=r"learned from old digits, which sample .* is not: give --data as then"):
        check_data(facts, replace(sample, fingerprint="another"))


def test_an_ensemble_of_what_does_not_belong_together_is_refused(capsys):
    train("--out", "simple")
    train(*NET, "--out", "net0")
    train(*NET, "--lr", "0.001", "--out", "net1")
    for members, message in (
        (["net0"], "two members or more"),
        (["net0", "nowhere"], "nowhere is not the folder of a run"),
        (["simple", "simple"], "no ensemble of softmax_regression"),
        (["net0", "net1"], "not trained alike but for the seed"),
        (["net0", "simple"], "not trained alike"),
    ):
        capsys.readouterr()
        assert command_line.ensemble(["mnist", *members, "--out", "both"]) == 2
        assert message in capsys.readouterr().err
        assert not Path("both").exists()


def test_clothes_are_trained_without_outliers(capsys, monkeypatch, sample):
    clothes = replace(sample, name="clothes", stranger="not a garment")
    monkeypatch.setattr(
        command_line, "TASKS", {"mnist": replace(MNIST, load=lambda where, dataset, tested=False: clothes)}
    )
    flags = ["--model", "resnet", "--epochs", "1", "--batch-size", "512", "--dataset", "fashion_mnist", "--out", "run"]
    assert train(*flags) == 0
    facts = json.loads(Path("run/model.json").read_text())
    assert facts["recipe"]["outliers"] == 0
    assert facts["recipe"]["augment"] > 0
    assert facts["stranger"] == "not a garment"
