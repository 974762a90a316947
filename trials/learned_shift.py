"""Learned shares of the token before: every layer reads each channel of a token mixed with the token before's.

The share of each channel is learned, from none at the start (RWKV, Peng et al. 2023, has it at each layer too).
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from lab.nn import DecoderOnlyTransformer
from lab.train import NextToken


class Shifted(nn.Module):
    """A norm, and then a share of the token before: of whole rows, as a trial reads them."""

    def __init__(self, norm, width):
        super().__init__()
        self.norm, self.share = norm, nn.Parameter(torch.zeros(width))

    def forward(self, x):
        x = self.norm(x)
        before = torch.cat([x[:, :1], x[:, :-1]], dim=1)  # (B, T, C); the first token keeps its own
        return x + self.share * (before - x)


@dataclass(frozen=True)
class LearnedShift(NextToken):
    name = "learned-shift"

    def build(self, config, material):
        model = DecoderOnlyTransformer(config)
        for block in model.decoder.blocks:
            for layer in (block.self_attention, block.feed_forward):
                layer.norm = Shifted(layer.norm, config.width)
        return model


def idea(baseline):
    return replace(baseline, objective=LearnedShift(**vars(baseline.objective)))
