"""The `Batch` that every model here eats."""

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORE = -100  # a target with nothing to predict; the value that torch's cross-entropy leaves out


@dataclass(frozen=True)
class Batch:
    """`B` rows of `T` tokens and what should be predicted at each.

    ids        int64 `(B, T)`: what the model reads
    targets    int64 `(B, T)`: the right answer at each position; `IGNORE` (-100) where there is none
    mask       bool, broadcastable to `(B, 1, T, T)`: `True` = may attend; `None` = causal
    positions  int64 `(B, T)`: the position of each token; `None` = 0 .. T-1

    >>> Batch(torch.tensor([[2, 7, 9]]), torch.tensor([[7, 9, IGNORE]])).num_targets
    2
    """

    ids: Tensor
    targets: Tensor
    mask: Tensor | None = None
    positions: Tensor | None = None

    def __post_init__(self):
        if self.ids.shape != self.targets.shape or self.ids.dim() != 2:
            raise ValueError(
                f"ids and targets must both be (B, T), got {tuple(self.ids.shape)} and "
                f"{tuple(self.targets.shape)}"
            )

    @property
    def num_targets(self) -> int:
        """How many tokens this batch asks for."""
        return int((self.targets != IGNORE).sum())

    def rows(self, rows: slice) -> "Batch":
        """The batch of these rows; what all rows share is kept whole."""
        B = len(self.ids)
        cut = lambda x, dims: x if x is None or x.dim() < dims or x.shape[0] != B else x[rows]  # noqa: E731
        # A mask may be one for all rows: (T, T) or (1, 1, T, T).
        return Batch(self.ids[rows], self.targets[rows], cut(self.mask, 4), cut(self.positions, 2))

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        move = lambda x: None if x is None else x.to(device, non_blocking=True)  # noqa: E731
        return Batch(move(self.ids), move(self.targets), move(self.mask), move(self.positions))
