"""Pictures become MNIST's arrays: what is drawn decides, not how it was saved, lit, coloured or placed."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from apps.errors import InputError
from apps.mnist import image as digit_image
from apps.mnist.image import FORMATS, encode, open_image, scale

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")

SEVEN = [(20, 20), (70, 25), (40, 110)]  # the corners of the stroke, x and y


def drawing(ground=255, ink=0, size=(140, 160), shift=(0, 0), factor=1, mode="L"):
    """A seven drawn with a broad pen."""
    image = Image.new(mode, size, ground)
    corners = [(factor * x + shift[0], factor * y + shift[1]) for x, y in SEVEN]
    ImageDraw.Draw(image).line(corners, fill=ink, width=10 * factor, joint="curve")
    return image


def saved(image, kind, **options):
    """The bytes of a file of one of the FORMATS."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width, height):
    """A PNG file that claims a size and holds nothing."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def distance(a, b):
    """Mean difference of two encoded images, in ink a pixel."""
    return float(np.abs(a - b).mean())


# Opening


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_digit(kind):
    assert distance(encode(open_image(saved(drawing(), kind))), encode(drawing())) < 0.01


def test_paths_bytes_and_open_files_are_the_same(tmp_path):
    content = saved(drawing(), "PNG")
    path = tmp_path / "seven.png"
    path.write_bytes(content)
    with open(path, "rb") as file:
        images = [open_image(source) for source in (path, str(path), content, file, io.BytesIO(content))]
        assert not file.closed
    assert all(np.array_equal(encode(image), encode(drawing())) for image in images)


@pytest.mark.parametrize(("left", "right", "ink"), [(210, 130, 60), (230, 110, 40), (60, 140, 220)])
@pytest.mark.parametrize("turned", [False, True])
def test_light_from_one_side_does_not_matter(left, right, ink, turned):
    stroke = scale(np.asarray(drawing(ground=0, ink=255)))
    light = np.linspace(left, right, stroke.shape[1])
    if turned:
        light = np.linspace(left, right, stroke.shape[0])[:, np.newaxis]
    noise = np.random.default_rng(0).normal(0, 3, stroke.shape)
    photograph = (light * (1 - stroke) + ink * stroke + noise).clip(0, 255).astype(np.uint8)
    assert distance(encode(Image.fromarray(photograph)), encode(drawing())) < 0.02


@pytest.mark.parametrize("light", ["vignette", "shadow"])
def test_the_light_of_a_photograph_does_not_matter(light):
    thin = Image.new("L", (350, 400), 0)
    ImageDraw.Draw(thin).line([(2 * x + 70, 2 * y + 60) for x, y in SEVEN], fill=255, width=6, joint="curve")
    stroke = scale(np.asarray(thin))
    y, x = np.indices(stroke.shape) / np.array(stroke.shape)[:, np.newaxis, np.newaxis] - 0.5
    lit = 1 - 0.8 * (x**2 + y**2) if light == "vignette" else 1 - 0.4 / (1 + np.exp(-(x + y / 2 + 0.1) / 0.04))
    noise = np.random.default_rng(0).normal(0, 3, stroke.shape)
    photograph = (230 * lit * (1 - 0.8 * stroke) + noise).clip(0, 255).astype(np.uint8)
    assert distance(encode(Image.fromarray(photograph)), encode(thin)) < 0.01


def test_dust_does_not_make_a_digit_smaller():
    rng = np.random.default_rng(0)
    pixels = np.array(drawing())
    dusty = np.where(rng.random(pixels.shape) < 0.001, 255 - pixels, pixels)
    assert distance(encode(Image.fromarray(dusty)), encode(drawing())) < 0.01


def test_dust_alone_is_nothing():
    dust = np.random.default_rng(0).random((90, 120)) < 0.05
    assert not encode(Image.fromarray(np.where(dust, 20, 240).astype(np.uint8))).any()


@pytest.mark.parametrize(("ground", "ink"), [(255, 0), (0, 255)])
def test_a_digit_may_fill_its_picture(ground, ink):
    broad = Image.new("L", (90, 110), ground)
    ImageDraw.Draw(broad).line([(10, 10), (80, 10), (30, 100)], fill=ink, width=20, joint="curve")
    padded = Image.new("L", (290, 310), ground)
    padded.paste(broad, (100, 100))
    assert distance(encode(broad), encode(padded)) < 0.01


def test_a_hairline_is_as_bright_as_a_broad_stroke():
    thin = Image.new("L", (700, 800), 255)
    ImageDraw.Draw(thin).line([(5 * x, 5 * y) for x, y in SEVEN], fill=0, width=2)
    bright = encode(thin)[0]
    assert np.median(bright[bright > 0.25]) > 0.6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turns |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # what brought the upright picture there
    stored = drawing()
    if orientation in turns:
        stored = stored.transpose(Image.Transpose[turns[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = open_image(saved(stored, "PNG", exif=exif))
    assert upright.size == drawing().size
    np.testing.assert_array_equal(encode(upright), encode(drawing()))


def test_damaged_metadata_do_not_spoil_a_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(drawing(), "JPEG", exif=exif)
    at = content.index(b"Exif\0\0") + 6
    assert open_image(content[:at] + b"\xff" * 8 + content[at + 8 :]).size == drawing().size


@pytest.mark.parametrize("size", [(5001, 5000), (10_000, 10_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(size):
    with pytest.raises(InputError, match=r"^The image has more than 25 megapixels: give a smaller image\.$"):
        open_image(png_header(*size))


def test_the_largest_size_is_decoded():
    with pytest.raises(InputError, match="not a whole image"):  # it was: there are no pixels in the file
        open_image(png_header(5000, 5000))


def test_a_file_of_too_many_bytes_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(digit_image, "MAX_BYTES", 2**20)
    path = tmp_path / "large.png"
    path.write_bytes(saved(drawing(), "PNG") + bytes(2**20))
    for source in (path, path.read_bytes()):
        with pytest.raises(InputError, match=r"has more than 1 MiB: give a smaller file\.$"):
            open_image(source)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_refused(kind, tmp_path):
    content = saved(drawing(), kind)
    path = tmp_path / "half.png"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"half\.png is not a whole image: give a file .* PNG, JPEG"):
        open_image(path)


@pytest.mark.parametrize("content", [b"", b"P5 1 1 255 \0", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"II*\0"])
def test_what_is_no_image_is_refused(content):
    with pytest.raises(InputError, match="not a whole image"):
        open_image(content)


@pytest.mark.parametrize("name", ["missing.png", ".", "null\0.png"])
def test_what_cannot_be_read_is_refused(name, tmp_path):
    with pytest.raises(InputError, match=r"cannot be read .*give the path of an image file"):
        open_image(f"{tmp_path}/{name}")


def test_a_folder_is_named_once(tmp_path):
    with pytest.raises(InputError) as caught:
        open_image(tmp_path)
    assert str(caught.value) == f"{tmp_path} cannot be read (it is not a file): give the path of an image file."


def test_a_closed_file_is_refused():
    file = io.BytesIO(saved(drawing(), "PNG"))
    file.close()
    with pytest.raises(InputError, match="cannot be read"):
        open_image(file)


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_damage_gives_an_image_or_an_input_error(kind, data):
    content = bytearray(saved(drawing(size=(100, 120)), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    try:
        image = open_image(bytes(content[:end] if data.draw(st.booleans()) else content))
    except InputError:
        return
    assert encode(image).shape == (1, 28, 28)


# Encoding


@settings(max_examples=150, deadline=None, derandomize=True)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)))
def test_any_picture_gives_28_by_28_numbers_from_0_to_1(grey):
    x = encode(Image.fromarray(grey))
    assert (x.shape, x.dtype) == ((1, 28, 28), np.float32)
    assert x.min() >= 0
    assert x.max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (1, 300), (300, 1), (64, 64)])
@pytest.mark.parametrize("ground", [0, 128, 255])
def test_a_blank_picture_has_no_ink(size, ground):
    image = Image.new("L", size, ground)
    assert encode(image).max() == 0


def test_noise_on_blank_paper_is_no_ink():
    noise = np.random.default_rng(0).normal(200, 5, (200, 300))
    assert encode(Image.fromarray(noise.astype(np.uint8))).max() == 0


def test_light_from_one_side_on_blank_paper_is_no_ink():
    light = np.linspace(230, 120, 300) + np.random.default_rng(0).normal(0, 3, (200, 300))
    assert encode(Image.fromarray(light.astype(np.uint8))).max() == 0


@given(arrays(np.uint8, (28, 28)))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_what_has_mnists_form_is_only_scaled(grey):
    grey[[0, -1]] = 0
    for image in (Image.fromarray(grey), Image.fromarray(grey).convert("RGB")):
        np.testing.assert_array_equal(encode(image), scale(grey)[np.newaxis])


def test_a_light_ground_of_28_by_28_is_turned_dark():
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 10:18] = 255
    assert distance(encode(Image.fromarray(255 - digit)), scale(digit)[np.newaxis]) < 0.01


@pytest.mark.parametrize(("ground", "ink"), [(0, 255), (255, 128), (30, 90), (200, 20)])
def test_ground_and_ink_do_not_matter(ground, ink):
    assert distance(encode(drawing(ground, ink)), encode(drawing())) < 1e-3


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(-10, 55), st.integers(-10, 35))
def test_the_place_does_not_matter(right, down):
    np.testing.assert_array_equal(encode(drawing(shift=(right, down))), encode(drawing()))


@pytest.mark.parametrize("factor", [2, 5, 20])
@pytest.mark.parametrize(("mode", "ground", "ink"), [("L", 255, 0), ("RGBA", (0, 0, 0, 0), (255, 255, 255, 255))])
def test_the_size_does_not_matter(factor, mode, ground, ink):
    large = drawing(ground, ink, size=(140 * factor, 160 * factor), factor=factor, mode=mode)
    assert distance(encode(large), encode(drawing())) < 0.01


def test_a_photograph_gives_the_drawn_digit():
    grey = np.asarray(drawing(200, 50, size=(700, 900), factor=5)).astype(float)
    grey += np.random.default_rng(0).normal(0, 6, grey.shape)
    photograph = saved(Image.fromarray(grey.clip(0, 255).astype(np.uint8)), "JPEG", quality=60)
    assert distance(encode(open_image(photograph)), encode(drawing())) < 0.01


@pytest.mark.parametrize("mode", ["1", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_the_mode_does_not_matter(mode):
    image = drawing().convert("LA").convert("PA") if mode == "PA" else drawing().convert(mode)
    np.testing.assert_array_equal(encode(image), encode(drawing()))


def test_16_bits_are_read():
    deep = open_image(saved(Image.fromarray(np.asarray(drawing()).astype(np.uint16) * 257), "PNG"))
    assert deep.mode.startswith("I")
    np.testing.assert_array_equal(encode(deep), encode(drawing()))


def test_a_cmyk_jpeg_is_read():
    image = open_image(saved(drawing().convert("CMYK"), "JPEG"))
    assert image.mode == "CMYK"
    assert distance(encode(image), encode(drawing())) < 0.01


@pytest.mark.parametrize("ink", [(0, 0, 0, 255), (255, 255, 255, 255), (200, 0, 0, 255), (0, 0, 0, 100)])
def test_ink_of_any_colour_on_a_transparent_ground(ink):
    image = drawing((0, 0, 0, 0), ink, mode="RGBA")
    assert distance(encode(image), encode(drawing())) < 1e-3
    assert distance(encode(open_image(saved(image, "PNG"))), encode(drawing())) < 1e-3


def test_a_transparent_palette_colour_is_ground():
    image = drawing().convert("P")
    content = saved(image, "PNG", transparency=image.getpixel((0, 0)))
    np.testing.assert_array_equal(encode(open_image(content)), encode(drawing()))


@pytest.mark.parametrize(("ground", "ink"), [(255, 0), (0, 255)])
def test_transparent_corners_take_the_grey_of_the_border(ground, ink):
    image = drawing(ground, ink).convert("RGBA")
    alpha = Image.new("L", image.size, 0)
    ImageDraw.Draw(alpha).rounded_rectangle((0, 0, image.width, image.height), 15, fill=255)
    image.putalpha(alpha)
    assert distance(encode(image), encode(drawing())) < 1e-3


def test_a_fully_transparent_picture_is_blank():
    assert encode(Image.new("RGBA", (50, 50))).max() == 0


@pytest.mark.parametrize(("shape", "expected"), [((25, 100), (5, 20)), ((100, 25), (20, 5)), ((60, 60), (20, 20))])
def test_the_aspect_is_kept_in_a_box_of_20(shape, expected):
    canvas = np.full((200, 200), 255, np.uint8)
    canvas[30 : 30 + shape[0], 50 : 50 + shape[1]] = 0
    rows, columns = np.nonzero(encode(Image.fromarray(canvas))[0] > 0.5)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == expected


def test_the_centre_of_mass_is_in_the_middle():
    x = encode(drawing())[0]
    for profile in (x.sum(axis=0), x.sum(axis=1)):
        assert abs(profile @ np.arange(28) / profile.sum() - 14) <= 0.5
