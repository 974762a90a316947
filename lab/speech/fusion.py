"""Language models that a search over transcripts can ask what comes next."""

import math
from collections.abc import Sequence
from typing import Protocol, Self

from lab.score import KneserNey
from lab.score.ngrams import UNICODE, UNKNOWN
from lab.speech.text import plain
from lab.text import Tokenizer, load


class Scorer(Protocol):
    """For each beginning of a transcript, without `<s>`, log P of every token that may follow; `eos_id` ends it."""

    eos_id: int

    def __call__(self, prefixes: Sequence[tuple[int, ...]]) -> list[Sequence[float]]: ...


class NGramScorer:
    """A Kneser-Ney model of characters, for a tokenizer of which every token is one character.

    >>> from lab.text.chars import CharTokenizer
    >>> tokenizer = CharTokenizer.train(["ab"])
    >>> scorer = NGramScorer(KneserNey(["abab", "abba"], order=3), tokenizer)
    >>> [round(math.exp(p), 2) for p in scorer([(5,)])[0]]  # after "a": </s>, a and b are possible
    [0.0, 0.0, 0.0, 0.16, 0.0, 0.07, 0.74]

    Raises ValueError for a tokenizer with longer tokens, or one without an end.
    """

    def __init__(self, model: KneserNey, tokenizer: Tokenizer):
        special = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.mask_id)
        tokens = dict(enumerate(tokenizer.tokens(range(tokenizer.vocab_size))))
        self.chars = {token: text for token, text in tokens.items() if token not in special}
        longer = [text for text in self.chars.values() if len(text) != 1]
        if longer or tokenizer.eos_id is None:
            what = f"tokens such as {longer[0]!r}" if longer else "no end-of-text token"
            raise ValueError(f"a model of characters needs a tokenizer of characters: this one has {what}")
        self.model, self.eos_id, self.vocab_size = model, tokenizer.eos_id, tokenizer.vocab_size
        self.known: dict[str, list[float]] = {}  # by the last characters, of which the model sees no more

    @classmethod
    def of_corpus(cls, name: str, tokenizer: Tokenizer, order: int = 6) -> Self:
        """The language of a corpus, by name or path, as it is spoken: in small letters, without marks."""
        lines = [line for line in map(plain, load(name).lines) if line]
        return cls(KneserNey(lines, order), tokenizer)

    def __call__(self, prefixes: Sequence[tuple[int, ...]]) -> list[list[float]]:
        return [self._following(prefix) for prefix in prefixes]

    def _following(self, prefix: tuple[int, ...]) -> list[float]:
        text = "".join(self.chars.get(token, "\N{REPLACEMENT CHARACTER}") for token in prefix)
        seen = f"\n{text}"[-(self.model.order - 1) :] if self.model.order > 1 else ""
        if seen not in self.known:
            self.known[seen] = self._asked(text)
        return self.known[seen]

    def _asked(self, text: str) -> list[float]:
        chances = self.model.next_char(text)
        unseen = math.log(chances[UNKNOWN] / (UNICODE - len(self.model.kinds)))
        log_probs = [-math.inf] * self.vocab_size
        for token, char in (self.chars | {self.eos_id: "\n"}).items():
            log_probs[token] = math.log(chances[char]) if char in chances else unseen
        return log_probs
