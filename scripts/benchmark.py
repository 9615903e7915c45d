"""Time a training step, ours against PyTorch's: python scripts/benchmark.py --help

Every contender runs in a child process of its own, with the same weights and the same fresh batches; they take turns,
and the median of the rounds counts, since machines are noisy. A ratio is printed only where loss and gradients of the
first step agree. PyTorch is timed as it comes and with its memory allocator tuned; the claim is against the faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from core import Adam, Context, Examples, Gradients, Recipe, Sequential, SoftmaxCrossEntropy, Step, fit
from models import cnn, mlp

TUNED = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}
BATCHES = 32  # different ones, in a new order every epoch


@dataclass(frozen=True)
class Workload:
    """A model, the shape of an example, and the best way we know to train it on two cores."""

    shape: tuple[int, ...]
    classes: int
    build: Callable[[np.random.Generator, float], Sequential]  # (rng, dropout)
    recipe: Recipe
    steps: int  # a round

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """x (BATCHES · B, …) float32, t (BATCHES · B,) int64"""
        rng = np.random.default_rng(0)
        n = BATCHES * self.recipe.batch_size
        return rng.random((n, *self.shape), np.float32), rng.integers(0, self.classes, n)


def _credit(rng: np.random.Generator, dropout: float) -> Sequential:
    return mlp(inputs=23, outputs=2, hidden=(64, 32), rng=rng)


def _mlp(rng: np.random.Generator, dropout: float) -> Sequential:
    return mlp(inputs=784, outputs=10, hidden=(256, 128), rng=rng)


def _cnn(rng: np.random.Generator, dropout: float) -> Sequential:
    return cnn(dropout=dropout, rng=rng)


def _recipe(batch_size: int, lanes: int, micro_batch: int, blas_threads: int) -> Recipe:
    return Recipe(10**9, batch_size, lanes, micro_batch, blas_threads)


WORKLOADS = {
    "credit-b64": Workload((23,), 2, _credit, _recipe(64, 1, 64, 1), 500),
    "credit-b256": Workload((23,), 2, _credit, _recipe(256, 1, 256, 1), 300),
    "mlp-b128": Workload((784,), 10, _mlp, _recipe(128, 1, 128, 2), 60),
    "cnn-b64": Workload((1, 28, 28), 10, _cnn, _recipe(64, 2, 32, 1), 20),
    "cnn-b128": Workload((1, 28, 28), 10, _cnn, _recipe(128, 2, 32, 1), 10),
    "cnn-b256": Workload((1, 28, 28), 10, _cnn, _recipe(256, 2, 32, 1), 6),
}


# --- what a child does ----------------------------------------------------------------------------------------------


def ours(work: Workload, folder: Path) -> Iterator[None]:
    """A step each time it is asked. First it leaves its weights, and loss and gradients of the first batch."""
    x, t = work.data()
    model = work.build(np.random.default_rng(1), 0.0)
    grads, ctx = Gradients(model.trainable()), Context(True)
    ctx.grads = grads
    grads.start()
    batch = slice(0, work.recipe.batch_size)
    value, dy = SoftmaxCrossEntropy()(model.forward(x[batch], ctx), t[batch], 1 / work.recipe.batch_size, Context(True))
    model.backward(dy, ctx)
    grads.finish()
    arrays: dict[str, Any] = {"loss": value}
    for i, parameter in enumerate(model.parameters()):
        arrays |= {f"w{i}": parameter.value, f"g{i}": grads[parameter]}
    np.savez(folder / "first.npz", **arrays)
    model = work.build(np.random.default_rng(1), 0.5)
    for event in fit(model, SoftmaxCrossEntropy(), Adam(1e-3), Examples(x, t), work.recipe, threads=2):
        if isinstance(event, Step):
            yield


def theirs(work: Workload, folder: Path, channels_last: bool) -> Iterator[None]:
    """The same in PyTorch, eager, with fused Adam. First it compares loss and gradients with ours."""
    import torch as installed

    torch: Any = installed
    nn = torch.nn
    torch.set_num_threads(2)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def build(dropout: float) -> Any:
        layers: list[Any] = []
        for layer in work.build(np.random.default_rng(1), dropout).layers:
            name, sizes = type(layer).__name__, [p.value.shape for p in layer.parameters()]
            if name == "Dense":
                layers.append(nn.Linear(*sizes[0]))
            elif name == "ConvPool2D":
                layers += [nn.Conv2d(sizes[0][0], sizes[0][3], sizes[0][1]), nn.MaxPool2d(2)]
            elif name == "Dropout":
                layers.append(nn.Dropout(dropout))
            else:
                layers.append({"ReLU": nn.ReLU, "Flatten": nn.Flatten}[name]())
        model = nn.Sequential(*layers)
        with np.load(folder / "first.npz") as first, torch.no_grad():
            for i, parameter in enumerate(model.parameters()):
                parameter.copy_(torch.from_numpy(_as_torch(first[f"w{i}"])))
        return model.to(memory_format=layout) if len(work.shape) == 3 else model

    x, t = map(torch.from_numpy, work.data())
    if len(work.shape) == 3:
        x = x.to(memory_format=layout)
    loss, size = nn.CrossEntropyLoss(), work.recipe.batch_size
    model = build(0.0)
    value = loss(model(x[:size]), t[:size])
    value.backward()
    with np.load(folder / "first.npz") as first:
        np.testing.assert_allclose(value.item(), first["loss"], rtol=1e-4)
        for i, parameter in enumerate(model.parameters()):
            np.testing.assert_allclose(parameter.grad, _as_torch(first[f"g{i}"]), rtol=1e-2, atol=1e-5)
    model = build(0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    while True:
        order = torch.randperm(len(x))
        for i in range(0, len(x), size):
            rows = order[i : i + size]
            optimizer.zero_grad(set_to_none=True)
            loss(model(x[rows]), t[rows]).backward()
            optimizer.step()
            yield


def _as_torch(w: np.ndarray) -> np.ndarray:
    """(I, O) → (O, I), (C, K, K, O) → (O, C, K, K)"""
    return np.ascontiguousarray(np.moveaxis(w, -1, 0)) if w.ndim > 1 else w


def child(contender: str, name: str, folder: Path) -> None:
    """Run a round for every line on standard input; answer with milliseconds a step."""
    work = WORKLOADS[name]
    steps = ours(work, folder) if contender == "ours" else theirs(work, folder, "channels-last" in contender)
    for _ in range(5):
        next(steps)
    for _ in sys.stdin:
        began = perf_counter()
        for _ in range(work.steps):
            next(steps)
        print((perf_counter() - began) / work.steps * 1e3, flush=True)


# --- what the parent does -------------------------------------------------------------------------------------------


class Contender:
    """A child process that runs rounds when told to."""

    def __init__(self, kind: str, workload: str, folder: Path, tuned: bool) -> None:
        self.name = f"{kind}, tuned allocator" if tuned else kind
        environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"} | (TUNED if tuned else {})
        self.process = subprocess.Popen(
            [sys.executable, __file__, workload, "--child", kind, "--folder", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.times: list[float] = []

    def round(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            _, trouble = self.process.communicate()
            raise SystemExit(f"benchmark.py: {self.name} failed: {trouble.strip().splitlines()[-1]}")
        self.times.append(float(answer))

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def measure(workload: str, against: str | None, rounds: int) -> dict[str, Any]:
    """{"workload", "ours": ms, each rival: ms, "ratio": the fastest rival's time over ours}: medians of the rounds"""
    with tempfile.TemporaryDirectory() as folder:
        contenders = [Contender("ours", workload, Path(folder), False)]
        try:
            contenders[0].round()  # leaves the first step for the others to compare
            if against == "torch":
                kinds = ["torch", "torch channels-last"] if len(WORKLOADS[workload].shape) == 3 else ["torch"]
                contenders += [Contender(k, workload, Path(folder), tuned) for k in kinds for tuned in (False, True)]
            for each in contenders:
                each.round()
                each.times.clear()
            for _ in range(rounds):
                for each in contenders:
                    each.round()
        finally:
            for each in contenders:
                each.close()
    times = {each.name: statistics.median(each.times) for each in contenders}
    rivals = [value for name, value in times.items() if name != "ours"]
    return {"workload": workload} | times | {"ratio": min(rivals) / times["ours"] if rivals else None}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0] + ".")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--against", choices=["torch"], help="a rival that is installed")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="how often they take turns (default: 9)")
    parser.add_argument("--json", action="store_true", help="print one JSON value on standard output")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.workloads if name not in WORKLOADS]:
        parser.error(f"there is no workload {unknown[0]!r}: choose from {', '.join(WORKLOADS)}")
    if arguments.child:
        child(arguments.child, arguments.workloads[0], arguments.folder)
        return 0
    rows = []
    for name in arguments.workloads or WORKLOADS:
        row = measure(name, arguments.against, max(1, arguments.rounds))
        rows.append(row)
        parts = [f"{who} {value:.3f} ms" for who, value in row.items() if who not in ("workload", "ratio")]
        ratio = f"   {row['ratio']:.2f} × as fast as the best of them" if row["ratio"] else ""
        print(f"{name:<12} {'   '.join(parts)}{ratio}", file=sys.stderr, flush=True)
    if arguments.json:
        from threadpoolctl import threadpool_info

        print(json.dumps({"blas": threadpool_info(), "numpy": np.__version__, "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
