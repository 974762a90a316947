"""Token shift: half of the channels of each token are those of the one before (as in RWKV, at the input alone)."""

from dataclasses import dataclass, replace

import torch

from lab.nn import DecoderOnlyTransformer
from lab.train import NextToken


def shift(module, ids, x):
    """`(B, T, C)` -> `(B, T, C)`; the first token keeps its own. It reads whole rows, not a cache's single tokens."""
    own, shifted = x.chunk(2, dim=-1)
    return torch.cat([own, torch.cat([shifted[:, :1], shifted[:, :-1]], dim=1)], dim=-1)


@dataclass(frozen=True)
class TokenShift(NextToken):
    name = "token-shift"

    def build(self, config, material):
        model = DecoderOnlyTransformer(config)
        model.embedding.register_forward_hook(shift)
        return model


def idea(baseline):
    return replace(baseline, objective=TokenShift())
