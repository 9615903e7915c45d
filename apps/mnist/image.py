"""From a picture of a digit to the array a model reads: the one way for training, command line and page.

The steps are those that made MNIST (LeCun et al., 1998): the digit, its aspect kept, is scaled with
antialiasing into a 20×20 box, which is placed in a 28×28 field with its centre of mass in the middle.

Legend: H W height and width in pixels; grey 0 black … 255 white; ink 0 bare ground … 1 full stroke.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from apps.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 28  # of the field, in pixels
BOX = 20  # the longer side of the digit in it
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 25_000_000
WORKING_SIDE = 200  # larger pictures are first reduced to a longer side of 200 to 399 pixels
BLACK = 32  # the brightest grey of a black ground
COARSE = 48  # the ground is sought in a picture with a longer side of 48 pixels at most
FAINTEST = 24  # a picture whose strokes differ less from the ground, in grey levels, is blank


def open_image(source: str | os.PathLike[str] | bytes | BinaryIO) -> Image:
    """The picture in a file, decoded and upright (EXIF orientation).

    source: a path, the bytes of a file, or a binary file, which is read on from where it stands.
    Raises InputError for what is missing, damaged, of another format than FORMATS, or larger than MAX_PIXELS;
    the header tells the size before anything is decoded.
    """
    from PIL import Image, ImageOps

    name, content = _read(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height <= MAX_PIXELS:
                    return ImageOps.exif_transpose(image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            pass  # larger still
        except Exception as error:  # damaged bytes: OSError, SyntaxError, ValueError, struct.error, MemoryError …
            message = f"{name} is not a whole image: give a file of one of the formats {', '.join(FORMATS)}."
            raise InputError(message) from error
    raise InputError(f"{name} has more than {MAX_PIXELS // 10**6} megapixels: give a smaller image.")


def _read(source: str | os.PathLike[str] | bytes | BinaryIO) -> tuple[str, bytes]:
    """What to call the file in a message, and its bytes."""
    name = "The image"
    try:
        if isinstance(source, bytes):
            content = source
        elif isinstance(source, str | os.PathLike):
            name = os.fspath(source)
            if os.path.exists(source) and not os.path.isfile(source):
                raise InputError(f"{name} cannot be read (it is not a file): give the path of an image file.")
            with open(source, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        else:
            name = str(getattr(source, "name", name))
            content = source.read(MAX_BYTES + 1)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the path, a closed file
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name} cannot be read ({reason}): give the path of an image file.") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{name} has more than {MAX_BYTES // 2**20} MiB: give a smaller file.")
    return name, content


def scale(pixels: np.ndarray) -> np.ndarray:
    """Grey levels as a model reads them: uint8 0 … 255 -> float32 0 … 1, of the same shape."""
    return pixels.astype(np.float32) / np.float32(255)


def encode(image: Image) -> np.ndarray:
    """A picture of one digit -> (1, 28, 28) float32 in [0, 1], light ink on a dark ground.

    A picture of 28×28 pixels with a black border is in MNIST's form already and is only scaled, so images of
    the data set stay as they are. A blank picture gives zeros.
    """
    grey = flatten(image)
    pixels = scale(grey) if has_mnist_form(grey) else normalize(find_ink(grey))
    return pixels[np.newaxis]


def flatten(image: Image) -> np.ndarray:
    """The grey levels of a picture of any mode, large ones reduced -> (H, W) uint8"""
    from PIL import Image

    if image.mode.startswith("I"):  # whole numbers of 16 bits, or of 8 that were given more room
        levels = np.asarray(image).clip(0, 65535)
        image = Image.fromarray((levels // (257 if levels.max() > 255 else 1)).astype(np.uint8))
    transparent = image.has_transparency_data
    image = image.convert("RGBA" if transparent else "L").reduce(max(1, max(image.size) // WORKING_SIDE))
    grey = np.asarray(image.convert("L"))
    return _lay_on_ground(grey, scale(np.asarray(image.getchannel("A")))) if transparent else grey


def _lay_on_ground(grey: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Grey (H, W) uint8 with opacity (H, W) 0 … 1 -> opaque (H, W) uint8

    What is transparent takes the grey of the border, or, where the border too is transparent, white behind a
    picture with dark parts and black behind one that is all light.
    """
    solid = _border(opacity) > 0.5
    if solid.mean() > 0.5:
        ground = float(np.median(_border(grey)[solid]))
    else:
        ground = 255.0 if opacity[grey < 128].sum() > 0.01 * opacity.sum() else 0.0
    opaque: np.ndarray = np.rint(grey * opacity + ground * (1 - opacity)).astype(np.uint8)
    return opaque


