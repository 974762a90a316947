"""Files from afar, each known by its hash: from a mirror, the cache, or the address they come from."""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from time import monotonic
from urllib import request

from tqdm import tqdm

from lab.files import printable, sha256_bytes, write_atomic
from lab.text.corpus import CorpusError

# How long a silent host is waited for; short, so that falling back to an offline corpus is quick.
CONNECT_SECONDS = 10
DOWNLOAD_SECONDS = 300
_CHUNK_BYTES = 1 << 16


class UnreachableError(CorpusError):
    """None of the places where a file might be could give it; the file itself is not at fault."""


@dataclass(frozen=True)
class RemoteFile:
    """A file by its name in cache and mirror, the address it comes from, and the SHA-256 and bytes it must have."""

    name: str
    address: str
    sha256: str
    size: int

    def __str__(self) -> str:
        return f"the {self.size:,} of {self.name}, of sha256 {self.sha256}"


def cache_folder() -> Path:
    """Where downloads are kept: `LAB_DATA` if set, else `data/` of the project, else `./data`."""
    if named := os.environ.get("LAB_DATA"):
        return Path(named)
    project = Path(__file__).resolve().parents[2]
    # Installed into site-packages there is no project around the package: then the current folder serves.
    return (project if (project / "pyproject.toml").is_file() else Path.cwd()) / "data"


def fetch(file: RemoteFile) -> bytes:
    """The file's bytes, with the hash checked wherever they come from.

    Looked for in this order: the folder `LAB_MIRROR` (read in place), the cache, the address `LAB_MIRROR`,
    the file's own address. What is downloaded goes into the cache once its hash is right, so that a broken
    download leaves nothing behind. A warning says why a download did not come from `LAB_MIRROR`.

    Raises CorpusError for a wrong hash in a folder (a bad file in the cache is deleted), and its subclass
    UnreachableError, whose first line says why, when no place has the file.
    """
    mirror, cached = os.environ.get("LAB_MIRROR", ""), cache_folder() / file.name
    addresses, failures = [file.address], []
    if "://" in mirror:
        addresses.insert(0, f"{mirror.rstrip('/')}/{file.name}")
    elif mirror:
        if (copy := Path(mirror) / file.name).is_file():
            return _checked(copy, file, "Replace that file, or unset LAB_MIRROR.")
        failures = [f"LAB_MIRROR={mirror!r} has no {copy.absolute()}"]
    if cached.is_file():
        try:
            return _checked(cached, file, "It was deleted; load again for a fresh copy.")
        except CorpusError:
            cached.unlink()
            raise

    for address in addresses:
        try:
            data = _in_time(lambda address=address: _download(address, file.size))
            if (found := sha256_bytes(data)) != file.sha256:
                raise ConnectionError(f"gave {len(data):,} bytes of sha256 {found}, not {file}")
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error) or f"took more than {DOWNLOAD_SECONDS} s"
            failures.append(printable(f"{address}: {reason}"[:400]))
            continue
        if failures:
            warnings.warn(f"{file.name} came from {address}, since {'; '.join(failures)}", stacklevel=2)
        write_atomic(cached, data)
        return data
    raise UnreachableError(
        f"{file.name} could not be downloaded ({'; '.join(failures)})\n"
        f"Set LAB_MIRROR to a folder or an address that has it, put it by hand at {cached}\n"
        f"(from {file.address}), or choose a corpus that needs no network: python-docs or grammar."
    )


def _download(address: str, size: int) -> bytes:
    """What lies at an http(s) address, no more of it than shows that it is larger than `size`; progress on stderr."""
    # urllib's own choice of handlers would open file:, ftp: and data: too, if only after a redirect.
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler, request.UnknownHandler, request.HTTPHandler, request.HTTPSHandler,
        request.HTTPDefaultErrorHandler, request.HTTPRedirectHandler, request.HTTPErrorProcessor,
    ):  # fmt: skip
        opener.add_handler(handler())
    ends, pieces = monotonic() + DOWNLOAD_SECONDS, []
    progress = {"total": size, "desc": address.rsplit("/", 1)[-1], "unit": "B", "unit_scale": True}
    with opener.open(address, timeout=CONNECT_SECONDS) as response, tqdm(**progress) as bar:
        while bar.n <= size and monotonic() < ends and (piece := response.read1(_CHUNK_BYTES)):
            bar.update(len(piece))
            pieces.append(piece)
    return b"".join(pieces)


def _in_time(work: Callable[[], bytes]) -> bytes:
    """What `work` returns, or a TimeoutError: a host may send even its headers a byte at a time."""
    outcome = Future()

    def run():
        try:
            outcome.set_result(work())
        except Exception as error:
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    return outcome.result(DOWNLOAD_SECONDS)


def _checked(path: Path, file: RemoteFile, remedy: str) -> bytes:
    with open(path, "rb") as kept:
        data = kept.read(file.size + 1)
    if (found := sha256_bytes(data)) != file.sha256:
        raise CorpusError(f"{path} has {path.stat().st_size:,} bytes of sha256 {found}, not {file}. {remedy}")
    return data
