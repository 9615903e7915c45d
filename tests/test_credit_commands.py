"""The credit command lines as a user meets them: train, evaluate, predict, and every wrong turn."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apps import command_line as shared
from apps.credit import command_line
from apps.credit.model import load_credit
from apps.credit.scoring import ADDED
from apps.credit.simulate import simulate
from core import load_arrays, save_arrays

pytest.importorskip("rich")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_DATA", raising=False)


def write(path, rows=900, seed=0, **changes):
    """A CSV of simulated applicants; `changes` replace whole columns."""
    columns, _ = simulate(rows, rng=np.random.default_rng(seed))
    columns |= {"incumbent": 100 - columns["utilisation"]} | changes
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(["" if isinstance(v, float) and np.isnan(v) else v for v in row])
    return Path(path)


TABLE = ["--csv", "a.csv", "--target", "default", "--protected", "sex,region", "--cost", "1:5", "--score", "incumbent"]


TWICE = ["--derive", "x=positive(loan)", "--derive", "x=positive(income)"]


def train(*flags):
    return command_line.train([*TABLE, "--model", "additive", "--epochs", "3", *flags])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on a table of one's own."""
    folder = tmp_path_factory.mktemp("credit")
    path = write(folder / "a.csv")
    flags = ["--csv", str(path), *TABLE[2:], "--monotone", "utilisation:+,late_payments:+"]
    assert command_line.train([*flags, "--model", "additive", "--epochs", "3", "--out", str(folder / "run")]) == 0
    return folder / "run"


def records(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Training


def test_a_training_leaves_a_run_and_prints_one_json_value(capsys):
    write("a.csv")
    assert train("--json", "--out", "run") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert list(result) == ["task", "model", "dataset", "split", "examples", "metrics", "seconds", "run"]
    assert (result["task"], result["model"], result["split"], result["examples"]) == ("credit", "additive", "test", 180)
    assert {"roc_auc", "gini", "ks", "brier", "log_loss", "mean_cost"} == set(result["metrics"])
    assert result["metrics"]["gini"] == pytest.approx(2 * result["metrics"]["roc_auc"] - 1)
    names = {path.name for path in Path("run").iterdir()} - {".lock"}
    assert names == {"state.safetensors", "history.jsonl", "model.safetensors", "model.json", "report.html"}
    assert "kept for the audit alone: sex, region" in err
    assert "incumbent (the score to compare with)" in err
    schema = load_credit(Path("run/model")).schema
    assert not {"sex", "region", "default", "incumbent"} & {f.name for f in schema.features}


def test_the_report_has_every_section_and_its_figures_inside(run):
    page = (run / "report.html").read_text("utf-8")
    for section in (
        "Purpose, data and exclusions",
        "Performance",
        "Decisions and their cost",
        "Calibration",
        "Segments",
        "Stability",
        "What each feature tells",
        "Scorecard",
        "Fairness",
        "Reasons",
        "Limits",
        "How to get the same again",
    ):
        assert f". {section}</h2>" in page
    assert page.count("<svg") == 4
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "incumbent incumbent" in page
    assert "proxy test" in page
    assert "accepted applicants only" in page
    assert "nan" not in page.replace("nance", "")


def test_a_stopped_training_goes_on_to_the_same_bits(monkeypatch, capsys):
    write("a.csv")
    assert train("--out", "whole") == 0
    steps = []

    def stop_after(count):
        real = command_line.training

        def watched(plan, run, **more):
            def stop():
                steps.append(1)
                return len(steps) == count

            return real(plan, run, **more | {"stop": stop})

        monkeypatch.setattr(command_line, "training", watched)
        return real

    real = stop_after(13)
    assert train("--out", "part") == 130
    assert "nothing is lost" in capsys.readouterr().err
    monkeypatch.setattr(command_line, "training", real)
    assert command_line.train([*TABLE, "--out", "part", "--resume"]) == 0
    assert Path("part/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    lines = [json.loads(line) for line in Path("part/history.jsonl").read_text().splitlines()]
    assert [(line["fold"], line["epoch"]) for line in lines] == [(f, e) for f in range(5) for e in range(3)]


def test_a_run_is_resumed_as_it_was_begun(capsys):
    write("a.csv")
    assert train("--out", "run") == 0
    for flags, message in (
        (["--lr", "0.5"], "was begun with lr"),
        (["--model", "mlp"], "was begun with model additive"),
        (["--seed", "9"], "was begun with seed 0"),
        (["--monotone", "utilisation:+"], "was begun with other features"),
        (["--exclude", "utilisation"], "other data"),
    ):
        assert command_line.train([*TABLE, "--out", "run", "--resume", *flags]) == 2
        assert message in capsys.readouterr().err
    write("a.csv", seed=1)
    assert command_line.train([*TABLE, "--out", "run", "--resume"]) == 2
    assert "other data" in capsys.readouterr().err
    assert train("--out", "run") == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--csv", "a.csv"], "Give --target COLUMN"),
        (["--target", "bad"], "give --csv FILE"),
        (["--csv", "none.csv", "--target", "default"], "there is no such file"),
        (["--csv", "a.csv", "--target", "nope"], "no column 'nope'"),
        (["--csv", "a.csv", "--target", "purpose"], "has 5 classes"),
        (["--csv", "a.csv", "--target", "default", "--protected", "nope"], "no column 'nope'"),
        (["--csv", "a.csv", "--target", "default", "--monotone", "loan"], "give COLUMN:+ or COLUMN:-"),
        (["--csv", "a.csv", "--target", "default", "--monotone", "purpose:+"], "have no order"),
        (["--csv", "a.csv", "--target", "default", "--derive", "size"], "give NAME=RULE(COLUMN,…)"),
        (["--csv", "a.csv", "--target", "default", "--derive", "size=log(loan)"], "does not follow by a rule"),
        (["--csv", "a.csv", "--target", "default", "--derive", "x=positive(purpose)"], "no column of numbers"),
        (["--csv", "a.csv", "--target", "default", *TWICE[:2], "--exclude", "x"], "no column 'x'"),
        (["--csv", "a.csv", "--target", "default", *TWICE[:2], "--protected", "x"], "no column 'x'"),
        (["--csv", "a.csv", "--target", "default", *TWICE], "x is derived twice: give each feature a name of its own"),
        (["--csv", "a.csv", "--target", "default", "--cost", "1"], "two numbers above 0"),
        (["--csv", "a.csv", "--target", "default", "--cost", "1:-5"], "two numbers above 0"),
        (["--csv", "a.csv", "--target", "default", "--model", "nope"], "choose one of blend"),
        (["--csv", "a.csv", "--target", "default", "--cost", "1:nan"], "two numbers above 0"),
        (["--csv", "a.csv", "--target", "default", "--cost", "1e-320:1"], "two numbers above 0"),
        (["--csv", "a.csv", "--target", "default", "--class-weights", "nan:1"], "two numbers above 0"),
        (["--csv", "a.csv", "--target", "default", "--score", ""], "no column ''"),
        (["--csv", "a.csv", "--target", "default", "--weight", ""], "no column ''"),
        (["--data", "sample", "--lr", "-1"], "lr is a finite number above 0"),
        (["--resume"], "Give its folder"),
        (["--dataset", "german"], "no place on the hub"),
    ],
)
def test_bad_input_gets_a_sentence_and_status_two(flags, message, capsys):
    write("a.csv", rows=60)
    assert command_line.train(flags) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not Path("runs").exists()


