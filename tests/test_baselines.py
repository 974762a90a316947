"""Kneser-Ney beside the textbook, written out; every probability is one."""

import doctest
import importlib
import math
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.score import KneserNey, Score, unigram_bits_per_char
from lab.score.ngrams import FALLBACK, UNICODE, UNKNOWN
from lab.text import load

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
            self.counts[k] = Counter(
                {g: n if g[0] == BEGIN else before[g] for g, n in self.counts[k].items()}
            )
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
every_order = pytest.mark.parametrize("order", [1, 2, 3, 5, 9])


@every_order
def test_it_is_the_textbook(order):
    model, textbook = KneserNey(TEXT, order), Textbook(TEXT, order)
    for lines in (TEXT, HELD_OUT, ["the cat"], [""]):
        assert model.bits_per_char(lines) == pytest.approx(textbook.bits(lines), rel=1e-12)
    for text in ("", "t", "the c", "zzz", "é", "at the mat"):
        found = model.next_char(text)
        for char in textbook.kinds:
            assert found[char] == pytest.approx(textbook.p(char, (BEGIN, *text)), rel=1e-12)
        assert found[UNKNOWN] == pytest.approx(textbook.p("é", (BEGIN, *text)), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text("abc\0é😀", max_size=6), min_size=1, max_size=6),
    st.lists(st.text("abd\0日", max_size=6), min_size=1, max_size=3),
    st.integers(1, 5),
)
def test_it_is_the_textbook_on_any_text(lines, held_out, order):
    expected = Textbook(lines, order).bits(held_out)
    assert KneserNey(lines, order).bits_per_char(held_out) == pytest.approx(expected, rel=1e-9)


@pytest.fixture(scope="module")
def real():
    return load("python-docs").splits(0)


def test_discounts_are_made_from_the_counts_of_real_text(real):
    model, textbook = KneserNey(real.train[:150], 4), Textbook(real.train[:150], 4)
    assert sum(d is not FALLBACK for d in textbook.discounts.values()) >= 2
    assert model.bits_per_char(real.test[:5]) == pytest.approx(textbook.bits(real.test[:5]), rel=1e-10)


@every_order
def test_probabilities_sum_to_one_in_any_context(order, real):
    model, rng = KneserNey(real.train[:300], order), np.random.default_rng(0)
    texts = ["", "\0", "日本", *(line[: rng.integers(40)] for line in real.test[:12])]
    for text in texts:
        found = model.next_char(text)
        assert sum(found.values()) == pytest.approx(1, abs=1e-12)
        assert min(found.values()) > 0
        assert len(found) == len(model.kinds) + 1 == len({c for line in real.train[:300] for c in line}) + 2


def test_the_score_is_what_the_characters_cost_one_by_one(real):
    model, lines = KneserNey(real.train[:300], 4), ["The value.", "", "xyé"]
    nats = 0.0
    for line in lines:
        for i, char in enumerate(f"{line}\n"):
            found = model.next_char(line[:i])
            nats -= math.log(found[char] if char in found else found[UNKNOWN] / (UNICODE - len(found) + 1))
    score = model.score(lines)
    assert isinstance(score, Score) and not score.is_bound
    assert score.nats == pytest.approx(nats, rel=1e-12)
    assert (score.chars, score.tokens) == (16, 16)
    assert model.bits_per_char(lines) == score.bits_per_char


def test_an_unknown_character_costs_its_place_in_unicode():
    model = KneserNey(["ab"] * 50, 2)
    assert 20 < model.bits_per_char(["é"]) * 2 < 40 and 40 < model.bits_per_char(["éé"]) * 3 < 60


def test_order_one_is_near_the_unigram(real):
    known = {char for line in real.train for char in line}
    lines = [line for line in real.test if set(line) <= known]
    expected = unigram_bits_per_char(real.train, lines)
    assert KneserNey(real.train, 1).bits_per_char(lines) == pytest.approx(expected, abs=1e-3)


def test_more_context_costs_fewer_bits_on_text_not_seen(real):
    bits = [KneserNey(real.train, order).bits_per_char(real.test) for order in range(1, 6)]
    assert all(more < less - 0.1 for less, more in pairwise(bits)), bits
    assert bits[-1] < 0.6 * bits[0]


def test_lines_are_apart_and_their_order_does_not_matter():
    model = KneserNey(TEXT, 4)
    assert model.score(HELD_OUT).nats == pytest.approx(
        sum(model.score([line]).nats for line in HELD_OUT), rel=1e-12
    )
    again = KneserNey(TEXT[::-1], 4)
    assert again.bits_per_char(HELD_OUT) == pytest.approx(model.bits_per_char(HELD_OUT), rel=1e-12)
    follows = KneserNey(["ab", "cd"] * 30, 3)
    assert follows.next_char("")["c"] == pytest.approx(follows.next_char("")["a"], rel=1e-9)


def test_the_end_of_a_line_is_predicted_too():
    model = KneserNey(["ab"] * 30, 3)
    assert model.next_char("ab")["\n"] > 0.9 > 0.1 > model.next_char("a")["\n"]


def test_it_is_fast():
    rng = np.random.default_rng(0)
    lines = ["".join(map(chr, line)) for line in rng.integers(97, 123, (1000, 400))]
    begin = time.perf_counter()
    KneserNey(lines, 5).bits_per_char(lines[:100])
    assert time.perf_counter() - begin < 10  # about 0.6 s; ten times the text in less than 20 s


@pytest.mark.parametrize("order", [0, -1, 1.5, True, "5", None])
def test_bad_orders_are_refused(order):
    with pytest.raises(ValueError, match=f"at least 1, got {order!r}"):
        KneserNey(["a"], order)


def test_no_lines_are_refused():
    with pytest.raises(ValueError, match="no lines to count"):
        KneserNey([], 2)
    with pytest.raises(ValueError, match="no lines to score"):
        KneserNey(["a"], 2).score([])


def test_examples_in_the_documentation():
    failed, attempted = doctest.testmod(importlib.import_module("lab.score.ngrams"))
    assert attempted and not failed
