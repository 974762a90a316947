"""The grammar: its entropy is what a large sample costs, every line has one derivation, and words agree."""

import math
from functools import cache

import numpy as np
import pytest

from lab.text import grammar, load
from lab.text.pcfg import Grammar

LINES = grammar.sample(20_000, seed=7)


def test_the_entropy_is_what_a_large_sample_costs():
    bits = -np.array([grammar.log2_probability(line) for line in LINES])
    chars = np.array([len(line) + 1 for line in LINES])
    entropy = grammar.entropy_bits_per_char()
    # The standard error of a ratio of two means, by the delta method.
    standard_error = (bits - entropy * chars).std() / math.sqrt(len(LINES)) / chars.mean()
    assert standard_error < 0.001
    assert abs(bits.sum() / chars.sum() - entropy) < 3 * standard_error
    assert 1 < entropy < 2


def test_the_expectations_of_a_grammar_small_enough_to_sum_by_hand():
    # n times "ab", n = 0, 1, ... with probability 3/4 (1/4)^n, then "."
    tiny = Grammar({"S": [(3, (".",)), (1, ("Word", "S"))], "Word": [(1, ("ab",))]}, start="S")
    p = [0.75 * 0.25**n for n in range(60)]
    bits = -sum(q * math.log2(q) for q in p)
    chars = sum(q * (2 * n + 1) for n, q in enumerate(p))
    assert tiny.expected_bits_and_chars({"ab": 2, ".": 1}) == pytest.approx((bits, chars))
    assert tiny.log2_probability(["ab", "ab", "."]) == pytest.approx(math.log2(p[2]))


def count_and_sum(rules, probabilities, start, words):
    """(number, total probability) of all derivations of `words`, trying every rule at every place.

    Written without lab's tables: a chart from (symbol, position) to {end: (derivations, probability)}.
    """

    @cache
    def spans(symbol, at):
        if symbol not in rules:
            return {at + 1: (1, 1.0)} if at < len(words) and words[at] == symbol else {}
        found = {}
        for p, (_, right) in zip(probabilities[symbol], rules[symbol], strict=True):
            ends = {at: (1, p)}
            for part in right:
                longer = {}
                for middle, (n, q) in ends.items():
                    for end, (m, r) in spans(part, middle).items():
                        n0, q0 = longer.get(end, (0, 0.0))
                        longer[end] = (n0 + n * m, q0 + q * r)
                ends = longer
            for end, (n, q) in ends.items():
                n0, q0 = found.get(end, (0, 0.0))
                found[end] = (n0 + n, q0 + q)
        return found

    return spans(start, 0).get(len(words), (0, 0.0))


def test_every_line_has_exactly_one_derivation_and_its_probability():
    language = grammar.grammar()
    # The longest lines have the most room for a second derivation.
    for line in sorted(LINES, key=len)[-60:] + LINES[:140]:
        words = line.replace(",", " ,").replace(".", " .").split()
        if words[0] not in language.rule_for["Subject"]:
            words[0] = words[0].lower()
        number, probability = count_and_sum(language.rules, language.probabilities, language.start, words)
        assert number == 1, line
        assert math.log2(probability) == pytest.approx(grammar.log2_probability(line)), line


def test_the_next_word_decides_every_rule():
    """LL(1): so not only the sampled lines but all lines have one derivation."""
    assert set(grammar.grammar().rule_for) == set(grammar.grammar().rules)
    with pytest.raises(ValueError, match="'a' does not decide between rules 0 and 1 of 'S'"):
        _ = Grammar({"S": [(1, ("a", "b")), (1, ("a", "c"))]}, "S").rule_for
    with pytest.raises(ValueError, match="of 'Maybe'"):  # the a could be Maybe's, or what follows it
        _ = Grammar({"S": [(1, ("Maybe", "a"))], "Maybe": [(1, ()), (1, ("a",))]}, "S").rule_for
    with pytest.raises(ValueError, match=r"1\.200"):  # its sentences need not end
        Grammar({"S": [(6, ("S", "S")), (4, ("a",))]}, "S").expected_bits_and_chars({"a": 1})


@pytest.mark.parametrize("right, wrong", [
    ("The king near the girls sleeps.", "The king near the girls sleep."),
    ("The girls who the king who Tom sees fears sing.", "The girls who the king who Tom sees fears sings."),
    ("Ann sees Tom by herself.", "Ann sees Tom by himself."),
    ("The dog which bites the queens runs in its hat.", "The dog which bites the queens runs in their hat."),
    ("If Tom sleeps, then Ann sings.", "If Tom sleeps, yet Ann sings."),
    ("These dogs run.", "These  dogs run."),
    ("These dogs run.", "These dogs run. Run."),
    ("Tom runs.", "tom runs."),
])  # fmt: skip
def test_words_agree_across_what_stands_between(right, wrong):
    assert -200 < grammar.log2_probability(right) < 0
    assert grammar.log2_probability(wrong) == -math.inf


def test_a_line_of_any_depth_can_be_scored():
    line = "Tom sees the dog" + " near the dog" * 5000 + "."
    assert grammar.log2_probability(line) < -10_000


def test_the_corpus_is_the_same_on_every_machine():
    corpus = load("grammar")
    assert corpus.sha256 == "80389fa8ee16621761ba1bb515648b536d9dd98ed96e4ab07ffe3c7635a0655a"
    assert len(corpus.lines) == 20_000
    assert corpus.entropy_bits_per_char == grammar.entropy_bits_per_char()
    assert grammar.sample(5, seed=1) == grammar.sample(5, seed=1) != grammar.sample(5, seed=2)
