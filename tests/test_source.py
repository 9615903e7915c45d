"""Data come from where they were asked for; a hub out of reach costs seconds and gives a sentence."""

import http.server
import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from apps import source as source_module
from apps.errors import InputError
from apps.source import Source, find_source, hub_answers, load_split

datasets = pytest.importorskip("datasets")
huggingface_hub = pytest.importorskip("huggingface_hub")

DIGITS = "ylecun/mnist"


@pytest.fixture(autouse=True)
def own_caches(monkeypatch, tmp_path):
    """The hub's client looks only into this test's folders, and goes straight to this machine's servers."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "arrow"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def closed_hub():
    """The address of a hub where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    return {"HF_ENDPOINT": f"http://127.0.0.1:{port}"}


@pytest.fixture
def silent_hub():
    """A hub that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}"}


@pytest.fixture
def hub():
    """A hub that describes the digits, has trouble with what it calls "broken", and knows nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status = {f"/api/datasets/{DIGITS}": 200, "/api/datasets/owner/broken": 500}.get(self.path, 404)
            body = json.dumps({"id": DIGITS} if status == 200 else {"error": "none"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()
        thread.join()


@pytest.fixture
def copy(tmp_path):
    """A folder laid out as the hub, with a tiny data set in it."""
    folder = tmp_path / "data" / "owner" / "numbers"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        datasets.Dataset.from_dict({"number": [1, 2, 3]}).to_parquet(folder / f"{split}.parquet")
    return tmp_path / "data"


# Where from


def test_the_sample_is_asked_for():
    assert find_source("sample", DIGITS, environ={"ZOO_DATA": "/elsewhere"}) == Source(DIGITS, "sample")


@pytest.mark.parametrize("variable", [{}, {"ZOO_DATA": "/elsewhere"}])
def test_a_folder_is_asked_for(copy, variable):
    found = find_source(str(copy), "owner/numbers", environ=variable)
    assert found == Source("owner/numbers", "folder", copy / "owner/numbers")


def test_unset_means_the_variable(copy):
    found = find_source(None, "owner/numbers", environ={"ZOO_DATA": str(copy)})
    assert (found.kind, found.notice) == ("folder", None)


def test_a_relative_folder_and_the_home_folder_are_understood(copy, monkeypatch):
    monkeypatch.chdir(copy.parent)
    monkeypatch.setenv("HOME", str(copy.parent))
    monkeypatch.setenv("USERPROFILE", str(copy.parent))
    for place in ("data", "~/data"):
        assert find_source(place, "owner/numbers").folder == copy / "owner/numbers"


def test_a_missing_folder_is_named():
    with pytest.raises(InputError, match=r"^--data /no/where: there is no such folder; give .* ylecun/mnist\.$"):
        find_source("/no/where", DIGITS)
    with pytest.raises(InputError, match=r"^ZOO_DATA /no/where: there is no such folder"):
        find_source(None, DIGITS, environ={"ZOO_DATA": "/no/where"})


@pytest.mark.parametrize("place", ["~nobody-of-that-name/data", "null\0", "long" * 2000, __file__])
def test_a_place_that_is_no_folder_is_refused(place):
    with pytest.raises(InputError, match="there is no such folder"):
        find_source(place, DIGITS)


def test_a_folder_without_the_data_set_is_named(copy):
    with pytest.raises(InputError, match=f"^--data {copy}: the folder has no ylecun/mnist in it; give"):
        find_source(str(copy), DIGITS)


@pytest.mark.parametrize("data", [None, "hub"])
def test_a_hub_that_answers_is_used(hub, data):
    assert find_source(data, DIGITS, environ=hub) == Source(DIGITS, "hub")


# The hub out of reach


def test_the_sample_stands_in_with_a_notice(closed_hub):
    found = find_source(None, DIGITS, environ=closed_hub)
    assert found.kind == "sample"
    assert closed_hub["HF_ENDPOINT"] in found.notice
    assert "using the small sample" in found.notice


@pytest.mark.parametrize("variable", [{}, {"ZOO_DATA": "hub"}])
def test_asked_for_the_hub_gives_a_sentence_that_helps(closed_hub, variable):
    with pytest.raises(InputError, match=r"cannot be reached for ylecun/mnist: check .* --data sample, or --data F"):
        find_source(None if variable else "hub", DIGITS, environ=closed_hub | variable)


def test_a_hub_that_never_answers_is_given_up_within_5_seconds(silent_hub):
    start = time.monotonic()
    assert find_source(None, DIGITS, environ=silent_hub).kind == "sample"
    assert time.monotonic() - start < 5


def test_a_name_lookup_that_hangs_is_left_behind(monkeypatch):
    release = threading.Event()

    def hang(*args, **kwargs):
        release.wait(20)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(source_module, "PATIENCE", 0.5)
    start = time.monotonic()
    assert not hub_answers(DIGITS, {"HF_ENDPOINT": "http://hub.invalid"})
    assert time.monotonic() - start < 2
    release.set()


@pytest.mark.parametrize("repository", ["owner/broken", "owner/unknown", "not a name"])
def test_a_hub_that_cannot_help_is_out_of_reach(hub, repository):
    assert not hub_answers(repository, hub)


@pytest.mark.parametrize("endpoint", ["no address", "ftp://127.0.0.1", "http://"])
def test_an_endpoint_that_is_no_address_is_out_of_reach(endpoint):
    assert not hub_answers(DIGITS, {"HF_ENDPOINT": endpoint})


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_means_not_even_asking(hub, switch):
    assert find_source(None, DIGITS, environ=hub | {switch: "1"}).kind == "sample"
    assert find_source(None, DIGITS, environ=hub | {switch: "0"}).kind == "hub"


@pytest.mark.parametrize("data", [None, "hub"])
def test_the_hubs_cache_stands_in(closed_hub, copy, tmp_path, data):
    cache = tmp_path / "hub" / "datasets--owner--numbers"
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").write_text("numbers")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    assert find_source(None, "owner/numbers", environ=closed_hub).kind == "sample"  # the data never arrived
    for split in ("train", "test"):
        (copy / "owner/numbers" / f"{split}.parquet").rename(snapshot / f"{split}.parquet")
    found = find_source(data, "owner/numbers", environ=closed_hub)
    assert (found.kind, found.folder) == ("folder", snapshot)
    assert "using the copy in its cache" in found.notice
    assert load_split(found, "test")["number"][:] == [1, 2, 3]


def test_a_missing_client_is_for_the_caller_to_report(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError):
        find_source(None, DIGITS, environ={})


# Loading


def test_a_split_is_loaded_in_silence(copy, capfd):
    before = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    assert load_split(find_source(str(copy), "owner/numbers"), "train")["number"][:] == [1, 2, 3]
    assert capfd.readouterr() == ("", "")
    assert (datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()) == before


def test_a_folder_is_only_read(copy):
    def listing():
        return sorted((path, path.stat().st_mtime_ns) for path in copy.rglob("*"))

    before = listing()
    load_split(find_source(str(copy), "owner/numbers"), "train")
    assert listing() == before


def test_the_hub_is_asked_by_its_own_name(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda path, split: (path, split))
    assert load_split(Source(DIGITS, "hub"), "train") == (DIGITS, "train")


def test_a_missing_split_is_an_input_error(copy):
    with pytest.raises(InputError, match=r"The dev split of .*numbers cannot be loaded \(.*\): give --data sample"):
        load_split(find_source(str(copy), "owner/numbers"), "dev")


@pytest.mark.parametrize("content", [b"", b"PAR1 but not for long", b"\0" * 1000])
def test_a_broken_file_is_an_input_error(copy, capfd, content):
    (copy / "owner/numbers/train.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"^The train split of .*numbers cannot be loaded \([^\n]*\): give [^\n]*$"):
        load_split(find_source(str(copy), "owner/numbers"), "train")
    assert capfd.readouterr().err == ""


def test_a_truncated_file_is_an_input_error(copy):
    path = copy / "owner/numbers/train.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError):
        load_split(find_source(str(copy), "owner/numbers"), "train")


def test_an_empty_folder_is_an_input_error(tmp_path):
    (tmp_path / "owner/empty").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_split(find_source(str(tmp_path), "owner/empty"), "train")


def test_a_sample_is_not_loaded_here():
    with pytest.raises(ValueError, match="belongs to its task"):
        load_split(Source(DIGITS, "sample"), "train")


def test_importing_a_task_imports_no_heavy_library():
    heavy = {"datasets", "huggingface_hub", "PIL", "sklearn"}
    command = f"import sys, apps.source, apps.mnist.data; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
