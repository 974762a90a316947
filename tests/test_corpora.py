"""Corpora: names, splits and one's own texts. No network."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.files import sha256_bytes
from lab.text import NAMES, Corpus, CorpusError, load, named
from lab.text.download import RemoteFile

MIRROR = Path(os.environ.get("LAB_MIRROR") or Path(__file__).parents[2] / "shared" / "data")
needs_mirror = pytest.mark.skipif(not (MIRROR / "kjv.txt").is_file(), reason="no LAB_MIRROR with kjv.txt")


def corpus_of(*lines):
    return Corpus("test", lines, licence="none")


@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(st.text("abc", min_size=1, max_size=4), min_size=3, max_size=60),
    seed=st.integers(0, 2**32),
    shares=st.tuples(*[st.integers(1, 20)] * 3),
)
def test_splits_cover_all_lines_and_share_none(lines, seed, shares):
    fractions = tuple(share / sum(shares) for share in shares)
    corpus = corpus_of(*lines)
    if len(set(lines)) < 3:
        with pytest.raises(CorpusError, match="distinct line"):
            corpus.splits(seed, fractions)
        return
    splits = corpus.splits(seed, fractions)
    assert sorted(splits.train + splits.validation + splits.test) == sorted(lines)
    assert all(splits)
    train, validation, test = map(set, splits)
    assert not (train & validation or train & test or validation & test)
    assert corpus.splits(seed, fractions) == splits


def test_the_default_split_is_90_5_5_of_the_distinct_lines_in_shuffled_order():
    lines = [f"line {i}" for i in range(1000)]
    corpus = corpus_of(*lines, *lines[:100])
    splits = corpus.splits()
    assert [len(set(split)) for split in splits] == [900, 50, 50]
    assert splits.train != sorted(splits.train, key=lines.index)
    assert splits != corpus.splits(seed=1)


@needs_mirror
def test_the_named_texts_from_the_mirror(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_MIRROR", str(MIRROR))
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "cache"))
    kjv, booked, shakespeare = load("kjv"), load("kjv-booked"), load("shakespeare")
    assert (len(kjv.lines), kjv.chars, kjv.sha256) == (31_102, 4_137_741, named.KJV.sha256)
    assert kjv.lines[0] == "In the beginning God created the heaven and the earth."
    assert booked.lines[0] == f"Genesis 1:1 {kjv.lines[0]}"
    assert {line[:16] for line in booked.lines if line.startswith("Song")} == {"Song of Solomon "}
    assert any(line.startswith("1 Samuel 1:1 Now there was") for line in booked.lines)
    assert shakespeare.chars + 7_223 == 1_115_394
    assert shakespeare.note == "7,223 empty lines dropped"
    assert load("auto").lines == kjv.lines and "auto chose kjv" in load("auto").note
    assert not (tmp_path / "cache").exists()  # a mirror folder is read in place


def test_auto_falls_back_to_python_docs_and_says_why(monkeypatch, tmp_path):
    monkeypatch.delenv("LAB_MIRROR", raising=False)
    monkeypatch.setenv("LAB_DATA", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(named, "KJV", RemoteFile("kjv.txt", "http://127.0.0.1:9/kjv.txt", "0" * 64))
    corpus = load()
    assert corpus.name == "python-docs"
    assert "auto chose python-docs because kjv.txt could not be downloaded" in repr(corpus)
    assert "refused" in corpus.note and "\n" not in corpus.note


def test_python_docs_is_prose_each_paragraph_once():
    corpus = load("python-docs")
    assert len(corpus.lines) > 500 and corpus.chars > 100_000
    assert len(set(corpus.lines)) == len(corpus.lines)
    assert not any(mark in line for line in corpus.lines for mark in ("::=", ">>>", "\n", "=====", "  "))
    assert sum(line.count(" ") for line in corpus.lines) / corpus.chars > 0.1  # English words, not tables


OWN_TEXTS = {
    "as written here": ({"a.txt": "One\nzwei: Größe\n".encode()}, ("One", "zwei: Größe")),
    "with a mark": ({"a.txt": b"\xef\xbb\xbf" + "One\r\nzwei: Größe\r\n".encode()}, ("One", "zwei: Größe")),
    "of old Macs": ({"a.txt": "One\rzwei: Größe".encode()}, ("One", "zwei: Größe")),
    "with gaps": ({"a.txt": "\n  a\x0c b\u2028c \n\n \t\nd\n\n".encode()}, ("  a\x0c b\u2028c ", "d")),
    "a folder": ({"b.txt": b"3\n", "a.txt": b"1\n2", "notes.md": b"no text of the corpus"}, ("1", "2", "3")),
    "transcripts": ({"2.npy": list("GOOD DAY"), "1.npy": "HOW ARE YOU"}, ("HOW ARE YOU", "GOOD DAY")),
}


def written(folder: Path, files: dict) -> Path:
    """The only file, or the folder of several."""
    for name, data in files.items():
        (folder / name).write_bytes(data) if isinstance(data, bytes) else np.save(folder / name, data)
    return folder / name if len(files) == 1 else folder


@pytest.mark.parametrize("files, lines", OWN_TEXTS.values(), ids=OWN_TEXTS)
def test_own_texts_with_any_line_ends_and_nothing_else_changed(tmp_path, files, lines):
    corpus = load(written(tmp_path, files))
    assert corpus.lines == lines and corpus.chars == sum(len(line) + 1 for line in lines)
    alone = files["a.txt"] if len(files) == 1 else "".join(f"{line}\n" for line in lines).encode()
    assert corpus.sha256 == sha256_bytes(alone)


@pytest.mark.parametrize(
    "files, about",
    [
        ({"white.txt": b" \n\n\t\n"}, "white.txt"),
        ({"binary.txt": b"abc\0def"}, "binary.txt"),
        ({"latin.txt": "Größe".encode("latin-1")}, "latin.txt"),
        ({"utf16.txt": "Größe".encode("utf-16")}, "utf16.txt"),
        ({"no.npy": b"not numpy at all"}, "no.npy"),
        ({"features.npy": np.zeros((5, 80))}, "features.npy"),
        ({"table.npy": [["a", "b"]]}, "table.npy"),
        ({"a.md": b"", "b.md": b""}, r"0 \.txt"),
        ({"a.txt": b"a", "a.npy": "a"}, r"1 \.txt files and 1 \.npy"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, files, about):
    with pytest.raises(CorpusError, match=about):
        load(written(tmp_path, files))


NO_SHARES = (0.9, 0.1), (0.9, 0.05, 0.06), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)


@pytest.mark.parametrize(
    "call, about",
    [(lambda: load("kjv-boked"), name) for name in ("kjv-boked", *NAMES)]
    + [(lambda: load(""), "named")]
    + [(lambda s=s: corpus_of("a", "b", "c").splits(fractions=s), "fractions") for s in NO_SHARES],
)
def test_refusals(call, about):
    with pytest.raises(ValueError, match=about):
        call()


class Bomb:
    """Unpickling this would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_transcript_is_never_unpickled(tmp_path):
    bomb = np.array(Bomb(str(tmp_path / "exploded")), dtype=object)
    np.save(tmp_path / "bomb.npy", bomb, allow_pickle=True)
    with pytest.raises(CorpusError, match="bomb"):
        load(tmp_path)
    assert not (tmp_path / "exploded").exists()
