"""`docs/architecture.md` against the code: its folder listing is the project's, and the names in it exist."""

import ast
import builtins
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
FOLDERS = ("core", "models", "apps", "scripts")


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def names():
    """Every class, function, method, argument, field and variable that the code defines, and every file"""
    found = set(dir(builtins)) | {path.name for path in sources(*FOLDERS, "tests")}
    for path in sources(*FOLDERS, "tests"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute):
                found.add(node.id if isinstance(node, ast.Name) else node.attr)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
    return found


def listing():
    return re.search(r"^## The house\n.*?```text\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_the_listing_has_every_file_of_core_and_apps():
    for path in sources("core", "apps"):
        if path.name != "__init__.py" and "layers" not in path.parts and path.parent.parent == ROOT:
            assert f"  {path.name} " in listing(), path
    for path in sources("models", "scripts"):
        assert path.name in listing(), path


def test_the_listing_has_nothing_that_is_not_there():
    folder = ROOT
    for line in listing().splitlines():
        first = line.split()[0]
        if first.endswith("/"):
            folder = ROOT / first if not line.startswith(" ") else folder
            assert (folder / first).is_dir() or folder == ROOT / first, line
        for name in re.findall(r"\b\w+\.py\b", line):
            assert list(folder.rglob(name)), (folder, name)


def test_the_names_in_code_exist():
    text = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    known, checked = names(), 0
    for span in re.findall(r"`([^`]+)`", text):
        span = re.sub(r"\(.*\)$|\[\w+\]$", "", span)
        if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", span) and not re.search(
            r"\.(py|png|jsonl|json|safetensors)$", span
        ):
            checked += 1
            for part in span.split("."):
                assert part in known | {*FOLDERS, "tests", "docs", "code"}, span
    assert checked > 60


def test_the_names_in_the_walk_exist():
    walk = re.search(r"^## The walk of a batch\n.*?```text\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)[1]
    known = names()
    for name in re.findall(r"\b(?:[a-z]+_[a-z_]+|_[a-z_]+|[A-Z][a-z]+(?:[A-Z][a-z]+)+)\b", walk):
        assert name in known | {path.stem for path in sources("scripts")}, name
    for path in re.findall(r"\b(?:core|models|apps|scripts)/[\w/]+\.py", walk):
        assert (ROOT / path).is_file(), path
