"""An endless stream of windows at random places, for training by steps."""

from collections.abc import Iterator

import numpy as np
import torch

from lab.data.batch import Batch
from lab.data.flat import FlatLines, check_whole
from lab.data.lines import LineWindows
from lab.machine import check_memory


def random_windows(
    ids: torch.Tensor,
    context: int,
    batch_size: int,
    generator: torch.Generator,
    starts: torch.Tensor | None = None,
) -> Iterator[Batch]:
    """Batches without end: `batch_size` windows of `context` tokens, each begun at a random place.

    `ids` is int64 `(N,)`; a window's targets are the same tokens one place later, so every
    position of every row is a prediction. The same generator state gives the same batches.

    With `starts`, the places where lines start, in order, a window whose place is among the first `context` tokens of
    a line begins with that line: lines that are scored alone are then trained as they are scored. What is further on in
    a longer line is trained from where it is.

    Raises ValueError when the stream is too short for one window, or the first line does not start at 0.
    """
    check_whole(1, batch_size=batch_size)
    what = f"a batch of {batch_size:,} windows of {context:,} tokens"
    if starts is not None and starts[:1].tolist() != [0]:
        raise ValueError(f"starts are the places of lines, the first at 0, got {starts[:3].tolist()}...")
    check_memory(what, 16 * batch_size * context, "take a smaller batch")
    windows = LineWindows(FlatLines(ids.numpy(), np.array([0, len(ids)])), context, "continuous")
    while True:
        places = torch.randint(len(windows), (batch_size, 1), generator=generator).flatten()
        if starts is not None:
            before = starts[torch.searchsorted(starts, places, right=True) - 1]
            places = torch.where(places - before < context, before, places)
        yield windows.batch(places)
