"""What lines cost: a model whose answers are known, and Kneser-Ney beside the textbook, written out."""

import json
import math
from collections import Counter
from itertools import pairwise, product
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lab.chars import bottleneck_score, chance_levels, memory_effect
from lab.chars.batches import line_batches, passages
from lab.diffusion.bound import score_bound
from lab.score import (
    COMPRESSORS,
    KneserNey,
    compressed_bits_per_char,
    hidden_nats,
    score_lines,
    scoring_windows,
    token_logprobs,
    unigram_bits_per_char,
)
from lab.score.hidden import UNICODE
from lab.score.ngrams import FALLBACK, UNKNOWN
from lab.text import BPETokenizer, CharTokenizer, WordTokenizer, from_huggingface, load


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


TEXT = ["the cat sat on the mat", "the cat", "", "a cat on a mat", "that hat, that cat"]
HELD_OUT = ["the hat", "", "zebra cat", "cat mat at the", "é日é the"]


def part_of_the_bytes() -> str:
    """A tokenizer.json whose alphabet has the letters a and b, and the first byte of "Ã"."""
    special = [{"content": name, "id": i} for i, name in enumerate(("<pad>", "<unk>", "<s>", "</s>"))]
    vocabulary = {token["content"]: token["id"] for token in special} | {"a": 4, "b": 5, "Ã": 6}
    model = {"type": "BPE", "unk_token": "<unk>", "vocab": vocabulary, "merges": []}
    pre_tokenizer = {"type": "ByteLevel", "add_prefix_space": False}
    return json.dumps({"model": model, "added_tokens": special, "pre_tokenizer": pre_tokenizer})


@pytest.mark.parametrize("tokenizer", [CharTokenizer.train(TEXT), BPETokenizer.train(TEXT * 3, 280)])
def test_the_perplexity_of_courses_is_counted_as_they_count(tokenizer):
    model = Bigrams(tokenizer.vocab_size)
    lines = [line for line in TEXT if line]
    ids = tokenizer.encode_lines(lines, add_special=False)
    nats = [-p for row in exact_logprobs(model, tokenizer, lines) for p in row]
    cross_entropy = sum(nats) / (
        sum(map(len, ids)) + len(lines)
    )  # nats a token, the end of each line among them
    chars_per_token = sum(map(len, lines)) / sum(map(len, ids))
    score = score_lines(model, tokenizer, lines)
    expected = math.exp(cross_entropy / chars_per_token)
    assert score.course_perplexity(len(lines)) == pytest.approx(expected, rel=1e-12)
    alike = isinstance(tokenizer, CharTokenizer)
    assert alike == (score.course_perplexity(len(lines)) == pytest.approx(score.char_perplexity))


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


class Lowering:
    """Somebody's own tokenizer, with no more than the protocol asks for: capital letters are lost."""

    pad_id, unk_id, bos_id, eos_id, mask_id = range(5)
    vocab_size = 5 + 128

    def encode_lines(self, lines):
        return [[2, *(1 if c == "z" else 5 + ord(c) for c in line.lower()), 3] for line in lines]

    def decode(self, ids):
        return "".join("\ufffd" if i == 1 else chr(i - 5) for i in ids if i not in (0, 2, 3, 4))


def spelled(line: str, words: set[str]) -> int:
    """Characters of the words that are not among `words`, and their ends: by the definition."""
    return sum(len(word) + 1 for word in WordTokenizer.split(line) if word not in words)


WORDS = ["the cat sat on the mat", "a dog, the cat", "é日 zebra\u200dzebra \ufffd", "", "sat"]


@pytest.mark.parametrize("vocab_size", [6, 7, 9, 12, 40])
def test_hidden_words_are_spelled_out(vocab_size):
    tokenizer = WordTokenizer.train(TEXT, max_vocab=vocab_size)
    model = Bigrams(tokenizer.vocab_size)
    exact = -sum(map(sum, exact_logprobs(model, tokenizer, WORDS)))
    hidden = sum(spelled(line, set(tokenizer.vocabulary)) for line in WORDS)
    score = score_lines(model, tokenizer, WORDS)
    assert hidden > 0 and score.nats == pytest.approx(exact + hidden * math.log(0x110000), rel=1e-12)
    assert score.chars == sum(map(len, WORDS)) + len(WORDS)


def test_a_hidden_character_costs_what_it_costs_the_n_grams():
    tokenizer = CharTokenizer.train(TEXT)
    kinds = KneserNey(TEXT, 2).kinds  # the newline among them, where </s> stands
    exact = -sum(map(sum, exact_logprobs(model := Bigrams(tokenizer.vocab_size), tokenizer, HELD_OUT)))
    hidden = sum(char not in map(chr, kinds) for line in HELD_OUT for char in line)
    paid = score_lines(model, tokenizer, HELD_OUT).nats - exact
    assert hidden == 6 and paid == pytest.approx(hidden * math.log(0x110000 - len(kinds)), rel=1e-12)


