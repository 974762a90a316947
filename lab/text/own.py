"""Your own text: a UTF-8 file, a folder of `.txt` files, or a folder of `.npy` transcripts."""

import codecs
from pathlib import Path

import numpy as np

from lab.files import sha256_bytes
from lab.text.corpus import Corpus, CorpusError


def read(path: Path) -> Corpus:
    """The corpus at `path`: the lines of a file, or of a folder's files sorted by name.

    A text file is UTF-8 with or without byte order mark, with any line ends. A folder holds `.txt` files,
    or `.npy` files of one transcript each: a string, or a row of characters; nothing is ever unpickled.
    Empty lines (nothing but white space) are dropped and counted in `note`.

    Raises CorpusError where there is no text, or text of another kind, saying in which file.
    """
    path = Path(path)
    lines, dropped = [], 0
    for file in _files_in(path) if path.is_dir() else [path]:
        found, empty = split_lines(_transcript(file) if file.suffix == ".npy" else decode(_bytes(file), file))
        lines += found
        dropped += empty
    if not lines:
        raise CorpusError(f"{path} holds no text: a corpus needs at least one line that is not empty")
    note = f"{dropped:,} empty line{'s' if dropped > 1 else ''} dropped" if dropped else ""
    sha256 = "" if path.is_dir() else sha256_bytes(_bytes(path))
    return Corpus(path.resolve().name, lines, "your own text", sha256, note)


def split_lines(text: str) -> tuple[list[str], int]:
    r"""The lines of `text` that are not empty, and how many were.

    >>> split_lines("one\r\n\r\ntwo\n")
    (['one', 'two'], 1)
    """
    # Not str.splitlines: form feeds and Unicode's own line separators are characters of the text.
    every = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    lines = [line for line in every if line.strip()]
    return lines, len(every) - len(lines)


def decode(data: bytes, origin: str | Path) -> str:
    """The text of UTF-8 bytes, without the byte order mark; CorpusError for bytes of another kind."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CorpusError(f"{origin} is UTF-16, but UTF-8 is expected: {_how_to_convert('utf-16')}")
    if (zero := data.find(b"\0")) >= 0:
        raise CorpusError(
            f"{origin} is a binary file (a zero byte at byte {zero:,}), but plain UTF-8 text is expected: "
            "save it as text first"
        )
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{origin} is not UTF-8: byte {error.start:,} is 0x{data[error.start]:02x} ({error.reason}). "
            f"If it is, say, Latin-1 text, {_how_to_convert('latin-1')}"
        ) from None


def _how_to_convert(encoding: str) -> str:
    return f"convert it with `Path(new).write_text(Path(old).read_text('{encoding}'), 'utf-8')`"


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CorpusError(f"{file} cannot be read: {error.strerror}") from error


def _files_in(folder: Path) -> list[Path]:
    """The folder's `.txt` files or its `.npy` files, sorted by name."""
    kinds = {suffix: sorted(folder.glob(f"*{suffix}")) for suffix in (".txt", ".npy")}
    match kinds[".txt"], kinds[".npy"]:
        case [], []:
            inside = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) or "nothing"
            raise CorpusError(
                f"the folder {folder} has no .txt and no .npy file directly in it (it has: {inside}): "
                "give the folder in which the texts lie"
            )
        case texts, []:
            return texts
        case [], transcripts:
            return transcripts
    raise CorpusError(
        f"the folder {folder} has both .txt and .npy files, so which of them are the corpus is unclear: "
        "put one kind in a folder of its own"
    )


def _transcript(file: Path) -> str:
    """The text in a `.npy` file that holds one string, or one string a character."""
    _bytes(file)
    try:
        array = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise CorpusError(
            f"{file} is not a plain .npy file of text ({error}): transcripts are never unpickled; save them "
            "as `np.save(file, np.array(text))`"
        ) from None
    if array.dtype.kind != "U" or array.ndim > 1:
        raise CorpusError(
            f"{file} holds {array.dtype} of shape {array.shape}, but a transcript is one string, shape (), "
            "or a row of characters, shape (length,): give the folder of the transcripts, not of the features"
        )
    return "".join(array.reshape(-1).tolist())
