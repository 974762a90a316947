"""Files that appear whole or not at all, their fingerprints, and what they hold on a terminal."""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

# Control characters, line and paragraph separators, what turns the direction of writing, lone surrogates.
_NOT_FOR_TERMINALS = re.compile(r"[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\0-\x1f\ud800-\udfff]')
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))}
_WINDOWS = os.name == "nt"


def write_atomic(path: str | os.PathLike, data: bytes | str) -> Path:
    """Write `data` beside `path`, flush it to disk, then rename it into place.

    A reader sees the old file or the new one, never a part; a crash leaves the old one.
    Text is written as UTF-8 with its line ends unchanged. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        with path_named(path), open(beside, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def put_in_place(beside: Path, path: Path) -> None:
    """Rename a file or folder. On Windows a reader or a virus scanner may hold one for a moment: that is waited for."""
    for seconds in (0.05, 0.2, 1.0) if _WINDOWS else ():
        try:
            beside.replace(path)
            return
        except PermissionError:
            time.sleep(seconds)
    beside.replace(path)


def nameable(name: str) -> bool:
    r"""Whether a file or folder can be called so on Linux, macOS and Windows: what is copied there keeps its name.

    >>> [nameable(name) for name in ("first try", "a:b", "con", "nul.txt", "ends.", "")]
    [True, False, False, False, False, False]
    """
    return (
        0 < len(name.encode(errors="replace")) <= 150  # 255 less what is written beside it is called
        and not _NOT_IN_NAMES.search(name)
        and name[-1] not in " ."
        and name.split(".")[0].rstrip().upper() not in _RESERVED
    )


@contextmanager
def path_named(path: Path) -> Iterator[None]:
    """An OSError that says of no file which it is, such as that of a full disk, is of `path`."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk: without it a new name may be forgotten in a power cut."""
    if _WINDOWS:  # folders cannot be opened there
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


def absolute_environment() -> None:
    """Take the folders that `LAB_MIRROR`, `LAB_DATA` and `LAB_RUNS` name from here, for what then works elsewhere."""
    for name in ("LAB_MIRROR", "LAB_DATA", "LAB_RUNS"):
        folder = os.environ.get(name)
        if folder and "://" not in folder:
            os.environ[name] = os.path.abspath(folder)


def printable(text: str) -> str:
    r"""`text` as one line that a terminal shows and does not obey: control characters written out.

    >>> print(printable("red \x1b[31m, and\ttab"))
    red \x1b[31m, and\ttab
    """
    return _NOT_FOR_TERMINALS.sub(lambda match: ascii(match.group())[1:-1], text)
