"""What is reached without reading: the levels beside which the scores of a character encoder stand."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lab.chars.scores import CharacterScores
from lab.text.protocol import as_lines

LN2 = math.log(2)
COLUMNS = ("objective", "measure", "score", "unigram", "uniform")


@dataclass(frozen=True)
class Chance:
    """What a text says of guessing its characters blindly, in nats a character and shares of them.

    uniform          ln V: all ids of the vocabulary alike, where a fresh model starts
    unigram          the entropy of the characters of the lines: who knows how often each occurs, and nothing else
    unigram_end      the same, with the end of each line as a character: that of predicting the next one
    commonest, share the most frequent character, and how often it is right to say it
    """

    uniform: float
    unigram: float
    unigram_end: float
    commonest: str
    share: float


def chance_levels(tokenizer, lines: Sequence[str]) -> Chance:
    """The levels of these lines: of the training text, what a model can know, of held-out text, what it can reach.

    Raises ValueError for lines without a character.

    >>> from lab.text import CharTokenizer
    >>> levels = chance_levels(CharTokenizer.train(["ab"]), ["aab", "a"])
    >>> levels.commonest, levels.share, round(levels.uniform, 3)
    ('a', 0.75, 1.946)
    """
    counts = Counter(character for line in as_lines("lines", lines) for character in line)
    if not counts:
        raise ValueError("there is no character in these lines: give lines with text")
    commonest, most = counts.most_common(1)[0]
    return Chance(
        uniform=math.log(tokenizer.vocab_size),
        unigram=_entropy(counts),
        unigram_end=_entropy(counts + Counter({"\n": len(lines)})),
        commonest=commonest,
        share=most / counts.total(),
    )


def score_table(scores: CharacterScores, chance: Chance) -> list[dict]:
    """One row a figure, for a data frame: what was measured (`score`), and beside it what chance reaches.

    `unigram` is what who knows the frequencies of the characters reaches without reading the text: the entropy, the
    share of the commonest, of whole texts nothing; of what was taken out nothing comes back from who always says that
    nothing was. `uniform` is what a fresh model reaches that holds all ids for equally likely.
    """
    rows = [
        ("mlm", "accuracy at <mask>", scores.mlm.accuracy, chance.share, 1 / math.exp(chance.uniform)),
        ("mlm", "nats at <mask>", scores.mlm.mean_nats, chance.unigram, chance.uniform),
        ("clm", "bits a character", scores.clm.bits_per_char, chance.unigram_end / LN2, chance.uniform / LN2),
        ("reconstruction", "lines exactly", scores.reconstruction.share, 0.0, 0.0),
    ]
    if scores.bottleneck is not None:
        rows.append(("bottleneck", "chunks exactly", scores.bottleneck.share, 0.0, 0.0))
    for kind in scores.restoration:
        rows.append(("restoration", f"F1 of {kind.characters!r}", kind.f1, 0.0, None))
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _entropy(counts: Counter) -> float:
    total = counts.total()
    return -sum(n / total * math.log(n / total) for n in counts.values())