def test_numbers_too_large_to_reckon_with_are_named(run, capsys):
    path = write("a.csv", rows=60)
    lines = path.read_text().splitlines()
    column = lines[0].split(",").index("income")
    cells = lines[3].split(",")
    for number in ("1e305", "-1e150", "1e400"):
        cells[column] = number
        path.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]))
        assert train("--out", "new") == 2
        assert f"Row 3, column income: '{number}' is not a finite number up to 1e100" in capsys.readouterr().err
        assert command_line.predict(["a.csv", "--run", str(run), "--out", "scored.csv"]) == 0
        assert records("scored.csv")[2]["decision"] == "not scored"


def test_a_file_may_begin_with_empty_lines(run):
    path = write("new.csv", rows=20)
    assert command_line.predict(["new.csv", "--run", str(run), "--out", "plain.csv"]) == 0
    path.write_text("\n\n" + path.read_text())
    assert command_line.predict(["new.csv", "--run", str(run), "--out", "scored.csv"]) == 0
    assert records("scored.csv") == records("plain.csv")


def test_a_run_is_not_resumed_with_other_weights_of_rows(capsys):
    write("a.csv", share=np.ones(900))
    flags = [*TABLE, "--weight", "share", "--out", "run"]
    assert command_line.train([*flags, "--model", "additive", "--epochs", "1"]) == 0
    write("a.csv", share=np.arange(1, 901))
    assert command_line.train([*flags, "--resume"]) == 2
    assert "other data" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [{"recipe": {}}, {"seed": -1}, {"class_weights": []}, {"class_weights": [-1, 1]}, {"model": "zz"}],
)
def test_a_state_of_no_training_is_named(capsys, change):
    write("a.csv")
    assert train("--out", "run") == 0
    arrays, facts = load_arrays("run/state.safetensors")
    for told in (change, {"bag": facts["bag"] | {"state": "x"}}):
        save_arrays("run/state.safetensors", arrays, facts | told)
        capsys.readouterr()
        assert command_line.train([*TABLE, "--out", "run", "--resume"]) == 2
        err = capsys.readouterr().err.splitlines()
        assert "state.safetensors: the file is damaged" in err[-1]


