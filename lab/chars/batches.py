"""Lines of characters as batches: whole lines, those of like length together, or running text in groups of lines.

Rows hold `<s>`, the characters and `</s>`; targets are the ids one place later. A line of more ids than the context is
cut into rows one after the other, of which the model is told nothing but their own text.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch

from lab.data.batch import IGNORE, Batch

Row = tuple[list[int], list[int]]


def character_rows(ids: Sequence[int], context: int) -> list[Row]:
    """A line's ids as rows `(ids, targets)` of at most `context` ids, as few as it takes and about equally long.

    >>> character_rows([2, 7, 8, 9, 3], context=4)
    [([2, 7, 8], [7, 8, 9]), ([9, 3], [3, -100])]
    """
    targets = [*ids[1:], IGNORE]
    longest = math.ceil(len(ids) / math.ceil(len(ids) / context))
    starts = range(0, len(ids), longest)
    return [(list(ids[i : i + longest]), targets[i : i + longest]) for i in starts]


def pad_rows(rows: Sequence[Row], pad_id: int = 0) -> Batch:
    """Rows of any lengths as one batch, padded on the right: what is padding, `ids == pad_id` says."""
    T = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [pad_id] * (T - len(ids)) for ids, _ in rows])
    return Batch(ids, torch.tensor([targets + [IGNORE] * (T - len(targets)) for _, targets in rows]))


def in_order(rows: Iterable[Row], pad_id: int = 0, size: int = 64) -> Iterator[Batch]:
    """Each row once, in batches of `size`, the shortest first: little padding."""
    rows = sorted(rows, key=lambda row: len(row[0]))
    for i in range(0, len(rows), size):
        yield pad_rows(rows[i : i + size], pad_id)


def single_rows(lines: Iterable[Sequence[int]], context: int) -> list[list[Row]]:
    """The rows of encoded lines, each a group of its own."""
    return [[row] for ids in lines for row in character_rows(ids, context)]


def running_rows(passages: Iterable[Sequence[Sequence[int]]], context: int, size: int) -> list[list[Row]]:
    """Groups of `size` rows that follow one another in a passage of encoded lines, from each row on; see `passages`."""
    groups = []
    for passage in passages:
        rows = [row for ids in passage for row in character_rows(ids, context)]
        groups += [rows[i : i + size] for i in range(len(rows) - size + 1)]
    return groups


def character_batches(
    groups: Sequence[Sequence[Row]], chars: int, generator: torch.Generator, pad_id: int = 0
) -> Iterator[Batch]:
    """Batches without end of about `chars` ids each, padding among them: groups of rows, those of like length together.

    Each pass over the groups is shuffled anew; the same generator state gives the same batches. The rows of a group
    stay together and in order.

    Raises ValueError when there is no group.
    """
    if not groups:
        raise ValueError("nothing to learn from: there is no line, or no running text as long as asked for")
    widths = torch.tensor([max(len(ids) for ids, _ in rows) for rows in groups], dtype=torch.float64)
    while True:
        chance = torch.rand(len(groups), generator=generator, dtype=torch.float64)
        batches, batch = [], []
        for n in (widths + chance).argsort().tolist():
            if batch and (len(batch) + 1) * len(groups[n]) * int(widths[n]) > chars:
                batches.append(batch)
                batch = []
            batch.append(n)
        batches.append(batch)
        for b in torch.randperm(len(batches), generator=generator).tolist():
            yield pad_rows([row for n in batches[b] for row in groups[n]], pad_id)


def passages(text: Sequence[str], kept: Sequence[str]) -> list[list[str]]:
    """Running text of the lines that were `kept`: what follows one another in `text`, cut where one was not.

    >>> passages(["a", "b", "c", "d"], kept=["d", "a", "b"])
    [['a', 'b'], ['d']]
    """
    known, found, open_ = set(kept), [], False
    for line in text:
        if line in known:
            if not open_:
                found.append([])
            found[-1].append(line)
        open_ = line in known
    return found
