"""How long an accuracy takes, from the start of the process to its end: python scripts/time_to_accuracy.py --help

MNIST to 99 % of the test images, IMDB to 90 % of the test reviews. Every training is a process of its own, which
imports, loads the data, trains, and tests. The contenders take turns, seed by seed, on the same machine and the same
copy of the data, read by the same code.

ours            scripts/train_mnist.py --model quick_cnn: a fixed recipe, chosen on held-out training images
torch-recipe    the same network, batches, optimizer and schedule in PyTorch, whole batches indexed from one tensor
torch-example   the network and settings of PyTorch's own MNIST example: two 3×3 convolutions of 32 and 64 maps, one
                pool, 128 units, dropout; batch 64, Adadelta at 1, × 0.7 an epoch, 14 epochs. It tests after every
                epoch, and what counts is the end of the first one with 99 %. Batches are indexed from one tensor, which
                is faster than that example's own loading.
ours-imdb       scripts/train_sentiment.py --model ngram_linear: a fixed recipe, chosen on held-out training reviews
torch-bag       an EmbeddingBag of PyTorch over words and hashed pairs of words, 16 numbers each, and a linear layer on
                their mean (Joulin et al., 2017); batch 64, SparseAdam at 0.01, 10 epochs. The words are cut and
                numbered by our code. It tests after every epoch, as above.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

TARGETS = {"ours": 0.99, "torch-recipe": 0.99, "torch-example": 0.99, "ours-imdb": 0.90, "torch-bag": 0.90}
SCRIPTS = {
    "ours": ["train_mnist.py", "--model", "quick_cnn"],
    "ours-imdb": ["train_sentiment.py", "--model", "ngram_linear"],
}
REVIEWS = ("ours-imdb", "torch-bag")  # who reads IMDB, the others MNIST
BUCKETS = 1 << 20  # of pairs of words
ROOT = Path(__file__).parent.parent


# --- what a child does ----------------------------------------------------------------------------------------------


def child(contender: str, seed: int, data: str | None) -> float:
    """Train in PyTorch; the accuracy on the test examples."""
    return bag(seed, data) if contender == "torch-bag" else digits(contender, seed, data)


def digits(contender: str, seed: int, data: str | None) -> float:
    """MNIST."""
    import torch as installed

    from apps.mnist.data import load
    from apps.mnist.task import MNIST

    torch: Any = installed
    nn = torch.nn
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    loaded = load(data)
    x, t = torch.from_numpy(loaded.train.x), torch.from_numpy(loaded.train.t)
    test_x, test_t = torch.from_numpy(loaded.test.x), torch.from_numpy(loaded.test.t)
    recipe = MNIST.entries["quick_cnn"].recipe
    if contender == "torch-recipe":
        layers = [nn.Conv2d(1, 16, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.MaxPool2d(2), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(800, 128), nn.ReLU(), nn.Linear(128, 10))
        held = int(len(x) * recipe.validation)
        x, t = x[held:], t[held:]
        batch, epochs = recipe.batch_size, recipe.epochs
        optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, fused=True)
        ours = recipe.make_optimizer(len(x))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: ours.lr(step) / recipe.lr)
        every = 1
    else:
        x, test_x = ((v - 0.1307) / 0.3081 for v in (x, test_x))
        layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
        model = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)
        )
        batch, epochs = 64, 14
        optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
        every = -(-len(x) // batch)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7)
    loss, steps = nn.CrossEntropyLoss(), 0
    for epoch in range(epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            loss(model(x[rows]), t[rows]).backward()
            optimizer.step()
            steps += 1
            if steps % every == 0:
                schedule.step()
        if contender == "torch-example" or epoch + 1 == epochs:
            model.eval()
            with torch.no_grad():
                right = sum(
                    (model(a).argmax(1) == b).sum().item()
                    for a, b in zip(test_x.split(1000), test_t.split(1000), strict=True)
                )
            accuracy = float(right) / len(test_t)
            if accuracy >= TARGETS[contender]:
                break
    return accuracy


def bag(seed: int, data: str | None) -> float:
    """IMDB."""
    import numpy as np
    import torch as installed

    from apps.sentiment.data import load
    from apps.sentiment.encoder import fit_encoder

    torch: Any = installed
    nn = torch.nn
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    loaded = load(data)
    assert loaded.test is not None
    encoder = fit_encoder(loaded.train)
    words = encoder.sizes()["words"]

    def grams(texts: Any) -> list[Any]:
        """A tensor a text: the ids of its words, then those of its pairs of neighbours"""
        every = encoder(texts)
        pairs = words + (every.values[:-1].astype(np.int64) * 1_000_003 + every.values[1:]) % BUCKETS
        cuts = zip(every.offsets[:-1].tolist(), every.offsets[1:].tolist(), strict=True)
        ids = every.values.astype(np.int64)
        return [torch.from_numpy(np.concatenate([ids[a:b], pairs[a : max(a, b - 1)]])) for a, b in cuts]

    def batch(given: list[Any], rows: list[int]) -> tuple[Any, Any]:
        chosen = [given[row] for row in rows]
        lengths = torch.tensor([0] + [len(text) for text in chosen[:-1]])
        return torch.cat(chosen), lengths.cumsum(0)

    x, test_x = grams(loaded.train.x), grams(loaded.test.x)
    t, test_t = torch.from_numpy(loaded.train.t), torch.from_numpy(loaded.test.t)
    table, head = nn.EmbeddingBag(words + BUCKETS, 16, sparse=True), nn.Linear(16, 2)
    nn.init.uniform_(table.weight, -0.05, 0.05)
    optimizers = torch.optim.SparseAdam(table.parameters(), lr=0.01), torch.optim.Adam(head.parameters(), lr=0.01)
    loss, accuracy = nn.CrossEntropyLoss(), 0.0
    for _ in range(10):
        for rows in torch.randperm(len(x)).split(64):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss(head(table(*batch(x, rows.tolist()))), t[rows]).backward()
            for optimizer in optimizers:
                optimizer.step()
        with torch.no_grad():
            parts = [range(a, min(a + 500, len(test_x))) for a in range(0, len(test_x), 500)]
            logits = torch.cat([head(table(*batch(test_x, list(part)))) for part in parts])
        accuracy = float((logits.argmax(1) == test_t).float().mean())
        if accuracy >= TARGETS["torch-bag"]:
            break
    return accuracy


# --- what the parent does -------------------------------------------------------------------------------------------


def measure(contender: str, seed: int, data: str | None) -> tuple[float, float]:
    """(seconds from the start of the process to its end, accuracy on the test examples)"""
    given = ["--data", data] if data else []
    with TemporaryDirectory() as folder:
        if contender in SCRIPTS:
            script, *options = SCRIPTS[contender]
            command: list[Any] = [ROOT / "scripts" / script, *options, "--out", f"{folder}/run", "--json"]
        else:
            command = [Path(__file__), "--child", contender]
        environ = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environ.get("PYTHONPATH"))))
        began = perf_counter()
        done = subprocess.run(
            [sys.executable, *map(str, command), "--seed", str(seed), *given],
            env=environ,
            capture_output=True,
            text=True,
        )
        seconds = perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr}")
    answer = json.loads(done.stdout)
    return seconds, float(answer["metrics"]["accuracy"] if contender in SCRIPTS else answer)


def refuse_the_sample(data: str | None, repository: str) -> None:
    """End with a sentence where all that can be had of a data set is the sample, of which no target speaks."""
    from apps.errors import InputError
    from apps.source import find_source

    try:
        sample = find_source(data, repository).kind == "sample"
    except InputError as error:
        raise SystemExit(str(error)) from error
    if sample:
        raise SystemExit(f"Only the sample is there, not {repository}: give --data FOLDER for FOLDER/{repository}.")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Time MNIST to 99 % and IMDB to 90 % on the test examples, whole processes, several seeds."
    )
    parser.add_argument(
        "contenders", nargs="*", metavar="CONTENDER", help=f"some of {', '.join(TARGETS)} (default: ours)"
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 … N − 1 (default: 5)")
    parser.add_argument("--data", metavar="WHERE", help="where the data are read from, as for train_mnist.py")
    parser.add_argument("--json", action="store_true", help="print one JSON value on standard output")
    parser.add_argument("--child", choices=list(TARGETS), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child, arguments.seed, arguments.data)))
        return 0
    chosen = arguments.contenders or ["ours"]
    if unknown := sorted(set(chosen) - set(TARGETS)):
        parser.error(f"there is no contender {unknown[0]!r}: choose some of {', '.join(TARGETS)}")
    for contender in chosen:
        refuse_the_sample(arguments.data, "stanfordnlp/imdb" if contender in REVIEWS else "ylecun/mnist")
    found: dict[str, list[tuple[float, float]]] = {contender: [] for contender in chosen}
    for seed in range(arguments.seeds):
        for contender in chosen:
            found[contender].append(measure(contender, seed, arguments.data))
            seconds, accuracy = found[contender][-1]
            print(f"{contender:<14} seed {seed}  {seconds:6.1f} s  {accuracy:.2%}", file=sys.stderr, flush=True)
    summary: list[dict[str, Any]] = [
        {
            "contender": contender,
            "seconds": statistics.median(seconds for seconds, _ in runs),
            "reached": sum(accuracy >= TARGETS[contender] for _, accuracy in runs),
            "runs": [{"seconds": seconds, "accuracy": accuracy} for seconds, accuracy in runs],
        }
        for contender, runs in found.items()
    ]
    if arguments.json:
        print(json.dumps(summary, indent=1))
    else:
        for row in summary:
            print(
                f"{row['contender']:<14} median {row['seconds']:.1f} s, {row['reached']} of {len(row['runs'])} at "
                f"{TARGETS[row['contender']]:.0%}"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
