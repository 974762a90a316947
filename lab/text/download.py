"""Files from afar, each known by its hash: from a mirror, the cache, or the address they come from."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from tqdm import tqdm

from lab.files import sha256_bytes, write_atomic
from lab.text.corpus import CorpusError

# How long a silent host is waited for; short, so that falling back to an offline corpus is quick.
CONNECT_SECONDS = 10
_CHUNK_BYTES = 1 << 16


class UnreachableError(CorpusError):
    """None of the places where a file might be could give it; the file itself is not at fault."""


@dataclass(frozen=True)
class RemoteFile:
    """A file by its name in cache and mirror, the address it comes from, and the SHA-256 it must have."""

    name: str
    address: str
    sha256: str


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
    download leaves nothing behind.

    Raises CorpusError for a wrong hash (a bad file in the cache is deleted), and its subclass
    UnreachableError, whose first line says why, when no place has the file.
    """
    mirror = os.environ.get("LAB_MIRROR", "")
    mirror_is_address = "://" in mirror
    cached = cache_folder() / file.name

    if mirror and not mirror_is_address and (copy := Path(mirror) / file.name).is_file():
        return _checked(copy.read_bytes(), file, copy, "Replace that file, or unset LAB_MIRROR.")
    if cached.is_file():
        try:
            return _checked(cached.read_bytes(), file, cached, "It was deleted; load again for a fresh copy.")
        except CorpusError:
            cached.unlink()
            raise

    addresses = [f"{mirror.rstrip('/')}/{file.name}"] if mirror_is_address else []
    failures = []
    for address in [*addresses, file.address]:
        try:
            data = b"".join(_download(address))
        except (OSError, HTTPException) as error:
            failures.append(f"{urlsplit(address).netloc}: {getattr(error, 'reason', None) or error}")
            continue
        data = _checked(data, file, address, "Nothing was kept; try again, or get the file elsewhere.")
        write_atomic(cached, data)
        return data
    looked = f"; LAB_MIRROR={mirror!r} does not have it" if mirror else ""
    raise UnreachableError(
        f"{file.name} could not be downloaded ({'; '.join(failures)}{looked})\n"
        f"Set LAB_MIRROR to a folder or an address that has it, put it by hand at {cached}\n"
        f"(from {file.address}), or use load('python-docs') or load('grammar'), which need no network."
    )


def _download(address: str) -> Iterator[bytes]:
    """Yield the pieces of what lies at an http(s) address, showing progress on stderr."""
    if not address.startswith(("https://", "http://")):
        raise CorpusError(f"{address!r} is not an http or https address; LAB_MIRROR takes those, or a folder")
    with urlopen(address, timeout=CONNECT_SECONDS) as response:
        announced = int(response.headers.get("Content-Length") or 0)
        name = address.rsplit("/", 1)[-1]
        with tqdm(total=announced or None, desc=name, unit="B", unit_scale=True) as bar:
            while piece := response.read(_CHUNK_BYTES):
                bar.update(len(piece))
                yield piece
            # Python's HTTP client ends a broken-off body as quietly as a whole one.
            if bar.n < announced:
                raise ConnectionError(f"broke off after {bar.n:,} of {announced:,} bytes")


def _checked(data: bytes, file: RemoteFile, origin: str | Path, remedy: str) -> bytes:
    found = sha256_bytes(data)
    if found != file.sha256:
        raise CorpusError(
            f"{origin} is not the {file.name} that was expected ({len(data):,} bytes):\n"
            f"  expected sha256 {file.sha256}\n  found    sha256 {found}\n{remedy}"
        )
    return data
