"""Text from outside, in Markdown: shown as it is, and never as markup."""

from __future__ import annotations

import re

_SIGNS = re.compile(r"([!-/:-@\[-`{-~])")  # all of ASCII's punctuation, which is what Markdown lets one escape


def literal(text: str) -> str:
    """The Markdown that shows exactly this text, in one line."""
    return _SIGNS.sub(r"\\\1", " ".join(text.split()))
