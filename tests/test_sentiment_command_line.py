"""The command lines for texts: training on the sample and on a CSV, answers, blends, and every wrong turn."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps import command_line
from apps.errors import InputError
from apps.predictor import Predictor
from apps.sentiment import teaching
from apps.sentiment.compact import compact
from apps.sentiment.data import SAMPLE, read_csv
from apps.sentiment.explain import SURE
from apps.sentiment.task import SENTIMENT
from apps.training import Plan, choose, prepare

pytest.importorskip("tokenizers")
pytest.importorskip("sklearn")
pytest.importorskip("rich")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_DATA", raising=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model of the sample."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert command_line.train(SENTIMENT, ["--data", "sample", "--epochs", "4", "--out", str(folder)]) == 0
    return folder


def news(path, rows=90):
    """A CSV of three topics that a word tells apart."""
    words = {"sport": "goal", "politics": "vote", "music": "song"}
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "story", "topic"])
        for i in range(rows):
            topic = list(words)[i % 3]
            writer.writerow([i, f"In story {i} there is a {words[topic]}, and more of it", topic])
    return str(path)


def test_a_model_of_the_sample_is_evaluated_as_it_was_trained(run, capsys):
    assert command_line.evaluate(["sentiment", "--run", str(run), "--data", "sample", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    facts = json.loads((run / "model.json").read_text("utf-8"))
    assert told["metrics"] == facts["metrics"]
    assert set(told["metrics"]) == {"accuracy", "roc_auc", "nll", "calibration_error"}
    assert "sample" in told["dataset"]
    assert told["examples"] == 1638
    assert len(facts["encoder"]["words"].split(" ")) == facts["arguments"]["words"] - 2
    assert facts["arguments"]["outputs"] == 2


def test_sentences_get_a_label_probabilities_and_a_part_for_every_word(run, capsys):
    flags = ["sentiment", "--run", str(run), "--json", "--out", "table.csv"]
    assert command_line.predict([*flags, "What a wonderful meal!", ""]) == 0
    first, empty = json.loads(capsys.readouterr().out)
    assert first["input"] == "What a wonderful meal!"
    assert first["label"] in ("negative", "positive")
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert [each["token"] for each in first["tokens"]] == ["what", "a", "wonderful", "meal", "!"]
    p = first["probabilities"]
    logit = np.log(p["positive"] / p["negative"])
    total = first["base"] + sum(each["contribution"] for each in first["tokens"])
    assert total == pytest.approx(logit, abs=1e-3)
    assert empty["tokens"] == []
    with open("table.csv", encoding="utf-8", newline="") as file:
        assert [row["input"] for row in csv.DictReader(file)] == ["What a wonderful meal!", ""]


def test_a_verdict_is_the_answer_without_its_explanation(run, capsys):
    predictor = Predictor(SENTIMENT, run / "model")
    doubts = set()
    for text in ("What a wonderful meal!", "A terrible, boring waste.", "the", ""):
        whole, short = predictor(text), predictor.verdict(predictor.encode([text]))
        assert list(short) == ["label", "probabilities", "uncertain"]
        assert short.items() <= whole.items()
        assert short["uncertain"] == (max(short["probabilities"].values()) < SURE)
        doubts.add(short["uncertain"])
    assert doubts == {False, True}
    assert command_line.predict(["sentiment", "--run", str(run), "What a wonderful meal!", "the"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "  positive  " in first
    assert "  uncertain  " in second


def test_standard_input_is_a_text_a_line(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Good.\nBad 😡\r\n\nfine"))
    assert command_line.predict(["sentiment", "--run", str(run), "--json", "-"]) == 0
    assert [answer["input"] for answer in json.loads(capsys.readouterr().out)] == ["Good.", "Bad 😡", "", "fine"]


def test_a_csv_is_answered_row_by_row(run, capsys):
    path = news("news.csv", 9)
    flags = ["sentiment", "--run", str(run), "--csv", path, "--text", "story"]
    assert command_line.predict([*flags, "--json", "--out", "answers.csv"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 9
    assert Path("answers.csv").read_text("utf-8").count("\n") == 10
    assert command_line.predict(["sentiment", "--run", str(run), "--json", answers[0]["input"]]) == 0
    (alone,) = json.loads(capsys.readouterr().out)
    assert alone["probabilities"] == pytest.approx(answers[0]["probabilities"], abs=1e-6)


@pytest.mark.parametrize("model", ["ngram_linear", "ngram_bag", "text_cnn"])
def test_topics_of_a_csv_are_learned(capsys, model):
    flags = ["--csv", news("news.csv"), "--text", "story", "--label", "topic"]
    quick = ["--epochs", "12", "--batch-size", "8", "--lanes", "1", "--out", "run", "--json"]
    assert command_line.train(SENTIMENT, [*flags, "--model", model, *quick]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dataset"] == "news.csv"
    assert told["metrics"]["accuracy"] == 1
    assert command_line.predict(["sentiment", "--run", "run", "--json", "a song was sung"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert (answer["label"], answer["explained"]) == ("music", "music")
    assert max(answer["tokens"], key=lambda each: each["contribution"])["token"] == "song"
    assert command_line.evaluate(["sentiment", "--run", "run", *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == told["metrics"]
    assert command_line.evaluate(["sentiment", "--run", "run"]) == 2
    assert "give --csv FILE --text COLUMN --label COLUMN" in capsys.readouterr().err


def test_runs_are_blended(run, capsys):
    flags = ["--data", "sample", "--validation", "0.2", "--epochs", "2", "--json"]
    for model in ("ngram_linear", "text_gru"):
        assert command_line.train(SENTIMENT, [*flags, "--model", model, "--out", model]) == 0
    blend = ["--data", "sample", "--model", "blend", "--out", "both", "--json"]
    assert command_line.train(SENTIMENT, [*blend, "--parts", "ngram_linear", "text_gru"]) == 0
    capsys.readouterr()
    assert command_line.predict(["sentiment", "--run", "both", "--json", "not bad"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert len(answer["tokens"]) == 2
    for parts, message in [
        ([], "give --parts DIR DIR"),
        (["ngram_linear"], "give --parts DIR DIR"),
        (["ngram_linear", "nowhere"], "nowhere is not a folder"),
        (["ngram_linear", str(run)], "has other words than ngram_linear"),
    ]:
        flags = ["--parts", *parts] if parts else []
        assert command_line.train(SENTIMENT, [*blend[:-3], "--out", "again", *flags]) == 2
        assert message in capsys.readouterr().err


def test_a_student_learns_from_what_its_teacher_is_sure_of(run, capsys, monkeypatch):
    texts = [*read_csv(SAMPLE, "sentence")[::40], "the of and"]
    monkeypatch.setattr(teaching, "load_unlabelled", lambda data: texts)
    p = Predictor(SENTIMENT, run / "model").probabilities(texts)
    sure = p.max(axis=1) >= teaching.TRUSTED
    assert 1 < sure.sum() < len(texts)
    flags = ["--data", "sample", "--epochs", "1", "--teacher", str(run), "--out", "student"]
    assert command_line.train(SENTIMENT, flags) == 0
    assert f"and {sure.sum()} labelled by {run}" in capsys.readouterr().err
    facts = json.loads(Path("student/model.json").read_text("utf-8"))
    assert (facts["teacher"], facts["more"]["examples"]) == (str(run), sure.sum())
    texts.pop(int(np.flatnonzero(sure)[0]))
    assert command_line.train(SENTIMENT, [*flags[:2], *flags[4:], "--resume"]) == 2
    assert f"begun with other labels of {run}" in capsys.readouterr().err


def test_of_broad_the_last_sentences_of_what_was_labelled_are_learned_from_too(run, monkeypatch):
    texts = read_csv(SAMPLE, "sentence")[::40]
    monkeypatch.setattr(teaching, "load_unlabelled", lambda data: texts)
    name, sizes, recipe = choose(SENTIMENT, "ngram_linear")
    plan = prepare(Plan(SENTIMENT, SENTIMENT.load("sample", "imdb"), "imdb", name, sizes, recipe))
    plain = teaching.teach(plan, None, str(run)).more
    both = teaching.teach(replace(plan, dataset="broad"), None, str(run)).more
    assert len(plain) < len(both) <= 2 * len(plain)
    np.testing.assert_array_equal(both.t[: len(plain)], plain.t)
    with pytest.raises(InputError, match="give --teacher to its parts"):
        teaching.teach(replace(plan, model="blend"), None, str(run))


def test_a_teacher_of_other_classes_is_refused(run, capsys):
    flags = ["--csv", news("news.csv"), "--text", "story", "--label", "topic", "--teacher", str(run)]
    assert command_line.train(SENTIMENT, flags) == 2
    assert "tells negative, positive apart, but the texts are music" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--csv", "news.csv"], "--csv needs --text COLUMN and --label COLUMN"),
        (
            ["--csv", "news.csv", "--text", "storm", "--label", "topic"],
            "no column 'storm' of its own: it has id, story",
        ),
        (
            ["--csv", "lonely.csv", "--text", "story", "--label", "topic"],
            "label 'x' occurs once in lonely.csv, in row 8",
        ),
        (["--data", "sample", "--unlabelled", "1"], "ngram_linear has no vectors of words"),
        (["--data", "sample", "--unlabelled", "-1"], "unlabelled is a whole number from 0"),
        (["--data", "sample", "--share", "0"], "share is above 0"),
        (["--data", "sample", "--teacher", "nowhere"], "neither a model with shipped weights nor the folder of a run"),
        (["--data", "sample", "--teacher", "blend"], "The sample has no unlabelled texts"),
        (["--data", "sample", "--augment", "1"], "sentiment has no way to change its examples"),
    ],
)
def test_a_wrong_turn_in_training_is_one_sentence(capsys, flags, message):
    news("news.csv", 9)
    with open(news("lonely.csv", 6), "a") as file:
        file.write("6,alone,x\n")
    assert command_line.train(SENTIMENT, flags) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give one INPUT or more"),
        (["x" * 100_001], "has 100,001 characters, more than the 100,000 a text may have"),
        (["caf\udce9 au lait"], "A text is not UTF-8 after 'caf': save or send it as UTF-8"),
        (["--csv", "news.csv"], "--csv FILE --text COLUMN is for texts"),
        (["--csv", "nowhere.csv", "--text", "story"], "nowhere.csv is not a file"),
    ],
)
def test_a_wrong_turn_in_asking_is_one_sentence(run, capsys, flags, message):
    news("news.csv", 9)
    assert command_line.predict(["sentiment", "--run", str(run), *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (None, "Standard input is closed: give the inputs themselves in place of -"),
        (io.TextIOWrapper(io.BytesIO(b"fine\n\xff\n"), "utf-8"), "Standard input is not UTF-8: save it as UTF-8"),
    ],
)
def test_standard_input_that_cannot_be_read_is_one_sentence(run, capsys, monkeypatch, stream, message):
    monkeypatch.setattr("sys.stdin", stream)
    assert command_line.predict(["sentiment", "--run", str(run), "-"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda facts: facts | {"encoder": None}, "words are missing"),
        (lambda facts: facts | {"encoder": {"words": "a a"}}, "different words"),
        (lambda facts: facts | {"arguments": facts["arguments"] | {"words": 5}}, "not one for sentiment"),
        (lambda facts: facts | {"arguments": facts["arguments"] | {"rows": 10**9}}, "parameters"),
        (lambda facts: facts | {"model": "blend", "arguments": {"words": 9, "outputs": 2, "parts": 7}}, "parts"),
        (
            lambda facts: facts | {"model": "blend", "arguments": {"words": 9, "outputs": 2, "parts": [["blend", {}]]}},
            "cannot have 'blend' as a part",
        ),
    ],
)
def test_a_hostile_description_is_refused(run, capsys, tmp_path, damage, message):
    folder = tmp_path / "bad"
    folder.mkdir()
    facts = json.loads((run / "model.json").read_text("utf-8"))
    (folder / "model.json").write_text(json.dumps(damage(facts)), "utf-8")
    (folder / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    assert command_line.predict(["sentiment", "--run", str(folder), "fine"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_run_is_made_compact(run, tmp_path):
    data = SENTIMENT.load("sample", "imdb")
    facts = compact(SENTIMENT, run, tmp_path / "small", data)
    assert 3 * (tmp_path / "small.safetensors").stat().st_size < (run / "model.safetensors").stat().st_size * 2
    small, large = Predictor(SENTIMENT, tmp_path / "small"), Predictor(SENTIMENT, run / "model")
    np.testing.assert_allclose(small.probabilities(data.test.x), large.probabilities(data.test.x), atol=2e-3)
    assert facts["metrics"] == small.evaluate(data.test).metrics == small.facts["metrics"]


def compacted(*flags):
    script = Path(command_line.__file__).parents[1] / "scripts" / "compact.py"
    return subprocess.run([sys.executable, script, *map(str, flags)], capture_output=True, text=True, check=False)


def test_the_command_that_makes_compact_writes_a_model(run, tmp_path):
    done = compacted(run, "--data", "sample", "--out", tmp_path / "small")
    assert done.returncode == 0, done.stderr
    accuracy = Predictor(SENTIMENT, tmp_path / "small").facts["metrics"]["accuracy"]
    assert f"accuracy {accuracy:.4f}" in done.stdout
    wrong = compacted(tmp_path, "--out", tmp_path / "other")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
    assert "is not the folder of a run" in wrong.stderr


def test_a_compact_model_takes_the_place_of_no_other(run, tmp_path):
    data = SENTIMENT.load("sample", "imdb")
    for name in ("v1.2", "v1.3"):
        compact(SENTIMENT, run, tmp_path / name, data)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"v1.2.json", "v1.2.safetensors", "v1.3.json", "v1.3.safetensors"} <= names
    before = (run / "model.safetensors").read_bytes()
    wrong = compacted(run, "--data", "sample", "--out", run / "model")
    assert wrong.returncode == 2
    assert "are the files of the run itself: give another --out" in wrong.stderr
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("dataset", [None, ["imdb"], "news.csv"])
def test_only_what_learned_from_a_data_set_is_made_compact(run, tmp_path, dataset):
    facts = json.loads((run / "model.json").read_text("utf-8"))
    facts["data"]["dataset"] = dataset
    (tmp_path / "model.json").write_text(json.dumps(facts), "utf-8")
    wrong = compacted(tmp_path, "--out", tmp_path / "small")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
    assert "only what learned from imdb" in wrong.stderr


def test_a_share_of_the_labels_is_used(run, capsys):
    assert command_line.train(SENTIMENT, ["--data", "sample", "--share", "0.1", "--epochs", "1", "--out", "run"]) == 0
    facts = json.loads(Path("run/model.json").read_text("utf-8"))
    assert facts["recipe"]["share"] == 0.1
    whole = json.loads((run / "model.json").read_text("utf-8"))
    assert facts["arguments"]["words"] < 0.4 * whole["arguments"]["words"]
