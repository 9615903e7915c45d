"""Keep the digits that a shipped model misreads beside its card: python scripts/misread.py --help"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from apps.command_line import command
from apps.mnist.misread import find_misread, to_json
from apps.mnist.task import MNIST
from apps.predictor import open_predictor
from apps.run import check_data
from core import write_atomically
from models import CARDS


def keep(arguments: argparse.Namespace) -> int:
    predictor = open_predictor(MNIST, model=arguments.model)
    data = MNIST.load(arguments.data, predictor.facts["data"]["dataset"])
    check_data(predictor.facts, data)
    path = CARDS / f"{predictor.stem.name}_misread.json"
    found = find_misread(predictor, data)
    write_atomically(path, to_json(found).encode())
    print(f"{len(found.row)} of {found.examples:,} {MNIST.unit} of {found.data} are misread: models/cards/{path.name}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write models/cards/NAME_misread.json: the confusion matrix of a shipped model on the test images"
        " of its data, and the images it misreads. The page of the task shows them."
    )
    parser.add_argument("--model", metavar="NAME", help=f"one of {', '.join(MNIST.entries)} (default: {MNIST.served})")
    parser.add_argument(
        "--data", metavar="WHERE", help="hub, or a folder laid out as the hub (default: ZOO_DATA, else the hub)"
    )
    return command(keep, parser, argv)


if __name__ == "__main__":
    raise SystemExit(main())
