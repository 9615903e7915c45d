"""The README keeps its word: its program runs, its commands parse, and what it names exists."""

import argparse
import ast
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apps.mnist.task import MNIST
from models import build

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands():
    """The words of every command of the README that starts a script, from the script on"""
    lines = [*"".join(blocks("sh")).splitlines(), *re.findall(r"`([^`]+)`", README)]
    found = [re.search(r"(?:^|python |uv run )(scripts/\w+\.py.*)", line) for line in lines]
    return [shlex.split(each) for each in dict.fromkeys(each[1] for each in found if each)]


def program(old="", new=""):
    (text,) = blocks("python")
    assert old in text
    return text.replace(old, new)


def run(text, folder):
    """The program in a file of its own, in a folder where nothing else is."""
    file = folder / "prelu.py"
    file.write_text(text, "utf-8")
    words = [sys.executable, "-W", "error", file.name]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_the_program_runs_as_it_stands(tmp_path):
    ended = run(program(), tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr
    *epochs, last = ended.stdout.splitlines()
    assert [line[:8] for line in epochs] == [f"epoch {i:>2}" for i in range(1, 21)]
    assert ast.literal_eval(last)["accuracy"] == pytest.approx(0.97, abs=0.02)
    assert (tmp_path / "circle.safetensors").is_file()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("np.minimum(x, 0)).sum", "np.maximum(x, 0)).sum"),
        ("np.where(x > 0, dy, self", "np.where(x < 0, dy, self"),
    ],
)
def test_its_gradient_check_would_catch_a_wrong_backward(tmp_path, old, new):
    ended = run(program(old, new), tmp_path)
    assert ended.returncode == 1
    assert "GradientError" in ended.stderr


class Parsed(Exception):
    """The arguments are fine; nothing more is wanted."""


@pytest.fixture
def parse_only(monkeypatch):
    """Start a script, and stop once its arguments are parsed."""

    def stopping(parse):
        def parse_and_stop(parser, *arguments):
            parse(parser, *arguments)
            raise Parsed

        return parse_and_stop

    for way in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, way, stopping(getattr(argparse.ArgumentParser, way)))

    def start(words):
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.syspath_prepend(str((ROOT / words[0]).parent))  # as Python does
        runpy.run_path(str(ROOT / words[0]), run_name="__main__")

    return start


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_starts_a_script_that_takes_it(words, parse_only):
    words = [{"N": "1", "NAME": "cnn", "DIR": "runs/x"}.get(word, word) for word in words]
    with pytest.raises(Parsed):
        parse_only(words)


def test_there_are_commands_to_check(parse_only):
    scripts = {words[0] for words in commands()}
    assert {"scripts/train_mnist.py", "scripts/evaluate.py", "scripts/predict.py"} <= scripts
    with pytest.raises(SystemExit):
        parse_only(["scripts/train_mnist.py", "--no-such-flag"])


def test_every_flag_that_the_readme_mentions_exists(parse_only, capsys):
    files = sorted((ROOT / "scripts").glob("*.py"))
    scripts = [f"scripts/{path.name}" for path in files if "__main__" in path.read_text("utf-8")]
    for script in scripts:
        with pytest.raises(SystemExit):
            parse_only([script, "--help"])
    known = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", README))
    assert len(mentioned) > 10
    assert mentioned <= known


def test_the_readme_gives_both_ways_to_start():
    start = "".join(blocks("sh"))
    assert "pip install uv && uv run scripts/train_mnist.py\n" in start
    assert "pip install uv && uv run pytest\n" in start
    assert "pip install -e '.[apps]'\n" in start


def test_the_table_of_models_has_those_of_the_task_with_their_sizes():
    table = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", README, re.MULTILINE))
    sizes = {
        name: sum(p.value.size for p in build(name, entry.arguments, rng=np.random.default_rng(0)).trainable())
        for name, entry in MNIST.entries.items()
    }
    assert table == {name: f"{size:,}" for name, size in sizes.items()}


def test_the_benchmark_knows_the_workloads_of_the_table():
    workloads = runpy.run_path(str(ROOT / "scripts" / "workloads.py"))["WORKLOADS"]
    named = re.findall(r"^\| `(\w+-b\d+)` \|", README, re.MULTILINE)
    assert named
    assert set(named) <= workloads.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_or_links_to_exists(page):
    """Links but not pictures; and every path in code that begins with a folder of the project."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)", re.sub(r"`[^`]*`", "", text)):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    folders = "core|models|apps|scripts|tests|docs"
    for path in re.findall(rf"`((?:{folders})/[\w./]*)`", text):
        assert (ROOT / path).exists(), path
