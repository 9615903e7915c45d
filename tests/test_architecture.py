"""The rules of the house, held against the source: who imports whom, what is forbidden, how large things may be."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("core", "models", "apps", "scripts")
MAY_IMPORT = {  # of the project
    "core": {"core"},
    "models": {"models", "core"},
    "apps": {"apps", "models", "core"},
    "scripts": {"apps", "models", "core"},
    "tests": {"apps", "models", "core"},
}
CORE_MAY_IMPORT = {"core", "numpy", "safetensors", "threadpoolctl"} | set(sys.stdlib_module_names)
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "runpy", "imp"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
SERVES_PAGES = ("home.py", "page.py")

LONGEST_FILE, LONGEST_FUNCTION = 300, 50


def sources() -> list[Path]:
    """Every Python file of the project, relative to its root."""
    folders = (ROOT / name for name in (*PACKAGES, "tests"))
    return sorted(path.relative_to(ROOT) for folder in folders for path in folder.rglob("*.py"))


def imports(tree: ast.Module) -> Iterator[str]:
    """The full names of what a file imports, wherever in it; relative ones with their dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def roots(tree: ast.Module) -> set[str]:
    """ "core" of "core.layers.dense"; "" of a relative import"""
    return {name.partition(".")[0] for name in imports(tree)}


# --- the rules: (path, tree) → what is wrong ------------------------------------------------------


def foreign_imports(path: Path, tree: ast.Module) -> Iterator[str]:
    """Core knows nobody, models know core, apps know both, scripts know all, and nobody knows scripts."""
    if "" in roots(tree):
        yield "imports by a relative name"
    forbidden = MAY_IMPORT.keys() - MAY_IMPORT[path.parts[0]]
    yield from (f"imports {name}" for name in roots(tree) & forbidden)


def needless_dependencies(path: Path, tree: ast.Module) -> Iterator[str]:
    """Core needs three packages and the standard library."""
    if path.parts[0] == "core":
        yield from (f"imports {name}" for name in roots(tree) - CORE_MAY_IMPORT)


def streamlit_outside_pages(path: Path, tree: ast.Module) -> Iterator[str]:
    if path.parts[0] == "tests":
        return
    if "streamlit" in roots(tree) and not (path.parts[0] == "apps" and path.name in SERVES_PAGES):
        yield "imports streamlit"


def vague_names(path: Path, tree: ast.Module) -> Iterator[str]:
    """A file is named after its noun."""
    yield from (f"is called {part}" for part in path.with_suffix("").parts if part.lower() in VAGUE)


def execution_of_data(path: Path, tree: ast.Module) -> Iterator[str]:
    """Nothing that is read is ever run: no pickle, no code from strings, no import by name."""
    if path.parts[0] == "tests":
        return
    yield from (f"imports {name}" for name in roots(tree) & UNSAFE_MODULES)
    yield from (f"imports {name}" for name in imports(tree) if name == "importlib.import_module")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in UNSAFE_CALLS:
            yield f"uses {node.id} in line {node.lineno}"
        if isinstance(node, ast.Attribute) and node.attr == "import_module":
            yield f"imports by name in line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield f"allows pickle in line {node.value.lineno}"


def oversize(path: Path, tree: ast.Module) -> Iterator[str]:
    """A file of core is read at one sitting; a function, but for its docstring, fits a screen."""
    if path.parts[0] != "core":
        return
    lines = max((node.end_lineno or 0 for node in tree.body), default=0)
    if lines >= LONGEST_FILE:
        yield f"has {lines} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            code = (node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                code -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            if code >= LONGEST_FUNCTION:
                yield f"{node.name} has {code} lines"


def mutable_state(path: Path, tree: ast.Module) -> Iterator[str]:
    """A module of core holds imports, definitions and constants: nothing to fill, nothing filled by an import."""
    if path.parts[0] != "core":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield f"changes a global in line {node.lineno}"
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if not (isinstance(node, ast.Assign | ast.AnnAssign) and all(isinstance(t, ast.Name) for t in targets(node))):
            yield f"does something in line {node.lineno}"
        elif is_mutable(node.value) and not is_constant(node):
            yield f"keeps {ast.unparse(targets(node)[0])} in line {node.lineno}"


def targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    """What is assigned to, pairs taken apart."""
    whole = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [part for target in whole for part in (target.elts if isinstance(target, ast.Tuple) else [target])]


def is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Tuple):
        return any(is_mutable(part) for part in value.elts)
    made = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    makers = {"list", "dict", "set", "defaultdict", "deque", "Counter", "OrderedDict", "bytearray"}
    return isinstance(value, made) or (isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] in makers)


def is_constant(node: ast.Assign | ast.AnnAssign) -> bool:
    if isinstance(node, ast.AnnAssign):
        return ast.unparse(node.annotation).startswith(("Mapping[", "tuple[", "Sequence[", "Final[Mapping"))
    names = [ast.unparse(target) for target in targets(node)]
    return all(name == "__all__" or name == name.upper() for name in names)


Rule = Callable[[Path, ast.Module], Iterator[str]]
RULES: tuple[Rule, ...] = (
    foreign_imports,
    needless_dependencies,
    streamlit_outside_pages,
    vague_names,
    execution_of_data,
    oversize,
    mutable_state,
)
EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


