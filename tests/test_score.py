"""What lines cost: a model whose answers are known, and Kneser-Ney beside the textbook, written out."""

import math
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lab.score import (
    COMPRESSORS,
    KneserNey,
    compressed_bits_per_char,
    score_lines,
    scoring_windows,
    token_logprobs,
    unigram_bits_per_char,
)
from lab.score.ngrams import FALLBACK, UNICODE, UNKNOWN
from lab.text import CharTokenizer, load


class Bigrams(nn.Module):
    """A model whose answers are known: a fixed table of logits by the last token."""

    def __init__(self, vocab_size: int, context: int = 8):
        super().__init__()
        self.config = SimpleNamespace(context=context)
        self.table = nn.Parameter(torch.randn(vocab_size, vocab_size, dtype=torch.float64))

    def forward(self, ids, *, mask=None, positions=None, cache=None):
        assert ids.shape[1] <= self.config.context
        return self.table[ids]


LINES = ["abba", "b", "", "abcabcabcabcabcabcabcabcabc", "cab"]


def exact_logprobs(model: Bigrams, tokenizer, lines) -> list[list[float]]:
    log_p = model.table.log_softmax(-1)
    return [[log_p[a, b].item() for a, b in pairwise(ids)] for ids in tokenizer.encode_lines(lines)]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("context", [1, 2, 5, 8, 100])
def test_every_token_is_scored_exactly_once(batch_size, context):
    tokenizer = CharTokenizer.train(["abc"])
    model = Bigrams(tokenizer.vocab_size, context)
    exact = exact_logprobs(model, tokenizer, LINES)
    score = score_lines(model, tokenizer, LINES, batch_size=batch_size)
    assert score.nats == pytest.approx(-sum(map(sum, exact)), rel=1e-9)
    assert score.chars == sum(map(len, LINES)) + len(LINES)
    assert score.tokens == sum(map(len, LINES)) + len(LINES)  # one </s> a line where the newline stood
    found = token_logprobs(model, tokenizer.encode_lines(LINES), batch_size=batch_size)
    for line, expected in zip(found, exact, strict=True):
        assert line.dtype == torch.float64 and line.tolist() == pytest.approx(expected, rel=1e-9)


@given(length=st.integers(1, 200), context=st.integers(1, 40))
def test_windows_score_each_place_once_with_half_a_context_before_it(length, context):
    scored = []
    for start, end, first in scoring_windows(length, context):
        assert 0 <= start <= first < end <= length and end - start <= context
        scored += range(first, end)
        if start > 0:
            assert first - start >= context // 2
    assert scored == list(range(length))


def test_the_unigram_baseline_is_the_entropy_of_the_characters():
    lines = ["ab" * 500] * 20
    newline = 1 / 1001
    share = (1 - newline) / 2
    entropy = -2 * share * math.log2(share) - newline * math.log2(newline)
    assert unigram_bits_per_char(lines, lines) == pytest.approx(entropy, rel=1e-3)
    assert entropy < unigram_bits_per_char(lines, ["zz"]) < 20, "what was never seen has a price"


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressor_pays_little_for_what_it_has_seen(name):
    generator = torch.Generator().manual_seed(0)
    words = ["".join(chr(97 + i) for i in torch.randint(26, (9,), generator=generator)) for _ in range(300)]
    seen, fresh = [" ".join(words[:150])], [" ".join(words[150:])]
    assert compressed_bits_per_char(name, seen, fresh) > 4.5  # random letters: log2 26 = 4.7
    if name != "bz2":  # which sorts blocks and gains less from repetition
        assert compressed_bits_per_char(name, seen, seen) < 1


BEGIN = "<s>"


