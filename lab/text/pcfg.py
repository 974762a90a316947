"""A probabilistic context-free grammar that is read from left to right, and its exact entropy.

In a probabilistic context-free grammar every symbol is rewritten by one of its rules, drawn with the
rule's probability, until only words are left. Here the next word always decides which rule was used (the
grammar is LL(1), in the terms of Aho, Lam, Sethi and Ullman, "Compilers", section 4.4). So a sentence has
exactly one derivation, its probability is the product of that derivation's rules, and the entropy of the
sentences is the entropy of the choices that make them.
"""

import math
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from lab.text.protocol import as_lines

# For each symbol its rules: (weight, what it is rewritten to). What is no key of the dict is a word.
Rules = dict[str, list[tuple[float, tuple[str, ...]]]]

_DRAWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Grammar:
    """An LL(1) probabilistic grammar; weights are normalised, an empty right-hand side means nothing.

    Here the next word is `yes` or `no`, and every sentence says `yes` once on average before its `no`:

    >>> tiny = Grammar({"S": [(1, ("yes", "S")), (1, ("no",))]}, start="S")
    >>> tiny.log2_probability(["yes", "yes", "no"])
    -3.0
    >>> tiny.expected_bits_and_chars({"yes": 4, "no": 3})  # 2 choices of 1 bit; 1 x 4 + 1 x 3 characters
    (2.0, 7.0)
    """

    rules: Rules
    start: str

    @cached_property
    def probabilities(self) -> dict[str, list[float]]:
        """For each symbol the probabilities of its rules, in order."""
        totals = {symbol: sum(weight for weight, _ in rules) for symbol, rules in self.rules.items()}
        return {s: [weight / totals[s] for weight, _ in rules] for s, rules in self.rules.items()}

    @cached_property
    def first(self) -> dict[str, list[set[str]]]:
        """For each symbol and each of its rules the words it can begin with; "" if it can vanish."""
        first = {symbol: [set() for _ in rules] for symbol, rules in self.rules.items()}
        size = -1
        while size < (size := sum(len(words) for sets in first.values() for words in sets)):  # it settles
            for symbol, rules in self.rules.items():
                for words, (_, right) in zip(first[symbol], rules, strict=True):
                    words |= self._begins(right, {""}, first)
        return first

    @cached_property
    def follow(self) -> dict[str, set[str]]:
        """For each symbol the words that can come after it; "" for the end of the sentence."""
        follow = {symbol: set() for symbol in self.rules}
        follow[self.start] = {""}
        size = -1
        while size < (size := sum(map(len, follow.values()))):
            for symbol, rules in self.rules.items():
                for _, right in rules:
                    for i, part in enumerate(right):
                        if part in self.rules:
                            follow[part] |= self._begins(right[i + 1 :], follow[symbol], self.first)
        return follow

    def _begins(self, parts: tuple[str, ...], after: set[str], first: dict[str, list[set[str]]]) -> set[str]:
        """The words with which `parts` can begin, where `after` comes next if all of them vanish."""
        words = set()
        for part in parts:
            begins = set().union(*first[part]) if part in self.rules else {part}
            words |= begins - {""}
            if "" not in begins:
                return words
        return words | after

    @cached_property
    def rule_for(self) -> dict[str, dict[str, int]]:
        """For each symbol and next word the number of the one rule that can be meant.

        Raises ValueError when two rules could be, for then a sentence might have two derivations.
        """
        table = {symbol: {} for symbol in self.rules}
        for symbol, choice in table.items():
            for number, words in enumerate(self.first[symbol]):
                for word in words - {""} | (self.follow[symbol] if "" in words else set()):
                    if choice.setdefault(word, number) != number:
                        raise ValueError(
                            f"the next word {word!r} does not decide between rules {choice[word]} and "
                            f"{number} of {symbol!r}: write what they have in common once, before the choice"
                        )
        return table

    def log2_probability(self, words: list[str]) -> float:
        """log2 of the probability that the grammar makes exactly these words; -inf if it cannot."""
        bits, position, stack, words = 0.0, 0, [self.start], as_lines("words", words)
        while stack:
            symbol = stack.pop()
            word = words[position] if position < len(words) else ""
            if symbol in self.rules:
                number = self.rule_for[symbol].get(word)
                if number is None:
                    return -math.inf
                bits += math.log2(self.probabilities[symbol][number])
                stack.extend(reversed(self.rules[symbol][number][1]))
            elif symbol == word:
                position += 1
            else:
                return -math.inf
        return bits if position == len(words) else -math.inf

    def sample(self, rng: np.random.Generator) -> Iterator[list[str]]:
        """Yield sentences, each a list of words, without end."""
        cumulative = {symbol: list(accumulate(p))[:-1] for symbol, p in self.probabilities.items()}
        draws = (draw for _ in iter(int, 1) for draw in rng.random(_DRAWS_AT_ONCE).tolist())
        while True:
            words, stack = [], [self.start]
            while stack:
                symbol = stack.pop()
                if symbol in self.rules:
                    number = bisect(cumulative[symbol], next(draws))
                    stack.extend(reversed(self.rules[symbol][number][1]))
                else:
                    words.append(symbol)
            yield words

    def expected_bits_and_chars(self, chars_of: dict[str, int]) -> tuple[float, float]:
        """The entropy of a sentence in bits, and its expected number of characters.

        `chars_of` gives the characters of each word. What a symbol is expected to yield is what its own
        choice yields plus what the symbols it is rewritten to yield: with the expected counts
        M[a, b] of symbols b on the right of a, x = own + M x (Booth and Thompson, 1973, "Applying
        probability measures to abstract languages"). Raises ValueError when sentences do not end with
        probability 1 (an eigenvalue of M reaches 1).
        """
        index = {symbol: i for i, symbol in enumerate(self.rules)}
        counts = np.zeros((len(index), len(index)))
        own = np.zeros((len(index), 2))
        for symbol, rules in self.rules.items():
            a = index[symbol]
            for p, (_, right) in zip(self.probabilities[symbol], rules, strict=True):
                own[a, 0] -= p * math.log2(p)
                for part in right:
                    if part in index:
                        counts[a, index[part]] += p
                    else:
                        own[a, 1] += p * chars_of[part]
        radius = max(abs(np.linalg.eigvals(counts)))
        if radius >= 1:
            raise ValueError(
                f"sentences need not end: the expected counts have an eigenvalue of {radius:.3f}, not below "
                "1; lower the weights of the rules that lead back to their own symbol"
            )
        bits, chars = np.linalg.solve(np.eye(len(index)) - counts, own)[index[self.start]]
        return float(bits), float(chars)
