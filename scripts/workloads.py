"""What scripts/benchmark.py times: networks, batches, and the best way known to train and serve them on two cores."""

from __future__ import annotations

import os
import resource
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import numpy as np

from core import (
    GRU,
    LSTM,
    Adam,
    BatchNorm,
    Bidirectional,
    Context,
    Conv2D,
    ConvMaxPool1D,
    ConvPool2D,
    Dense,
    Dropout,
    Embedding,
    EmbeddingBag,
    EmbeddingConvMaxPool1D,
    EmbeddingRecurrent,
    Examples,
    Flatten,
    Gradients,
    Inference,
    Layer,
    Recipe,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Step,
    fit,
    predict,
)
from models import cnn, mlp

BATCHES = 32  # different ones, in a new order every epoch
WORDS, FEATURES, TOKENS = 20_000, 128, 200
IMAGE, TEXT = (1, 28, 28), (TOKENS,)
Network = Callable[[np.random.Generator, float], Sequential]  # (rng, dropout)


@dataclass(frozen=True)
class Workload:
    """A network, the shape of an example, and how it is trained.

    rivals   what PyTorch is timed with: "channels-last" images, "sparse" embeddings with SparseAdam, "" as it comes
    steps    a round
    serving  threads that share 256 examples, 1 where there is too little work in them; where BLAS has several threads
             in training, it has them here instead
    """

    network: str  # in words
    build: Network
    shape: tuple[int, ...]
    classes: int
    recipe: Recipe
    steps: int
    rivals: tuple[str, ...] = ("",)
    serving: int = 2

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """x (BATCHES · B, …), float32 or int64 ids from a Zipf law; t (BATCHES · B,) int64"""
        rng = np.random.default_rng(0)
        n = BATCHES * self.recipe.batch_size
        t = rng.integers(0, self.classes, n)
        if self.shape != TEXT:
            return rng.random((n, *self.shape), np.float32), t
        chance = np.cumsum(1 / np.arange(1, WORDS))  # of id i: 1 / i
        return 1 + np.searchsorted(chance, rng.random((n, TOKENS)) * chance[-1]).astype(np.int64), t


def _credit(rng: np.random.Generator, dropout: float) -> Sequential:
    return mlp(inputs=23, outputs=2, hidden=(64, 32), rng=rng)


def _mlp(rng: np.random.Generator, dropout: float) -> Sequential:
    return mlp(inputs=784, outputs=10, hidden=(256, 128), rng=rng)


def _cnn(rng: np.random.Generator, dropout: float) -> Sequential:
    return cnn(dropout=dropout, rng=rng)


def _cnnbn(rng: np.random.Generator, dropout: float) -> Sequential:
    layers: list[Layer] = []
    for inputs, maps in ((1, 32), (32, 64)):
        layers += [Conv2D(inputs, maps, 3, padding=1, bias=False, rng=rng), BatchNorm(maps), ReLU()]
        layers += [ConvPool2D(maps, maps, 3, padding=1, bias=False, rng=rng), BatchNorm(maps), ReLU()]
    dense = [Dense(64 * 7 * 7, 128, bias=False, rng=rng), BatchNorm(128), ReLU(), Dense(128, 10, rng=rng)]
    return Sequential(*layers, Flatten(), *dense)


def _textcnn(rng: np.random.Generator, dropout: float) -> Sequential:
    filters = [ConvMaxPool1D(FEATURES, 100, width, padding="valid", rng=rng) for width in (3, 4, 5)]
    head = [ReLU(), Dropout(dropout), Dense(300, 2, rng=rng)]
    return Sequential(EmbeddingConvMaxPool1D(Embedding(WORDS, FEATURES, rng=rng), *filters), *head)


def _recurrent(kind: type[LSTM | GRU], units: int, both: bool = False) -> Network:
    def build(rng: np.random.Generator, dropout: float) -> Sequential:
        cells = [kind(FEATURES, units, output="last", rng=rng) for _ in range(1 + both)]
        reader = Bidirectional(*cells) if both else cells[0]
        words = EmbeddingRecurrent(Embedding(WORDS, FEATURES, rng=rng), reader)
        return Sequential(words, Dense(units * len(cells), 2, rng=rng))

    return build


def _bag(rng: np.random.Generator, dropout: float) -> Sequential:
    return Sequential(EmbeddingBag(WORDS, FEATURES, rng=rng), Dense(FEATURES, 2, rng=rng))


