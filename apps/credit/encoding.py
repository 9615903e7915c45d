"""From the numbers of a schema to the inputs of a network: bins, scales and rare categories, fitted on training rows.

bins    a number becomes its place in bins of equal counts, a category its code: for curves and tables of vectors
robust  a number is scaled by median and quartiles, clipped smoothly; indicators for missing and special values; one-hot
quantile  the same, but a number becomes its place in bins, from −1 to 1
woe     every feature becomes the weight of evidence of the bin it falls in (Good, 1950): what scorecards are built on
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from apps.credit.schema import Feature, Schema
from core import CheckpointError

FORMS = ("bins", "robust", "quantile", "woe")
RARE = 0.002  # share of the training rows below which categories are pooled
LEAST = 10  # rows, likewise
WOE_BINS = 8


@dataclass(frozen=True)
class Scale:
    """What is known of one feature from the training rows.

    edges   of its bins: (B + 1,) ascending; empty for categories
    middle  median, and spread: half the distance of the quartiles, or what comes near it
    kept    categories that are not pooled, by their number in the schema
    woe     weight of evidence of: missing, each special code, each bin or kept category, the pooled rest
    """

    edges: tuple[float, ...] = ()
    middle: float = 0.0
    spread: float = 1.0
    kept: tuple[int, ...] = ()
    woe: tuple[float, ...] = ()


@dataclass(frozen=True)
class Encoder:
    """The way from numbers (N, F) to inputs x (N, C), the same for training and serving."""

    form: str
    bins: int
    features: tuple[Feature, ...]
    scales: tuple[Scale, ...]

    @property
    def numeric(self) -> list[int]:
        """Which features are numbers, in the order of their columns in x"""
        return [i for i, feature in enumerate(self.features) if feature.kind != "categorical"]

    @property
    def categorical(self) -> list[int]:
        """Which features are categories, in the order of their columns in x"""
        return [i for i, feature in enumerate(self.features) if feature.kind == "categorical"]

    @property
    def owner(self) -> np.ndarray:
        """(C,): the feature that each column of x comes from"""
        if self.form == "woe":
            return np.arange(len(self.features))
        if self.form == "bins":
            return np.array(self.numeric + self.categorical)
        widths = [
            len(scale.kept) + 2 if feature.kind == "categorical" else 2 + len(feature.codes)
            for feature, scale in zip(self.features, self.scales, strict=True)
        ]
        return np.repeat(np.arange(len(widths)), widths)

    def sizes(self) -> dict[str, Any]:
        """What an architecture must know of x, as its arguments."""
        if self.form != "bins":
            return {"inputs": len(self.owner)}
        return {
            "features": len(self.numeric),
            "bins": self.bins,
            "specials": 1 + max((len(f.codes) for f in self.features), default=0),
            "categories": [len(self.scales[i].kept) + 2 for i in self.categorical],
        }

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """numbers (N, F) float64, as `Schema.numbers` gives them → x (N, C) float32"""
        if self.form == "bins":
            columns = [self._place(i, numbers[:, i]) for i in self.numeric]
            columns += [self._code(i, numbers[:, i]) for i in self.categorical]
        elif self.form == "woe":
            columns = [
                np.asarray(self.scales[i].woe)[woe_bin(feature, self.scales[i], numbers[:, i])]
                for i, feature in enumerate(self.features)
            ]
        else:
            columns = [column for i in range(len(self.features)) for column in self._spread(i, numbers[:, i])]
        x = np.empty((len(numbers), len(columns)), np.float32)
        for i, column in enumerate(columns):
            x[:, i] = column
        return x

    def _place(self, i: int, values: np.ndarray) -> np.ndarray:
        """Where values lie, counted in bins; −1 where one is missing, −2, −3 … where it is a special code"""
        edges = np.asarray(self.scales[i].edges)
        with np.errstate(invalid="ignore"):
            place: np.ndarray = np.interp(values, edges, np.arange(len(edges), dtype=np.float64))
        place[np.isnan(values)] = -1
        for s, code in enumerate(self.features[i].codes):
            place[values == code] = -2 - s
        return place

    def _code(self, i: int, values: np.ndarray) -> np.ndarray:
        """0 missing, 1 the pooled rest, 2 … the categories kept"""
        scale, feature = self.scales[i], self.features[i]
        codes = np.ones(len(feature.categories) + 1)
        codes[list(scale.kept)] = 2 + np.arange(len(scale.kept))
        codes[-1] = 0
        at = np.where(np.isnan(values), len(feature.categories), values).astype(np.int64)
        found: np.ndarray = codes[at]
        return found

    def _spread(self, i: int, values: np.ndarray) -> list[np.ndarray]:
        """A scaled number and indicators, or one-hot columns"""
        scale, feature = self.scales[i], self.features[i]
        if feature.kind == "categorical":
            codes = self._code(i, values)
            return [codes == k for k in range(len(scale.kept) + 2)]
        missing = np.isnan(values)
        flags = [missing, *(values == code for code in feature.codes)]
        ordinary = ~np.logical_or.reduce(flags)
        if self.form == "quantile":
            scaled = self._place(i, values) * (2 / max(1, len(scale.edges) - 1)) - 1
        else:
            scaled = (values - scale.middle) / scale.spread
            scaled = scaled / np.sqrt(1 + np.square(scaled / 3))  # linear near 0, ±3 far out (Holzmüller et al., 2024)
        return [np.where(ordinary, scaled, 0.0), *flags]

    def facts(self) -> dict[str, Any]:
        """What is saved of it; the features are the schema's."""
        return {"form": self.form, "bins": self.bins, "scales": [asdict(scale) for scale in self.scales]}

    @classmethod
    def from_facts(cls, facts: Any, schema: Schema, path: object) -> Encoder:
        """The encoder that `facts` gave. Raises CheckpointError where it is damaged."""
        try:
            scales = tuple(
                Scale(
                    tuple(map(float, each["edges"])),
                    float(each["middle"]),
                    float(each["spread"]),
                    tuple(each["kept"]),
                    tuple(map(float, each["woe"])),
                )
                for each in facts["scales"]
            )
            form, bins = facts["form"], int(facts["bins"])
            if form not in FORMS or len(scales) != len(schema.features):
                raise ValueError(f"it scales {len(scales)} features of {len(schema.features)}")
            for scale, feature in zip(scales, schema.features, strict=True):
                numbers = np.array([*scale.edges, scale.middle, scale.spread, *scale.woe], np.float64)
                sound = bool(np.isfinite(numbers).all() and (np.diff(scale.edges) > 0).all())
                sound = sound and (feature.kind == "categorical" or 1 <= len(scale.edges) <= bins + 1)
                kept = all(isinstance(k, int) and 0 <= k < len(feature.categories) for k in scale.kept)
                if not (sound and kept and scale.spread > 0 and len(scale.woe) == _woe_size(form, feature, scale)):
                    raise ValueError(f"the scale of {feature.name} makes no sense")
            return cls(form, bins, schema.features, scales)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path}: the file is damaged: its encoder ({error})") from None


