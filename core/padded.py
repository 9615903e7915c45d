"""A batch of sequences of different lengths, as it flows between layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from core.context import Array, Context, Shape

if TYPE_CHECKING:
    from core.layer import Layer


class Padded:
    """A batch of sequences in one array; what stands behind the end of each are finite numbers of no meaning.

    values   (N, T, …)
    lengths  (N,) how many steps of each sequence count, from 0 to T
    weight   (N, T) what each step counts, for an `EmbeddingBag`; None where all count 1

    Layers keep two promises: what they return does not depend on what stands behind an end, and the gradients that
    they return are zero there.

    Raises ValueError where the shapes do not fit, or a length is out of range.
    """

    __slots__ = ("lengths", "values", "weight")

    def __init__(self, values: Array, lengths: Array, weight: Array | None = None) -> None:
        values, lengths = np.asarray(values), np.asarray(lengths)
        if values.ndim < 2 or lengths.shape != (len(values),) or lengths.dtype.kind not in "iu":
            raise ValueError(
                f"a padded batch has values (N, T, …) and N whole lengths, not {values.shape} and {lengths.shape}"
            )
        if len(lengths) and not (lengths.min() >= 0 and lengths.max() <= values.shape[1]):
            raise ValueError(
                f"the lengths run from {lengths.min()} to {lengths.max()}, but there are {values.shape[1]} steps"
            )
        if weight is not None and weight.shape != values.shape[:2]:
            raise ValueError(f"there is a weight for every step {values.shape[:2]}, not {weight.shape}")
        self.values, self.lengths, self.weight = values, lengths.astype(np.int64, copy=False), weight

    def like(self, values: Array) -> Padded:
        """Other values (N, T, …) for the same steps."""
        padded = Padded.__new__(Padded)  # what was checked needs no second check
        padded.values, padded.lengths, padded.weight = values, self.lengths, None
        return padded

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: slice) -> Padded:
        """Some of the sequences."""
        return Padded(self.values[part], self.lengths[part], None if self.weight is None else self.weight[part])

    @property
    def shape(self) -> Shape:
        """(N, T, …)"""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.values.dtype

    def __repr__(self) -> str:
        return f"Padded{self.shape}"


def call(layer: Layer, x: Any, ctx: Context) -> Any:
    """layer.forward(x, ctx), where a layer that treats all steps alike is given the values of a padded batch.

    Raises ValueError where the layer cannot take sequences of different lengths.
    """
    if not isinstance(x, Padded) or layer.takes_padded:
        return layer.forward(x, ctx)
    if not layer.per_step:
        raise ValueError(
            f"{layer!r} takes arrays, not sequences of different lengths: pool them over time first"
            " (or, if it treats every step alike, set per_step = True in its class)"
        )
    return x.like(layer.forward(x.values, ctx))


def values_of(x: Any) -> Array:
    """The array in a padded batch, or x itself."""
    values: Array = x.values if isinstance(x, Padded) else x
    return values


def lengths_of(x: Any) -> Array | None:
    """(N,) of a padded batch; None of an array, whose sequences have all its T steps."""
    return x.lengths if isinstance(x, Padded) else None