@pytest.fixture(scope="module")
def trees():
    return {path: ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in sources()}


@EVERY_RULE
def test_the_project_keeps_the_rule(rule, trees):
    assert len(trees) > 30
    assert [f"{path} {fault}" for path, tree in trees.items() for fault in rule(path, tree)] == []


LONG = "    x = 1\n" * 60
BREACHES = [
    (foreign_imports, "core/a.py", "import models"),
    (foreign_imports, "core/a.py", "def f():\n    from models.mlp import mlp"),
    (foreign_imports, "core/a.py", "from . import layers"),
    (foreign_imports, "models/a.py", "import apps.task"),
    (foreign_imports, "apps/a.py", "from scripts import zoo"),
    (foreign_imports, "scripts/a.py", "from scripts.zoo import main"),
    (foreign_imports, "tests/a.py", "import scripts"),
    (needless_dependencies, "core/a.py", "from scipy import signal"),
    (needless_dependencies, "core/layers/a.py", "def f():\n    import torch"),
    (streamlit_outside_pages, "apps/task.py", "import streamlit as st"),
    (streamlit_outside_pages, "core/page.py", "from streamlit.components import v1"),
    (vague_names, "core/utils.py", ""),
    (vague_names, "apps/helpers/a.py", ""),
    (vague_names, "tests/common.py", ""),
    (execution_of_data, "core/a.py", "import pickle"),
    (execution_of_data, "core/a.py", "from pickle import loads"),
    (execution_of_data, "apps/a.py", "def f(x):\n    return eval(x)"),
    (execution_of_data, "apps/a.py", "run = exec"),
    (execution_of_data, "models/a.py", "import importlib\nimportlib.import_module('os')"),
    (execution_of_data, "models/a.py", "from importlib import import_module as load"),
    (execution_of_data, "scripts/a.py", "__import__('os')"),
    (execution_of_data, "apps/a.py", "np.load(f, allow_pickle=True)"),
    (oversize, "core/a.py", "x = 1\n" * 300),
    (oversize, "core/a.py", f"def f():\n{LONG}"),
    (oversize, "core/a.py", f"class C:\n  def f(self):\n{LONG}"),
    (mutable_state, "core/a.py", "cache = {}"),
    (mutable_state, "core/a.py", "cache: dict[str, int] = {}"),
    (mutable_state, "core/a.py", "seen = set()"),
    (mutable_state, "core/a.py", "a, b = 1, []"),
    (mutable_state, "core/a.py", "seen = [x for x in y]"),
    (mutable_state, "core/a.py", "pools = collections.defaultdict(list)"),
    (mutable_state, "core/a.py", "LAYERS.append(Dense)"),
    (mutable_state, "core/a.py", "LAYERS['dense'] = Dense"),
    (mutable_state, "core/a.py", "for layer in LAYERS: register(layer)"),
    (mutable_state, "core/a.py", "def f():\n    global count\n    count = 1"),
]
KEPT = [
    (foreign_imports, "models/a.py", "from core import Dense\nimport models.mlp"),
    (foreign_imports, "scripts/a.py", "from apps.command_line import train"),
    (needless_dependencies, "core/a.py", "import numpy as np\nfrom safetensors import safe_open\nimport json"),
    (needless_dependencies, "apps/a.py", "import datasets"),
    (streamlit_outside_pages, "apps/mnist/page.py", "import streamlit as st"),
    (vague_names, "core/uncommon.py", ""),
    (execution_of_data, "core/a.py", "import re\nre.compile('a').match(model.eval())\nimport importlib.metadata"),
    (oversize, "core/a.py", f'def f():\n    """{LONG}"""\n    return 1'),
    (
        mutable_state,
        "core/a.py",
        "A = {1: 2}\na, b = 1, 2\nB: Mapping[str, int] = {}\nC: tuple[int, ...] = (1,)\n__all__ = ['A']",
    ),
]


def of_rule(cases):
    ids = [f"{rule.__name__}-{i}" for i, (rule, _, _) in enumerate(cases)]
    return pytest.mark.parametrize(("rule", "path", "source"), cases, ids=ids)


@of_rule(BREACHES)
def test_a_breach_of_a_rule_is_noticed(rule, path, source):
    assert list(rule(Path(path), ast.parse(source)))


@of_rule(KEPT)
def test_what_keeps_a_rule_is_left_alone(rule, path, source):
    assert list(rule(Path(path), ast.parse(source))) == []


def test_every_rule_has_a_breach_and_a_case_that_keeps_it():
    assert {rule for rule, _, _ in BREACHES} == {rule for rule, _, _ in KEPT} == set(RULES)


def test_importing_core_loads_nothing_it_does_not_need():
    """In a process of its own: no matplotlib, no datasets, no PIL, no sklearn, nor anything else of others."""
    ask = """
import json, sys
before = set(sys.modules)
import core
new = {name: module for name, module in sys.modules.items() if name not in before}
print(json.dumps([name for name, module in new.items() if getattr(module, "__spec__", None)]))
"""
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True, cwd=ROOT).stdout
    loaded = json.loads(told)
    assert "core.trainer" in loaded
    assert "numpy" in loaded
    assert {name.partition(".")[0] for name in loaded} - CORE_MAY_IMPORT == set()
