"""Batches of rows, in order or shuffled, without holding the order in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch

from lab.data.batch import Batch
from lab.data.flat import check_whole

CHUNK = 1 << 16  # this many indices are made at a time


@dataclass(frozen=True)
class Loader:
    """Every row once, `batch_size` at a time: an iterable of `Batch`, anew for each `for`.

    `make_batch` turns indices `(B,)` into a `Batch`. With `shuffle` each pass draws its own order from
    `generator`, so the same generator state gives the same batches. The last batch may be smaller, unless
    `drop_last`. For batches without end, pass after pass: `chain.from_iterable(repeat(loader))`.

    With `ahead` above 1, so many batches are made in one go and then cut apart, which saves most of the time where
    making a batch is quicker than asking for it; they have no mask of their own.

    Raises ValueError for a batch size below 1, for `shuffle` without a generator, and where there would be no batch.
    """

    make_batch: Callable[[np.ndarray], Batch]
    num_rows: int
    batch_size: int
    shuffle: bool = False
    generator: torch.Generator | None = None
    drop_last: bool = False
    ahead: int = 1

    def __post_init__(self):
        check_whole(1, batch_size=self.batch_size)
        if self.shuffle and self.generator is None:
            raise ValueError("shuffle=True needs a generator: give torch.Generator().manual_seed(0)")
        if not len(self):
            raise ValueError(
                f"{self.num_rows} rows make no batch of {self.batch_size}: give more, or a smaller batch_size, or "
                "drop_last=False"
            )

    def __len__(self) -> int:
        """The number of batches in one pass."""
        return (self.num_rows + (0 if self.drop_last else self.batch_size - 1)) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        order = shuffled(self.num_rows, self.generator) if self.shuffle else in_order(self.num_rows)
        held = np.empty(0, dtype=np.int64)
        for indices in order:
            held = np.concatenate((held, indices))
            whole = len(held) - len(held) % self.batch_size
            step = self.batch_size * self.ahead
            for start in range(0, whole, step):
                made = self.make_batch(held[start : min(start + step, whole)])
                yield from self._cut(made) if self.ahead > 1 else [made]
            held = held[whole:]
        if len(held) and not self.drop_last:
            yield self.make_batch(held)

    def _cut(self, made: Batch) -> Iterator[Batch]:
        parts = (made.ids, made.targets, made.document_ids, made.positions)
        yield from map(Batch, *(repeat(None) if x is None else x.split(self.batch_size) for x in parts))


def in_order(length: int) -> Iterator[np.ndarray]:
    """0 to length - 1, in int64 arrays of at most `CHUNK`."""
    for start in range(0, length, CHUNK):
        yield np.arange(start, min(start + CHUNK, length))


def shuffled(length: int, generator: torch.Generator) -> Iterator[np.ndarray]:
    """0 to length - 1, each once, shuffled, in int64 arrays of at most `CHUNK`.

    Up to `CHUNK` numbers this is `torch.randperm`. A longer permutation is never stored, for it would
    be larger than the text: the numbers below a power of 2 are scrambled by steps that can each be undone
    (add, multiply by an odd number, fold the high bits onto the low), and those not below `length` left out.
    """
    if length <= CHUNK:
        yield torch.randperm(length, generator=generator).numpy()
        return
    bits = (length - 1).bit_length()
    keys = torch.randint(1 << 62, (6, 2), generator=generator).numpy().astype(np.uint64)
    mask, half = np.uint64((1 << bits) - 1), np.uint64((bits + 1) // 2)
    for start in range(0, 1 << bits, CHUNK):
        x = np.arange(start, start + CHUNK, dtype=np.uint64)
        for add, multiply in keys:
            x = (x + add) * (multiply | np.uint64(1)) & mask
            x ^= x >> half
        yield x[x < length].astype(np.int64)
