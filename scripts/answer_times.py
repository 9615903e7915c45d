"""Time one answer of every shipped model, and write the medians into its rows: python scripts/answer_times.py --help"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from apps.command_line import command
from apps.credit.made_up import examples
from apps.credit.model import load_credit
from apps.mnist.image import open_image
from apps.mnist.pad import A_THREE, draw
from apps.predictor import open_predictor
from apps.sentiment.typed import EXAMPLES
from apps.tasks import TASKS
from core import write_atomically
from core.parallel import blas_threads
from models import RESULTS, WEIGHTS

COLUMN = "answer_ms"


def one_answer(task: str, model: str, folder: Path) -> Callable[[], Any]:
    """What answers one input of the task: an image file of 280×280, a sentence, or an applicant's numbers."""
    if task == "credit":
        scorer = load_credit(WEIGHTS / f"credit_{model}")
        row = examples(scorer)["Refused"][None]
        return lambda: scorer.pd(row)
    predictor = open_predictor(TASKS[task], model=model)
    if task == "sentiment":
        sentence = next(iter(EXAMPLES.values()))
        return lambda: predictor.probabilities([sentence])
    file, picture = folder / "three.png", draw(A_THREE)
    assert picture is not None  # there is ink
    picture.save(file)
    return lambda: predictor(open_image(file))


def median_ms(answer: Callable[[], Any], seconds: float) -> float:
    """The median time of an answer, asked for so many seconds after a tenth of them to warm up."""
    times: list[float] = []
    for length in (seconds / 10, seconds):
        times.clear()
        end = perf_counter() + length
        while (began := perf_counter()) < end:
            answer()
            times.append(1e3 * (perf_counter() - began))
    return statistics.median(times)


def measure(arguments: argparse.Namespace) -> int:
    with open(RESULTS, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with tempfile.TemporaryDirectory() as folder, blas_threads(1):
        for row in rows:
            if (WEIGHTS / f"{row['name']}.json").is_file():
                row[COLUMN] = f"{median_ms(one_answer(row['task'], row['model'], Path(folder)), arguments.seconds):.2f}"
                print(f"{row['name']:<26} {row[COLUMN]:>6} ms", flush=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(RESULTS, text.getvalue().encode())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=f"Write the column {COLUMN} of models/results.csv: milliseconds from one raw input to the answer,"
        " the model loaded, on one thread. Close other programs first."
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="for each model (default: %(default)s)")
    return command(measure, parser, argv)


if __name__ == "__main__":
    raise SystemExit(main())