def has_mnist_form(grey: np.ndarray) -> bool:
    """Whether grey levels (H, W) are a 28×28 field of ink on black: a quarter of its border is black."""
    return grey.shape == (SIDE, SIDE) and bool(np.quantile(_border(grey), 0.25) <= BLACK)


def find_ink(grey: np.ndarray) -> np.ndarray:
    """Grey (H, W) uint8 -> how much ink, darker or lighter than the ground, lies on each pixel (H, W) float32

    What differs from the ground by more than the noise near the edge is a stroke; the top quarter is full ink.
    """
    small = _shrink(grey)
    level = _fit_light(small)
    light, small = _light(level, grey.shape), small - _light(level, small.shape)
    lightest, darkest = _spread(small, np.maximum), _spread(small, np.minimum)
    if not _lies_on_light(small, lightest, darkest):
        grey, light, lightest = 255 - grey, 255 - light, -darkest  # from here on the ink is dark
    ground = light + _fill(lightest, grey.shape)
    off = _border(ground - grey)
    ground = np.maximum(ground - np.median(off), 0)
    noise = 3 * 1.4826 * np.median(abs(off - np.median(off)))  # three standard deviations
    darker = np.maximum(ground - grey, 0)
    # Where there is less light, ink differs less from its ground.
    ink = darker * ((np.median(ground[::4, ::4]) + 1) / (ground + 1))
    strokes = ink[darker > max(noise, FAINTEST)]
    if strokes.size == 0:
        return np.zeros_like(ink)
    full = np.quantile(strokes, 0.75)
    floor = max(0.1 * full, min(noise, 0.5 * full))
    return _without_specks(((ink - floor) / (full - floor)).clip(0, 1))


def _without_specks(ink: np.ndarray) -> np.ndarray:
    """Ink (H, W) but for pixels that are nearly alone, as those of a stroke never are: dust, and grain of a photograph.

    Where most are so, there is no stroke at all.
    """
    inked = np.pad(ink > 0.25, 1).astype(np.int8)
    across = inked[:, :-2] + inked[:, 1:-1] + inked[:, 2:]
    around = across[:-2] + across[1:-1] + across[2:]  # itself counted
    inked = inked[1:-1, 1:-1]
    specks = (around <= 2) & (inked > 0)
    if 2 * specks.sum() > inked.sum():
        return np.zeros_like(ink)
    cleaned: np.ndarray = np.where(specks, np.float32(0), ink)
    return cleaned


def _fit_light(small: np.ndarray) -> np.ndarray:
    """The grey of the ground, told from the border: a plane where light falls from one side, a paraboloid where it
    fades all round.

    (h, w) -> (5,), as `_light` takes it. A paraboloid must come twice as near to the border: the edge of a shadow
    bends it amiss.
    """
    border = _border(small)
    down, across = (np.linspace(-1, 1, side, dtype=np.float32) for side in small.shape)
    y = _border(np.repeat(down[:, np.newaxis], across.size, axis=1))
    x = _border(np.repeat(across[np.newaxis], down.size, axis=0))
    at = np.stack([np.ones_like(y), y, x, y * y, x * x], axis=1)  # (P, 5)
    flat, far = _fit_border(at[:, :3], border)
    curved, near = _fit_border(at, border)
    return curved if near < far / 2 else np.append(flat, np.zeros(2, np.float32))


