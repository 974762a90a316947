"""The likeliest transcript, not the likeliest path: beam search over beginnings of transcripts, with a language model.

Letters: T frames, V tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from torch import Tensor

from lab.score import KneserNey
from lab.score.hidden import UNICODE
from lab.score.ngrams import UNKNOWN
from lab.speech.ctc import BLANK, summable
from lab.speech.text import plain
from lab.text import Tokenizer, load
from lab.text.protocol import REPLACEMENT

NEVER = -math.inf


class Scorer(Protocol):
    """For each beginning of a transcript, without `<s>`, log P of every token that may follow; `eos_id` ends it."""

    eos_id: int

    def __call__(self, prefixes: Sequence[tuple[int, ...]]) -> list[Sequence[float]]: ...


class NGramScorer:
    """A Kneser-Ney model of characters; a token of several is worth what they are one after the other.

    >>> from lab.text.chars import CharTokenizer
    >>> tokenizer = CharTokenizer.train(["ab"])
    >>> scorer = NGramScorer(KneserNey(["abab", "abba"], order=3), tokenizer)
    >>> [round(math.exp(p), 2) for p in scorer([(5,)])[0]]  # after "a": </s>, a and b are possible
    [0.0, 0.0, 0.0, 0.16, 0.0, 0.07, 0.74]

    Raises ValueError for a tokenizer without an end of text.
    """

    def __init__(self, model: KneserNey, tokenizer: Tokenizer):
        if tokenizer.eos_id is None:
            raise ValueError(
                "a language model says where texts end: the tokenizer needs an end-of-text token"
            )
        special = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.mask_id)
        texts = [tokenizer.decode([token]) for token in range(tokenizer.vocab_size)]
        self.texts = [None if token in special else text for token, text in enumerate(texts)]
        self.texts[tokenizer.eos_id] = "\n"
        self.model, self.eos_id = model, tokenizer.eos_id
        self.known: dict[
            str, dict[str, float]
        ] = {}  # by the last characters, of which the model sees no more

    @classmethod
    def of_corpus(cls, name: str, tokenizer: Tokenizer, order: int = 6) -> Self:
        """The language of a corpus, by name or path, as it is spoken: in small letters, without marks.

        Of one that comes in parts it is that of the training lines: the others may be what is to be transcribed.
        """
        corpus = load(name)
        lines = corpus.splits().train if corpus.parts else corpus.lines
        return cls(KneserNey([line for line in map(plain, lines) if line], order), tokenizer)

    def __call__(self, prefixes: Sequence[tuple[int, ...]]) -> list[Sequence[float]]:
        return [
            _Following(self, "".join(self.texts[token] or REPLACEMENT for token in one)) for one in prefixes
        ]

    def log_prob(self, char: str, text: str) -> float:
        """log P of a character after the beginning of a line."""
        seen = f"\n{text}"[-(self.model.order - 1) :] if self.model.order > 1 else ""
        if seen not in self.known:
            chances = self.model.next_char(text)
            chances[UNKNOWN] /= UNICODE - len(self.model.kinds)
            self.known[seen] = {one: math.log(chance) for one, chance in chances.items()}
        return self.known[seen].get(char, self.known[seen][UNKNOWN])


class _Following(Sequence):
    """log P of every token after a text, each worked out when it is asked for: of many few ever are."""

    def __init__(self, scorer: NGramScorer, text: str):
        self.scorer, self.text = scorer, text

    def __len__(self) -> int:
        return len(self.scorer.texts)

    def __getitem__(self, token: int) -> float:
        chars = self.scorer.texts[token]
        if chars is None:
            return NEVER
        return sum(self.scorer.log_prob(char, self.text + chars[:n]) for n, char in enumerate(chars))


@dataclass(frozen=True)
class Hypothesis:
    """A transcript and why it was chosen: `score` = log_ctc + weight * log_lm + bonus * len(tokens).

    log_ctc  log P(tokens | audio), over the paths that the search kept
    log_lm   log P(tokens, `</s>`) by the language model; 0 without one
    """

    tokens: tuple[int, ...]
    score: float
    log_ctc: float
    log_lm: float = 0.0


def prefix_beam(
    log_probs: Tensor,
    *,
    beam: int | None = 12,
    margin: float | None = 10.0,
    scorer: Scorer | None = None,
    weight: float = 0.0,
    bonus: float = 0.0,
    blank: int = BLANK,
) -> list[Hypothesis]:
    """The best transcripts for `log_probs` `(T, V)`, best first.

    After each frame the `beam` best beginnings are kept, each with the sum of its paths, apart by whether they end in a
    blank: only then may the same token come twice (Hannun et al. 2014, algorithm 1). A `scorer` adds `weight` times
    the log probability that a language model gives the text (shallow fusion), `bonus` what a token is worth, for a
    language model prefers short texts.

    A frame's tokens that are more than `margin` nats behind its best are passed over; most frames then cost next to
    nothing. Without a beam and a margin (None) the search is exact, and its cost grows with V ** T.

    >>> import torch
    >>> best, *_ = prefix_beam(torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log())  # the greedy path gives []
    >>> best.tokens, round(math.exp(best.log_ctc), 3)
    ((1,), 0.64)

    Whatever is cut, each transcript that is found has a path.

    Raises ValueError for shapes, a beam, a margin, weights or a bonus that cannot be, for NaN, and for a frame in which
    no token is possible.
    """
    frames = _checked(log_probs, beam, margin, weight, bonus, blank)
    fusion = _Fusion(scorer if weight else None)
    # Of each beginning: log P of its paths that end in a blank, and of those that end in its last token.
    beams = {(): (0.0, NEVER)}
    for frame in frames:
        least = NEVER if margin is None else max(frame) - margin
        likely = [(token, p) for token, p in enumerate(frame) if p >= least and p > NEVER]
        if any(token != blank for token, _ in likely):
            fusion.read(beams)
        beams = _grown(beams, likely, blank)
        if beam is not None and len(beams) > beam:
            worth = {tokens: weight * fusion.log_lm(tokens) + bonus * len(tokens) for tokens in beams}
            best = sorted(beams, key=lambda tokens: -(_add(*beams[tokens]) + worth[tokens]))[:beam]
            beams = {tokens: beams[tokens] for tokens in best}
    fusion.read(beams)
    found = []
    for tokens, ends in beams.items():
        log_ctc, log_lm = _add(*ends), fusion.whole(tokens)
        found.append(Hypothesis(tokens, log_ctc + weight * log_lm + bonus * len(tokens), log_ctc, log_lm))
    return sorted(found, key=lambda one: (-one.score, one.tokens))


def _grown(beams: dict, likely: list[tuple[int, float]], blank: int) -> dict:
    """All beginnings after one more frame, with both sums."""
    in_blank, in_token = {}, {}

    def add(sums: dict, tokens: tuple, p: float) -> None:
        before = sums.get(tokens)
        sums[tokens] = p if before is None else _add(before, p)

    for tokens, (after_blank, after_token) in beams.items():
        both, last = _add(after_blank, after_token), tokens[-1] if tokens else blank
        for token, p in likely:
            if token == blank:
                add(in_blank, tokens, both + p)
            elif token == last:
                if after_token > NEVER:
                    add(in_token, tokens, after_token + p)  # it goes on
                if after_blank > NEVER:
                    add(in_token, (*tokens, token), after_blank + p)  # it comes again
            else:
                add(in_token, (*tokens, token), both + p)
    ends = (in_blank, in_token)
    return {tokens: tuple(sums.get(tokens, NEVER) for sums in ends) for tokens in in_blank | in_token}


class _Fusion:
    """What a beginning is worth beside its sound. Each is put to the scorer once, those of one frame together."""

    def __init__(self, scorer: Scorer | None):
        self.scorer = scorer
        self.following: dict[tuple, Sequence[float]] = {}  # log P of each next token
        self.so_far = {(): 0.0}  # log P of the beginning

    def read(self, beams: dict) -> None:
        """Ask what follows these beginnings."""
        new = [tokens for tokens in beams if tokens not in self.following] if self.scorer else []
        if new:
            for tokens, log_probs in zip(new, self.scorer(new), strict=True):
                self.following[tokens] = log_probs
                self.log_lm(tokens)

    def log_lm(self, tokens: tuple) -> float:
        """log P of a beginning whose parent has been read."""
        if self.scorer is None:
            return 0.0
        known = self.so_far.get(tokens)
        if known is None:
            parent = tokens[:-1]
            known = self.so_far[tokens] = self.so_far[parent] + self.following[parent][tokens[-1]]
        return known

    def whole(self, tokens: tuple) -> float:
        """log P of a text that ends here."""
        return self.log_lm(tokens) + self.following[tokens][self.scorer.eos_id] if self.scorer else 0.0


def _add(a: float, b: float) -> float:
    """log(exp a + exp b)."""
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + math.log1p(math.exp(b - a))


def _checked(log_probs: Tensor, beam, margin, weight, bonus, blank) -> list[list[float]]:
    """The frames as plain numbers, with which single additions are ten times as fast."""
    frames = summable(log_probs, "TV", blank).detach().double().tolist()
    if not (best := log_probs.amax(1)).isfinite().all():  # NaN counts as the largest
        t = best.isfinite().tolist().index(False)
        raise ValueError(f"the best log probability of frame {t} is {best[t]}: the model is broken")
    bounded = (beam is None or beam >= 1) and (margin is None or margin > 0)
    if not (bounded and 0 <= weight < math.inf and math.isfinite(bonus)):
        raise ValueError(
            "beam must be at least 1, margin above 0 (None: no bound), weight at least 0 and finite, bonus finite: "
            f"got {beam}, {margin}, {weight} and {bonus}"
        )
    return frames
