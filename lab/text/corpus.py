"""A corpus is lines of text that know where they come from, and can be split without leaks."""

import math
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lab.files import printable, sha256_bytes
from lab.text.protocol import as_lines


class CorpusError(ValueError):
    """A corpus that cannot be had, or is not what it should be; the message says what to do."""


class Splits(NamedTuple):
    """Three lists of lines with no line in common, each in shuffled order."""

    train: list[str]
    validation: list[str]
    test: list[str]


@dataclass(frozen=True, repr=False)
class Corpus:
    """Lines of text with their origin: `Corpus("mine", lines)`. A line holds no line end and is never empty.

    `sha256` is that of the raw bytes when the corpus is one file, else that of its lines, each followed
    by a newline. `entropy_bits_per_char` is known only where the text was drawn from a known distribution
    (`grammar`): no model can score below it on average. `note` says what a reader should know, such as
    what `auto` chose. `parts` says, of a text that comes divided, how many lines are for training, for validation and
    for the test, in this order; `splits` then deals nothing.

    >>> Corpus("two", ("To be", "or not"), licence="public domain")
    Corpus(two: 2 lines, 13 characters, sha256 b3788a6a..., public domain)
    """

    name: str
    lines: tuple[str, ...]
    licence: str = "your own text"
    sha256: str = ""
    note: str = ""
    entropy_bits_per_char: float | None = None
    parts: tuple[int, int, int] | None = None

    def __post_init__(self):
        # object.__setattr__ is how a frozen dataclass fills in its own fields.
        object.__setattr__(self, "lines", tuple(as_lines("lines", self.lines)))
        if self.parts and (sum(self.parts) != len(self.lines) or min(self.parts) < 0):
            raise ValueError(
                f"parts={self.parts} must be three counts whose sum is the {len(self.lines)} lines"
            )
        if not self.sha256:
            text = "".join(f"{line}\n" for line in self.lines) + (f"{self.parts}" if self.parts else "")
            object.__setattr__(self, "sha256", sha256_bytes(text.encode("utf-8", "surrogatepass")))

    @property
    def chars(self) -> int:
        """The number of characters (code points), counting one newline a line."""
        return sum(map(len, self.lines)) + len(self.lines)

    def splits(self, seed: int = 0, fractions: tuple[float, float, float] = (0.9, 0.05, 0.05)) -> Splits:
        """Deal the lines at random into train, validation and test; the same seed deals the same.

        A corpus that comes in `parts` keeps them, whatever `fractions` are: the seed is that of the order. The test
        part is as it was given; lines that it has too are left out of validation, and lines that either has out of
        training. There may be no test line.

        Copies of a line stay together: the King James text has verses that occur twice, and a test verse
        that was also trained on would measure memory. Lines that differ in nothing but how their accents are
        encoded (Unicode's NFC) or in white space at the end count as copies. So `fractions` are shares of the
        distinct lines (and, on average over seeds, of all lines). Every split gets at least one line.

        Raises ValueError for fractions that are not three positive numbers with sum 1, and CorpusError
        when there are fewer than three distinct lines.

        >>> corpus = Corpus("abc", ("a", "b", "b", "c"), licence="none")
        >>> sorted(map(sorted, corpus.splits(seed=1)))
        [['a'], ['b', 'b'], ['c']]
        """
        if len(fractions) != 3 or min(fractions) <= 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-9):
            raise ValueError(
                f"fractions={fractions!r}: expected three positive shares (train, validation, test) "
                "whose sum is 1, such as (0.9, 0.05, 0.05)"
            )
        looks = [unicodedata.normalize("NFC", line).rstrip() for line in self.lines]
        if self.parts:
            return self._as_given(looks, np.random.default_rng(seed))
        distinct = list(dict.fromkeys(looks))
        if len(distinct) < 3:
            raise CorpusError(
                f"corpus {self.name!r} has {len(distinct)} distinct line(s), but train, validation and test "
                "need one each: give at least 3 distinct lines (a line is what ends in a newline)"
            )
        validation, test = (max(1, round(share * len(distinct))) for share in fractions[1:])
        # A tiny corpus rounds to nothing left for training: the larger held-out part gives way.
        while validation + test >= len(distinct):
            validation, test = (validation - 1, test) if validation > test else (validation, test - 1)
        train = len(distinct) - validation - test

        rng = np.random.default_rng(seed)
        part = np.repeat([0, 1, 2], [train, validation, test])[rng.permutation(len(distinct))]
        part_of = dict(zip(distinct, part.tolist(), strict=True))
        splits = Splits([], [], [])
        for i in rng.permutation(len(self.lines)):
            splits[part_of[looks[i]]].append(self.lines[i])
        return splits

    def _as_given(self, looks: list[str], rng: np.random.Generator) -> Splits:
        held_out, splits, end = set(), Splits([], [], []), len(looks)
        for split, count in zip(reversed(splits), reversed(self.parts), strict=True):
            part = range(end - count, end)
            split += [self.lines[i] for i in rng.permutation(part) if looks[i] not in held_out]
            held_out.update(looks[i] for i in part)
            end -= count
        if not (splits.train and splits.validation):
            raise CorpusError(
                f"corpus {self.name!r} comes in parts of {self.parts} lines, of which {len(splits.train)} remain for "
                f"training and {len(splits.validation)} for validation when no line is in two: give one to each"
            )
        return splits

    def __repr__(self) -> str:
        about = [f"{len(self.lines):,} lines", f"{self.chars:,} characters", f"sha256 {self.sha256[:8]}..."]
        about.append(self.licence)
        if self.entropy_bits_per_char is not None:
            about.append(f"entropy {self.entropy_bits_per_char:.4f} bits per character")
        return printable(f"Corpus({self.name}: {', '.join(filter(None, [*about, self.note]))})")