def _fit_border(at: np.ndarray, border: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients by least squares, and how far off the median pixel is.  (P, K), (P,) -> (K,)

    What crosses the border, a stroke say, is left out of a second fit.
    """
    off = abs(border - np.median(border))
    for _ in range(2):
        near = off <= max(np.quantile(off, 0.75), 1)
        level = np.linalg.lstsq(at[near], border[near])[0]
        off = abs(border - np.dot(at, level))  # matmul may warn of flags that BLAS leaves behind
    return level, float(np.median(off))


def _light(level: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """a + b y + c x + d y² + e x², y and x from −1 to 1 over the picture.  (5,) -> shape (H, W) float32"""
    a, b, c, d, e = level
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in shape)
    light: np.ndarray = (a + b * y + d * y * y)[:, np.newaxis] + (c * x + e * x * x)
    return light


def _fill(lightest: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A light ground without its dark strokes, in shadow or not.  (h, w) -> shape (H, W) float32

    A morphological closing (Serra, 1982): a maximum over a square that is wider than any stroke, which is given, then a
    minimum, which gives the edges of shadows back.
    """
    from PIL import Image

    filled = _spread(lightest, np.minimum)
    return np.asarray(Image.fromarray(filled).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _lies_on_light(small: np.ndarray, lightest: np.ndarray, darkest: np.ndarray) -> bool:
    """Whether the ground is the lighter of the two: most of the picture, and most of its border, are ground.

    (h, w) each. Each pixel votes by how near it is to the lightest and to the darkest place around it, with a weight
    that grows with the difference of the two.
    """
    contrast = lightest - darkest
    votes, weights = (small - (lightest + darkest) / 2) * contrast, contrast**2
    shares = (part(votes).sum() / max(part(weights).sum(), 1) for part in (np.asarray, _border))
    return bool(sum(shares) >= 0)


def _shrink(grey: np.ndarray) -> np.ndarray:
    """(H, W) uint8 -> (h, w) float32, the longer side COARSE pixels at most"""
    from PIL import Image

    size = (max(1, round(side * min(1, COARSE / max(grey.shape)))) for side in reversed(grey.shape))
    return np.asarray(Image.fromarray(grey).resize(tuple(size), Image.Resampling.BOX)).astype(np.float32)


def _spread(grey: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """The maximum or the minimum over a square around each pixel, a third of the longer side wide.  (h, w) -> (h, w)

    First along the columns, then along the rows: of stretches of 1, 2, 4, 8 … pixels, and of two of them that overlap.
    """
    reach = max(grey.shape) // 6
    for _ in range(2):
        part, length = np.pad(grey, [(reach, reach), (0, 0)], mode="edge"), 1
        while 2 * length <= 2 * reach + 1:
            part, length = extreme(part[:-length], part[length:]), 2 * length
        rest = 2 * reach + 1 - length
        grey = (extreme(part[:-rest], part[rest:]) if rest else part).T
    return grey


def _border(grey: np.ndarray) -> np.ndarray:
    """Pixels near the edge, 2,000 to 4,000 where there are more: enough to tell a median.  (H, W) -> (P,)"""
    height, width = grey.shape
    border: np.ndarray = grey[_at_border(height, width)]
    return border[:: max(1, border.size // 2000)]


def _at_border(height: int, width: int) -> np.ndarray:
    """Whether a pixel lies within a twentieth of the shorter side from the edge, one at least.  (H, W) bool"""
    edge = max(1, min(height, width) // 20)
    border = np.ones((height, width), dtype=bool)
    border[edge:-edge, edge:-edge] = False
    return border


def normalize(ink: np.ndarray) -> np.ndarray:
    """Size and place the ink as MNIST does.  (H, W) float32 -> (28, 28) float32"""
    digit = _fit(_crop(ink))
    field = np.zeros((SIDE, SIDE), dtype=np.float32)
    if digit.any():
        height, width = digit.shape
        top, left = (_offset(digit.sum(axis=axis)) for axis in (1, 0))
        field[top : top + height, left : left + width] = digit
    return field


def _crop(ink: np.ndarray) -> np.ndarray:
    """The smallest rectangle that holds every stroke.  (H, W) -> (h, w)"""
    rows, columns = (np.flatnonzero((ink > 0.25).any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return ink
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fit(ink: np.ndarray) -> np.ndarray:
    """Scale the longer side to 20 pixels, antialiased, and the top quarter of the ink to 1.  (H, W) -> (h, w)

    So a hairline, which is less than a pixel wide by now, is as bright as a broad stroke.
    """
    from PIL import Image

    height, width = (max(1, round(BOX * side / max(ink.shape))) for side in ink.shape)
    resized = Image.fromarray(ink).resize((width, height), Image.Resampling.BICUBIC)
    digit: np.ndarray = np.asarray(resized).clip(0, 1)
    if not digit.any():
        return digit
    scaled: np.ndarray = (digit / np.quantile(digit[digit > 0.25 * digit.max()], 0.75)).clip(0, 1)
    return scaled


def _offset(profile: np.ndarray) -> int:
    """Where in the field a profile of ink begins for its centre of mass to be at pixel 14, if it fits so."""
    centre = profile @ np.arange(profile.size) / profile.sum()
    return int(np.clip(round(SIDE / 2 - centre), 0, SIDE - profile.size))
