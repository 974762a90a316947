"""WikiText-103: the filter by itself, a small local dataset of the same schema, and what is said without it."""

import sys
from types import SimpleNamespace

import pytest

from lab.files import sha256_bytes
from lab.text import CorpusError, load, wikitext
from lab.text.download import UnreachableError

ROWS = [
    "",
    " = Valkyria Chronicles III = \n",
    " The game began development in 2010 . \n",
    " Senjō no Valkyria 3 is a game . \n",
    " it begins in small letters . \n",
    " Why not ? \n",
    " A list of things : \n",
    " The game began development in 2010 . \n",
    f" T{'o' * 254}. \n",
    f" T{'o' * 255}. \n",
]
KEPT = ("The game began development in 2010 .", "Why not ?", ROWS[2].strip(), ROWS[8].strip())


@pytest.mark.parametrize("line", ["It was.", f"T{'o' * 254}!", "Is it so?", "A tab\tmay be."])
def test_what_the_filter_keeps(line):
    assert wikitext.is_kept(line)


@pytest.mark.parametrize("line", [
    "It is.", f"T{'o' * 255}!", "is it so?", "It was so:", 'He said "so."', "1 was enough.", "= It was a title.",
    "Ärger macht das.", "An Ärger it was.", "Two lines\nin one.", "Two lines\rin one.", "",
])  # fmt: skip
def test_what_the_filter_drops(line):
    assert not wikitext.is_kept(line)


class Rows(list):
    """As much of a `datasets.Dataset` as is used."""

    column_names = ("text",)

    def iter(self, batch_size):
        for start in range(0, len(self), batch_size):
            yield {"text": self[start : start + batch_size]}


@pytest.fixture
def library(monkeypatch, tmp_path):
    """A stand-in for `datasets` that gives what `answer` holds, and writes down what it was asked for."""
    monkeypatch.delenv("LAB_MIRROR", raising=False)
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "cache"))
    stand_in = SimpleNamespace(answer=Rows(ROWS), asked=[])

    def load_dataset(*names, **settings):
        stand_in.asked.append((names, settings))
        if isinstance(stand_in.answer, Exception):
            raise stand_in.answer
        return stand_in.answer

    stand_in.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    return stand_in


def test_the_corpus_is_the_filtered_rows_of_a_pinned_revision(library, tmp_path):
    corpus = load("wikitext-103")
    assert (corpus.name, corpus.lines) == ("wikitext-103", KEPT)
    assert "4 of 10 rows kept" in corpus.note and "CC BY-SA" in corpus.licence
    assert corpus.sha256 == sha256_bytes("".join(f"{line}\n" for line in KEPT).encode())
    ((names, settings),) = library.asked
    assert names == ("Salesforce/wikitext", "wikitext-103-raw-v1")
    assert settings["split"] == "train" and len(settings["revision"]) == 40
    assert settings["cache_dir"] == str(tmp_path / "cache" / "datasets")


def test_without_the_extra_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # what Python takes for: not to be found
    with pytest.raises(CorpusError, match=r"pip install .*\[wikitext\]"):
        load("wikitext-103")


@pytest.mark.parametrize("failure", [ConnectionError("Couldn't reach the hub\nmore"), RuntimeError()])
def test_without_the_download_the_message_says_why(library, failure):
    library.answer = failure
    with pytest.raises(UnreachableError, match=str(failure).split("\n")[0] or "RuntimeError"):
        load("wikitext-103")


def test_a_small_local_dataset_of_the_same_schema(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("LAB_MIRROR", str(tmp_path))
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "cache"))
    (folder := tmp_path / "wikitext-103-raw-v1").mkdir()
    for number, rows in enumerate((ROWS[:3], ROWS[3:])):
        datasets.Dataset.from_dict({"text": rows}).to_parquet(folder / f"train-0000{number}-of-00002.parquet")
    corpus = load("wikitext-103")
    assert corpus.lines == KEPT and "4 of 10 rows kept" in corpus.note
    (folder / "train-00001-of-00002.parquet").write_bytes(b"no parquet")
    with pytest.raises(UnreachableError, match=r"could not be had through `datasets`"):
        load("wikitext-103")
