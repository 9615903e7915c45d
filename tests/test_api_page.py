"""`docs/api.md` against the code: every public name is there, exists, has its signature, and explains itself."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import core

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text("utf-8")
EXTENDED = (core.Layer, core.Context, core.Gradients, core.Loss, core.Optimizer, core.Examples)  # or met in doing so


def entries(page=PAGE):
    """[(dotted name, "(…)" or "")] of the items that begin with a name in code and end it with a colon"""
    spans = re.findall(r"^ *- `([^`]+)`:\s", page, re.MULTILINE)
    return [re.fullmatch(r"([\w.]+)(\(.*\))?", " ".join(span.split())).groups(default="") for span in spans]


def documented(name):
    """The class, function or property behind a dotted name"""
    owner, _, attribute = name.rpartition(".")
    return inspect.getattr_static(getattr(core, owner), attribute) if owner else getattr(core, name)


def written(signature):
    """[(kind, name, default or None)] of a signature in text; a default that is a name stands for itself"""
    given = ast.parse(f"def f{signature}: pass").body[0].args
    plain = given.posonlyargs + given.args
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults
    listed = [("plain", each.arg, default) for each, default in zip(plain, defaults, strict=True)]
    listed += [("rest", given.vararg.arg, None)] if given.vararg else []
    listed += [("keyword", each.arg, d) for each, d in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return [(kind, name, default and _value(default)) for kind, name, default in listed]


def _value(node):
    return ("named", node.id) if isinstance(node, ast.Name) else ("value", ast.literal_eval(node))


def actual(thing):
    """The same of a class or function, without types; None where it takes what every exception takes"""
    if inspect.isclass(thing) and issubclass(thing, Exception) and "__init__" not in vars(thing):
        return None
    parameters = [p for p in inspect.signature(thing).parameters.values() if p.name != "self"]
    kinds = {inspect.Parameter.VAR_POSITIONAL: "rest", inspect.Parameter.KEYWORD_ONLY: "keyword"}
    return [(kinds.get(p.kind, "plain"), p.name, _default(p.default)) for p in parameters]


def _default(value):
    if value is inspect.Parameter.empty:
        return None
    return ("named", value.__name__) if callable(value) else ("value", value)


PUBLIC = {name: getattr(core, name) for name in core.__all__}
EXPLAINED = [name for name, thing in PUBLIC.items() if inspect.isclass(thing) or inspect.isfunction(thing)]


def test_the_page_has_every_public_name_once():
    names = [name for name, _ in entries() if "." not in name]
    assert sorted(names) == sorted(core.__all__)
    assert len({name for name, _ in entries()}) == len(entries())


@pytest.mark.parametrize(("name", "signature"), entries(), ids=lambda part: part)
def test_a_name_exists_and_has_the_signature_on_the_page(name, signature):
    thing = documented(name)
    takes = actual(thing) if inspect.isclass(thing) or inspect.isfunction(thing) else None
    assert (written(signature) if signature else None) == takes


@pytest.mark.parametrize("kind", EXTENDED, ids=lambda kind: kind.__name__)
def test_a_class_that_users_extend_has_all_its_methods_on_the_page(kind):
    methods = {
        method
        for method, value in vars(kind).items()
        if (inspect.isfunction(value) or isinstance(value, property)) and not method.startswith("_")
    }
    there = {name.rpartition(".")[2] for name, _ in entries() if name.startswith(f"{kind.__name__}.")}
    assert methods == there - {"__call__"}


@pytest.mark.parametrize("registry", ["OPTIMIZERS", "SCHEDULES", "INITIALIZERS"])
def test_a_registry_is_listed_with_all_its_names(registry):
    assert f" {', '.join(getattr(core, registry))}." in " ".join(PAGE.split())


def test_the_layers_and_losses_of_the_page_are_those_of_the_registries():
    names = {name for name, _ in entries()}
    assert {each.__name__ for each in (*core.LAYERS, *core.LOSSES)} <= names
    assert f"tuple of these {['no', 'one', 'two', 'three', 'four', 'five', 'six'][len(core.LOSSES)]}" in PAGE


@pytest.mark.parametrize("name", EXPLAINED)
def test_every_public_name_explains_itself(name):
    """A docstring of its own, not one inherited or made by `dataclass` or `NamedTuple`."""
    thing = PUBLIC[name]
    doc = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    assert doc
    assert not doc.startswith(f"{name}(")


@pytest.mark.parametrize(
    ("signature", "wrong"),
    [
        ("(x, *, rng)", lambda x, rng: None),
        ("(x=1)", lambda x=2: None),
        ("(x)", lambda x, y: None),
        ("(x, y)", lambda y, x: None),
        ("(x=he_normal)", lambda x=core.correct: None),
        ("(*x)", lambda x: None),
    ],
)
def test_a_signature_that_differs_is_noticed(signature, wrong):
    assert written(signature) != actual(wrong)