class Textbook:
    """Chen and Goodman 1999, eqs. 25 to 27, for one k-gram at a time."""

    def __init__(self, lines, order):
        self.order = order
        self.kinds = sorted({char for line in lines for char in line} | {"\n"})
        framed = [(BEGIN, *line, "\n") for line in lines]
        self.counts = {
            k: Counter(g for text in framed for g in zip(*(text[i:] for i in range(k)), strict=False))
            for k in range(1, order + 1)
        }
        del self.counts[1][BEGIN,]
        for k in range(1, order):  # from the shortest up, while the longer are still all there
            before = Counter(gram[1:] for gram in self.counts[k + 1])
            counts = {g: n if g[0] == BEGIN else before[g] for g, n in self.counts[k].items()}
            self.counts[k] = Counter(counts)
        self.discounts = {k: self._discounts(self.counts[k]) for k in self.counts}

    @staticmethod
    def _discounts(counts):
        n = Counter(counts.values())
        if not all(n[i] for i in (1, 2, 3, 4)):
            return FALLBACK
        y = n[1] / (n[1] + 2 * n[2])
        found = [1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
        return found if all(0 < d <= i for i, d in enumerate(found, 1)) else FALLBACK

    def p(self, char, context):
        """P(char | context), a tuple of which the last `order - 1` count."""
        context = tuple(context)[-(self.order - 1) :] if self.order > 1 else ()
        return self._p(char, context)

    def _p(self, char, context):
        shorter = self._p(char, context[1:]) if context else 1 / (len(self.kinds) + 1)
        counts = self.counts[len(context) + 1]
        follow = {c: counts[(*context, c)] for c in self.kinds if counts[(*context, c)]}
        if not follow:
            return shorter
        taken = {c: self.discounts[len(context) + 1][min(n, 3) - 1] for c, n in follow.items()}
        own = follow.get(char, 0) - taken.get(char, 0)
        return own / sum(follow.values()) + sum(taken.values()) / sum(follow.values()) * shorter

    def bits(self, lines):
        total, chars = 0.0, 0
        for line in lines:
            text = (BEGIN, *line, "\n")
            for i in range(1, len(text)):
                total -= math.log2(self.p(text[i], text[:i]))
                if text[i] not in self.kinds:
                    total += math.log2(UNICODE - len(self.kinds))
                chars += 1
        return total / chars


TEXT = ["the cat sat on the mat", "the cat", "", "a cat on a mat", "that hat, that cat"]
HELD_OUT = ["the hat", "", "zebra cat", "cat mat at the", "é日é the"]


@pytest.mark.parametrize("order", [1, 2, 3, 5, 9])
def test_it_is_the_textbook(order):
    model, textbook = KneserNey(TEXT, order), Textbook(TEXT, order)
    for lines in (TEXT, HELD_OUT, ["the cat"], [""]):
        assert model.bits_per_char(lines) == pytest.approx(textbook.bits(lines), rel=1e-12)
    for text in ("", "t", "the c", "zzz", "é", "at the mat"):
        found = model.next_char(text)
        for char in textbook.kinds:
            assert found[char] == pytest.approx(textbook.p(char, (BEGIN, *text)), rel=1e-12)
        assert found[UNKNOWN] == pytest.approx(textbook.p("é", (BEGIN, *text)), rel=1e-12)
    score = model.score(HELD_OUT)
    assert (score.chars, score.tokens) == (42, 42) and score.bits_per_char == model.bits_per_char(HELD_OUT)


def test_discounts_are_made_from_the_counts_of_real_text():
    train, _, test = load("python-docs").splits(0)
    model, textbook = KneserNey(train[:150], 4), Textbook(train[:150], 4)
    assert sum(d is not FALLBACK for d in textbook.discounts.values()) >= 2
    assert model.bits_per_char(test[:5]) == pytest.approx(textbook.bits(test[:5]), rel=1e-10)


@pytest.mark.parametrize(
    "call, about",
    [
        *[(lambda order=order: KneserNey(["a"], order), "order") for order in (0, 1.5, None)],
        (lambda: KneserNey([], 2), "no lines"),
        (lambda: KneserNey(["a"], 2).score([]), "no lines"),
        (lambda: score_lines(Bigrams(9), CharTokenizer.train(["abc"]), []), "no lines"),
    ],
)
def test_refusals(call, about):
    with pytest.raises(ValueError, match=about):
        call()
