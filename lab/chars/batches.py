"""Lines of characters as batches: whole lines, those of like length together, or running text in groups of lines.

Rows hold `<s>`, the characters and `</s>`; targets are the ids one place later. A line of more ids than the context is
cut into rows one after the other, of which the model is told nothing but their own text.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import torch
from torch import nn

from lab.data import IGNORE, Batch, by_length, pad_pairs
from lab.nn import evaluating
from lab.text.protocol import as_lines

BATCH = 64  # rows scored at once

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


def line_batches(model: nn.Module, tokenizer, lines: Sequence[str]) -> Iterator[Batch]:
    """Each line once, a long one in pieces, the shortest first, for scoring: `model` is in evaluation mode meanwhile.

    Raises ValueError when there are no lines.
    """
    if not as_lines("lines", lines):
        raise ValueError("no lines to score: pass at least one")
    rows = [row for ids in tokenizer.encode_lines(lines) for row in character_rows(ids, model.config.context)]
    device = next(model.parameters()).device
    with evaluating(model):
        for batch in by_length([len(ids) for ids, _ in rows], rows=BATCH):
            yield pad_pairs([rows[n] for n in batch], model.config.pad_id).to(device)


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

    Each pass over the groups is shuffled anew; the same generator state gives the same batches. The groups are all of
    one size; the rows of each stay together and in order.

    Raises ValueError when there is no group.
    """
    if not groups:
        raise ValueError("nothing to learn from: there is no line, or no running text as long as asked for")
    widths = [max(len(ids) for ids, _ in rows) for rows in groups]
    while True:
        chance = torch.rand(len(groups), generator=generator, dtype=torch.float64)
        batches = by_length(widths, size=chars // len(groups[0]), keys=chance.numpy() + widths)
        for b in torch.randperm(len(batches), generator=generator).tolist():
            yield pad_pairs([row for n in batches[b] for row in groups[n]], pad_id)


def passages(text: Sequence[str], kept: Sequence[str]) -> list[list[str]]:
    """Running text of the lines that were `kept`: what follows one another in `text`, cut where one was not.

    >>> passages(["a", "b", "c", "d"], kept=["d", "a", "b"])
    [['a', 'b'], ['d']]
    """
    kept = set(as_lines("kept", kept))
    return [list(lines) for known, lines in groupby(as_lines("text", text), kept.__contains__) if known]