def fit_encoder(
    form: str, schema: Schema, numbers: np.ndarray, t: np.ndarray, *, bins: int = 32, weight: np.ndarray | None = None
) -> Encoder:
    """Bins, scales, rare categories and weights of evidence of the rows given, and of no others.

    numbers (N, F)   t (N,) 0 or 1   weight (N,)
    """
    weight = np.ones(len(t)) if weight is None else weight
    bins = min(bins, WOE_BINS) if form == "woe" else bins
    scales = tuple(_fit(form, f, numbers[:, i], t, weight, bins) for i, f in enumerate(schema.features))
    return Encoder(form, bins, schema.features, scales)


def _fit(form: str, feature: Feature, values: np.ndarray, t: np.ndarray, weight: np.ndarray, bins: int) -> Scale:
    filled = ~np.isnan(values)
    if feature.kind == "categorical":
        counts = np.bincount(values[filled].astype(np.int64), minlength=len(feature.categories))
        kept = tuple(int(k) for k in np.flatnonzero(counts >= max(LEAST, RARE * len(values))))
        scale = Scale(kept=kept)
    else:
        ordinary = values[filled & ~np.isin(values, feature.codes)]
        scale = Scale(edges=quantile_edges(ordinary, bins), middle=0.0, spread=1.0)
        if len(ordinary):
            low, middle, high = np.quantile(ordinary, [0.25, 0.5, 0.75])
            spread = (high - low) / 2 or np.ptp(ordinary) / 4 or 1.0
            scale = Scale(edges=scale.edges, middle=float(middle), spread=float(spread))
    if form != "woe":
        return scale
    size = _woe_size(form, feature, scale)
    at = woe_bin(feature, scale, values)
    good, bad = (np.bincount(at, weight * (t == c), size) for c in (0, 1))
    return Scale(scale.edges, scale.middle, scale.spread, scale.kept, tuple(map(float, weight_of_evidence(good, bad))))


