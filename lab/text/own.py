"""Your own text: a file of it, a folder of `.txt` files or `.npy` transcripts, or one folder for each part."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from lab.files import sha256_file
from lab.text.corpus import Corpus, CorpusError

MOST_BYTES = 1 << 30
# No paragraph is as long as LONG_LINE; what is stands on one line for want of line ends, and is cut into stretches.
LONG_LINE, STRETCH = 10_000, 300
PARTS = {"train": ("train",), "validation": ("dev", "val"), "test": ("test",)}  # how folders' names begin
_STRETCHES = re.compile(rf"(?s)(.{{1,{STRETCH}}})(?:\s|\Z)|(.{{{STRETCH}}})")


def read(path: Path) -> Corpus:
    """The corpus at `path`: the lines of a file, or of a folder's files sorted by name.

    A folder with folders for training and validation in it (`train`, `val` and `test`, say, or `train-clean-100`,
    `dev-clean` and `test-clean`) is a corpus in parts, see `Corpus.splits`; the files lie in each, or in its folder
    `text`. The test folder may be missing, or hold features without transcripts.

    A text file is UTF-8, or UTF-16 with its byte order mark; line ends are of any kind. A folder
    holds `.txt` files, or `.npy` files of one transcript each: a string, or a row of characters; nothing is ever
    unpickled; files whose names begin with a point are passed over. Empty lines (nothing but white space) are dropped
    and very long ones cut (see `in_stretches`); `note` counts both.

    Raises CorpusError where there is no text, more than `MOST_BYTES`, or text of another kind, saying in which file.
    """
    path, folders = Path(path), folders_of_parts(Path(path))
    divided = bool(folders["train"] and folders["validation"])
    lines, parts, dropped, long = [], [], 0, 0
    for places in folders.values() if divided else [[path]]:
        part, empty = _lines_at(places)
        # One line or two could not be dealt into train, validation and test.
        part, cut = in_stretches(part, LONG_LINE if divided or len(part) > 2 else STRETCH)
        lines, parts, dropped, long = lines + part, [*parts, len(part)], dropped + empty, long + cut
    if not lines:
        raise CorpusError(f"{path} holds no text: a corpus needs at least one line that is not empty")
    sha256 = "" if path.is_dir() else sha256_file(path)
    corpus = Corpus(path.resolve().name, lines, sha256=sha256, parts=tuple(parts) if divided else None)
    again = len(lines) - sum(map(len, corpus.splits())) if divided else 0
    counts = (dropped, "empty", "dropped"), (long, "long", f"cut after at most {STRETCH} characters")
    counts += ((again, "repeated", "kept in one part only"),)
    notes = ["in parts of {:,}, {:,} and {:,} lines".format(*parts)] if divided else []
    notes += [f"{n:,} {kind} line{'s' * (n > 1)} {fate}" for n, kind, fate in counts if n]
    return replace(corpus, note="; ".join(notes))


def folders_of_parts(folder: Path) -> dict[str, list[Path]]:
    """The folders in `folder` for each part, by how their names begin, sorted; no folder has none."""
    inside = sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    return {
        part: [entry for entry in inside if entry.name.lower().startswith(beginnings)]
        for part, beginnings in PARTS.items()
    }


def split_lines(text: str) -> tuple[list[str], int]:
    r"""The lines of `text` that are not empty, and how many were.

    >>> split_lines("one\r\n\r\ntwo\n")
    (['one', 'two'], 1)
    """
    # Not str.splitlines: form feeds and Unicode's own line separators are characters of the text.
    every = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    lines = [line for line in every if line.strip()]
    return lines, len(every) - len(lines)


def in_stretches(lines: list[str], bound: int) -> tuple[list[str], int]:
    """The lines, those of more than `bound` characters cut into stretches of at most `STRETCH`; how many were cut.

    A cut takes the place of white space where a stretch holds any.
    """
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


def _lines_at(places: list[Path]) -> tuple[list[str], int]:
    """The lines of all files at these places, and how many were empty; of features without transcripts none."""
    lines, empty = [], 0
    for place in places:
        silent = (place / "fbank").is_dir() and not (place / "text").is_dir()
        for file in [] if silent else _files_at(place):
            text = _transcript(file) if file.suffix.lower() == ".npy" else decode(file.read_bytes(), file)
            found, dropped = split_lines(text)
            lines += found
            empty += dropped
    return lines, empty


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
    if not texts and not transcripts and (folder / "text").is_dir():
        return _files_in(folder / "text")
    if bool(texts) == bool(transcripts):
        raise CorpusError(
            f"the folder {folder} has {len(texts)} .txt files and {len(transcripts)} .npy files directly in it: give "
            "one that has files of one of these kinds, and none of the other, or one with folders of such files, "
            "train, val and test"
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
