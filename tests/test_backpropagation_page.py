"""Every formula and every number of docs/backpropagation.md.

The page's formulas are evaluated as they stand there, and must give what is printed beside them and what a
recomputation gives that knows nothing of the chain rule: for ∂a/∂b, add 1e-20 i to b on its way through the
network, and read the imaginary part of a (the complex step: nothing is subtracted, so nothing is lost).

A number may stand in a table, in a text block, in a span with " = " and in the python block, nowhere else.

    | symbol | formula | value |       symbol = formula = value; a formula in *words* is skipped
    | η | y′ |                         y′, were η the number in the row's first column
    | parameter θ | ∂L/∂θ |            ∂L/∂θ for the parameter in the row's first column
"""

import ast
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "backpropagation.md").read_text(encoding="utf-8")
PARAMETERS = ["w₁₁", "w₁₂", "w₂₁", "w₂₂", "b₁", "b₂", "v₁", "v₂", "c"]
GIVEN = {"x₁": 1.0, "x₂": 0.5, "t": 1.0, "x₁ᴮ": -1.0, "x₂ᴮ": 0.5, "tᴮ": -1.0}
GIVEN |= dict(zip(PARAMETERS, [0.4, -0.6, 0.8, 0.2, 0.1, 0.2, 0.5, -0.7, 0.3], strict=True))
GIVEN |= {"η": 0.1, "μ": 0.9, "β₁": 0.9, "β₂": 0.999, "ε": 1e-8}

# --- the numbers, recomputed ----------------------------------------------------------------------

STEP = 1e-20j


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def network(given, nudged=None):
    """Every symbol of a forward pass of both examples, with 1e-20 i added to the nudged one."""
    v = {}

    def put(symbol, value):
        v[symbol] = value + STEP if symbol == nudged else value

    for symbol, value in given.items():
        put(symbol, value)
    for of in ("", "ᴮ"):
        for j in "₁₂":
            put(f"z{j}{of}", v[f"x₁{of}"] * v[f"w₁{j}"] + v[f"x₂{of}"] * v[f"w₂{j}"] + v[f"b{j}"])
            put(f"h{j}{of}", sigmoid(v[f"z{j}{of}"]))
        put(f"y{of}", v[f"h₁{of}"] * v["v₁"] + v[f"h₂{of}"] * v["v₂"] + v["c"])
        put(f"L{of}", (v[f"y{of}"] - v[f"t{of}"]) ** 2)
    put("M", (v["L"] + v["Lᴮ"]) / 2)
    return v


def derivative(given, a, b):
    return network(given, nudged=b)[a].imag / STEP.imag


def descend(given, eta, steps=1):
    for _ in range(steps):
        given = given | {p: given[p] - eta * derivative(given, "L", p) for p in PARAMETERS}
    return given


class Numbers(dict):
    """The value of each symbol of the page, were GIVEN a little different."""

    def __init__(self, **changes):
        self.given = GIVEN | changes
        self.after = descend(self.given, self.given["η"])
        super().__init__(network(self.given))
        self.update({f"{symbol}′": value for symbol, value in network(self.after).items()})
        self.update({"σ": sigmoid, "σ′": lambda z: sigmoid(z + STEP).imag / STEP.imag, "z": 0.37})
        self.update({"exp": np.exp, "√": np.sqrt})
        self["loss"] = lambda n, eta: network(descend(self.given, eta, n))["L"]
        self["‖∇L‖"] = np.linalg.norm([self[f"∂L/∂{p}"] for p in PARAMETERS])
        for p in PARAMETERS:
            g = self[f"∂L/∂{p}"]
            m, s = 0.9 * 0 + 0.1 * g, 0.999 * 0 + 0.001 * g**2
            self[f"m[{p}]"], self[f"s[{p}]"], self[f"plain[{p}]"] = m, s, self.after[p] - self.given[p]
            self[f"adam[{p}]"] = -0.1 * (m / (1 - 0.9)) / (np.sqrt(s / (1 - 0.999)) + 1e-8)

    def __missing__(self, symbol):
        a, b = re.fullmatch(r"∂(\w+′?)/∂(\w+′?)", symbol).groups()
        if a.endswith("′"):
            return derivative(self.after, a.strip("′"), b.strip("′"))
        return derivative(self.given, a, b)


