"""The script of synthetic speech: what may be said, how much of it by whom, dealt into three parts.

Said are digits, easy clauses of common words, or any clauses of a corpus.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from lab.config import AtLeast, validate
from lab.speech import espeak
from lab.speech.features import FeatureSpec
from lab.speech.text import plain
from lab.text import Corpus, Splits
from lab.text.protocol import as_lines

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLAUSE_ENDS = re.compile(r"[.,;:?!()\[\]]")


def digits(n: int, seed: int = 0, shortest: int = 2, longest: int = 5) -> list[str]:
    """n different rows of digit words, each length as likely as any other while it lasts.

    >>> digits(2, seed=1)
    ['seven nine zero', 'nine two three eight']

    Raises ValueError when there are not so many.
    """
    there_are = sum(10**length for length in range(shortest, longest + 1))
    if not 0 <= n <= there_are:
        raise ValueError(f"n must be at most {there_are:,}, rows of {shortest} to {longest} digits; got {n}")
    random, found = np.random.default_rng(seed), {}
    while len(found) < n:
        lengths = random.integers(shortest, longest + 1, size=n).tolist()
        rows = random.integers(10, size=(n, longest)).tolist()
        for length, row in zip(lengths, rows, strict=True):
            found[" ".join(DIGITS[digit] for digit in row[:length])] = None
    return list(found)[:n]


def clauses(corpus: Corpus, shortest: int = 2, longest: int = 8) -> list[str]:
    """The different stretches between punctuation marks with so many words, spelled as `plain` has it.

    >>> clauses(Corpus("one", ("In the beginning, God: created (the heaven) and earth.",), "none"))
    ['in the beginning', 'the heaven', 'and earth']
    """
    found = (plain(part) for line in corpus.lines for part in CLAUSE_ENDS.split(line))
    return [text for text in dict.fromkeys(found) if shortest <= len(text.split()) <= longest]


def easy(corpus: Corpus, words: int = 300, shortest: int = 2, longest: int = 6) -> list[str]:
    """The clauses of at most `longest` words that are made of the corpus's `words` commonest words alone."""
    counts = Counter(word for line in corpus.lines for word in plain(line).split())
    common = {word for word, _ in counts.most_common(words)}
    return [text for text in clauses(corpus, shortest, longest) if common.issuperset(text.split())]


def near_duplicates(held_out: Sequence[str], train: Sequence[str]) -> list[tuple[str, str]]:
    """The held-out texts that are one word away from a training text, or none, each with the first such.

    One word away: with one word put in, left out or replaced they are the same. What a model says of such a text may
    be memory.

    >>> near_duplicates(["and god said", "let there be"], ["god said", "and he said", "be there"])
    [('and god said', 'god said')]
    """
    # Each word as a letter: strings are compared far faster than lists.
    letters = defaultdict(lambda: chr(len(letters)))
    said = ["".join(letters[word] for word in text.split()) for text in as_lines("train", train)]
    near = ["".join(letters[word] for word in text.split()) for text in as_lines("held_out", held_out)]
    options = {"scorer": Levenshtein.distance, "score_cutoff": 1}
    found = (next(process.extract_iter(text, said, **options), None) for text in near)
    return [(text, train[one[2]]) for text, one in zip(held_out, found, strict=True) if one]


DIGIT_ROWS = 20_000  # of which as many are held out as are asked for


@dataclass(frozen=True)
class SyntheticConfig:
    """What is said, how often and how.

    material                 "digits": 2 to 5 digit words; "easy": clauses of at most 6 of the corpus's 300 commonest
                             words; "clauses": any of 2 to 8 words
    train, validation, test  utterances of each part
    accents                  of English, as espeak-ng names them; `lab.speech.voices.ACCENTS` are four
    speeds                   words a minute, from and to
    seed                     of who says what
    features                 what becomes of the sound
    speaker                  "espeak"; or "whistle", a stand-in for a machine without it, which knows no accents
                             and speeds
    """

    material: Literal["digits", "easy", "clauses"] = "digits"
    train: Annotated[int, AtLeast(1)] = 2000
    validation: Annotated[int, AtLeast(1)] = 200
    test: Annotated[int, AtLeast(1)] = 200
    accents: tuple[str, ...] = ("en-us",)
    speeds: tuple[int, int] = (150, 200)
    seed: Annotated[int, AtLeast(0)] = 0
    features: FeatureSpec = field(default_factory=FeatureSpec)
    speaker: Literal["espeak", "whistle"] = "espeak"

    def __post_init__(self):
        validate(self)
        if not self.accents:
            raise ValueError("accents must name at least one, such as 'en-us'; got none")
        low, high = espeak.SPEEDS
        if not low <= self.speeds[0] <= self.speeds[1] <= high:
            raise ValueError(f"speeds must be words a minute, {low} to {high}, got {self.speeds}")


def texts(config: SyntheticConfig, corpus: Corpus | None = None) -> Splits:
    """All texts of the material, dealt at random: as many held out as the config asks for, the others for training.

    No text is in two parts. A language model may read all of `train`, spoken or not, and nothing else of the corpus.

    Raises ValueError where a material other than digits has no corpus, or too few texts to train on something.
    """
    if config.material == "digits":
        found = digits(DIGIT_ROWS, config.seed)
    elif corpus is None:
        raise ValueError(
            f"the material {config.material!r} is made of a text: pass corpus=lab.text.load(...)"
        )
    else:
        found = {"easy": easy, "clauses": clauses}[config.material](corpus)
    held_out = config.validation + config.test
    if len(found) <= held_out:
        raise ValueError(
            f"{corpus.name if corpus else 'digits'} has {len(found):,} texts of the material {config.material!r}, but "
            f"{held_out:,} are to be held out: ask for fewer, or give a longer text"
        )
    dealt = [found[i] for i in np.random.default_rng((config.seed, 1)).permutation(len(found))]
    return Splits(dealt[held_out:], dealt[: config.validation], dealt[config.validation : held_out])
