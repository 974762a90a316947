"""A mask of one's own: each token sees itself and every `gap`-th of the `reach` tokens before, also when it writes.

The dilated sliding window of Longformer (Beltagy et al. 2020, figure 2c), causal.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from lab.nn import DecoderOnlyTransformer
from lab.train import NextToken


def dilated(T, S, gap, reach):
    """Bool `(T, S)` for the last T of S tokens; `True` = may attend."""
    distance = torch.arange(S - T, S)[:, None] - torch.arange(S)
    return (distance >= 0) & (distance <= reach) & (distance % gap == 0)


class Dilated(DecoderOnlyTransformer):
    def forward(self, ids, *, mask=None, cache=None, **facts):
        if mask is None:
            T, past = ids.shape[1], cache.length if cache is not None else 0
            mask = dilated(T, past + T, self.gap, self.reach).to(ids.device)
        return super().forward(ids, mask=mask, cache=cache, **facts)


@dataclass(frozen=True)
class DilatedAttention(NextToken):
    name: ClassVar[str] = "dilated"
    gap: int = 2
    reach: int = 8

    def build(self, config, material):
        model = Dilated(config)
        model.gap, model.reach = self.gap, self.reach
        return model