numbers = cache(Numbers)

# --- the page's notation --------------------------------------------------------------------------

NUMBER = r"−?\d+(?:\.\d+)?"
SYMBOL = r"‖∇L‖|√|∂\w+′?/∂\w+′?|[^\W\d]\w*(?:\[\w+\])?′?"
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"


def evaluate(formula, v):
    code = re.sub(f"[{SUPERSCRIPTS}]+", power, formula)
    code = re.sub(SYMBOL, lambda symbol: f"v[{symbol[0]!r}]", code)
    return float(eval(code.replace("·", "*").replace("−", "-"), {"v": v}))  # noqa: S307


def power(n):
    return "**" + "".join(str(SUPERSCRIPTS.index(digit)) for digit in n[0])


def printed(value, like):
    """A value as the page prints it, to as many places as another number has."""
    return f"{value:.{len(like.partition('.')[2])}f}".replace("-", "−")


def check(equation, v):
    """a = b = c: formulas agree exactly, rounded figures nearly, a lone number is right to its last place."""
    sides = [side.strip() for side in re.split("[=≈]", equation)]
    exact = evaluate(next(side for side in sides if not re.fullmatch(NUMBER, side)), v)
    for side in sides:
        if re.fullmatch(NUMBER, side) and "≈" not in equation:
            assert side == printed(exact, side)
        else:
            rounded = "≈" in equation or re.search(r"\.\d{5}", side)
            assert evaluate(side, v) == pytest.approx(exact, rel=2e-5 if rounded else 1e-12)


# --- the page's equations -------------------------------------------------------------------------

CODE_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.S)
TABLE = re.compile(r"(?:^\|.*\n)+", re.M)
SPAN = re.compile(r"`([^`\n]* = [^`\n]*)`")
PROSE = TABLE.sub("", CODE_BLOCK.sub("", PAGE))


def blocks(language):
    return [body for name, body in CODE_BLOCK.findall(PAGE) if name == language]


def equations():
    """(equation, what is different in GIVEN)"""
    for table in TABLE.findall(PAGE):
        head, _, *rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
        for row in rows:
            yield from row_equations(head, row)
    for block in blocks("text"):
        for line in re.sub(r"\n +=", " =", block).splitlines():
            if re.search("[=≈]", line):
                yield line.rpartition("▶")[2].strip(), {}  # an arrow of the diagram may lead to it
    for span in SPAN.findall(PROSE):
        yield span, {}


def row_equations(head, row):
    if head[0] == "symbol":
        chain = [cell for name, cell in zip(head, row, strict=True) if name != "what it is"]
        yield " = ".join(cell for cell in chain if not cell.startswith("*")), {}
    elif head[0]:  # a table without a first heading is words
        variable = head[0].removeprefix("parameter ")
        for formula, cell in list(zip(head, row, strict=True))[1:]:
            if variable in GIVEN:
                yield f"{formula} = {cell}", {variable: float(row[0])}
            else:
                yield f"{formula} = {cell}".replace(variable, row[0]), {}


@pytest.mark.parametrize(("equation", "changes"), list(equations()))
def test_equation(equation, changes):
    check(equation, numbers(**changes))


def test_numbers_stand_nowhere_else():
    decimal = re.compile(r"\d[.,]\d")
    assert not decimal.search(SPAN.sub("", PROSE))
    known = " ".join(f"{equation} {list(changes.values())}" for equation, changes in equations())
    for place in [*TABLE.findall(PAGE), *blocks("text")]:
        assert set(re.findall(r"\d+\.\d+", place)) <= set(re.findall(r"\d+\.\d+", known))


