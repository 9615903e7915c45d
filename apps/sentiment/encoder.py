"""The words of a run, as what encodes its texts."""

from __future__ import annotations

from apps.sentiment.data import Texts
from apps.sentiment.words import Words
from core import Examples, Sequences


class TextEncoder(Words):
    """`Words` that also encode examples."""

    def examples(self, raw: Examples) -> Sequences:
        return Sequences(self(raw.x), raw.t)


def fit_encoder(raw: Examples) -> TextEncoder:
    """The words of the texts that training learns from."""
    assert isinstance(raw, Texts)
    return TextEncoder.fit(raw.x)
