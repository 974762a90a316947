"""WikiText-103: the single sentences and short paragraphs among Wikipedia's good articles, in plain ASCII.

The text comes through the library `datasets`, which only this corpus needs: the optional extra `wikitext`.
"""

import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from string import ascii_uppercase

from lab.text.corpus import Corpus, CorpusError
from lab.text.download import UnreachableError, cache_folder

NAME, REPOSITORY, CONFIGURATION = "wikitext-103", "Salesforce/wikitext", "wikitext-103-raw-v1"
REVISION = "b08601e04326c79dfdd32d625aee71d232d685c3"
LICENCE = "CC BY-SA 3.0 and GFDL, by the authors of Wikipedia"
SOURCE = "Merity et al. 2016, Pointer Sentinel Mixture Models, section 4"

MIN_CHARS, MAX_CHARS = 7, 256
ENDS = ".?!"
_ROWS_AT_ONCE = 1000


def corpus() -> Corpus:
    """The rows of the training part of `wikitext-103-raw-v1` that `is_kept` keeps, in their order.

    They are read from the folder `wikitext-103-raw-v1` of parquet files in `LAB_MIRROR` if it is there, else
    downloaded (about 300 MB) and kept in the cache. Raises CorpusError where `datasets` is not installed or the rows
    are of another kind, and UnreachableError where they cannot be had; both say what to do.
    """
    rows = _rows()
    lines = kept_lines(text for batch in rows.iter(_ROWS_AT_ONCE) for text in batch["text"])
    if not lines:
        raise CorpusError(f"none of the {len(rows):,} rows of {NAME} is a line that the filter keeps")
    return Corpus(NAME, lines, LICENCE, note=f"{len(lines):,} of {len(rows):,} rows kept")


def kept_lines(rows: Iterable[str]) -> list[str]:
    r"""The rows, without white space around them, that `is_kept` keeps.

    >>> kept_lines(["", " = Headings go = \n", " Sentences stay . \n", " So does this one ? \n", " But : this \n"])
    ['Sentences stay .', 'So does this one ?']
    """
    return [line for line in map(str.strip, rows) if is_kept(line)]


def is_kept(line: str) -> bool:
    """Whether it is 7 to 256 ASCII characters on one line, from a capital A to Z up to `.`, `?` or `!`."""
    return (
        MIN_CHARS <= len(line) <= MAX_CHARS
        and line.isascii()
        and line[0] in ascii_uppercase
        and line[-1] in ENDS
        and not {"\n", "\r"} & set(line)
    )


def _rows():
    """The `datasets.Dataset` of the training part, from the mirror or the hub."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise CorpusError(
            f"{NAME} is read by the library `datasets`, which cannot be imported here ({error}): install it with "
            "`pip install -c constraints.txt -e .[wikitext]`, or choose another corpus, such as kjv or grammar"
        ) from None
    folder = Path(os.environ.get("LAB_MIRROR", "")) / CONFIGURATION
    files = sorted(map(str, folder.glob("train*.parquet")))
    kept = {"split": "train", "cache_dir": str(cache_folder() / "datasets")}
    try:
        if files:
            return datasets.load_dataset("parquet", data_files=files, **kept)
        return datasets.load_dataset(REPOSITORY, CONFIGURATION, revision=REVISION, **kept)
    except Exception as error:  # what a backend of the library may raise is not written anywhere
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreachableError(
            f"{NAME} could not be had through `datasets` ({reason})\n"
            "Load it where https://huggingface.co can be reached, or put its files train-*.parquet by hand into\n"
            f"{CONFIGURATION} in the folder that LAB_MIRROR names (from "
            f"https://huggingface.co/datasets/{REPOSITORY}/tree/{REVISION}/{CONFIGURATION}), or choose another corpus."
        ) from error