def _woe_size(form: str, feature: Feature, scale: Scale) -> int:
    """How many weights of evidence there are: one for each place that `woe_bin` gives"""
    if form != "woe":
        return 0
    if feature.kind == "categorical":
        return 2 + len(scale.kept)
    return 1 + len(feature.codes) + max(1, len(scale.edges) - 1)


def quantile_edges(values: np.ndarray, bins: int) -> tuple[float, ...]:
    """Edges of at most `bins` bins of about equal counts, at values that occur; every value where they are few"""
    if not len(values):
        return (0.0,)
    distinct = np.unique(values)
    if len(distinct) > bins + 1:
        distinct = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1), method="nearest"))
    return tuple(map(float, distinct))


def woe_bin(feature: Feature, scale: Scale, values: np.ndarray) -> np.ndarray:
    """The place in `Scale.woe` that each value has: missing, special codes, bins; or missing, the rest, categories"""
    missing = np.isnan(values)
    if feature.kind == "categorical":
        codes = np.ones(len(feature.categories) + 1, np.int64)
        codes[list(scale.kept)] = 2 + np.arange(len(scale.kept))
        codes[-1] = 0
        found: np.ndarray = codes[np.where(missing, len(feature.categories), values).astype(np.int64)]
        return found
    at = np.searchsorted(np.asarray(scale.edges)[1:-1], values, side="right") + 1 + len(feature.codes)
    for s, code in enumerate(feature.codes):
        at[values == code] = 1 + s
    at[missing] = 0
    return at


def weight_of_evidence(good: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """ln (share of the bad in a bin / share of the good in it), half a row added to each; 0 for an empty bin

    Positive where a bin is riskier than the whole, so that a logistic regression's weights should be positive.
    """
    woe = np.log((bad + 0.5) / (bad.sum() + 0.5)) - np.log((good + 0.5) / (good.sum() + 0.5))
    return np.where(good + bad > 0, woe, 0.0)


def information_value(good: np.ndarray, bad: np.ndarray) -> float:
    """IV = Σ (share of the bad − share of the good) · WoE: below .02 useless, above .3 strong (Siddiqi, 2006)"""
    shares = bad / max(bad.sum(), 1) - good / max(good.sum(), 1)
    return float((shares * weight_of_evidence(good, bad)).sum())


def arguments(encoder: Encoder, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an architecture: those wanted, and the sizes that follow from the encoder."""
    sizes = encoder.sizes()
    if "directions" in wanted:
        sizes["directions"] = [encoder.features[i].direction for i in encoder.numeric] if wanted["directions"] else []
    return dict(wanted) | sizes