def _recipe(batch_size: int, lanes: int, micro_batch: int, blas_threads: int = 1, tables: str = "lazy") -> Recipe:
    return Recipe(10**9, batch_size, lanes, micro_batch, blas_threads, tables=tables)


def _image(network: str, build: Network, recipe: Recipe, steps: int) -> Workload:
    return Workload(network, build, IMAGE, 10, recipe, steps, ("", "channels-last"))


def _text(network: str, build: Network, recipe: Recipe, steps: int, *rivals: str) -> Workload:
    return Workload(network, build, TEXT, 2, recipe, steps, rivals or ("", "sparse"))


CNN = "3×3×32, pool, 3×3×64, pool, dropout, 10"
CNNBN = "twice 3×3 and 3×3, pool, of 32 and of 64 maps, 128, 10; batch norm"
BAG = "mean of 200 vectors of 128, 2"

WORKLOADS = {
    "credit-b64": Workload("23-64-32-2", _credit, (23,), 2, _recipe(64, 1, 64), 500, serving=1),
    "credit-b256": Workload("23-64-32-2", _credit, (23,), 2, _recipe(256, 1, 256), 300),
    "mlp-b128": Workload("784-256-128-10", _mlp, (784,), 10, _recipe(128, 1, 128, 2), 60),
    "cnn-b64": _image(CNN, _cnn, _recipe(64, 2, 32), 20),
    "cnn-b128": _image(CNN, _cnn, _recipe(128, 2, 32), 10),
    "cnn-b256": _image(CNN, _cnn, _recipe(256, 2, 32), 6),
    "cnnbn-b128": _image(f"{CNNBN} over 32 images", _cnnbn, _recipe(128, 2, 32), 3),
    "cnnbn-whole-b128": _image(f"{CNNBN} over all 128 images", _cnnbn, _recipe(128, 1, 128, 2), 3),
    "textcnn-b64": _text("128, 100 maps each of widths 3, 4, 5, maximum, dropout, 2", _textcnn, _recipe(64, 2, 32), 5),
    "lstm64-b32": _text("128, LSTM 64, 2", _recurrent(LSTM, 64), _recipe(32, 1, 32), 8),
    "lstm64-b64": _text("128, LSTM 64, 2", _recurrent(LSTM, 64), _recipe(64, 2, 32), 6),
    "lstm128-b64": _text("128, LSTM 128, 2", _recurrent(LSTM, 128), _recipe(64, 2, 32), 4),
    "gru64-b64": _text("128, GRU 64, 2", _recurrent(GRU, 64), _recipe(64, 1, 64), 5),
    "bilstm64-b64": _text("128, LSTM 64 both ways, 2", _recurrent(LSTM, 64, both=True), _recipe(64, 2, 32), 4),
    "bag-b64": _text(f"{BAG}; lazy Adam", _bag, _recipe(64, 1, 64), 50, "sparse"),
    "bag-dense-b64": _text(f"{BAG}; dense Adam", _bag, _recipe(64, 1, 64, tables="dense"), 30, ""),
}
FORWARD = {  # network -> the workload that has it
    name.partition("-")[0]: name
    for name in ("mlp-b128", "credit-b64", "cnn-b64", "textcnn-b64", "lstm64-b64", "gru64-b64", "bag-b64")
}


# --- ours -----------------------------------------------------------------------------------------------------------


def first_step(work: Workload, folder: Path) -> None:
    """Leave the weights in `folder`, with loss and gradients of the first batch, and its outputs as when serving."""
    x, t = (array[: work.recipe.batch_size] for array in work.data())
    model = work.build(np.random.default_rng(1), 0.0)
    grads = Gradients(model.trainable())
    ctx = Context(True, grads)
    ctx.needs_dx = False
    grads.start()
    value, dy = SoftmaxCrossEntropy()(model.forward(x, ctx), t, 1 / len(x), Context(True))
    model.backward(dy, ctx)
    grads.finish()
    arrays: dict[str, Any] = {"loss": value, "y": predict(model, x)}
    for i, parameter in enumerate(model.trainable()):
        arrays |= {f"w{i}": parameter.value, f"g{i}": grads[parameter]}
    np.savez(folder / f"{os.getpid()}.npz", **arrays)
    (folder / f"{os.getpid()}.npz").replace(folder / "first.npz")  # at once: others may be reading the one before


def training(work: Workload, threads: int = 2) -> Iterator[None]:
    """A step each time it is asked."""
    model = work.build(np.random.default_rng(1), 0.5)
    examples = Examples(*work.data())
    for event in fit(model, SoftmaxCrossEntropy(), Adam(1e-3), examples, work.recipe, threads=threads):
        if isinstance(event, Step):
            yield