def test_a_description_that_nobody_would_read_stops_the_training_before_it_begins(capsys, monkeypatch):
    monkeypatch.setattr("apps.run.MOST_JSON", 300)
    write("a.csv", rows=60)
    assert train("--out", "run") == 2
    assert "model.json would have more than" in capsys.readouterr().err
    assert {path.name for path in Path("run").iterdir()} <= {".lock"}


def test_a_derived_feature_needs_no_column_of_its_own(capsys):
    write("a.csv", rows=200)
    flags = ["--monotone", "income:-", "--derive", "burden = mean_share(loan, income)", "--out", "run"]
    assert train(*flags) == 0
    burden = load_credit(Path("run/model")).schema.features[-1]
    assert (burden.name, burden.direction, burden.sources) == ("burden", 1, ("loan", "income"))
    assert "the mean of all but the last" in Path("run/report.html").read_text()
    assert command_line.predict(["a.csv", "--run", "run", "--out", "scored.csv"]) == 0
    assert all(row["pd"] for row in records("scored.csv"))
    assert command_line.evaluate(["--run", "run", "--json"]) == 0


# Evaluation


def test_a_run_is_evaluated_on_the_rows_it_was_not_trained_on(run, capsys):
    told = json.loads((run / "model.json").read_text())
    assert command_line.evaluate(["--run", str(run), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["split"], result["examples"], result["task"]) == ("test", 180, "credit")
    assert result["metrics"] == pytest.approx(told["metrics"])


def test_other_rows_are_evaluated_whole_and_the_notice_says_so(run, capsys):
    write("new.csv", rows=300, seed=7)
    assert shared.evaluate(["credit", "--run", str(run), "--csv", "new.csv", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["split"], json.loads(out)["examples"]) == ("all", 300)
    assert "is not what the model was trained on" in err


# Prediction


def test_scores_are_added_to_every_row_in_order(run, capsys):
    write("new.csv", rows=500, seed=3)
    assert shared.predict(["credit", "new.csv", "--run", str(run), "--out", "scored.csv"]) == 0
    before, after = records("new.csv"), records("scored.csv")
    assert list(after[0]) == [*before[0], *ADDED]
    assert [{k: row[k] for k in before[0]} for row in after] == before
    cut = load_credit(run / "model").cut
    for row in after:
        assert row["decision"] == ("refuse" if float(row["pd"]) >= cut else "accept")
        assert bool(row["reason_1"]) == (row["decision"] == "refuse")
    points, pd = (np.array([float(row[name]) for row in after]) for name in ("points", "pd"))
    assert (np.diff(points[np.argsort(pd)]) <= 0).all()
    assert "500 rows" in capsys.readouterr().err


@pytest.mark.parametrize(("threads", "large"), [("1", 1 << 30), ("3", 1 << 30), ("2", 1)])
def test_neither_chunks_nor_threads_nor_processes_change_a_score(run, monkeypatch, threads, large):
    write("new.csv", rows=300, seed=3)
    command_line.predict(["new.csv", "--run", str(run), "--out", "whole.csv"])
    monkeypatch.setattr("apps.credit.scoring.CHUNK", 7)
    monkeypatch.setattr("apps.credit.scoring.LARGE", large)
    command_line.predict(["new.csv", "--run", str(run), "--out", "cut.csv", "--threads", threads])
    whole, cut = records("whole.csv"), records("cut.csv")
    assert [row["decision"] for row in whole] == [row["decision"] for row in cut]
    np.testing.assert_allclose([float(row["pd"]) for row in cut], [float(row["pd"]) for row in whole], atol=1.1e-6)


def test_rows_that_cannot_be_scored_are_flagged_and_counted_and_none_is_lost(run, capsys):
    path = write("new.csv", rows=50, seed=3)
    lines = path.read_text().splitlines()
    names = lines[0].split(",")
    cells = [line.split(",") for line in lines[1:]]
    cells[4][names.index("loan")] = "much"
    cells[9][names.index("term")] = "inf"
    cells[20][names.index("purpose")] = "yacht"
    path.write_text("\n".join([lines[0], *(",".join(row) for row in cells)]) + "\n")
    assert command_line.predict(["new.csv", "--run", str(run), "--out", "scored.csv"]) == 0
    rows = records("scored.csv")
    assert len(rows) == 50
    flagged = {i: row["reason_1"] for i, row in enumerate(rows) if row["decision"] == "not scored"}
    assert flagged == {
        4: "row 5, column loan: 'much' is not a finite number",
        9: "row 10, column term: 'inf' is not a finite number",
        20: "row 21, column purpose: 'yacht' is a value not seen in training",
    }
    assert all(rows[i]["pd"] == rows[i]["points"] == "" for i in flagged)
    assert "3 rows could not be scored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("loan,term\n1,2\n", "has no column 'income' and"),
        ("loan;term\n1;2\n", "separated by semicolons"),
        ("a,pd\n1,2\n", "has a column 'pd' already"),
        (None, "there is no such file"),
    ],
)
def test_a_table_that_cannot_be_scored_gets_a_sentence(run, text, message, capsys):
    if text is not None:
        Path("new.csv").write_text(text)
    assert command_line.predict(["new.csv", "--run", str(run), "--out", "scored.csv"]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in Path().iterdir() if path.name != "new.csv"] == []


