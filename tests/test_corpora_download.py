"""Downloads: mirror, cache, hashes and everything that breaks, against a server on this machine."""

import re
import threading
import time
import warnings
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from urllib.parse import unquote

import pytest

from lab.files import sha256_bytes
from lab.text import CorpusError, download
from lab.text.download import RemoteFile, UnreachableError, fetch

TEXT = b"In the beginning\n" * 20_000
BAD = b"<html>Please log in</html>"
OK = b"HTTP/1.0 200 OK\r\n"


def announced(length: object, body: bytes):
    return [OK + f"Content-Length: {length}\r\n\r\n".encode() + body]


def redirected(location: str):
    return [f"HTTP/1.0 302 Found\r\nLocation: {location}\r\n\r\n".encode()]


def drips(head: bytes):
    yield head
    while True:
        time.sleep(0.02)
        yield b"x"


PAGES = {
    "/good/a.txt": announced(len(TEXT), TEXT),
    "/silent about its length/a.txt": [OK + b"\r\n" + TEXT],
    "/nonsense for a length/a.txt": announced("9" * 5000, TEXT),
    "/wrong/a.txt": announced(len(BAD), BAD),
    "/broken/a.txt": announced(len(TEXT), TEXT[:100_000]),
    "/too long/a.txt": announced(10**15, TEXT),
    "/cut short/a.txt": announced(len(TEXT) - 1, TEXT),
    "/endless/a.txt": chain([OK + b"\r\n"], repeat(TEXT)),
    "/dripping/a.txt": drips(OK + b"\r\n"),
    "/dripping headers/a.txt": drips(OK + b"X: "),
    "/odd/a.txt": [b"HTTP/1.0 500 \x1b[31mred\x1b[0m\r\n\r\n"],
    "/not http/a.txt": [b"220 ftp.example ready\r\n"],
    "/to a file/a.txt": redirected("file:///FOLDER/a.txt"),
    "/to ftp/a.txt": redirected("ftp://127.0.0.1:PORT/a.txt"),
    "/to nowhere/a.txt": redirected("http://[bad"),
    "/to itself/a.txt": redirected("a.txt"),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = unquote(self.path)
        self.server.asked.append(path)
        if path not in PAGES:
            return self.send_error(404)
        with suppress(OSError):  # who has read enough hangs up
            for part in PAGES[path]:
                self.wfile.write(
                    part.replace(b"FOLDER", self.server.folder).replace(
                        b"PORT", b"%d" % self.server.server_port
                    )
                )

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
    server.folder = str(tmp_path).encode()

    def at(folder: str) -> RemoteFile:
        return RemoteFile(
            "a.txt", f"{root}/{folder.replace(' ', '%20')}/a.txt", sha256_bytes(TEXT), len(TEXT)
        )

    return at


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
    with pytest.raises(UnreachableError) as error:
        fetch(at("wrong"))
    assert sha256_bytes(BAD) in str(error.value) and sha256_bytes(TEXT) in str(error.value)
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
    with pytest.raises(UnreachableError, match=r"gave 100,000 bytes .* 340,000"):
        fetch(at("broken"))
    assert is_empty(cached)


def test_an_unreachable_host_says_what_to_do(at, cached):
    with pytest.raises(UnreachableError) as error:
        fetch(RemoteFile("a.txt", "http://127.0.0.1:9/a.txt", "0" * 64, 9))
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


@pytest.mark.parametrize("folder", ["silent about its length", "nonsense for a length", "too long"])
def test_an_odd_length_does_not_matter(at, folder):
    assert fetch(at(folder)) == TEXT


@pytest.mark.parametrize(
    "mirror", [page.removesuffix("/a.txt") for page in list(PAGES)[3:] if "too long" not in page]
)
def test_a_mirror_that_gives_something_else_is_named_and_the_next_place_asked(
    at, cached, monkeypatch, mirror
):
    monkeypatch.setattr(download, "DOWNLOAD_SECONDS", 0.4 if "dripping" in mirror else 9)
    monkeypatch.setenv("LAB_MIRROR", at(mirror[1:]).address.removesuffix("a.txt"))
    with pytest.warns(UserWarning, match=r"since http://127.0.0.1(?!.* gave \d+,\d+,)[^\x1b]*$"):
        assert fetch(at("good")) == TEXT
    assert cached.read_bytes() == TEXT


@pytest.mark.parametrize(
    "mirror",
    ["http://[bad", "http://x:port", "http://", "ftp://127.0.0.1:PORT/good", "file:///FOLDER", "data://,x"],
)
def test_only_http_addresses_are_opened(at, cached, monkeypatch, tmp_path, server, mirror):
    (tmp_path / "a.txt").write_bytes(TEXT)  # right as it is, only http and folders are read
    named = mirror.replace("PORT", str(server.server_port)).replace("/FOLDER", str(tmp_path))
    monkeypatch.setenv("LAB_MIRROR", named)
    with pytest.warns(UserWarning, match=re.escape(named)):
        assert fetch(at("good")) == TEXT
    assert server.asked == ["/good/a.txt"]


def test_an_address_in_capitals_is_one(at, monkeypatch, server):
    monkeypatch.setenv("LAB_MIRROR", at("good").address.removesuffix("/a.txt").replace("http", "HTTP"))
    with warnings.catch_warnings(action="error"):
        assert fetch(at("wrong")) == TEXT


def test_a_mirror_folder_that_is_not_there_is_named(at, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_MIRROR", "gone")
    with pytest.raises(UnreachableError) as error:
        fetch(at("missing"))
    assert all(part in str(error.value).splitlines()[0] for part in ("'gone'", str(tmp_path)))
    with pytest.warns(UserWarning, match="'gone'"):
        fetch(at("good"))
    (tmp_path / "gone").mkdir()
    with open(tmp_path / "gone" / "a.txt", "wb") as file:
        file.truncate(40 << 30)
    with pytest.raises(CorpusError, match=f"{40 << 30:,}"):
        fetch(at("good"))
