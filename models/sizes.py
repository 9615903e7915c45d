"""What a file may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_PARAMETERS = 50_000_000  # of a model that a file asks for
MOST_SIZES = 600  # numbers among its arguments: a table has a size for each column of categories


def check_sizes(arguments: Mapping[str, Any]) -> None:
    """Whole numbers small enough that not even a product of the two largest is a model nobody meant.

    How many `words` there are is left out: no model has anything as large as that.

    Raises ValueError where they are not.
    """
    sizes: list[int] = []
    for value in (value for name, value in arguments.items() if name != "words"):
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, int) and not isinstance(number, bool):
                sizes.append(number)
    largest = sorted((abs(size) for size in sizes), reverse=True)
    if len(sizes) > MOST_SIZES or (largest and largest[0] * (largest[1] if len(largest) > 1 else 1) > MOST_PARAMETERS):
        raise ValueError(f"the sizes {sizes[:4]} ask for more than {MOST_PARAMETERS:,} parameters")
