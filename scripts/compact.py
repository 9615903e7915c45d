"""Write the model of a run in fewer bits, as the zoo ships it: python scripts/compact.py --help"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from apps.command_line import command
from apps.errors import InputError
from apps.run import check_data, description_file, read_description, weights_file
from apps.sentiment.compact import compact
from apps.sentiment.task import SENTIMENT


def write(arguments: argparse.Namespace) -> int:
    if not (arguments.run / "model.json").is_file():
        raise InputError(f"{arguments.run} is not the folder of a run: give the one printed at the end of a training.")
    described = read_description(arguments.run / "model.json")
    dataset, stem = described["data"].get("dataset"), arguments.out
    if dataset not in SENTIMENT.datasets:
        raise InputError(
            f"{arguments.run} learned from {described['data'].get('name')}: only what learned from"
            f" {', '.join(SENTIMENT.datasets)} is measured anew here."
        )
    if stem.resolve() == (arguments.run / "model").resolve():
        raise InputError(f"{stem} are the files of the run itself: give another --out.")
    data = SENTIMENT.load(arguments.data, dataset)
    check_data(described, data)
    facts = compact(SENTIMENT, arguments.run, stem, data)
    size = sum(path(stem).stat().st_size for path in (description_file, weights_file))
    told = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in facts["metrics"].items())
    print(f"{stem}: {size / 2**20:.1f} MiB; {told}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write the sentiment model of a run in fewer bits: tables of words in 8 a number, other weights in"
        " 16, and its metrics as they then are."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of the run")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="STEM",
        required=True,
        help="write STEM.json and STEM.safetensors; the zoo's own are models/weights/sentiment_NAME",
    )
    parser.add_argument(
        "--data", metavar="WHERE", help="hub, or a folder laid out as the hub (default: ZOO_DATA, else the hub)"
    )
    return command(write, parser, argv)


if __name__ == "__main__":
    raise SystemExit(main())
