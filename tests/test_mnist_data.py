"""Labelled images: the sample, MNIST and Fashion-MNIST as they are, and copies that are none."""

import io
import os

import numpy as np
import pytest

from apps.errors import InputError
from apps.mnist import data as digit_data
from apps.mnist.data import DATASETS, load, small_digits
from apps.mnist.image import encode
from apps.source import Source, find_source, load_split

datasets = pytest.importorskip("datasets")
Image = pytest.importorskip("PIL.Image")

REAL = os.environ.get("ZOO_DATA")
needs_data = pytest.mark.skipif(not REAL, reason="ZOO_DATA names no folder with the real data sets")


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Arrow files are cached in this run's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("arrow")))
        yield


@pytest.fixture(scope="module")
def sample():
    pytest.importorskip("sklearn")
    return load("sample")


def picture(size=(28, 28), mode="L", kind="PNG", value=0):
    """The bytes of an image file of one colour."""
    file = io.BytesIO()
    Image.new(mode, size, value).save(file, kind)
    return file.getvalue()


def copy_of_mnist(folder, columns=None, features=None):
    """Lay out a folder with both splits in MNIST's place."""
    images = [{"bytes": picture(value=value), "path": None} for value in (10, 20, 30)]
    columns = {"image": images, "label": [7, 1, 7]} | (columns or {})
    features = {"image": datasets.Image(), "label": datasets.Value("int64")} | (features or {})
    (folder / "ylecun/mnist").mkdir(parents=True)
    for split in ("train", "test"):
        table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        table.to_parquet(folder / "ylecun/mnist" / f"{split}.parquet")
    return str(folder)


def files(*contents):
    """A column of images, two good ones first."""
    return {"image": [{"bytes": content, "path": None} for content in (picture(), picture(), *contents)]}


# The sample


def test_the_sample_has_mnists_form(sample):
    assert sample.name == "sample (scikit-learn digits, 8×8 enlarged)"
    assert sample.labels == tuple("0123456789")
    assert sample.notice is None
    for x, t in ((part.x, part.t) for part in (sample.train, sample.test)):
        assert (x.dtype, x.shape[1:], t.dtype, len(x)) == (np.float32, (1, 28, 28), np.int64, len(t))
        assert x.min() == 0
        assert x.max() == 1
        assert not x[:, :, [0, -1]].any()  # a margin all round


def test_the_sample_is_split_by_class_and_whole(sample):
    train, test = (np.bincount(t, minlength=10) for t in (sample.train.t, sample.test.t))
    assert (train + test).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.abs(test / (train + test) - 0.2).max() < 0.005


