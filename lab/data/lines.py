"""Sliding windows over lines of token ids, of which nothing is stored but the ids themselves."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lab.data.batch import IGNORE, Batch
from lab.data.flat import FlatLines, check_flat, check_whole, flatten
from lab.data.ledger import Ledger
from lab.data.loader import Loader
from lab.data.policies import POLICIES

POSITIONS = ("window", "line")
SLOTS_AT_ONCE = 1 << 17  # a loader makes as many batches in one go as have so many slots: 2 MiB


class LineWindows(Dataset):
    """Pairs `(x, y)`, each int64 `(context,)`: `y` holds the token that follows each token of `x`.

    `encoded_lines` are lists of ids `<s> t1 ... tn </s>`, or `FlatLines`, which are kept as they are (an `np.memmap`,
    say: unsigned ids are not read until they are asked for). `policy` names where the windows begin, see
    `lab.data.policies`. Where a window reaches beyond its line, `x` is `pad_id` and `y` is -100: so an input
    is real exactly where its target is not -100. `stride`, the step from one window to the next, is for the
    policy "continuous" alone.

    Stored are the ids once, in the smallest integer type that holds them, and 16 bytes a line.

    >>> windows = LineWindows([[2, 7, 8, 3]], context=4, policy="slide", pad_id=0)
    >>> [x.tolist() for x, y in windows]
    [[0, 0, 0, 2], [0, 0, 2, 7], [0, 2, 7, 8]]
    >>> windows[1][1].tolist()
    [-100, -100, 7, 8]

    Raises ValueError for a context or stride below 1, an unknown policy, a stride with another policy, a
    line of fewer than two ids, ids that are not whole numbers from 0 up.

    Shapes: B windows, T = context, N tokens in all.
    """

    def __init__(
        self,
        encoded_lines: Iterable[Sequence[int]] | FlatLines,
        context: int,
        policy: str,
        pad_id: int = 0,
        stride: int = 1,
    ):
        check_whole(1, context=context, stride=stride)
        if policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r}: use one of {list(POLICIES)}")
        if stride != 1 and policy != "continuous":
            raise ValueError(f"policy {policy!r} has stride 1, got {stride}: only 'continuous' takes another")
        lines = encoded_lines if isinstance(encoded_lines, FlatLines) else flatten(encoded_lines)
        self.ids, self.offsets = check_flat(*lines)
        self.context, self.policy, self.pad_id, self.stride = context, policy, pad_id, stride
        # What windows may not leave: a line, or all lines as one.
        self._bounds = self.offsets[[0, -1]] if policy == "continuous" else self.offsets
        inputs = np.diff(self._bounds) - 1
        if policy == "continuous" and inputs[0] < context:
            raise ValueError(
                f"a window of {context} tokens and its targets need {context + 1} ids, the text has "
                f"{len(self.ids)}: use a longer text or a smaller context"
            )
        first, last = POLICIES[policy](inputs, context)
        self._windows_until = np.cumsum((last - first) // stride + 1)  # of all lines up to and with each

    def __len__(self) -> int:
        return int(self._windows_until[-1])

    @property
    def nbytes(self) -> int:
        """All that is held, in bytes: the ids once, and two numbers a line."""
        return self.ids.nbytes + self.offsets.nbytes + self._windows_until.nbytes

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One window: `x` and `y`, int64 `(T,)`. Negative indices count from the end."""
        x, y = self._pairs(np.array([index + len(self) if index < 0 else index]))
        return x[0], y[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Many windows at once, as `DataLoader` asks for them: a list of pairs, gathered together."""
        x, y = self._pairs(np.asarray(indices, dtype=np.int64))
        return list(zip(x.unbind(), y.unbind(), strict=True))

    def batch(
        self, indices: Sequence[int] | np.ndarray, positions: str = "window", isolate: bool = False
    ) -> Batch:
        """The windows at `indices` `(B,)` as one batch; `positions` and `isolate` as in `loader`."""
        indices = np.asarray(indices, dtype=np.int64)
        x, y = self._pairs(indices)
        lines = places = None
        if isolate or positions == "line":
            lines, places = self._lines_and_places(indices)
            lines = lines.masked_fill(y == IGNORE, -1) if isolate else None
        return Batch(x, y, document_ids=lines, positions=places if positions == "line" else None)

    def loader(self, batch_size: int, positions: str = "window", isolate: bool = False, **order) -> Loader:
        """Every window once, in batches; targets are -100 at padding. `order`: `shuffle` and so on, see `Loader`.

        `positions` "window" counts from the window's first place (the batch's positions are None, which says
        so); "line" tells each token its place in its line, so the model needs a context as long as the
        longest line. With `isolate` the batch's document ids are the lines, -1 in padding, so that no token reads
        padding or another line. Without it padding on the left is read as if it were text.
        """
        if positions not in POSITIONS:
            raise ValueError(f"positions are one of {POSITIONS}, got {positions!r}")
        check_whole(1, batch_size=batch_size)
        make_batch = lambda indices: self.batch(indices, positions, isolate)  # noqa: E731
        ahead = max(1, SLOTS_AT_ONCE // (batch_size * self.context))
        return Loader(make_batch, len(self), batch_size, ahead=ahead, **order)

    def ledger(self) -> Ledger:
        """How often each token is input and target, and how much of the windows is padding.

        Makes no window, but takes 16 bytes a token, and several times that on the way.
        """
        return Ledger.of_windows(self.policy, self._bounds, self.context, self.stride)

    def locate(self, index: int) -> tuple[int, int]:
        """The line in which a window's first token stands, and where in it: negative is padding before it.

        >>> LineWindows([[2, 7, 3], [2, 8, 3]], context=2, policy="slide").locate(2)
        (1, -1)
        """
        [begin], [start], _ = self._starts(np.array([index + len(self) if index < 0 else index]))
        line = int(np.searchsorted(self.offsets, begin + max(start, 0), side="right")) - 1
        return line, int(begin + start - self.offsets[line])

    def _starts(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For windows `(B,)`: where their line begins, where in it the window starts, the line's inputs."""
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"windows are from 0 to {len(self) - 1}, got {indices}")
        line = self._windows_until.searchsorted(indices, side="right")
        begin = self._bounds[line]
        inputs = self._bounds[line + 1] - begin - 1
        first, last = POLICIES[self.policy](inputs, self.context)
        last -= (last - first) % self.stride
        # Counted back from the line's last window, which saves looking up the line before it.
        return begin, last - (self._windows_until[line] - 1 - indices) * self.stride, inputs

    def _pairs(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """`x` and `y`, int64 `(B, T)`, of the windows `(B,)`."""
        T = self.context
        begin, start, inputs = self._starts(indices)
        rows = _stretches(self.ids, begin + start, T + 1)
        x, y = rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)
        left, right = _clip(-start, T), _clip(inputs - start, T)  # real slots: from left to before right
        if (left > 0).any() or (right < T).any():
            padding = _slots_before(left, T) == _slots_before(right, T)
            np.copyto(x, self.pad_id, where=padding)
            np.copyto(y, IGNORE, where=padding)
        return torch.from_numpy(x), torch.from_numpy(y)

    def _lines_and_places(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """The line of each token and its place there, int64 `(B, T)`; padding counts to the nearest input."""
        begin, start, inputs = (each[:, None] for each in self._starts(indices))
        places = begin + (start + np.arange(self.context)).clip(0, inputs - 1)
        line = self.offsets.searchsorted(places, side="right") - 1
        return torch.from_numpy(line), torch.from_numpy(places - self.offsets[line])


def _stretches(ids: np.ndarray, starts: np.ndarray, width: int) -> np.ndarray:
    """`width` ids from each start on, `(B, width)`; what lies outside `ids` is whatever."""
    if len(ids) < width:
        ids = np.concatenate((ids, np.zeros(width - len(ids), ids.dtype)))
    every = _every_stretch(ids, width)
    inside = _clip(starts, len(every) - 1)
    rows = every[inside]
    for row in np.flatnonzero(inside != starts):  # only windows over the first and the last tokens of all
        rows[row] = np.roll(rows[row], inside[row] - starts[row])
    return rows


def _slots_before(ends: np.ndarray, width: int) -> np.ndarray:
    """bool `(B, width)`: True in the slots before each end. Rows cut from one ruler, faster than to compare.

    >>> _slots_before(np.array([0, 2, 3]), width=3).astype(int).tolist()
    [[0, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    ruler = np.arange(2 * width) < width
    return _every_stretch(ruler, width)[width - ends]


def _every_stretch(array: np.ndarray, width: int) -> np.ndarray:
    """Row i is `array[i : i + width]`: a view of the same memory. Picking rows of it copies each whole."""
    return np.ndarray((len(array) - width + 1, width), array.dtype, buffer=array, strides=array.strides * 2)


def _clip(x: np.ndarray, most: int) -> np.ndarray:
    return np.minimum(np.maximum(x, 0), most)  # a third of np.clip's time for arrays as small as a batch