@pytest.mark.parametrize(
    "wrong",
    [
        "L = 0.412699",
        "L = 0.42",
        "z₁ = x₁ · w₁₁ + b₁ = 0.9",
        "∂L/∂w₁₁ = ∂L/∂z₂ · x₁",
        "∂L/∂w₁₁ = −1.284831 · 0.5 · 0.205600",
        "0.25¹⁰ = 0.00000096",
        "(∂L/∂w₁₁) / (∂L/∂v₁) ≈ 0.1446",
    ],
)
def test_a_wrong_equation_would_be_found(wrong):
    with pytest.raises(AssertionError):
        check(wrong, numbers())


def test_the_words_beside_the_numbers():
    v = numbers()
    assert v["L′"] < v["L"]
    assert v["L"] - v["L′"] < v["η"] * v["‖∇L‖"] ** 2  # fell a little less than foretold
    size = {p: abs(v[f"∂L/∂{p}"]) for p in PARAMETERS}
    assert (max(size, key=size.get), min(size, key=size.get)) == ("c", "w₂₁")
    assert size["w₁₁"] == pytest.approx(1 / 8, abs=0.01)
    assert size["w₁₁"] / size["v₁"] == pytest.approx(1 / 7, abs=0.01)
    assert numbers(η=0.6)["y′"] - 1 > 1 - v["y"]  # further above than it was below
    assert [v["loss"](n, 1.0) for n in range(5)] == sorted(v["loss"](n, 1.0) for n in range(5))
    walls = [network(descend(GIVEN, 1.0, n))["y"] > 1 for n in range(5)]
    assert walls == [False, True, False, True, False]
    assert abs(v["∂M/∂v₁"]) < abs(v["∂L/∂v₁"] - v["∂Lᴮ/∂v₁"]) / 10  # the wishes for v₁ nearly cancel
    agreed = {p for p in PARAMETERS if v[f"∂L/∂{p}"] * v[f"∂Lᴮ/∂{p}"] > 0}
    assert agreed == {"w₁₁", "w₁₂"}
    assert abs(v["∂L′/∂v₁′"]) < size["v₁"] < abs(0.9 * v["∂L/∂v₁"] + v["∂L′/∂v₁′"])  # the ball


# --- the same in core -----------------------------------------------------------------------------


def test_the_program_computes_what_its_comments_say():
    """Run the python block a statement at a time; numbers in a comment are what the statement computed."""
    (program,) = blocks("python")
    namespace, compared = {}, 0
    for statement in ast.parse(program).body:
        exec(ast.unparse(statement), namespace)  # noqa: S102
        comment = program.splitlines()[statement.end_lineno - 1].partition("  # ")[2]
        if re.fullmatch(rf"{NUMBER}( {NUMBER})*", comment):
            results = statement.targets[0] if isinstance(statement, ast.Assign) else statement.value
            results = results.elts if isinstance(results, ast.Tuple) else [results]
            found = [np.ravel(eval(ast.unparse(result), namespace)) for result in results]  # noqa: S307
            expected = [float(number.replace("−", "-")) for number in comment.split()]
            np.testing.assert_allclose(np.concatenate(found), expected, atol=6e-7)  # float32, six places
            compared += len(expected)
    assert compared == len(re.findall(r"\d\.\d{6}", program)) == 15


@pytest.mark.parametrize("steps", [1, 2])
def test_the_optimizers_of_core_step_as_the_page_says(steps):
    from core.optimizers import SGD, Adam, Momentum

    v = numbers()
    gradients = [np.array([v["∂L/∂v₁"]]), np.array([v["∂L′/∂v₁′"]])][:steps]
    expected = {
        "SGD": -0.1 * sum(gradients),
        "Momentum": -0.1 * (gradients[0] + (steps - 1) * (0.9 * gradients[0] + gradients[-1])),
        "Adam": v["adam[v₁]"],
    }
    for optimizer in (SGD(0.1), Momentum(0.1, 0.9), Adam(0.1))[: 4 - steps]:
        w = np.zeros(1)
        slots = {name: np.zeros(1) for name in optimizer.slots}
        for t, g in enumerate(gradients, start=1):
            optimizer.update(w, g, slots, 0.1, t, np.empty(1))
        assert w == pytest.approx(expected[type(optimizer).__name__])
