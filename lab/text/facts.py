"""What a text offers: the facts that decide whether a lesson can be shown on it."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from lab.text.pretokens import splitter
from lab.text.protocol import as_lines


@dataclass(frozen=True)
class TextFacts:
    """Counts of a text, of which `chars` counts a newline a line, and shares of its characters, newlines left out.

    `tokens_per_line` is the median number of pre-tokens (words, numbers and marks as GPT-4's pattern cuts them),
    `words_per_line` that of stretches between white space, so 1 where a script writes none. `scripts` has the share
    of the letters that each script has, most first.
    """

    lines: int
    distinct_lines: int
    chars: int
    distinct_chars: int
    longest_line: int
    tokens_per_line: float
    words_per_line: float
    spaces: float
    punctuation: float
    scripts: dict[str, float]


def describe(lines: Sequence[str]) -> TextFacts:
    """The facts of some lines, or of a `Corpus`' `lines`; O(characters).

    >>> facts = describe(["To be, or not", "to be."])
    >>> facts.lines, facts.words_per_line, facts.scripts
    (2, 3.0, {'Latin': 1.0})
    """
    counts = Counter()
    for line in as_lines("lines", lines):
        counts.update(line)
    chars = counts.total()
    letters = {char: count for char, count in counts.items() if char.isalpha()}
    scripts = Counter()
    for letter, count in letters.items():
        # A letter's name begins with its script: LATIN SMALL LETTER A, CJK UNIFIED IDEOGRAPH-4E00.
        scripts[unicodedata.name(letter, "unnamed").partition(" ")[0].capitalize()] += count
    split = splitter("gpt4")

    def share(belongs) -> float:
        return sum(count for char, count in counts.items() if belongs(char)) / max(1, chars)

    return TextFacts(
        lines=len(lines),
        distinct_lines=len(set(lines)),
        chars=chars + len(lines),
        distinct_chars=len(counts),
        longest_line=max(map(len, lines), default=0),
        tokens_per_line=float(median(len(split(line)) for line in lines)) if lines else 0.0,
        words_per_line=float(median(len(line.split()) for line in lines)) if lines else 0.0,
        spaces=share(str.isspace),
        punctuation=share(lambda char: unicodedata.category(char).startswith("P")),
        scripts={name: count / sum(letters.values()) for name, count in scripts.most_common()},
    )
