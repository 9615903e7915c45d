"""What people drew with a pen, as image files, read by the shipped default as predict.py reads them.

drawn_digits.json holds strokes, and says whose they are: digits, letters that no digit resembles, and scribbles.
None of them was used in a training.
"""

import io
import json
from pathlib import Path

import pytest

from apps.predictor import open_predictor
from apps.tasks import TASKS

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")

DRAWN = json.loads((Path(__file__).parent / "drawn_digits.json").read_text(encoding="utf-8"))
# pixels on a side, share of it that is drawn on, pen in 200ths of the drawing, ground, ink, kind of file
LOOKS = {
    "pencil": (360, 0.4, 8, "white", "dimgrey", "PNG"),
    "chalk": (300, 0.7, 16, "darkgreen", "white", "JPEG"),
    "marker": (180, 0.6, 26, "khaki", "navy", "WEBP"),
    "small": (48, 0.7, 18, "black", "white", "PNG"),
}


def picture(strokes, side, share, pen, ground, ink, kind):
    """The bytes of an image file of a drawing, drawn at twice its size for smooth edges."""
    image = Image.new("RGB", (2 * side, 2 * side), ground)
    draw = ImageDraw.Draw(image)
    scale = 2 * side * share / 200
    broad = scale * pen
    corner = [(2 * side - scale * max(v for s in strokes for v in s[axis::2])) / 2 for axis in (0, 1)]
    for stroke in strokes:
        points = list(zip(*([c + scale * v for v in stroke[a::2]] for a, c in enumerate(corner)), strict=True))
        draw.line(points, fill=ink, width=round(broad), joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - broad / 2, y - broad / 2, x + broad / 2, y + broad / 2), fill=ink)
    file = io.BytesIO()
    image.resize((side, side), Image.Resampling.BOX).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def read():
    """An image file -> the label shown for it."""
    task = TASKS["mnist"]
    predictor = open_predictor(task)
    return lambda content: predictor(task.open(content))["label"]


def test_drawn_digits_are_read(read):
    right = [read(picture(strokes, *look)) == label for look in LOOKS.values() for label, _, strokes in DRAWN["digits"]]
    assert sum(right) / len(right) >= 0.95


@pytest.mark.parametrize(("kind", "least"), [("letters", 0.8), ("scribbles", 0.9)])
def test_what_is_no_digit_is_called_so(read, kind, least):
    shown = [read(picture(strokes, *look)) for look in LOOKS.values() for _, _, strokes in DRAWN[kind]]
    assert sum(label not in set("0123456789") for label in shown) / len(shown) >= least
