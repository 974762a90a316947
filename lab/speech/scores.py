"""How much of what was said was understood: character and word error rates, with the alignment they come from.

Letters: N, M items of reference and hypothesis.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein

from lab.text.protocol import as_lines

CONFIDENCE = 0.95


class Edit(NamedTuple):
    """One column of an alignment; the side where nothing stands is None."""

    kind: Literal["equal", "substitute", "delete", "insert"]
    reference: str | None
    hypothesis: str | None


@dataclass(frozen=True)
class ErrorRate:
    """Edits over the length of all references together, so it may be above 1.

    `low` and `high` hold 95 of 100 rates when the utterances are drawn anew, with replacement (the bootstrap of Bisani
    and Ney 2004): how far the rate would move with other utterances of the same kind, voices and all.
    """

    rate: float
    substitutions: int
    deletions: int
    insertions: int
    length: int
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{100 * self.rate:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f}): {self.substitutions} replaced, "
            f"{self.deletions} left out, {self.insertions} put in, of {self.length:,}"
        )


def edit_distance(reference: Sequence, hypothesis: Sequence) -> int:
    """The fewest items replaced, left out and put in that make one of the other (Levenshtein 1966).

    For reading; what is scored in earnest is counted by `rapidfuzz`.

    >>> edit_distance("kitten", "sitting"), edit_distance("the cat sat".split(), "the cat".split())
    (3, 1)
    """
    row = list(range(len(hypothesis) + 1))  # the edits that make an empty reference each beginning of it
    for i, x in enumerate(reference, start=1):
        above, row = row, [i]
        for j, y in enumerate(hypothesis, start=1):
            row.append(min(above[j - 1] + (x != y), above[j] + 1, row[-1] + 1))
    return row[-1]


def align(reference: Sequence, hypothesis: Sequence) -> list[Edit]:
    """The fewest edits, in order, with what stays equal; of several ways that of `rapidfuzz`, and so of `jiwer`.

    >>> [edit.kind for edit in align("abc", "xbcd")]
    ['substitute', 'equal', 'equal', 'insert']
    """
    edits = []
    for kind, a, a_end, b, b_end in Levenshtein.opcodes(reference, hypothesis):
        pairs = zip_longest(reference[a:a_end], hypothesis[b:b_end])
        edits += [Edit("substitute" if kind == "replace" else kind, *pair) for pair in pairs]
    return edits


def cer(
    references: Sequence[str], hypotheses: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> ErrorRate:
    """The character error rate, spaces counted.

    >>> print(cer(["to be", "or not"], ["to bee", "or nod"]))
    18.2 % (16.7 to 20.0): 1 replaced, 0 left out, 1 put in, of 11

    Raises ValueError for other numbers of references and hypotheses, for none, for an empty reference, and for a string
    where a list of them is meant.
    """
    return _rate(references, hypotheses, str, "characters", resamples, seed)


def wer(
    references: Sequence[str], hypotheses: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> ErrorRate:
    """The word error rate; words are what white space parts. Raises as `cer` does."""
    return _rate(references, hypotheses, str.split, "words", resamples, seed)


def show_alignment(reference: str, hypothesis: str, unit: Literal["word", "char"] = "word") -> str:
    """Reference over hypothesis, and under every edit its kind: s replaced, d left out, i put in.

    >>> print(show_alignment("the cat sat", "a cat sat down"))
    said   the cat sat ****
    heard    a cat sat down
             s            i

    Raises ValueError for another unit.
    """
    if unit not in ("word", "char"):
        raise ValueError(f"unit must be word or char, got {unit!r}")
    cut = {"word": str.split, "char": list}[unit]
    rows = [["said "], ["heard"], ["     "]]
    for edit in align(cut(reference), cut(hypothesis)):
        width = max(len(x) for x in (edit.reference or "", edit.hypothesis or ""))
        cells = (edit.reference or "*" * width, edit.hypothesis or "*" * width)
        mark = " " if edit.kind == "equal" else edit.kind[0]
        for row, cell in zip(rows, (*cells, mark), strict=True):
            row.append(cell.rjust(width))
    space = " " if unit == "word" else ""
    return "\n".join(f"{row[0]}  {space.join(row[1:])}".rstrip() for row in rows)


def _rate(references, hypotheses, cut: Callable, unit: str, resamples: int, seed: int) -> ErrorRate:
    references = [cut(text) for text in as_lines("references", references)]
    hypotheses = [cut(text) for text in as_lines("hypotheses", hypotheses)]
    if len(references) != len(hypotheses) or not references:
        given = f"{len(references)} references and {len(hypotheses)} hypotheses"
        raise ValueError(f"give as many hypotheses as references, at least one; got {given}")
    if empty := [n for n, reference in enumerate(references) if not reference]:
        them = f"{len(empty)}, first utterance {empty[0]}"
        raise ValueError(f"references without {unit} have no share that is wrong, leave them out: {them}")
    # As many edits as `align` gives, with less ado.
    edits = (Levenshtein.editops(*pair) for pair in zip(references, hypotheses, strict=True))
    tags = [Counter(edit.tag for edit in of_one) for of_one in edits]
    counts = np.array([[of_one[tag] for tag in ("replace", "delete", "insert")] for of_one in tags])
    errors, lengths = counts.sum(1), np.array([len(reference) for reference in references])
    low = high = 0.0
    if resamples:
        drawn = np.random.default_rng(seed).integers(len(lengths), size=(resamples, len(lengths)))
        rates = errors[drawn].sum(1) / lengths[drawn].sum(1)
        low, high = np.quantile(rates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    total = int(lengths.sum())
    return ErrorRate(int(errors.sum()) / total, *counts.sum(0).tolist(), total, low, high)