def test_the_small_digits_are_those_of_scikit_learn(monkeypatch):
    quick = small_digits()
    monkeypatch.setattr("apps.mnist.data.find_spec", lambda name: None)
    for found, expected in zip(quick, small_digits(), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_the_sample_is_always_the_same(sample):
    state = np.random.get_state()  # noqa: NPY002  the global generator must not be touched
    again = load("sample")
    assert again.fingerprint == sample.fingerprint
    np.testing.assert_array_equal(again.test.x, sample.test.x)
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002


def test_sample_images_encode_to_themselves(sample):
    for x in sample.test.x[:100]:
        np.testing.assert_array_equal(encode(Image.fromarray(np.rint(x[0] * 255).astype(np.uint8))), x)


def test_the_notice_of_the_source_is_passed_on(sample, monkeypatch):
    monkeypatch.setattr(digit_data, "find_source", lambda data, name: Source(name, "sample", notice="No hub."))
    assert load(None).notice == "No hub."


def test_fashion_has_no_sample(monkeypatch):
    with pytest.raises(InputError, match=r"^fashion_mnist comes without a sample: give --data hub, or --data F"):
        load("sample", "fashion_mnist")
    monkeypatch.setattr(digit_data, "find_source", lambda data, name: Source(name, "sample", notice="No hub."))
    with pytest.raises(InputError, match="without a sample, and the hub cannot be reached: give --data hub, or"):
        load(None, "fashion_mnist")


def test_an_unknown_data_set_is_named():
    with pytest.raises(InputError, match="no data set 'emnist': give one of mnist, fashion_mnist"):
        load("sample", "emnist")


# Copies in a folder


def test_a_copy_is_read(tmp_path):
    digits = load(copy_of_mnist(tmp_path))
    x, t = digits.train.x, digits.train.t
    assert digits.name == "ylecun/mnist"
    assert t.tolist() == [7, 1, 7]
    np.testing.assert_array_equal(x[:, 0, 5, 5], np.float32([10, 20, 30]) / np.float32(255))


def test_only_what_is_tested_on_is_read_for_an_evaluation(tmp_path, monkeypatch):
    copy = copy_of_mnist(tmp_path)
    whole = load(copy).test
    splits = []
    monkeypatch.setattr(
        "apps.mnist.data.load_split", lambda source, split: splits.append(split) or load_split(source, split)
    )
    part = load(copy, "mnist", True)
    assert splits == ["test"]
    np.testing.assert_array_equal(part.test.x, whole.x)
    np.testing.assert_array_equal(part.test.t, whole.t)


def test_the_fingerprint_tells_labels_and_pixels(tmp_path):
    changes = [{}, {"label": [7, 1, 8]}, files(picture(value=1))]
    prints = [load(copy_of_mnist(tmp_path / str(i), change)).fingerprint for i, change in enumerate(changes)]
    assert len(set(prints)) == 3
    assert load(copy_of_mnist(tmp_path / "same")).fingerprint == prints[0]
    assert all(len(text) == 16 and int(text, 16) for text in prints)


@pytest.mark.parametrize(
    "content",
    [
        picture(size=(27, 28)),
        picture(mode="RGB"),
        picture(kind="JPEG"),
        picture()[:50],
        b"",
    ],
    ids=["size", "mode", "format", "truncated", "empty"],
)
def test_an_image_that_is_none_is_named(tmp_path, content):
    with pytest.raises(InputError, match=r"^Image 2 of the train split of .*mnist is not a PNG of 28×28 grey pixels"):
        load(copy_of_mnist(tmp_path, files(content)))


@pytest.mark.parametrize(
    ("labels", "kind"),
    [([0, 10, 1], "int64"), ([0, -1, 1], "int64"), ([0, None, 1], "int64"), ([0, 1, 2], "string")],
)
def test_labels_that_are_none_are_refused(tmp_path, labels, kind):
    with pytest.raises(InputError, match=r"labels of the train split of .* are not whole numbers from 0 to 9"):
        load(copy_of_mnist(tmp_path, {"label": labels}, {"label": datasets.Value(kind)}))


def test_a_table_of_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"No images with labels .* needs the columns image and label"):
        load(copy_of_mnist(tmp_path, {"image": [1, 2, 3]}, {"image": datasets.Value("int64")}))


# The real data


@needs_data
@pytest.mark.parametrize(
    ("dataset", "fingerprint"), [("mnist", "53b4de002add035e"), ("fashion_mnist", "5b22a816b4ddd488")]
)
def test_the_real_data_are_whole_and_encode_to_themselves(dataset, fingerprint):
    repository, labels, _ = DATASETS[dataset]
    digits = load(REAL, dataset)
    assert (digits.name, digits.labels, digits.fingerprint) == (repository, labels, fingerprint)
    for (x, t), count in (((part.x, part.t), n) for part, n in ((digits.train, 60_000), (digits.test, 10_000))):
        assert x.shape == (count, 1, 28, 28)
        assert np.bincount(t).size == 10
    split = load_split(find_source(REAL, repository), "test")
    for row, x, label in zip(split.select(range(500)), digits.test.x, digits.test.t, strict=False):
        assert row["label"] == label
        np.testing.assert_array_equal(encode(row["image"]), x)


@needs_data
def test_negatives_of_real_digits_are_encoded_nearly_alike():
    split = load_split(find_source(REAL, "ylecun/mnist"), "test").select(range(500))
    digits = [np.asarray(image) for image in split["image"]]
    x = np.stack([encode(Image.fromarray(digit)) for digit in digits])
    again = np.stack([encode(Image.fromarray(255 - digit)) for digit in digits])
    assert np.abs(again - x).mean() < 0.01
