"""Downloads: mirror, cache, hashes and everything that breaks, against a server on this machine."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lab.files import sha256_bytes
from lab.text import CorpusError
from lab.text.download import RemoteFile, UnreachableError, fetch

TEXT = b"In the beginning\n" * 20_000
BAD = b"<html>Please log in</html>"
PAGES = {"/good/a.txt": TEXT, "/wrong/a.txt": BAD, "/broken/a.txt": TEXT[:100_000]}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path not in PAGES:
            return self.send_error(404)
        page = PAGES[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(TEXT if "broken" in self.path else page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def at(server, monkeypatch, tmp_path):
    """`at("good")` is the file at that address of the server; the cache is an empty folder."""
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("LAB_MIRROR", raising=False)
    server.asked.clear()
    root = f"http://127.0.0.1:{server.server_port}"
    return lambda folder: RemoteFile("a.txt", f"{root}/{folder}/a.txt", sha256_bytes(TEXT))


@pytest.fixture
def cached(tmp_path):
    return tmp_path / "cache" / "a.txt"


def is_empty(cached):
    return not cached.parent.exists() or not list(cached.parent.iterdir())


def test_a_download_is_kept_and_not_repeated(at, cached, server, capfd):
    assert fetch(at("good")) == TEXT
    assert "a.txt" in capfd.readouterr().err  # the progress bar
    assert cached.read_bytes() == TEXT and len(list(cached.parent.iterdir())) == 1
    assert fetch(at("good")) == TEXT
    assert server.asked == ["/good/a.txt"]


def test_a_wrong_hash_names_both_and_keeps_nothing(at, cached):
    with pytest.raises(CorpusError) as error:
        fetch(at("wrong"))
    assert sha256_bytes(BAD) in str(error.value) and sha256_bytes(TEXT) in str(error.value)
    assert not isinstance(error.value, UnreachableError)
    assert is_empty(cached)


def test_a_corrupted_cache_is_noticed_deleted_and_fetched_again(at, cached):
    fetch(at("good"))
    cached.write_bytes(TEXT[:-1])
    with pytest.raises(CorpusError, match="deleted") as error:
        fetch(at("good"))
    assert sha256_bytes(TEXT[:-1]) in str(error.value) and str(cached) in str(error.value)
    assert is_empty(cached)
    assert fetch(at("good")) == TEXT


def test_a_download_that_breaks_off_leaves_nothing(at, cached):
    with pytest.raises(UnreachableError, match="broke off after 100,000 of 340,000 bytes"):
        fetch(at("broken"))
    assert is_empty(cached)


def test_an_unreachable_host_says_what_to_do(at, cached):
    with pytest.raises(UnreachableError) as error:
        fetch(RemoteFile("a.txt", "http://127.0.0.1:9/a.txt", "0" * 64))
    message = str(error.value)
    assert all(part in message for part in ("LAB_MIRROR", str(cached), "python-docs", "127.0.0.1:9"))
    with pytest.raises(UnreachableError, match="Not Found"):
        fetch(at("missing"))
    assert is_empty(cached)


def test_a_mirror_folder_is_read_in_place_before_all_else(at, cached, tmp_path, monkeypatch, server):
    (tmp_path / "a.txt").write_bytes(TEXT)
    monkeypatch.setenv("LAB_MIRROR", str(tmp_path))
    assert fetch(at("wrong")) == TEXT
    assert is_empty(cached) and server.asked == []

    (tmp_path / "a.txt").write_bytes(BAD)
    with pytest.raises(CorpusError, match=sha256_bytes(BAD)):
        fetch(at("good"))
    assert (tmp_path / "a.txt").read_bytes() == BAD  # the mirror is not ours to clean


def test_a_mirror_address_comes_before_the_files_own(at, cached, monkeypatch, server):
    own = at("wrong")
    monkeypatch.setenv("LAB_MIRROR", at("good").address.removesuffix("a.txt"))
    assert fetch(own) == TEXT and cached.read_bytes() == TEXT
    assert server.asked == ["/good/a.txt"]
