"""Cutting a stream of token ids into rows that a model can read."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from lab.batches import Batch


def join_lines(encoded_lines: Iterable[list[int]]) -> torch.Tensor:
    """All lines of ids one after another: int64 `(N,)`.

    >>> join_lines([[2, 7, 3], [2, 8, 9, 3]]).tolist()
    [2, 7, 3, 2, 8, 9, 3]
    """
    return torch.from_numpy(np.concatenate([np.asarray(ids, dtype=np.int64) for ids in encoded_lines]))


def random_windows(
    ids: torch.Tensor, context: int, batch_size: int, generator: torch.Generator
) -> Iterator[Batch]:
    """Batches without end: `batch_size` windows of `context` tokens, each begun at a random place.

    `ids` is int64 `(N,)`; a window's targets are the same tokens one place later, so every
    position of every row is a prediction. The same generator state gives the same batches.

    Raises ValueError when the stream is too short for one window.
    """
    if context < 1 or batch_size < 1:
        raise ValueError(f"context and batch_size must be at least 1, got {context} and {batch_size}")
    if len(ids) < context + 1:
        raise ValueError(
            f"a window of {context} tokens and its targets need {context + 1} ids, the text has {len(ids)}: "
            "use a longer text or a smaller context"
        )
    offsets = torch.arange(context + 1)
    while True:
        starts = torch.randint(len(ids) - context, (batch_size, 1), generator=generator)
        rows = ids[starts + offsets]  # (B, context + 1)
        yield Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
