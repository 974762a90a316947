"""Named texts and your own: `load(name_or_path)` gives a `Corpus`, `corpus.splits()` its three parts."""

from lab.corpora.corpus import Corpus, CorpusError, Splits
from lab.corpora.named import NAMES, load

__all__ = ["NAMES", "Corpus", "CorpusError", "Splits", "load"]
