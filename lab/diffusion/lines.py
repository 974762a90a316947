"""Lines of text for a model that sees both ends at once: it must not be told for nothing where a line ends.

An autoregressive model pays for the length of a line with its `</s>`. A model that fills in a line sees how many
places there are. So a line's length is drawn first, from the lengths of the training lines, and paid for; then `<s>`
and `</s>` are given and the tokens between them are written: P(line) = P(length) P(tokens | length).
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch

from lab.config import AtLeast, validate
from lab.data import IGNORE, Batch, by_length, pad, pad_pairs
from lab.score import scoring_windows


@dataclass(frozen=True)
class LineLengths:
    """How long lines are: `counts[n]` training lines have n tokens between `<s>` and `</s>`.

    One is added to the count of each length up to the longest, and one line is kept for all longer ones, of which each
    is half as likely as the one before. So every length can occur, and the probabilities sum to 1.
    """

    counts: tuple[Annotated[int, AtLeast(0)], ...]

    __post_init__ = validate

    @classmethod
    def of(cls, lines: Sequence[Sequence[int]]) -> "LineLengths":
        """The lengths of encoded lines, each from `<s>` to `</s>`. Raises ValueError when there are none."""
        found = Counter(len(ids) - 2 for ids in lines)
        if not found:
            raise ValueError("no lines to count: pass at least one")
        return cls(tuple(found[n] for n in range(max(found) + 1)))

    def nats(self, length: int) -> float:
        """-log P(a line has this many tokens).

        >>> lengths = LineLengths((0, 3))  # three lines, each of one token
        >>> [round(math.exp(-lengths.nats(n)), 4) for n in range(4)]
        [0.1667, 0.6667, 0.0833, 0.0417]
        """
        total = sum(self.counts) + len(self.counts) + 1
        if length < len(self.counts):
            return math.log(total / (self.counts[length] + 1))
        return math.log(total) + (length - len(self.counts) + 1) * math.log(2)

    def draw(self, generator: torch.Generator | None = None, longest: int | None = None) -> int:
        """A length, at most `longest`: by default the longest counted."""
        longest = len(self.counts) - 1 if longest is None else longest
        weights = torch.tensor([math.exp(-self.nats(n)) for n in range(longest + 1)])
        return int(torch.multinomial(weights, 1, generator=generator))


def line_windows(ids: Sequence[int], context: int) -> list[tuple[list[int], list[int]]]:
    """One line, `<s>` to `</s>`, as windows `(ids, targets)` of at most `context` tokens.

    Given, not predicted, so IGNOREd among the targets: `<s>`, `</s>`, and what an earlier window predicts. Every
    token between is predicted in exactly one window, in a longer line with half a context before it.

    >>> line_windows([2, 7, 8, 3], context=8)
    [([2, 7, 8, 3], [-100, 7, 8, -100])]

    Raises ValueError for a context below 2.
    """
    if context < 2:
        raise ValueError(f"a window needs a token given and one to predict: context {context} is below 2")
    ids, windows = list(ids), []
    targets = [IGNORE, *ids[1:-1], IGNORE]
    for start, end, first in scoring_windows(len(ids), context):
        windows.append((ids[start:end], [IGNORE] * (first - start) + targets[first:end]))
    return windows


def pad_windows(windows: Sequence[tuple[list[int], list[int]]], pad_id: int = 0) -> Batch:
    """Windows of any lengths as one batch, padded on the right; document_ids tell the padding, where there is any."""
    batch, documents = pad_pairs(windows, pad_id), pad([[0] * len(ids) for ids, _ in windows], -1)
    return replace(batch, document_ids=documents) if (documents < 0).any() else batch


def line_batches(
    lines: Sequence[Sequence[int]], context: int, tokens: int, generator: torch.Generator, pad_id: int = 0
) -> Iterator[Batch]:
    """Batches without end of about `tokens` tokens each: whole lines, those of like length together.

    Each pass over the lines is shuffled anew; the same generator state gives the same batches. Ids are the clean
    text, targets the same or IGNORE where it is given (see `line_windows`).

    Raises ValueError when nothing is to be predicted, or `tokens` is below the context.
    """
    if tokens < context:
        raise ValueError(f"a batch of {tokens} tokens may not hold one line of a context of {context}")
    windows = asking_windows(lines, context)
    if not windows:
        raise ValueError("nothing to predict: no line has a token between <s> and </s>")
    lengths = np.array([len(ids) for ids, _ in windows])
    while True:
        chance = torch.rand(len(windows), generator=generator).double().numpy()
        groups = by_length(lengths, size=tokens, keys=lengths + chance)
        for g in torch.randperm(len(groups), generator=generator).tolist():
            yield pad_windows([windows[n] for n in groups[g]], pad_id)


def asking_windows(lines: Sequence[Sequence[int]], context: int) -> list[tuple[list[int], list[int]]]:
    """The windows of all lines in which there is something to predict."""
    windows = [window for ids in lines for window in line_windows(ids, context)]
    return [window for window in windows if any(target != IGNORE for target in window[1])]
