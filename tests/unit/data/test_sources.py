"""Fetching from directories and from a server that misbehaves in every way we know."""

from __future__ import annotations

import csv
import gzip
import hashlib
import random
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from focal_curvature.data import sources
from focal_curvature.data.sources import Archive, FetchError, archives, fetch, refusal

CONTENT = random.Random(0).randbytes(200_000)
WRONG = CONTENT[:-1] + b"?"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive(*mirrors: str, name: str = "data.bin", dataset: str = "a_set") -> Archive:
    return Archive(dataset, name, "archive", sha256(CONTENT), len(CONTENT), mirrors)


class Handler(BaseHTTPRequestHandler):
    """The first folder of the path says how to behave."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        manner = self.path.split("/")[1]
        asked = self.headers["Range"]
        self.server.seen.append((manner, asked))
        if manner == "missing":
            return self.send_error(404)
        body = WRONG if manner == "wrong" else CONTENT
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        if manner in ("plain", "cut-plain"):
            start = 0
        if start >= len(body):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if manner != "endless":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if manner == "cut":
            body = body[: start + 80_000]
        if manner in ("cut-plain", "stall", "mute"):
            body = body[: 0 if manner == "mute" else 80_000]
        self.wfile.write(body[start:])
        if manner in ("stall", "mute"):
            self.server.released.wait(20)
        if manner == "endless":
            try:
                while not self.server.released.is_set():
                    self.wfile.write(bytes(1 << 16))
                    self.server.endless += 1 << 16
            except OSError:
                pass
        return None


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.seen, http.endless, http.released = [], 0, threading.Event()
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        http.url = lambda manner: f"http://127.0.0.1:{http.server_port}/{manner}/data.bin"
        yield http
        http.released.set()
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_directory(monkeypatch):
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def destination(tmp_path) -> Path:
    return tmp_path / "archives" / "data.bin"


def part(destination: Path) -> Path:
    return destination.with_name("data.bin.part")


def arrived(destination: Path) -> bool:
    """Whole, read-only, and nothing else beside it."""
    return (
        destination.read_bytes() == CONTENT
        and destination.stat().st_mode & 0o777 == 0o444
        and list(destination.parent.iterdir()) == [destination]
    )


# the registry


def test_registry_is_well_formed():
    with sources.TABLE.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["dataset"] for row in rows} == {
        *("mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "svhn"),
        *("letters", "satellite", "dna"),
    }
    assert len({row["sha256"] for row in rows}) == len(rows)
    for row in rows:
        assert re.fullmatch("[0-9a-f]{64}", row["sha256"])
        assert row["over"] in ("archive", "content")
        assert int(row["bytes"]) > 0
        assert row["grounds"]
        for mirror in row["mirrors"].split():
            assert re.fullmatch(rf"https?://.+/{re.escape(row['archive'])}(\?download=1)?", mirror)


def test_cifar10_is_the_archive_that_the_notes_describe():
    (found,) = archives("cifar10")
    assert (found.name, found.size) == ("cifar-10-python.tar.gz", 170_498_071)
    assert len(found.mirrors) == 2


def test_unknown_data_set_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'cifar11', only for mnist, fashion_mnist, .*svhn"):
        archives("cifar11")


DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not DEBIAN.exists(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist_passes(tmp_path):
    for registered in archives("fashion_mnist"):
        passes = [file.name for file in DEBIAN.glob("*.gz") if not refusal(registered, file)]
        assert passes == [registered.name]
    fetched = tmp_path / "fetched.gz"
    registered = archives("fashion_mnist")[3]
    assert fetch(registered, fetched, [DEBIAN.parent]) == str(DEBIAN / registered.name)


# what is right and what is refused


def test_hash_over_content_ignores_the_gzip_header(tmp_path):
    one, two = gzip.compress(CONTENT, mtime=1), gzip.compress(CONTENT, 1, mtime=2)
    (tmp_path / "one.gz").write_bytes(one)
    (tmp_path / "two.gz").write_bytes(two)
    content = Archive("d", "one.gz", "content", sha256(CONTENT), len(CONTENT), ())
    assert refusal(content, tmp_path / "one.gz") == refusal(content, tmp_path / "two.gz") == ""
    whole = Archive("d", "one.gz", "archive", sha256(one), len(one), ())
    assert refusal(whole, tmp_path / "one.gz") == ""
    assert sha256(two) in refusal(whole, tmp_path / "two.gz")


@pytest.mark.parametrize("over", ["archive", "content"])
@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "other", "not gzip"])
def test_damaged_archives_are_refused_in_one_line(tmp_path, over, harm):
    good = gzip.compress(CONTENT)
    bad = {
        "cut": good[:-100],
        "flipped": good[:5000] + bytes([good[5000] ^ 1]) + good[5001:],
        "empty": b"",
        "other": gzip.compress(WRONG),
        "not gzip": CONTENT,
    }[harm]
    expected = sha256(CONTENT if over == "content" else good)
    file = tmp_path / "file.gz"
    file.write_bytes(bad)
    reason = refusal(Archive("d", "file.gz", over, expected, 1, ()), file)
    assert f"sha256 {expected} (1 bytes), found " in reason
    assert "\n" not in reason
    if over == "archive":
        assert f"{sha256(bad)} ({len(bad)} bytes)" in reason
    if (over, harm) == ("content", "other"):
        assert f"{sha256(WRONG)} ({len(WRONG)} bytes)" in reason
    if (over, harm) in {("content", "cut"), ("content", "not gzip")}:
        assert f"damaged gzip data of {len(bad)} bytes" in reason


# local directories


@pytest.mark.parametrize("folder", ["a_set", "a-set", "."])
def test_a_directory_comes_before_the_mirrors(tmp_path, destination, server, folder):
    local = tmp_path / "local"
    (local / folder).mkdir(parents=True)
    (local / folder / "data.bin").write_bytes(CONTENT)
    where = fetch(archive(server.url("good")), destination, [local])
    assert Path(where) == local / folder / "data.bin"
    assert arrived(destination)
    assert server.seen == []


def test_directories_of_the_environment_variable_are_searched(tmp_path, destination, monkeypatch):
    local = tmp_path / "local"
    local.mkdir()
    (local / "data.bin").write_bytes(CONTENT)
    monkeypatch.setenv(sources.VARIABLE, f"{tmp_path / 'nothing'}:{local}")
    assert fetch(archive(), destination) == str(local / "data.bin")


def test_configured_directories_come_before_the_environment(tmp_path, destination, monkeypatch):
    for name in ("configured", "environment"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.bin").write_bytes(CONTENT)
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path / "environment"))
    where = fetch(archive(), destination, [str(tmp_path / "configured")])
    assert where == str(tmp_path / "configured" / "data.bin")


def test_wrong_file_in_a_directory_is_named_and_the_next_source_tried(
    tmp_path, destination, server, capsys
):
    """Three data sets share their archives' names: a directory may well hold another one's."""
    (tmp_path / "data.bin").write_bytes(WRONG)
    assert fetch(archive(server.url("good")), destination, [tmp_path]) == server.url("good")
    assert arrived(destination)
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "expected" in text]
    assert line.startswith(f"{tmp_path / 'data.bin'}: ")
    assert f"sha256 {sha256(CONTENT)} (200000 bytes)" in line
    assert f"found {sha256(WRONG)} (200000 bytes)" in line


def test_copy_that_breaks_off_leaves_nothing(tmp_path, destination, server, monkeypatch):
    def disk_full(source: Path, copy: Path) -> None:
        copy.write_bytes(source.read_bytes()[:100])
        raise OSError("no space left")

    (tmp_path / "data.bin").write_bytes(CONTENT)
    monkeypatch.setattr(sources.shutil, "copyfile", disk_full)
    assert fetch(archive(server.url("good")), destination, [tmp_path]) == server.url("good")
    assert arrived(destination)


# mirrors


@pytest.mark.parametrize("manner", ["good", "plain"])
def test_download(destination, server, manner):
    assert fetch(archive(server.url(manner)), destination) == server.url(manner)
    assert arrived(destination)
    assert server.seen == [(manner, None)]


def test_cut_connection_is_resumed_where_it_broke(destination, server):
    fetch(archive(server.url("cut")), destination)
    assert arrived(destination)
    assert server.seen == [("cut", None), ("cut", "bytes=80000-"), ("cut", "bytes=160000-")]


def test_cut_connection_without_resumption_goes_to_the_next_mirror(destination, server):
    assert fetch(archive(server.url("cut-plain"), server.url("plain")), destination)
    assert arrived(destination)
    assert [manner for manner, _ in server.seen] == ["cut-plain", "cut-plain", "plain"]


@pytest.mark.parametrize("manner", ["wrong", "missing"])
def test_wrong_bytes_and_missing_files_go_to_the_next_mirror(destination, server, manner, capsys):
    fetch(archive(server.url(manner), server.url("good")), destination)
    assert arrived(destination)
    assert server.seen == [(manner, None), ("good", None)]
    assert f"{server.url(manner)}: " in capsys.readouterr().err


def test_unreachable_host_goes_to_the_next_mirror(destination, server):
    fetch(archive("http://127.0.0.1:9/data.bin", server.url("good")), destination)
    assert arrived(destination)


def test_stalled_connection_is_given_up_and_resumed_elsewhere(destination, server):
    started = time.monotonic()
    fetch(archive(server.url("stall"), server.url("good")), destination, timeout=0.3)
    assert time.monotonic() - started < 5
    assert arrived(destination)
    assert server.seen[-1] == ("good", "bytes=80000-")


def test_server_that_sends_nothing_is_given_up(destination, server):
    fetch(archive(server.url("mute"), server.url("good")), destination, timeout=0.3)
    assert arrived(destination)


def test_endless_answer_is_cut_off(destination, server):
    fetch(archive(server.url("endless"), server.url("good")), destination)
    assert arrived(destination)
    assert server.endless < 20_000_000


@pytest.mark.parametrize("manner", ["good", "plain"])
def test_what_a_killed_process_left_is_continued(destination, server, manner):
    destination.parent.mkdir()
    part(destination).write_bytes(CONTENT[:123_456])
    fetch(archive(server.url(manner)), destination)
    assert arrived(destination)
    assert server.seen == [(manner, "bytes=123456-")]


@pytest.mark.parametrize("left", [WRONG[::-1][:50_000], WRONG + b"longer", WRONG])
def test_wrong_beginnings_are_thrown_away(destination, server, left):
    destination.parent.mkdir()
    part(destination).write_bytes(left)
    fetch(archive(server.url("good")), destination)
    assert arrived(destination)
    assert server.seen == [("good", f"bytes={len(left)}-"), ("good", None)]


def test_wrong_beginnings_do_not_spoil_a_mirror_that_breaks_off(destination, server):
    """What is left does not fit, and the right mirror, asked anew, breaks off as well."""
    destination.parent.mkdir()
    part(destination).write_bytes(bytes(1000))
    fetch(archive(server.url("missing"), server.url("cut")), destination)
    assert arrived(destination)


def test_no_source_is_one_error_that_lists_them_all(tmp_path, destination, server):
    (tmp_path / "data.bin").write_bytes(CONTENT[:100])
    mirrors = [server.url(manner) for manner in ("wrong", "missing", "cut-plain")]
    with pytest.raises(FetchError) as error:
        fetch(archive(*mirrors), destination, [tmp_path / "nothing", tmp_path])
    listed = str(error.value).splitlines()[1:]
    for line, start in zip(
        listed, [tmp_path / "nothing", tmp_path / "data.bin", *mirrors], strict=True
    ):
        assert line.startswith(f"  {start}: ")
    assert sources.VARIABLE in str(error.value)
    assert "connection closed after 80000 of 200000 bytes" in listed[-1]
    assert not destination.exists()
    assert [file.name for file in destination.parent.iterdir()] == ["data.bin.part"]


def test_failure_leaves_an_earlier_archive_alone(destination, server):
    destination.parent.mkdir()
    destination.write_bytes(b"earlier")
    with pytest.raises(FetchError):
        fetch(archive(server.url("wrong")), destination)
    assert destination.read_bytes() == b"earlier"
    assert list(destination.parent.iterdir()) == [destination]


def test_progress_is_shown_in_megabytes(destination, server, capsys, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(sources, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    fetch(archive(server.url("good")), destination)
    assert re.search(r"^data.bin: 0\.\d of 0\.2 MB$", capsys.readouterr().err, re.MULTILINE)
