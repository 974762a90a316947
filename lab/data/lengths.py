"""Rows of unequal length: which to put together, and how to make them one tensor."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lab.data.batch import IGNORE, Batch

Row = Sequence[int] | np.ndarray | Tensor


def by_length(
    lengths: Sequence[int], *, rows: int | None = None, size: int | None = None, keys=None
) -> list[list[int]]:
    """Which rows to put into a batch together: those of like length, so that little is padding.

    A batch has `rows` rows, or (with `size`) as many as make at most `size` places, padding counted; a row longer than
    that comes alone. Shortest first, equals in the order given. `keys` `(N,)` order the rows instead of their lengths:
    `lengths + chance` with a chance in [0, 1) shuffles those of equal length, `lengths * jitter` a little more.

    >>> by_length([3, 9, 4, 3], rows=2)
    [[0, 3], [2, 1]]
    >>> by_length([3, 9, 4, 3], size=12)  # two rows of 3 and one of 4 take 3 x 4 places
    [[0, 3, 2], [1]]
    """
    order = np.argsort(lengths if keys is None else keys, kind="stable").tolist()
    if rows is not None:
        return [order[start : start + rows] for start in range(0, len(order), rows)]
    batches, batch, longest = [], [], 0
    for n in order:
        longest = max(longest, int(lengths[n]))
        if batch and longest * (len(batch) + 1) > size:
            batches.append(batch)
            batch, longest = [], int(lengths[n])
        batch.append(n)
    return [*batches, batch] if batch else batches


def pad(rows: Sequence[Row], value: int = 0) -> Tensor:
    """Rows as one tensor as wide as the longest, filled up on the right: int64 `(B, T)`.

    Rows that are tensors keep their type, and may have more dimensions: `(length, F)` each gives `(B, T, F)`.

    >>> pad([[2, 7, 3], [2, 3]]).tolist()
    [[2, 7, 3], [2, 3, 0]]
    """
    rows = [row if isinstance(row, Tensor) else torch.as_tensor(row, dtype=torch.int64) for row in rows]
    return pad_sequence(rows, batch_first=True, padding_value=value)


def pad_pairs(pairs: Sequence[tuple[Row, Row]], pad_id: int = 0) -> Batch:
    """Pairs `(ids, targets)` as one batch: `pad_id` fills up the ids, -100 the targets.

    A causal model needs no more, for no token sees what is right of it.

    >>> pad_pairs([([2, 7], [7, 3]), ([2], [3])]).targets.tolist()
    [[7, 3], [3, -100]]
    """
    ids, targets = zip(*pairs, strict=True)
    return Batch(pad(ids, pad_id), pad(targets, IGNORE))
