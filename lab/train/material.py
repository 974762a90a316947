"""The text of a run: loaded, split, and cut into tokens by a tokenizer that has only seen the training lines."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from inspect import isclass

from torch import Tensor

from lab.data import join_lines
from lab.score import hidden_nats
from lab.text import NAMES, TOKENIZERS, Corpus, Splits, Tokenizer, load

NEEDED = ("train", "encode", "encode_lines", "decode", "to_json", "from_json")  # of a tokenizer from outside


@dataclass(frozen=True)
class TextMaterial:
    """What an objective on text trains on and is scored by."""

    corpus: Corpus
    splits: Splits
    tokenizer: Tokenizer

    @property
    def name(self) -> str:
        return self.corpus.name

    @property
    def sha256(self) -> str:
        return self.corpus.sha256

    @cached_property
    def lines(self) -> list[list[int]]:
        """The ids of the training lines, each between `<s>` and `</s>`."""
        return self.tokenizer.encode_lines(self.splits.train)

    @cached_property
    def ids(self) -> Tensor:
        """The training lines joined: int64 `(N,)`."""
        return join_lines(self.lines)

    @property
    def chars_per_token(self) -> float:
        """The average over the training lines; neither newlines nor `<s>` and `</s>` count."""
        lines = self.splits.train
        return sum(map(len, lines)) / max(1, sum(len(ids) - 2 for ids in self.lines))

    @property
    def longest(self) -> int:
        """The tokens of the longest training line, `<s>` and `</s>` among them: a context that reads it whole."""
        return max(map(len, self.lines))

    def prompts(self, tokens: int = 8, count: int = 3) -> list[tuple[str, str]]:
        """How some validation lines begin, in so many tokens, each with how it really goes on."""
        few = self.tokenizer.encode_lines(self.splits.validation[:count], add_special=False)
        decode = self.tokenizer.decode
        return [(decode(ids[:tokens]), decode(ids[tokens:])) for ids in few]

    @cached_property
    def tokens_per_char(self) -> float:
        """By which bits a token become bits a character, over the training lines; each line's newline counts."""
        return len(self.ids) / sum(len(line) + 1 for line in self.splits.train)

    @cached_property
    def hidden_bits_per_char(self) -> float:
        """What `<unk>` hides of the training lines, to be added to that."""
        chars = sum(len(line) + 1 for line in self.splits.train)
        return hidden_nats(self.tokenizer, self.splits.train, self.lines) / math.log(2) / chars


def text_material(experiment, tokenizer: Tokenizer | None = None) -> TextMaterial:
    """The corpus, splits and tokenizer of an experiment: the same for the same experiment, bit for bit.

    A `tokenizer` at hand, such as that of an earlier run, is taken as it is.

    Raises CorpusError when the text cannot be had or is too short to split, ValueError for an unknown tokenizer.
    """
    data, vocab_size = experiment.data, experiment.model.vocab_size
    corpus = data.corpus if isinstance(data.corpus, Corpus) else _loaded(data.corpus)
    splits = _splits(corpus, data.split_seed, data.subset)
    tokenizer = tokenizer or _tokenizer(corpus, data.split_seed, data.subset, data.tokenizer, vocab_size)
    return TextMaterial(corpus, splits, tokenizer)


def trained_tokenizer(kind: str | type, lines: list[str], vocab_size: int) -> Tokenizer:
    """A tokenizer of that kind, or of a class from outside, that has at most so many ids ("char" takes all)."""
    if isclass(kind):
        if missing := [name for name in NEEDED if not hasattr(kind, name)]:
            raise ValueError(f"tokenizer {kind.__name__} lacks {', '.join(missing)}: see lab.text.Tokenizer")
        return kind.train(lines, vocab_size)
    if kind not in TOKENIZERS:
        raise ValueError(f"tokenizer must be one of {', '.join(TOKENIZERS)}, or a class; got {kind!r}")
    limit = {"bpe": {"vocab_size": vocab_size}, "word": {"max_vocab": vocab_size}, "char": {}}
    return TOKENIZERS[kind].train(lines, **limit[kind])


def _loaded(name: str) -> Corpus:
    # A file may have changed since; what a name stands for does not.
    return _named(name) if name in NAMES and name != "auto" else load(name)


_named = lru_cache(maxsize=4)(load)


def _splits(corpus: Corpus, seed: int, subset: float) -> Splits:
    splits = corpus.splits(seed)  # in shuffled order, so that the first lines are drawn at random
    return splits._replace(train=splits.train[: max(1, round(subset * len(splits.train)))])


@lru_cache(maxsize=8)  # several runs on one text are the rule
def _tokenizer(corpus: Corpus, seed: int, subset: float, kind: str | type, vocab_size: int) -> Tokenizer:
    return trained_tokenizer(kind, _splits(corpus, seed, subset).train, vocab_size)
