"""Your own text: a file of it, a folder of `.txt` files, or a folder of `.npy` transcripts."""

import re
from pathlib import Path

import numpy as np

from lab.files import sha256_file
from lab.text.corpus import Corpus, CorpusError

MOST_BYTES = 1 << 30
# No paragraph is as long as LONG_LINE; what is stands on one line for want of line ends, and is cut into stretches.
LONG_LINE, STRETCH = 10_000, 300
_STRETCHES = re.compile(rf"(?s)(.{{1,{STRETCH}}})(?:\s|\Z)|(.{{{STRETCH}}})")


def read(path: Path) -> Corpus:
    """The corpus at `path`: the lines of a file, or of a folder's files sorted by name.

    A text file is UTF-8, or UTF-16 with its byte order mark; line ends are of any kind. A folder
    holds `.txt` files, or `.npy` files of one transcript each: a string, or a row of characters; nothing is ever
    unpickled; files whose names begin with a point are passed over. Empty lines (nothing but white space) are dropped
    and very long ones cut (see `in_stretches`); `note` counts both.

    Raises CorpusError where there is no text, more than `MOST_BYTES`, or text of another kind, saying in which file.
    """
    path = Path(path)
    lines, dropped = [], 0
    for file in _files_at(path):
        text = _transcript(file) if file.suffix.lower() == ".npy" else decode(file.read_bytes(), file)
        found, empty = split_lines(text)
        lines += found
        dropped += empty
    if not lines:
        raise CorpusError(f"{path} holds no text: a corpus needs at least one line that is not empty")
    lines, long = in_stretches(lines)
    counts = (dropped, "empty", "dropped"), (long, "long", f"cut after at most {STRETCH} characters")
    note = "; ".join(f"{n:,} {kind} line{'s' * (n > 1)} {fate}" for n, kind, fate in counts if n)
    sha256 = "" if path.is_dir() else sha256_file(path)
    return Corpus(path.resolve().name, lines, sha256=sha256, note=note)


def split_lines(text: str) -> tuple[list[str], int]:
    r"""The lines of `text` that are not empty, and how many were.

    >>> split_lines("one\r\n\r\ntwo\n")
    (['one', 'two'], 1)
    """
    # Not str.splitlines: form feeds and Unicode's own line separators are characters of the text.
    every = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    lines = [line for line in every if line.strip()]
    return lines, len(every) - len(lines)


def in_stretches(lines: list[str]) -> tuple[list[str], int]:
    """The lines, those of more than `LONG_LINE` characters cut into stretches of at most `STRETCH`; how many were cut.

    A cut takes the place of white space where a stretch holds any. Fewer than three lines, which could not be dealt
    into train, validation and test, are cut where they are longer than one stretch.
    """
    bound = LONG_LINE if len(lines) > 2 else STRETCH
    stretches, long = [], 0
    for line in lines:
        if len(line) <= bound:
            stretches.append(line)
        else:
            long += 1
            stretches += filter(str.strip, map("".join, _STRETCHES.findall(line)))
    return stretches, long


def decode(data: bytes, origin: str | Path) -> str:
    """The text of UTF-8 bytes, or of UTF-16 with its mark; CorpusError for bytes of another kind."""
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        if (zero := text.find("\0")) >= 0:
            raise ValueError(f"character {zero:,} is U+0000, as in binary files and UTF-16 without its mark")
        return text
    except ValueError as error:
        raise CorpusError(
            f"{origin} is not UTF-8 text ({error}): save it as UTF-8 in an editor, or convert it, as in "
            "`iconv -f latin1 -t utf-8 OLD > NEW`"
        ) from None


def _files_at(path: Path) -> list[Path]:
    files = _files_in(path) if path.is_dir() else [path]
    if odd := [file for file in files if not file.is_file()]:  # reading a pipe or a device might never end
        raise CorpusError(
            f"{odd[0]} is neither a file nor a folder: write its text into a file, and give that"
        )
    if (size := sum(file.stat().st_size for file in files)) > MOST_BYTES:
        raise CorpusError(
            f"{path} holds {size:,} bytes, but a corpus lies in memory whole: give at most {MOST_BYTES:,} of them"
        )
    return files


def _files_in(folder: Path) -> list[Path]:
    """The folder's `.txt` files or its `.npy` files, sorted by name, but for those that systems hide in it."""
    files = [file for file in sorted(folder.iterdir()) if file.name[0] != "." and not file.is_dir()]
    texts, transcripts = ([f for f in files if f.suffix.lower() == kind] for kind in (".txt", ".npy"))
    if bool(texts) == bool(transcripts):
        raise CorpusError(
            f"the folder {folder} has {len(texts)} .txt files and {len(transcripts)} .npy files directly in it: give "
            "one that has files of one of these kinds, and none of the other"
        )
    return texts or transcripts


def _transcript(file: Path) -> str:
    """The text in a `.npy` file that holds one string, or one string a character."""
    try:
        array = np.lib.format.open_memmap(file, mode="r")  # takes no memory for what a header only claims
        if array.dtype.kind != "U" or array.ndim > 1:
            raise ValueError(f"{array.dtype} of shape {array.shape}; are these the features?")
        text = "".join(array.reshape(-1).tolist())
        text.encode()
        return text
    except Exception as error:  # what NumPy raises for a forged header is not written anywhere
        raise CorpusError(
            f"{file} is not a transcript, one string or a row of characters ({error}): save it as "
            "`np.save(file, np.array(text))`; nothing is ever unpickled"
        ) from None
