"""Your own text: a UTF-8 file, a folder of `.txt` files, or a folder of `.npy` transcripts."""

import codecs
from pathlib import Path

import numpy as np

from lab.files import sha256_file
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
        found, empty = split_lines(
            _transcript(file) if file.suffix == ".npy" else decode(file.read_bytes(), file)
        )
        lines += found
        dropped += empty
    if not lines:
        raise CorpusError(f"{path} holds no text: a corpus needs at least one line that is not empty")
    note = f"{dropped:,} empty line{'s' if dropped > 1 else ''} dropped" if dropped else ""
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


def decode(data: bytes, origin: str | Path) -> str:
    """The text of UTF-8 bytes, without the byte order mark; CorpusError for bytes of another kind."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin-1"
    try:
        if (zero := data.find(b"\0")) >= 0:
            raise ValueError(f"byte {zero:,} is 0, as in binary files and UTF-16")
        return data.decode("utf-8").removeprefix("\ufeff")
    except ValueError as error:
        raise CorpusError(
            f"{origin} is not UTF-8 text ({error}); if it is, say, {encoding} text, convert it with "
            f"`Path(new).write_text(Path(old).read_text({encoding!r}), 'utf-8')`"
        ) from None


def _files_in(folder: Path) -> list[Path]:
    """The folder's `.txt` files or its `.npy` files, sorted by name."""
    texts, transcripts = (sorted(folder.glob(f"*{suffix}")) for suffix in (".txt", ".npy"))
    if bool(texts) == bool(transcripts):
        raise CorpusError(
            f"the folder {folder} has {len(texts)} .txt files and {len(transcripts)} .npy files directly in it: give "
            "one that has files of one of these kinds, and none of the other"
        )
    return texts or transcripts


def _transcript(file: Path) -> str:
    """The text in a `.npy` file that holds one string, or one string a character."""
    try:
        array = np.load(file, allow_pickle=False)
        if array.dtype.kind != "U" or array.ndim > 1:
            raise ValueError(f"{array.dtype} of shape {array.shape}; are these the features?")
    except ValueError as error:
        raise CorpusError(
            f"{file} is not a transcript, one string or a row of characters ({error}): save it as "
            "`np.save(file, np.array(text))`; nothing is ever unpickled"
        ) from None
    return "".join(array.reshape(-1).tolist())
