"""A corpus of one's own, from a Python generator: rockets that count down from a random number."""

import random

from lab.text import Corpus


def countdowns(seed, lines):
    dice = random.Random(seed)
    for _ in range(lines):
        start = dice.randint(3, 60)
        yield f"{', '.join(map(str, range(start, start - 3, -1)))}: rocket {dice.randint(1, 999)} is off"


def countdown(seed=0, lines=400):
    return Corpus("countdown", countdowns(seed, lines), licence="none")