def test_a_short_row_ends_the_scoring_and_leaves_no_half_file(run, capsys):
    path = write("new.csv", rows=20)
    path.write_text(path.read_text() + "1,2,3\n")
    assert command_line.predict(["new.csv", "--run", str(run), "--out", "scored.csv"]) == 2
    assert "row 21 (line 22) has 3 cells" in capsys.readouterr().err
    assert [each.name for each in Path().iterdir()] == ["new.csv"]


def test_the_input_is_never_overwritten(run, capsys):
    path = write("new.csv", rows=20)
    before = path.read_bytes()
    assert command_line.predict(["new.csv", "--run", str(run), "--out", "new.csv"]) == 2
    assert "is the input itself" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no fifos here")
def test_what_is_no_file_is_not_replaced_and_a_link_is_followed(run, capsys):
    write("new.csv", rows=20)
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    for name in ("pipe", "loop", "."):
        assert command_line.predict(["new.csv", "--run", str(run), "--out", name]) == 2
        assert f"{name} is not a file: give --out the name of a CSV file" in capsys.readouterr().err
    assert Path("pipe").is_fifo()
    Path("real.csv").write_text("before")
    Path("link.csv").symlink_to("real.csv")
    assert command_line.predict(["new.csv", "--run", str(run), "--out", "link.csv"]) == 0
    assert Path("link.csv").is_symlink()
    assert len(records("real.csv")) == 20


def test_a_few_rows_are_printed_or_given_as_json(run, capsys):
    write("new.csv", rows=30, seed=3, extra=np.ones(30))
    assert command_line.predict(["new.csv", "--run", str(run), "--json"]) == 0
    out, err = capsys.readouterr()
    answers = json.loads(out)
    assert len(answers) == 30
    assert "not looked at: extra" in err
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        assert answer["label"] in ("accept", "refuse")
        assert len(answer["reasons"]) <= 4
    assert command_line.predict(["new.csv", "--run", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "new.csv row 1  " in shown
    assert "and 10 more rows" in shown


def test_protected_columns_of_a_file_change_no_bit(run):
    path = write("new.csv", rows=200, seed=3)
    rows = records(path)
    rng = np.random.default_rng(0)
    write("other.csv", rows=200, seed=3, sex=rng.permutation([row["sex"] for row in rows]).tolist())
    for name in ("new", "other"):
        command_line.predict([f"{name}.csv", "--run", str(run), "--out", f"{name}-scored.csv"])
    a, b = ([[row[name] for name in ADDED] for row in records(f"{n}-scored.csv")] for n in ("new", "other"))
    assert a == b
    assert [row["sex"] for row in rows] != [row["sex"] for row in records("other.csv")]


def test_memory_does_not_grow_with_the_rows(run, monkeypatch):
    import tracemalloc

    monkeypatch.setattr("apps.credit.scoring.CHUNK", 200)
    peaks = []
    for rows in (2_000, 8_000):
        write("new.csv", rows=rows, seed=3)
        tracemalloc.start()
        try:
            command_line.predict(["new.csv", "--run", str(run), "--out", "scored.csv", "--threads", "1"])
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 1_000_000


def test_the_scripts_start_the_commands(run, tmp_path):
    write("new.csv", rows=120)
    for words in (
        ["predict.py", "credit", "new.csv", "--run", str(run), "--json"],
        ["evaluate.py", "credit", "--run", str(run), "--csv", "new.csv", "--json"],
        ["train_credit.py", "--help"],
    ):
        ended = subprocess.run(
            [sys.executable, ROOT / "scripts" / words[0], *words[1:]],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout


def test_a_model_without_weights_or_folder_gets_a_sentence(capsys):
    write("new.csv", rows=20)
    for flags, message in (
        (["--model", "nope"], "choose one of"),
        (["--model", "mlp"], "comes without trained weights"),
        (["--run", "none"], "is not a folder"),
        (["--run", "."], "there is no such file"),
    ):
        assert command_line.predict(["new.csv", *flags]) == 2
        assert message in capsys.readouterr().err
