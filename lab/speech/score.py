"""How much of what was said was understood: character and word error rates, with the alignment they come from.

Letters: N, M items of reference and hypothesis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Edit(NamedTuple):
    """One column of an alignment; the side where nothing stands is None."""

    kind: Literal["equal", "substitute", "delete", "insert"]
    reference: str | None
    hypothesis: str | None


class Edits(NamedTuple):
    """How many of each kind."""

    substitutions: int
    deletions: int
    insertions: int

    @property
    def distance(self) -> int:
        return sum(self)


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

    >>> edit_distance("kitten", "sitting"), edit_distance("the cat sat".split(), "the cat".split())
    (3, 1)
    """
    return _table(reference, hypothesis)[-1][-1]


def align(reference: Sequence, hypothesis: Sequence) -> list[Edit]:
    """The fewest edits, in order, with what stays equal.

    Of several ways with equally few edits it is that of `rapidfuzz` and so `jiwer`: first what the two have in common
    at the beginning and then at the end, and of the middle, read from its end, deletions before insertions that a
    replacement would not save, and replacements last.

    >>> [edit.kind for edit in align("abc", "xbcd")]
    ['substitute', 'equal', 'equal', 'insert']
    """
    ends = min(len(reference), len(hypothesis))
    head = next((i for i in range(ends) if reference[i] != hypothesis[i]), ends)
    tail = next((i for i in range(ends - head) if reference[-1 - i] != hypothesis[-1 - i]), ends - head)
    a, b = reference[head : len(reference) - tail], hypothesis[head : len(hypothesis) - tail]
    D, edits = _table(a, b), []
    i, j = len(a), len(b)
    while i or j:
        if j == 0 or (i and D[i][j] == D[i - 1][j] + 1):
            i -= 1
            edits.append(Edit("delete", a[i], None))
        elif i == 0 or D[i][j - 1] < D[i - 1][j - 1]:
            j -= 1
            edits.append(Edit("insert", None, b[j]))
        else:
            i, j = i - 1, j - 1
            edits.append(Edit("equal" if a[i] == b[j] else "substitute", a[i], b[j]))
    start = [Edit("equal", x, x) for x in reference[:head]]
    return start + edits[::-1] + [Edit("equal", x, x) for x in reference[len(reference) - tail :]]


def count(edits: Sequence[Edit]) -> Edits:
    """How many edits of each kind an alignment has."""
    kinds = [edit.kind for edit in edits]
    return Edits(*(kinds.count(kind) for kind in ("substitute", "delete", "insert")))


def cer(
    references: Sequence[str], hypotheses: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> ErrorRate:
    """The character error rate, spaces counted.

    >>> print(cer(["to be", "or not"], ["to bee", "or nod"]))
    18.2 % (16.7 to 20.0): 1 replaced, 0 left out, 1 put in, of 11

    Raises ValueError for other numbers of references and hypotheses, for none, and for an empty reference.
    """
    return _rate(list(references), list(hypotheses), "characters", resamples, seed)


def wer(
    references: Sequence[str], hypotheses: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> ErrorRate:
    """The word error rate; words are what white space parts. Raises as `cer` does."""
    references, hypotheses = ([text.split() for text in texts] for texts in (references, hypotheses))
    return _rate(references, hypotheses, "words", resamples, seed)


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
    cut = str.split if unit == "word" else list
    rows = [["said "], ["heard"], ["     "]]
    for edit in align(cut(reference), cut(hypothesis)):
        width = max(len(x) for x in (edit.reference or "", edit.hypothesis or ""))
        cells = (edit.reference or "*" * width, edit.hypothesis or "*" * width)
        mark = " " if edit.kind == "equal" else edit.kind[0]
        for row, cell in zip(rows, (*cells, mark), strict=True):
            row.append(cell.rjust(width))
    space = " " if unit == "word" else ""
    return "\n".join(f"{row[0]}  {space.join(row[1:])}".rstrip() for row in rows)


def _rate(references: list, hypotheses: list, unit: str, resamples: int, seed: int) -> ErrorRate:
    if len(references) != len(hypotheses) or not references:
        raise ValueError(
            f"give as many hypotheses as references, at least one; got {len(references)} and {len(hypotheses)}"
        )
    if empty := [n for n, reference in enumerate(references) if not reference]:
        raise ValueError(
            f"the reference of utterance {empty[0]} has no {unit} ({len(empty)} such in all): no share of nothing can "
            "be wrong; leave these utterances out"
        )
    counts = np.array([count(align(a, b)) for a, b in zip(references, hypotheses, strict=True)])
    errors, lengths = counts.sum(1), np.array([len(reference) for reference in references])
    drawn = np.random.default_rng(seed).integers(len(lengths), size=(resamples, len(lengths)))
    rates = errors[drawn].sum(1) / lengths[drawn].sum(1)
    low, high = (
        np.quantile(rates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist() if resamples else (0.0, 0.0)
    )
    total = int(lengths.sum())
    return ErrorRate(int(errors.sum()) / total, *counts.sum(0).tolist(), total, low, high)


def _table(a: Sequence, b: Sequence) -> list[list[int]]:
    """D[i][j]: the edits that make the first j items of b of the first i of a (Wagner and Fischer 1974)."""
    D = [list(range(len(b) + 1))]
    for i, x in enumerate(a, start=1):
        above, row = D[-1], [i]
        for (diagonal, up), y in zip(pairwise(above), b, strict=True):
            row.append(min(diagonal + (x != y), up + 1, row[-1] + 1))
        D.append(row)
    return D
