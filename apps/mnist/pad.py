"""The drawing pad: its markup, and the picture that its strokes make.

The browser sends strokes, not pixels: a short list of numbers, which is checked here and drawn on the server. So what
is read is what was drawn, whatever the size of the screen or the colours of the theme.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = Path(__file__).parent
PAD_HTML, PAD_CSS, PAD_JS = ((FOLDER / f"pad.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
GALLERY_HTML = '<div class="gallery"></div>'
GALLERY_CSS, GALLERY_JS = ((FOLDER / f"gallery.{kind}").read_text("utf-8") for kind in ("css", "js"))

SIDE = 280  # of the picture, in pixels
GRID = 1000  # of the coordinates in a stroke
MOST_STROKES, MOST_NUMBERS = 200, 20_000
A_THREE = [[80, 300, 260, 400, 190, 520, 180, 630, 230, 660, 320, 610, 420, 500, 480, 450, 490, 560, 510, 660, 580]]
A_THREE[0] += [690, 690, 630, 790, 510, 830, 390, 820, 290, 760]


def draw(strokes: Any) -> Image | None:
    """[[width, x, y, x, y …], …], in thousandths of the pad's side → ink on black, 280×280 grey; None without ink

    Raises InputError for what no pad sends.
    """
    from PIL import Image, ImageDraw

    lines = [_checked(stroke) for stroke in _bounded(strokes)]
    if not lines:
        return None
    picture = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(picture)
    for width, points in lines:
        scaled = [(x * SIDE / GRID, y * SIDE / GRID) for x, y in points]
        thick, radius = width * SIDE / GRID, width * SIDE / GRID / 2
        pen.line(scaled, fill=255, width=round(thick), joint="curve")
        for x, y in (scaled[0], scaled[-1]):  # round ends; a dot where a stroke is one point
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return picture


def _bounded(strokes: Any) -> list[Any]:
    if not isinstance(strokes, list) or len(strokes) > MOST_STROKES:
        raise InputError(f"The drawing is not a list of up to {MOST_STROKES} strokes: clear the pad.")
    if sum(len(stroke) for stroke in strokes if isinstance(stroke, list)) > MOST_NUMBERS:
        raise InputError("The drawing has too many points: clear the pad.")
    return strokes


def _checked(stroke: Any) -> tuple[float, list[tuple[float, float]]]:
    """(width, points) of one stroke"""
    fits = isinstance(stroke, list) and len(stroke) >= 3 and len(stroke) % 2 == 1
    if not fits or not all(type(v) in (int, float) and isfinite(v) and -GRID <= v <= 2 * GRID for v in stroke):
        raise InputError("The drawing is damaged: clear the pad.")
    return min(max(stroke[0], 1), GRID), list(zip(stroke[1::2], stroke[2::2], strict=True))
