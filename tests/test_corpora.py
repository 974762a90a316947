"""Corpora: names, splits and one's own texts. No network."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.files import sha256_bytes
from lab.text import NAMES, Corpus, CorpusError, load, named, python_docs
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
    # A repeated line is no likelier to be trained on than another.
    shares = [sum(line in lines[:100] for line in corpus.splits(seed).test) / 110 for seed in range(40)]
    assert np.mean(shares) == pytest.approx(0.05 * 200 / 110, rel=0.2)


def test_chars_count_a_newline_a_line_and_the_hash_is_that_of_the_lines():
    corpus = corpus_of("ab", "ü")
    assert corpus.chars == 5
    assert corpus.sha256 == sha256_bytes("ab\nü\n".encode())
    assert corpus.entropy_bits_per_char is None
    assert Corpus("mine", iter(["ab", "ü"])).sha256 == corpus.sha256


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
    train, _, test = kjv.splits()
    assert not set(train) & set(test) and len(set(kjv.lines)) < len(kjv.lines)


def test_auto_falls_back_to_python_docs_and_says_why(monkeypatch, tmp_path):
    monkeypatch.delenv("LAB_MIRROR", raising=False)
    monkeypatch.setenv("LAB_DATA", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(named, "KJV", RemoteFile("kjv.txt", "http://127.0.0.1:9/kjv.txt", "0" * 64))
    corpus = load()
    assert corpus.name == "python-docs"
    assert "auto chose python-docs because kjv.txt could not be downloaded" in repr(corpus)
    assert "refused" in corpus.note and "\n" not in corpus.note


def test_auto_does_not_hide_a_wrong_file(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_MIRROR", str(tmp_path))
    (tmp_path / "kjv.txt").write_text("In the beginning was another text.\n")
    with pytest.raises(CorpusError, match=named.KJV.sha256):
        load("auto")


def test_python_docs_is_prose_each_paragraph_once():
    corpus = load("python-docs")
    assert len(corpus.lines) > 500 and corpus.chars > 100_000
    assert len(set(corpus.lines)) == len(corpus.lines)
    assert not any(mark in line for line in corpus.lines for mark in ("::=", ">>>", "\n", "=====", "  "))
    assert sum(line.count(" ") for line in corpus.lines) / corpus.chars > 0.1  # English words, not tables
    assert "Python" in corpus.note and "PSF" in corpus.licence


def test_markup_is_taken_off_prose():
    topic = """Title
*****

* A *very* long item of a list, which
  goes on **strongly:** see "x" [1].

   code = that(never)[ends]

+-----+
| a table of six words is not prose. |
"""
    assert python_docs.prose(topic) == [
        'A very long item of a list, which goes on strongly: see "x".',
    ]


def test_an_unknown_name_suggests_the_known_ones():
    with pytest.raises(CorpusError, match="kjv-boked") as error:
        load("kjv-boked")
    assert all(name in str(error.value) for name in NAMES)
    with pytest.raises(CorpusError):
        load("")


@pytest.mark.parametrize(
    "data",
    [
        "One\nzwei: Größe\n".encode(),
        "One\nzwei: Größe".encode(),
        b"\xef\xbb\xbf" + "One\r\nzwei: Größe\r\n".encode(),
        "One\rzwei: Größe\r".encode(),
    ],
)
def test_own_file_with_any_line_ends(tmp_path, data):
    (tmp_path / "my.txt").write_bytes(data)
    corpus = load(tmp_path / "my.txt")
    assert corpus.lines == ("One", "zwei: Größe")
    assert (corpus.name, corpus.sha256, corpus.note) == ("my.txt", sha256_bytes(data), "")


def test_empty_lines_are_dropped_and_counted_and_nothing_else_is_changed(tmp_path):
    (tmp_path / "my.txt").write_bytes("\n  a\x0c b\u2028c \n\n \t\nd\n\n".encode())
    corpus = load(str(tmp_path / "my.txt"))
    assert corpus.lines == ("  a\x0c b\u2028c ", "d")
    assert corpus.note == "4 empty lines dropped"


def test_a_folder_of_texts_is_read_in_the_order_of_its_names(tmp_path):
    (tmp_path / "b.txt").write_text("third\n")
    (tmp_path / "a.txt").write_text("first\nsecond")
    (tmp_path / "notes.md").write_text("not a text of the corpus")
    assert load(tmp_path).lines == ("first", "second", "third")


def test_a_folder_of_transcripts(tmp_path):
    np.save(tmp_path / "2.npy", np.array(list("GOOD DAY"), dtype="<U1"))
    np.save(tmp_path / "1.npy", np.array("HOW ARE YOU"))
    assert load(tmp_path).lines == ("HOW ARE YOU", "GOOD DAY")
    assert load(tmp_path / "2.npy").lines == ("GOOD DAY",)


@pytest.mark.parametrize(
    ("folder", "how_many"), [("hw4p1_data/train", 200), ("hw4p2_data/train-clean-100/text", 28)]
)
def test_real_transcripts(folder, how_many):
    if not (path := MIRROR / "hw4_subset" / folder).is_dir():
        pytest.skip("no LAB_MIRROR with hw4_subset")
    corpus = load(path)
    assert len(corpus.lines) >= how_many
    assert set("".join(corpus.lines)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")


BAD_FILES = {
    "empty.txt": b"",
    "white.txt": b" \n\n\t\n",
    "binary.txt": b"abc\0def",
    "latin.txt": "Größe".encode("latin-1"),
    "utf16.txt": "Größe".encode("utf-16"),
    "no.npy": b"not numpy at all",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(BAD_FILES[name])
    with pytest.raises(CorpusError, match=name):
        load(tmp_path / name)


@pytest.mark.parametrize("array", [np.zeros((5, 80)), np.array([["a", "b"]])])
def test_features_are_no_transcripts(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(CorpusError, match=r"x\.npy"):
        load(tmp_path)


def test_folders_without_texts_or_with_both_kinds_are_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"0 \.txt"):
        load(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    np.save(tmp_path / "a.npy", np.array("a"))
    with pytest.raises(CorpusError, match=r"1 \.txt files and 1 \.npy"):
        load(tmp_path)


@pytest.mark.parametrize(
    "fractions", [(0.9, 0.1), (0.9, 0.05, 0.06), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)]
)
def test_fractions_that_are_no_split_are_refused(fractions):
    with pytest.raises(ValueError, match="fractions"):
        corpus_of("a", "b", "c").splits(fractions=fractions)


class Bomb:
    """Unpickling this would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_transcript_is_never_unpickled(tmp_path):
    np.save(
        tmp_path / "bomb.npy", np.array(Bomb(str(tmp_path / "exploded")), dtype=object), allow_pickle=True
    )
    with pytest.raises(CorpusError, match="bomb"):
        load(tmp_path)
    assert not (tmp_path / "exploded").exists()
