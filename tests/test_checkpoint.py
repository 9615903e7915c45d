"""Files: what is written comes back, a crash leaves the old or the new, and no file can do harm."""

import errno
import json
import os
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import small

from core import (
    BatchNorm,
    CheckpointError,
    Dense,
    Sequential,
    load_arrays,
    load_weights,
    predict,
    save_arrays,
    save_weights,
    write_atomically,
)

# --- there and back -------------------------------------------------------------------------------

ARRAYS = {
    "float32": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "float64": np.array([np.pi, 1e300, -5e-324]),
    "float16": np.ones((2, 2, 2), np.float16),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "int32": np.arange(3, dtype=np.int32),
    "uint8": np.arange(256, dtype=np.uint8),
    "not finite": np.array([np.nan, np.inf, -np.inf]),
    "empty": np.zeros((0, 4), np.float32),
    "a number": np.array(2.5, np.float32),
    "transposed": np.arange(12.0).reshape(3, 4).T,
    "strided": np.arange(12.0)[::3],
    "big-endian": np.arange(4, dtype=">f4"),
    "weights/läyers.0 ♥": np.zeros(1),
}
FACTS = {
    "step": 7,
    "score": 0.1 + 0.2,
    "tiny": 5e-324,
    "none": None,
    "names": ["ä", "\n", "♥"],
    "inner": {"a": [1, 2.5]},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def test_arrays_and_facts_come_back_as_they_were(path):
    save_arrays(path, ARRAYS, FACTS)
    arrays, facts = load_arrays(path)
    assert facts == FACTS
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype.newbyteorder("="), name
        assert arrays[name].shape == array.shape, name
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
        arrays[name][...] = 0  # they are the caller's own


def test_equal_content_makes_equal_files(path):
    files = set()
    for _ in range(5):
        save_arrays(path, ARRAYS, FACTS)
        files.add(path.read_bytes())
    assert len(files) == 1


def test_nothing_at_all_comes_back_as_nothing_at_all(path):
    save_arrays(path, {})
    assert load_arrays(str(path)) == ({}, {})


@given(
    st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text()),
    st.lists(st.integers(0, 3), max_size=4),
)
def test_any_facts_and_any_shape_come_back(tmp_path_factory, facts, shape):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)
    save_arrays(path, {"a": array}, facts)
    arrays, back = load_arrays(path)
    assert back == facts
    assert arrays["a"].shape == tuple(shape)
    np.testing.assert_array_equal(arrays["a"], array)


def model(seed=0, dtype=np.float32, network=small):
    made, rng = network(np.random.default_rng(seed)), np.random.default_rng(seed)
    for parameter in made.parameters():
        parameter.value = (parameter.value + rng.uniform(0, 1, parameter.value.shape)).astype(dtype)
    return made


def weights(layer):
    return {name: p.value.copy() for name, p in layer.named_parameters()}


def test_weights_and_running_statistics_come_back(path):
    saved, loaded = model(0), model(1)
    save_weights(path, saved)
    load_weights(path, loaded)
    assert "layers.1.variance" in weights(saved)
    for name, array in weights(saved).items():
        np.testing.assert_array_equal(weights(loaded)[name], array)
    x = np.random.default_rng(2).standard_normal((5, 6)).astype(np.float32)
    np.testing.assert_array_equal(predict(loaded, x), predict(saved, x))


@pytest.mark.parametrize(("wrote", "reads"), [(np.float64, np.float32), (np.float32, np.float64)])
def test_weights_take_the_type_of_the_model_that_reads_them(path, wrote, reads):
    saved, loaded = model(0, wrote), model(1, reads)
    save_weights(path, saved)
    load_weights(path, loaded)
    for name, array in weights(loaded).items():
        assert array.dtype == reads
        np.testing.assert_array_equal(array, weights(saved)[name].astype(reads))


def test_loading_writes_into_the_arrays_that_are_there(path):
    """During a training the parameters are views into one vector, and stay so."""
    saved, loaded = model(0), model(1)
    held = [parameter.value for parameter in loaded.parameters()]
    save_weights(path, saved)
    load_weights(path, loaded)
    assert all(now.value is then for now, then in zip(loaded.parameters(), held, strict=True))


# --- what is refused ------------------------------------------------------------------------------


def other(r):
    return Sequential(Dense(6, 9, rng=r), BatchNorm(9))


