"""Language models that a search over transcripts can ask what comes next."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from lab.score import KneserNey
from lab.score.ngrams import UNICODE, UNKNOWN
from lab.text import Tokenizer

ROWS = 64  # beginnings that a model reads at once, at most


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


class ModelScorer:
    """A language model trained here (a transformer, a recurrent one), with the very tokenizer of the transcripts.

    Each beginning is read anew, those of one frame as the rows of one batch: for sentences that costs less than
    moving caches about. Of a text longer than the model's context its last tokens are read.

    Raises ValueError when the vocabularies differ.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer):
        if model.config.vocab_size != tokenizer.vocab_size:
            raise ValueError(
                f"the language model has {model.config.vocab_size} tokens, the tokenizer {tokenizer.vocab_size}: "
                "train it with the tokenizer of the transcripts"
            )
        self.model, self.eos_id = model, tokenizer.eos_id
        self.bos_id, self.pad_id = tokenizer.bos_id, tokenizer.pad_id or 0

    @torch.inference_mode()
    def __call__(self, prefixes: Sequence[tuple[int, ...]]) -> list[list[float]]:
        context, device = self.model.config.context, next(self.model.parameters()).device
        texts = [[self.bos_id, *prefix][-context:] for prefix in prefixes]
        was_training, found = self.model.training, []
        self.model.eval()
        for start in range(0, len(texts), ROWS):
            rows = texts[start : start + ROWS]
            T = max(map(len, rows))
            ids = torch.tensor([row + [self.pad_id] * (T - len(row)) for row in rows], device=device)
            last = torch.tensor([len(row) - 1 for row in rows], device=device)
            logits = self.model(ids)[torch.arange(len(rows), device=device), last]  # (B, V)
            found += logits.double().log_softmax(-1).tolist()
        self.model.train(was_training)
        return found
