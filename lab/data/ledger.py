"""What became of each token: how often it was an input, how often a target, and what was padding."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from lab.data.policies import POLICIES


@dataclass(frozen=True)
class Ledger:
    """The account of a corpus of N tokens, cut into `rows` rows of `row_length` slots.

    inputs   int64 `(N,)`: how often each token, in the order of the corpus, is read
    targets  int64 `(N,)`: how often each token is to be predicted

    Slots that hold no token are padding.
    Printed, it is a table; `pandas.DataFrame({ledger.name: ledger.as_table(), ...})` sets several side by side.

    >>> from lab.data import LineWindows
    >>> ledger = LineWindows([[2, 7, 8, 3]], context=2, policy="slide").ledger()
    >>> ledger.inputs.tolist(), ledger.targets.tolist(), ledger.padding
    ([2, 2, 1, 0], [0, 2, 2, 1], 1)
    """

    name: str
    rows: int
    row_length: int
    inputs: np.ndarray
    targets: np.ndarray

    @property
    def slots(self) -> int:
        """All places of all rows: each holds one token or padding."""
        return self.rows * self.row_length

    @property
    def padding(self) -> int:
        """The slots that hold no token."""
        return self.slots - int(self.inputs.sum())

    @property
    def dropped(self) -> np.ndarray:
        """bool `(N,)`: the tokens that are neither read nor predicted."""
        return (self.inputs == 0) & (self.targets == 0)

    def as_table(self) -> dict[str, int | float]:
        """The totals by name."""
        used = self.inputs[self.inputs > 0]
        return {
            "tokens": len(self.inputs),
            "rows": self.rows,
            "slots": self.slots,
            "inputs": int(self.inputs.sum()),
            "targets": int(self.targets.sum()),
            "padding": self.padding,
            "padding share": self.padding / self.slots,
            "dropped tokens": int(self.dropped.sum()),
            "least uses as input": int(used.min()) if len(used) else 0,
            "most uses as input": int(used.max()) if len(used) else 0,
        }

    def __str__(self) -> str:
        lines = [
            f"  {name:20}{value:>16.2%}" if isinstance(value, float) else f"  {name:20}{value:>16,}"
            for name, value in self.as_table().items()
        ]
        return "\n".join([f"{self.name}, rows of {self.row_length}", *lines])

    @classmethod
    def of_windows(cls, policy: str, bounds: np.ndarray, context: int, stride: int) -> Self:
        """The ledger of windows over the stretches `bounds[i] : bounds[i + 1]`, without making the windows."""
        lengths = np.diff(bounds)
        first, last = (np.broadcast_to(x, lengths.shape) for x in POLICIES[policy](lengths - 1, context))
        count = (last - first) // stride + 1
        last = first + (count - 1) * stride
        # A token at place p is in the windows that start from p - context + 1 to p.
        place = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
        first_of, count_of = np.repeat(first, lengths), np.repeat(count, lengths)
        newest = np.minimum(count_of - 1, (place - first_of) // stride)
        oldest = np.maximum(0, -((first_of + context - 1 - place) // stride))
        inputs = np.maximum(0, newest - oldest + 1)
        inputs[bounds[1:] - 1] = 0  # the last id of a stretch is a target only
        targets = np.roll(inputs, 1)  # each input has the token after it as its target
        return cls(policy, int(count.sum()), context, inputs, targets)