def spoil(saved, name, value):
    arrays = weights(saved)
    arrays[name] = arrays[name].astype(np.float64)
    arrays[name].flat[0] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (lambda m: weights(model(network=other)), "of another model: the file lacks layers.4.bias"),
        (lambda m: {k: a for k, a in weights(m).items() if k != "layers.1.mean"}, "the file lacks layers.1.mean"),
        (lambda m: weights(m) | {"extra": np.ones(1)}, "has an unknown extra"),
        (lambda m: weights(m) | {"layers.4.weight": np.ones((12, 4))}, r"layers.4.weight is \(12, 4\), not \(12, 3\)"),
        (lambda m: weights(m) | {"layers.4.bias": np.ones((3, 1))}, r"layers.4.bias is \(3, 1\), not \(3,\)"),
        (lambda m: spoil(m, "layers.4.weight", np.nan), "layers.4.weight holds numbers that are not finite"),
        (lambda m: spoil(m, "layers.1.variance", np.inf), "layers.1.variance holds numbers that are not finite"),
        (lambda m: spoil(m, "layers.4.bias", 1e300), "layers.4.bias holds numbers that are not finite in float32"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(path, arrays, message):
    reader = model(1)
    before = weights(reader)
    save_arrays(path, arrays(model(0)))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weights(path, reader)
    assert str(path) in str(caught.value)
    for name, array in weights(reader).items():
        np.testing.assert_array_equal(array, before[name])


def file(header, data=b"", length=None):
    """A safetensors file: the length of the header, the header, the data."""
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def ours(arrays=None, **told):
    """The header of a file of this program, which says of itself what it is; its one array holds the bytes 1234."""
    checksum = zlib.crc32(b"1234", zlib.crc32(b"a(1,)")) if arrays else 0
    return saying(json.dumps({"format": 1, "checksum": checksum, "facts": {}} | told), arrays)


def saying(text, arrays=None):
    return {"__metadata__": {"modelzoo": text}, **(arrays or {})}


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


BAD = {
    "empty": b"",
    "seven bytes": b"\x08" + 6 * b"\0",
    "a length alone": struct.pack("<Q", 100),
    "no header": file(b""),
    "a header of 2⁶⁰ bytes": file(ours(), length=2**60),
    "a header of 2⁶⁴ − 1 bytes": file(ours(), length=2**64 - 1),
    "a header longer than the file": file(ours(), length=200),
    "a header cut short": file(ours(), length=20),
    "a header that is no JSON": file(b"{'a': 1}"),
    "a header that is no object": file([1, 2]),
    "a header that is not UTF-8": file(b'{"\xff": 1}'),
    "a deep header": file(b"[" * 200_000),
    "deep objects": file(b'{"a":' * 200_000),
    "data of nobody": file(ours(), b"1234"),
    "data cut short": file(ours(tensor()), b"123"),
    "a shape beyond all memory": file(ours(tensor(shape=(2**40, 2**40))), b"1234"),
    "a shape that overflows to one": file(ours(tensor(shape=(2**63, 2**62, 8))), b"1234"),
    "a terabyte claimed": file(ours(tensor(shape=(2**38,), offsets=(0, 2**40))), b"1234"),
    "a negative shape": file(ours(tensor(shape=(-1,))), b"1234"),
    "a broken shape": file(ours(tensor(shape=(1.5,))), b"1234"),
    "a shape of ten thousand axes": file(ours(tensor(shape=(1,) * 10_000)), b"1234"),
    "offsets backwards": file(ours(tensor(offsets=(4, 0))), b"1234"),
    "offsets from the middle": file(ours(tensor(offsets=(4, 8))), b"12345678"),
    "offsets that overlap": file(ours(tensor() | {"b": tensor()["a"]}), b"1234"),
    "an unknown type": file(ours(tensor("F128")), b"1234"),
    "a type of no model": file(ours(tensor("BF16", (2,))), b"1234"),
    "truth values": file(ours(tensor("BOOL", (4,))), b"1234"),
    "metadata of numbers": file({"__metadata__": {"modelzoo": 1}}),
    "no metadata": file(tensor(), b"1234"),
    "metadata of others": file({"__metadata__": {"format": "pt"}}),
    "no facts": file(saying('{"format": 1}')),
    "no format": file(saying('{"facts": {}}')),
    "words that are no JSON": file(saying("{")),
    "words that are no object": file(saying("[1]")),
    "words without end": file(saying("[" * 100_000)),
    "facts that are no object": file(ours(facts=[1])),
    "facts without end": file(saying('{"format": 1, "facts": ' + '{"a":' * 100_000)),
    "a format of no number": file(ours(format="1")),
    "a format that is true": file(ours(format=True)),
    "a format below one": file(ours(format=-1)),
    "a format of five thousand digits": file(saying('{"format": ' + "9" * 5000 + ', "facts": {}}')),
    "a pickle": b"\x80\x04\x95\x11\0\0\0\0\0\0\0\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    "a zip": b"PK\x03\x04" + bytes(100),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "text": b"model: mlp\nhidden: [256, 128]\n" * 10,
}


def test_the_files_below_would_be_good_without_their_fault(path):
    path.write_bytes(file(ours(tensor(), facts={"a": 1}), b"1234"))
    arrays, facts = load_arrays(path)
    assert (arrays, facts) == ({"a": np.frombuffer(b"1234", np.float32)}, {"a": 1})


def test_one_changed_bit_of_the_numbers_is_noticed(path):
    path.write_bytes(file(ours(tensor()), b"1235"))
    with pytest.raises(CheckpointError, match="not those that were written"):
        load_arrays(path)


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_file_that_is_damaged_or_foreign_is_refused_in_words(path, content):
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            load_arrays(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert peak < 8 * 2**20 + 20 * len(content)


def test_a_newer_file_is_refused_with_what_to_do(path):
    path.write_bytes(file(ours(format=2)))
    with pytest.raises(CheckpointError, match="format 2 is newer than this program's 1; use a newer version"):
        load_arrays(path)


@pytest.mark.parametrize("name", ["missing.safetensors", "folder", "no/such/folder", "x" * 5000, "null\0byte"])
def test_a_file_that_is_not_there_is_missed_in_words(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError):
        load_arrays(tmp_path / name)
    with pytest.raises(CheckpointError):
        load_weights(tmp_path / name, model())


def resident():
    """The bytes of memory that this process has."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mutants(whole, rng, count):
    """Bytes flipped, set, cut out, put in, cut off, doubled; numbers in the header replaced."""
    start = 8 + struct.unpack("<Q", whole[:8])[0]
    for _ in range(count):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 3)):
            end = start if rng.random() < 0.7 else len(content)  # the header is where it hurts
            at = int(rng.integers(0, max(1, min(end, len(content)))))
            match rng.integers(0, 8):
                case 0:
                    content[at : at + 1] = bytes([content[at] ^ (1 << rng.integers(0, 8))])
                case 1:
                    content[at : at + 1] = rng.bytes(1)
                case 2:
                    del content[at : at + int(rng.integers(1, 9))]
                case 3:
                    content[at:at] = rng.bytes(int(rng.integers(1, 9)))
                case 4:
                    del content[at:]
                case 5:
                    content[at:at] = content[at : at + 40]
                case 6:
                    content[:8] = struct.pack("<Q", int(rng.integers(0, 2**63)) >> int(rng.integers(0, 63)))
                case 7:
                    numbers = [i for i, byte in enumerate(content[:start]) if 48 <= byte < 58 and i >= 8]
                    if numbers:
                        i = numbers[int(rng.integers(0, len(numbers)))]
                        content[i : i + 1] = [b"-1", b"1e9", b"99999999999", b"18446744073709551616", b'"x"'][at % 5]
            if not content:
                break
        yield bytes(content)


def test_thousands_of_damaged_files_are_loaded_or_refused_and_never_crash(path):
    written = {"weights/a": np.arange(60.0).reshape(20, 3), "slots/m/a": np.zeros(4, np.float32)}
    save_arrays(path, written, FACTS)
    whole, outcomes, began = path.read_bytes(), {True: 0, False: 0}, time.monotonic()
    load_arrays(path)
    before = resident() if os.path.exists("/proc/self/statm") else 0
    for content in mutants(whole, np.random.default_rng(0), 6000):
        path.unlink()  # a new file: to cut an old one short may wait for the disk
        path.write_bytes(content)
        try:
            arrays, facts = load_arrays(path)
        except CheckpointError:
            outcomes[False] += 1
        else:
            assert isinstance(facts, dict)  # the facts themselves bear no checksum
            for name, array in written.items():
                np.testing.assert_array_equal(arrays[name], array)
            outcomes[True] += 1
    assert min(outcomes.values()) > 20, outcomes
    assert time.monotonic() - began < 60
    if before:
        assert resident() - before < 32 * 2**20


@given(st.binary(max_size=300))
def test_no_bytes_whatever_crash_the_reader(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "noise.safetensors"
    for whole in (content, file(content)):
        path.write_bytes(whole)
        with pytest.raises(CheckpointError):
            load_arrays(path)


# --- nothing is lost ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "facts", "error"),
    [
        ({"a": np.ones(2)}, {"f": object()}, TypeError),
        ({"a": np.ones(2)}, {"f": float("nan")}, ValueError),
        ({"a": np.ones(2, bool)}, {}, TypeError),
        ({"a": [1.0]}, {}, TypeError),
        ({3: np.ones(2)}, {}, TypeError),
        ({"__metadata__": np.ones(2)}, {}, TypeError),  # the file could not be read again
        ({"a": np.array([None])}, {}, TypeError),
        ({"a": np.array(["text"])}, {}, TypeError),
        ({"a": np.ones(2, complex)}, {}, TypeError),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(path, arrays, facts, error):
    save_arrays(path, {"kept": np.ones(1)})
    with pytest.raises(error):
        save_arrays(path, arrays, facts)
    assert list(load_arrays(path)[0]) == ["kept"]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(path, monkeypatch, failing):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_atomically(path, b"old")
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        save_arrays(tmp_path / "nowhere" / "a.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_the_new_file_is_on_disk_before_it_takes_the_name(path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    write_atomically(path, b"new")
    assert calls[:2] == ["fsync", "replace"]
    assert path.read_bytes() == b"new"


def test_threads_that_write_one_file_leave_it_whole(path):
    contents, errors = [bytes([i]) * 100_000 for i in range(4)], []

    def write(content):
        try:
            for _ in range(10):
                write_atomically(path, content)
        except OSError as error:
            errors.append(error)

    hands = [threading.Thread(target=write, args=(content,)) for content in contents]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert errors == []
    assert path.read_bytes() in contents
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


KILLED = """
import os, random, signal, sys, time
import numpy as np
from core import load_arrays, save_arrays

path = sys.argv[1]
random.seed(0)
save_arrays(path, {"a": np.zeros(50_000)}, {"k": 0})
reached = 0
for round in range(40):
    child = os.fork()
    if child == 0:
        k = reached
        while True:
            k += 1
            save_arrays(path, {"a": np.full(50_000, float(k))}, {"k": k})
    time.sleep(random.uniform(0.001, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    arrays, facts = load_arrays(path)
    assert (arrays["a"] == facts["k"]).all(), "half of one, half of another"
    assert facts["k"] >= reached, "an old file came back"
    reached = facts["k"]
print(reached)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_while_it_saves_leaves_the_old_file_or_the_new(path):
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
    left = [entry for entry in path.parent.iterdir() if entry != path]
    assert left, "no writer was killed at its work"
    an_hour_ago = time.time() - 3700
    for entry in left[1:]:
        os.utime(entry, (an_hour_ago, an_hour_ago))
    save_arrays(path, {})
    assert set(path.parent.iterdir()) == {path, left[0]}  # which somebody may still be writing


def test_sweeping_touches_no_file_of_another_name(tmp_path):
    others = [".b.safetensors.1.tmp", "a.safetensors.1.tmp", ".a.safetensors", "a[1].tmp", ".x.1.tmp"]
    for name in others:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (0, 0))
    for name in ("a.safetensors", "a[1]", "?", "*"):
        write_atomically(tmp_path / name, b"")
    assert all((tmp_path / name).exists() for name in others)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_killer_itself_would_notice_a_file_written_in_place(tmp_path):
    """The loop above, with a writer that is not atomic, finds a broken file."""
    naive = KILLED.replace(
        "reached = 0\n",
        "import core.checkpoint as c\nc.write_atomically = lambda p, b: open(p, 'wb').write(b)\nreached = 0\n",
    )
    command = [sys.executable, "-W", "ignore", "-c", naive, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode != 0
    assert "CheckpointError" in done.stderr or "half of one" in done.stderr
