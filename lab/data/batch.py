"""The `Batch` that every language model here eats."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

IGNORE = -100  # a target with nothing to predict; the value that torch's cross-entropy leaves out


@dataclass(frozen=True)
class Batch:
    """`B` rows of `T` tokens, what should be predicted at each, and the facts that a model makes its mask of.

    ids           int64 `(B, T)`: what the model reads
    targets       int64 `(B, T)`: the right answer at each position; `IGNORE` (-100) where there is none
    document_ids  int64 `(B, T)`: which tokens belong together, -1 is padding; `None` = each row is one document
    positions     int64 `(B, T)`: the position of each token; `None` = 0 .. T-1
    mask          bool, broadcastable to `(B, 1, T, T)`, `True` = may attend: somebody's own, used as it is

    >>> Batch(torch.tensor([[2, 7, 9]]), torch.tensor([[7, 9, IGNORE]])).num_targets
    2
    """

    ids: Tensor
    targets: Tensor
    document_ids: Tensor | None = None
    positions: Tensor | None = None
    mask: Tensor | None = None

    def __post_init__(self):
        if self.ids.shape != self.targets.shape or self.ids.dim() != 2:
            raise ValueError(f"ids and targets must be (B, T), got {self.ids.shape}, {self.targets.shape}")

    @property
    def num_targets(self) -> int:
        """How many tokens this batch asks for."""
        return int((self.targets != IGNORE).sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def rows(self, rows: slice) -> "Batch":
        """The batch of these rows; a mask `(T, T)` or `(1, 1, T, T)` is every row's, so it is kept whole."""
        own_masks = self.mask is not None and self.mask.dim() == 4 and len(self.mask) == len(self.ids)
        cut = replace(self, mask=None)._each(lambda x: x[rows])
        return replace(cut, mask=self.mask[rows] if own_masks else self.mask)

    def _each(self, change) -> "Batch":
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(x) for name, x in given.items() if x is not None})
