"""Token shift: half of the channels of each token are those of the one before (as in RWKV, at the input alone)."""

from dataclasses import dataclass, replace

import torch

from lab.nn import DecoderOnlyTransformer
from lab.train import NextToken


@dataclass(frozen=True)
class TokenShift(NextToken):
    name = "token-shift"

    def build(self, config, material):
        model = DecoderOnlyTransformer(config)
        # Of whole rows: a token that decoding reads alone, with a cache, would have none before it.
        model.embedding.register_forward_hook(shift)
        return model


def shift(module, given, x):
    before = torch.cat([x[:, :1], x[:, :-1]], dim=1)  # (B, T, C); the first token keeps its own
    return torch.cat([x.chunk(2, -1)[0], before.chunk(2, -1)[1]], dim=-1)


def idea(baseline):
    return replace(baseline, objective=TokenShift(**vars(baseline.objective)))
