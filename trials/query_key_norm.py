"""Query-key normalisation: queries and keys of length one before they are turned, with a learned sharpness a head."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from lab.nn import DecoderOnlyTransformer
from lab.nn.attention import MultiHeadAttention
from lab.train import NextToken


class NormedAttention(MultiHeadAttention):
    def __init__(self, config):
        super().__init__(config)
        self.sharpness = nn.Parameter(torch.full((config.num_heads, 1, 1), config.head_width**0.5))

    def project(self, x, memory=None, turn=None, cache=None):
        q, k, v = super().project(x, memory, turn, cache)  # turning changes no length
        q = F.normalize(q.float(), dim=-1) * self.sharpness * self.head_width**0.5
        return q.to(v.dtype), F.normalize(k.float(), dim=-1).to(v.dtype), v


@dataclass(frozen=True)
class QueryKeyNorm(NextToken):
    name = "query-key-norm"

    def build(self, config, material):
        model = DecoderOnlyTransformer(config)
        for block in model.decoder.blocks:
            attention = NormedAttention(config)
            attention.load_state_dict(block.self_attention.attention.state_dict(), strict=False)
            block.self_attention.attention = attention
        return model


def idea(baseline):
    return replace(baseline, objective=QueryKeyNorm(**vars(baseline.objective)))
