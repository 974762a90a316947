"""The names that `load` knows, and what stands behind each."""

import difflib
import os
from pathlib import Path

from lab.text import grammar, own, python_docs, wikitext
from lab.text.corpus import Corpus, CorpusError
from lab.text.download import RemoteFile, UnreachableError, fetch

_KJV = "https://raw.githubusercontent.com/natureframework/data/7b65f87c86248918f54c1dbc90134c0cccfe78bc"
_CHAR_RNN_AT = "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"

KJV = RemoteFile(
    "kjv.txt", f"{_KJV}/kjv.txt", "908ea6f8d3c9318b204f18c27cc66d186b13575ef3b5fcf07891b345f67a8416", 4137741
)
KJV_REFS = RemoteFile(
    "kjv-refs.txt",
    f"{_KJV}/kjv-refs.txt",
    "9ede85996a21f6c6c188ca85302e359195677771ad7d6754b618ec312c58b524",
    418949,
)
SHAKESPEARE = RemoteFile(
    "shakespeare.txt",
    f"{_CHAR_RNN_AT}/data/tinyshakespeare/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    1115394,
)

KJV_LICENCE = "public domain (in the United Kingdom under Crown patent)"


def _from_file(name: str, file: RemoteFile, licence: str) -> Corpus:
    lines, dropped = _lines(file)
    note = f"{dropped:,} empty lines dropped" if dropped else ""
    return Corpus(name, lines, licence, file.sha256, note)


def _lines(file: RemoteFile) -> tuple[list[str], int]:
    return own.split_lines(own.decode(fetch(file), file.name))


def _kjv_booked() -> Corpus:
    """`song of solomon 1 1` and the verse beside it become `Song of Solomon 1:1 The song of songs, ...`."""
    references, _ = _lines(KJV_REFS)
    verses, _ = _lines(KJV)
    lines = []
    for reference, verse in zip(references, verses, strict=True):
        book, chapter, number = reference.rsplit(" ", 2)
        lines.append(f"{book.title().replace(' Of ', ' of ')} {chapter}:{number} {verse}")
    return Corpus("kjv-booked", lines, KJV_LICENCE)


def _auto() -> Corpus:
    try:
        chosen = load("kjv")
        reason = "auto chose kjv"
    except UnreachableError as error:
        chosen = load("python-docs")
        # The first line of the message is the reason; the rest is advice on getting the file.
        reason = f"auto chose python-docs because {str(error).splitlines()[0]}"
    note = "; ".join(part for part in (reason, chosen.note) if part)
    return Corpus(chosen.name, chosen.lines, chosen.licence, chosen.sha256, note)


CORPORA = {
    "auto": (_auto, "kjv where it can be had, else python-docs; the corpus's note says which"),
    "kjv": (lambda: _from_file("kjv", KJV, KJV_LICENCE), "King James Bible, 31,102 verses, one a line"),
    "kjv-booked": (_kjv_booked, "the same verses, each led by its book, chapter and verse"),
    "shakespeare": (lambda: _from_file("shakespeare", SHAKESPEARE, "public domain"), "1.1 MB, of char-rnn"),
    "python-docs": (python_docs.corpus, "the language reference that every CPython carries; offline"),
    "grammar": (grammar.corpus, "sentences of a small grammar of exactly known entropy; offline, generated"),
    "wikitext-103": (wikitext.corpus, "short lines of Wikipedia; the extra `wikitext`, 300 MB to download"),
}
NAMES = {name: about for name, (_, about) in CORPORA.items()}


def load(name_or_path: str | os.PathLike = "auto") -> Corpus:
    """The corpus of that name (see `NAMES`), or your own text at that path (see `lab.text.own`).

    A name wins over a file of the same name; write `./kjv` for the file. Raises CorpusError when the
    corpus cannot be had or is not what it should be.

    >>> load("grammar").name
    'grammar'
    """
    if name_or_path in CORPORA:
        return CORPORA[name_or_path][0]()
    given = os.fspath(name_or_path)
    if not given or not os.path.exists(given):  # Path("") would be the current folder
        close = " or ".join(difflib.get_close_matches(given, NAMES, n=2, cutoff=0.5))
        raise CorpusError(
            f"no corpus is named {given[:200]!r}, and no file or folder lies there (looked in {Path.cwd()}).\n"
            f"{f'Did you mean {close}? ' if close else ''}Known names: {', '.join(NAMES)}; "
            "or give the path of a text file or a folder."
        )
    return own.read(Path(given))
