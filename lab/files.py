"""Files that appear whole or not at all, and their fingerprints."""

import hashlib
import os
from pathlib import Path
from uuid import uuid4


def write_atomic(path: str | os.PathLike, data: bytes | str) -> Path:
    """Write `data` beside `path`, flush it to disk, then rename it into place.

    A reader sees the old file or the new one, never a part; a crash leaves the old one.
    Text is written as UTF-8 with its line ends unchanged. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        with open(beside, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk: without it a new name may be forgotten in a power cut."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_bytes(data: bytes) -> str:
    """The SHA-256 of `data` in hex: `sha256_bytes(b"")[:8] == "e3b0c442"`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