def serving(work: Workload, batch: int) -> Iterator[np.ndarray]:
    """The outputs of a batch each time it is asked."""
    model = work.build(np.random.default_rng(1), 0.0)
    x = work.data()[0][:batch]
    most = 64 if work.shape == IMAGE else batch  # images by few, so that what a layer leaves is near for the next
    inside = work.recipe.blas_threads if batch > 1 else 1  # large products are shared sooner than examples
    threads = 1 if inside > 1 else work.serving
    micro_batch = min(most, max(1, batch // threads))
    with Inference(model, micro_batch=micro_batch, threads=threads, blas_threads=inside) as infer:
        while True:
            yield infer(x)


# --- what is counted beside the time --------------------------------------------------------------------------------


def resident() -> int:
    """The bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """The most that it ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def allocated(steps: Iterator[Any]) -> int:
    """The bytes that a warm step allocates at most: the middle of three, of which one may close an epoch."""
    tracemalloc.start()
    made = []
    try:
        next(steps)
        for _ in range(3):
            next(steps)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            next(steps)
            made.append(tracemalloc.get_traced_memory()[1] - before)
        return sorted(made)[1]
    finally:
        tracemalloc.stop()


class Watch:
    """Counts and times what NumPy is asked for by name: matrix products, and copies."""

    PRODUCTS, COPIES = ("dot", "matmul"), ("copyto", "take", "concatenate")

    def __init__(self) -> None:
        self.flops, self.seconds, self.copying = 0, 0.0, 0.0
        self.kept = {name: getattr(np, name) for name in self.PRODUCTS + self.COPIES}

    def __enter__(self) -> Watch:
        for name in self.PRODUCTS:
            setattr(np, name, self._product(self.kept[name]))
        for name in self.COPIES:
            setattr(np, name, self._copy(self.kept[name]))
        return self

    def __exit__(self, *error: object) -> None:
        for name, function in self.kept.items():
            setattr(np, name, function)

    def _product(self, function: Any) -> Any:
        def counted(a: Any, b: Any, *rest: Any, **named: Any) -> Any:
            began = thread_time()
            made = function(a, b, *rest, **named)
            self.seconds += thread_time() - began
            self.flops += 2 * np.size(made) * np.shape(a)[-1]
            return made

        return counted

    def _copy(self, function: Any) -> Any:
        def counted(*given: Any, **named: Any) -> Any:
            began = thread_time()
            made = function(*given, **named)
            self.copying += thread_time() - began
            return made

        return counted


def shares(work: Workload) -> dict[str, float]:
    """Of a step on one thread: its matrix products' operations, and the shares of its time that products, copies and
    calls take. The calls' is the time of the same step on a batch as small as can be, where they are all there is."""
    seconds = {}
    found = Watch()
    for name, batch in (("whole", work.recipe.batch_size), ("calls", 2 * work.recipe.lanes)):
        pieces = -(-work.recipe.batch_size // (work.recipe.lanes * work.recipe.micro_batch))
        small = _recipe(batch * (1 if name == "whole" else pieces), work.recipe.lanes, work.recipe.micro_batch)
        small = Recipe(**{**vars(small), "tables": work.recipe.tables})
        if name == "calls":
            small = Recipe(**{**vars(small), "micro_batch": 2})
        less = Workload(work.network, work.build, work.shape, work.classes, small, work.steps)
        steps = training(less, threads=1)
        for _ in range(3):
            next(steps)
        times = []
        for _ in range(5):
            began = thread_time()
            next(steps)
            times.append(thread_time() - began)
        seconds[name] = min(times)
        if name == "whole":
            with found:
                for _ in range(3):
                    next(steps)
        steps.close()  # type: ignore[attr-defined]
    whole = 3 * seconds["whole"]
    return {
        "flops": found.flops / 3,
        "products": found.seconds / whole,
        "copies": found.copying / whole,
        "calls": seconds["calls"] / seconds["whole"],
    }


def gemm_peak(size: int = 1024, rounds: int = 9) -> float:
    """Floating-point operations a second of a square matrix product, the best of some."""
    a, b = np.ones((size, size), np.float32), np.ones((size, size), np.float32)
    out, best = np.empty_like(a), np.inf
    for _ in range(rounds):
        began = perf_counter()
        np.dot(a, b, out=out)
        best = min(best, perf_counter() - began)
    return 2 * size**3 / best