def test_what_is_paid_for_hidden_words_is_a_code():
    """All words that one `<unk>` may stand for share at most its probability: summed up, as if Unicode were a and b."""
    tokenizer, shares = WordTokenizer(["b"]), 0.0
    words = [word for n in range(1, 9) for word in map("".join, product("ab", repeat=n)) if word != "b"]
    for word, ids in zip(words, tokenizer.encode_lines(words), strict=True):
        assert ids == [2, 1, 3]
        shares += 3 ** -(hidden_nats(tokenizer, [word], [ids]) / math.log(0x110000))  # a, b, and the end
    assert 0.5 < shares <= 1


@pytest.mark.parametrize(
    "tokenizer, line, lost",
    [
        (Lowering(), "cat", 0),
        (Lowering(), "a zebra", 2),
        (Lowering(), "zz", 4),
        (Lowering(), "A cat", 6),  # does not come back: paid for whole
        (Lowering(), "A zebra", 8),
        (BPETokenizer([(102, 103)]), "é日 ab\ufffd", 0),
        (WordTokenizer(["a", " "]), "a bc a", 3),
        (WordTokenizer(["a", " "]), "bc", 3),
        (WordTokenizer(["a", " "]), "a", 0),
        (from_huggingface(part_of_the_bytes()), "ab", 0),
        (from_huggingface(part_of_the_bytes()), "abc", 2),
        (from_huggingface(part_of_the_bytes()), "aé", 1 + 2),  # two bytes, neither of which is known
        (from_huggingface(part_of_the_bytes()), "aÃ", 2 + 1),  # of its two bytes one is: nothing comes back
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_lost_of_a_line_is_paid_for(tokenizer, line, lost):
    nats = hidden_nats(tokenizer, [line], tokenizer.encode_lines([line]))
    assert nats == pytest.approx(lost * math.log(0x110000), rel=1e-12)
    model = Bigrams(tokenizer.vocab_size)
    exact = -sum(map(sum, exact_logprobs(model, tokenizer, [line])))
    assert score_lines(model, tokenizer, [line]).nats == pytest.approx(exact + nats, rel=1e-12)


@pytest.mark.parametrize(
    "tokenizer", [CharTokenizer.train(TEXT), WordTokenizer.train(TEXT), BPETokenizer([])]
)
def test_where_nothing_is_hidden_the_score_is_that_of_the_tokens_to_the_bit(tokenizer):
    assert hidden_nats(tokenizer, TEXT, tokenizer.encode_lines(TEXT)) == 0.0


def test_a_vocabulary_of_six_words_beats_nobody():
    """Kinds of word that are left out make a text cheaper to predict, and no cheaper to tell."""
    train, held_out, _ = load("grammar").splits(0)
    bits = []
    for size in (6, 10, 20, 40, None):
        tokenizer = WordTokenizer.train(train, max_vocab=size)
        model = Bigrams(tokenizer.vocab_size, context=256)
        counts = torch.ones_like(model.table)
        for ids in tokenizer.encode_lines(train[:2000]):
            counts.index_put_((torch.tensor(ids[:-1]), torch.tensor(ids[1:])), torch.ones(()).double(), True)
        model.table.data = (counts / counts.sum(-1, keepdim=True)).log()
        score = score_lines(model, tokenizer, held_out[:200])
        bits.append(score.bits_per_char)
    assert bits == sorted(bits, reverse=True) and bits[0] > 8 and bits[-1] < 3


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
        *[
            (call, r"\['a cat'\]")
            for call in (
                lambda: score_lines(Bigrams(9), CharTokenizer.train(["abc"]), "a cat"),
                lambda: KneserNey("a cat"),
                lambda: KneserNey(["a cat"]).bits_per_char("a cat"),
                lambda: unigram_bits_per_char("a cat", ["a"]),
                lambda: unigram_bits_per_char(["a"], "a cat"),
                lambda: compressed_bits_per_char("zlib", "a cat", ["a"]),
                lambda: compressed_bits_per_char("zlib", ["a"], "a cat"),
                lambda: score_bound(None, None, "a cat", None),
                lambda: chance_levels(None, "a cat"),
                lambda: memory_effect(None, None, ["a"], "a cat"),
                lambda: memory_effect(None, None, "a cat", ["a"]),
                lambda: passages("a cat", ["a"]),
                lambda: next(line_batches(None, None, "a cat")),
                lambda: bottleneck_score(
                    SimpleNamespace(config=SimpleNamespace(latents=1)), CharTokenizer("a"), "a cat"
                ),
            )
        ],
    ],
)
def test_refusals(call, about):
    with pytest.raises(ValueError, match=about):
        call()
