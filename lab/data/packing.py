"""Documents packed into rows of one length, so that little of a batch is padding."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lab.data.batch import IGNORE, Batch
from lab.data.flat import check_whole, flatten
from lab.data.ledger import Ledger
from lab.data.loader import Loader


@dataclass(frozen=True, eq=False)
class Packed:
    """Rows of whole documents, each int64 `(rows, row_length)`.

    ids           the tokens, and `pad_id` where a row has room left
    targets       the token that follows in the same document; -100 at its end and in padding
    document_ids  which of the given lines the token is from; -1 in padding
    positions     0, 1, 2, ... from each document's (or piece's) beginning; 0 in padding
    sources       where the token stands in all lines joined; -1 in padding
    num_tokens    how many tokens the lines had

    A model keeps the documents of a row apart by `document_ids` (see `lab.data.masks.documents`).
    """

    ids: Tensor
    targets: Tensor
    document_ids: Tensor
    positions: Tensor
    sources: Tensor
    num_tokens: int

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.ids)

    @property
    def fill(self) -> float:
        """The share of all places that hold a token: 1 when nothing is padding."""
        return (self.document_ids >= 0).double().mean().item()

    def ledger(self) -> Ledger:
        """How often each token is input and target, counted from the rows themselves."""
        inputs = self.sources[self.document_ids >= 0]
        targets = self.sources[self.targets != IGNORE] + 1
        counts = (tokens.bincount(minlength=self.num_tokens).numpy() for tokens in (inputs, targets))
        return Ledger("packed", len(self), self.ids.shape[1], *counts)

    def loader(self, batch_size: int, isolate: bool = False, **order) -> Loader:
        """Every row once, in batches with the positions of this packing; `order`: `shuffle` and so on, see `Loader`.

        With `isolate` they have its document ids too; without, a document sees those before it in its row.
        """

        def make_batch(rows: np.ndarray) -> Batch:
            rows = torch.from_numpy(rows)
            documents = self.document_ids[rows] if isolate else None
            return Batch(self.ids[rows], self.targets[rows], documents, self.positions[rows])

        return Loader(make_batch, len(self), batch_size, **order)


def pack(
    lines: Iterable[Sequence[int]],
    row_length: int,
    strategy: str = "in_order",
    pad_id: int = 0,
    generator: torch.Generator | None = None,
) -> Packed:
    """Put the documents `lines`, lists of ids `<s> t1 ... tn </s>`, into rows of `row_length`.

    `strategy` is "in_order" (a row ends where the next document does not fit) or "best_fit" (the longest
    first, each into the fullest row that has room: Ding et al. 2024, Fewer Truncations Improve Language
    Modeling, section 3). A document longer than a row is cut into pieces of `row_length` and a rest, each of
    which is read on its own, its positions from 0; the last token of a piece still predicts the next of its
    document. A `generator` shuffles the documents before, and the rows of "best_fit" after.

    >>> packed = pack([[2, 7, 8, 3], [2, 9, 3], [2, 3]], row_length=6, strategy="best_fit")
    >>> packed.ids.tolist()
    [[2, 7, 8, 3, 2, 3], [2, 9, 3, 0, 0, 0]]
    >>> packed.targets.tolist()
    [[7, 8, 3, -100, 3, -100], [9, 3, -100, -100, -100, -100]]
    >>> packed.document_ids.tolist(), packed.positions.tolist()
    ([[0, 0, 0, 0, 2, 2], [1, 1, 1, -1, -1, -1]], [[0, 1, 2, 3, 0, 1], [0, 1, 2, 0, 0, 0]])

    Raises ValueError for no or empty documents, ids that are not whole numbers from 0 up, a row length
    below 1, and an unknown strategy.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}: use one of {list(STRATEGIES)}")
    check_whole(1, row_length=row_length)
    ids, offsets = flatten(lines)
    document, begin, length = _pieces(offsets, row_length)
    if generator is not None:
        rank = torch.randperm(len(offsets) - 1, generator=generator).numpy()
        order = np.argsort(rank[document], kind="stable")  # the pieces of a document stay in their order
        document, begin, length = document[order], begin[order], length[order]
    row, column = STRATEGIES[strategy](length.tolist(), row_length)
    rows = int(row.max()) + 1
    if generator is not None and strategy == "best_fit":
        row = torch.randperm(rows, generator=generator).numpy()[row]

    # From pieces to their tokens: the place of each in its piece, in the joined lines, in the rows.
    position = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    source = np.repeat(begin, length) + position
    document = np.repeat(document, length)
    slot = np.repeat(row * row_length + column, length) + position
    is_last = source + 1 == offsets[document + 1]
    target = np.where(is_last, IGNORE, ids[np.minimum(source + 1, len(ids) - 1)].astype(np.int64))

    def spread(values: np.ndarray, padding: int) -> Tensor:
        array = np.full(rows * row_length, padding, dtype=np.int64)
        array[slot] = values
        return torch.from_numpy(array.reshape(rows, row_length))

    return Packed(
        ids=spread(ids[source], pad_id),
        targets=spread(target, IGNORE),
        document_ids=spread(document, -1),
        positions=spread(position, 0),
        sources=spread(source, -1),
        num_tokens=len(ids),
    )


def _pieces(offsets: np.ndarray, row_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The documents cut so that each piece fits a row: its document, its begin in the joined lines, its length."""
    lengths = np.diff(offsets)
    counts = -(-lengths // row_length)
    document = np.repeat(np.arange(len(lengths)), counts)
    nth = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = offsets[document] + nth * row_length
    return document, begin, np.minimum(row_length, offsets[document + 1] - begin)


def in_order(lengths: Sequence[int], row_length: int) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column of each piece, one after another, a new row where one does not fit.

    >>> in_order([4, 3, 2], row_length=6)
    (array([0, 1, 1]), array([0, 0, 3]))
    """
    places, row, used = [], 0, 0
    for length in lengths:
        if used + length > row_length:
            row, used = row + 1, 0
        places.append((row, used))
        used += length
    rows, columns = np.array(places).T
    return rows, columns


def best_fit(lengths: Sequence[int], row_length: int) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column of each piece: the longest first, into the fullest row with room for it.

    >>> best_fit([4, 3, 2], row_length=6)
    (array([0, 1, 0]), array([0, 0, 4]))
    """
    rows, columns = np.empty((2, len(lengths)), dtype=np.int64)
    with_room = [[] for _ in range(row_length)]  # with_room[n]: the rows that have room for n more
    with_room.append(list(reversed(range(len(lengths)))))  # rows not begun
    rooms = [row_length]  # the n for which there is such a row, sorted
    for piece in sorted(range(len(lengths)), key=lambda piece: -lengths[piece]):
        length = lengths[piece]
        tightest = bisect_left(rooms, length)
        room = rooms[tightest]
        row = with_room[room].pop()
        if not with_room[room]:
            del rooms[tightest]
        rows[piece], columns[piece] = row, row_length - room
        if left := room - length:
            if not with_room[left]:
                insort(rooms, left)
            with_room[left].append(row)
    return rows, columns


STRATEGIES = {"in_order": in_order, "best_fit": best_fit}
