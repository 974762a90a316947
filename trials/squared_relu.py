"""Squared ReLU in place of GELU in the feed-forward layers (So et al. 2021, Primer)."""

from dataclasses import dataclass, replace

from lab.nn import DecoderOnlyTransformer
from lab.train import NextToken


@dataclass(frozen=True)
class SquaredReLU(NextToken):
    name = "squared-relu"

    def build(self, config, material):
        model = DecoderOnlyTransformer(config)
        for block in model.decoder.blocks:
            block.feed_forward.activation = lambda x: x.relu().square()
        return model


def idea(baseline):
    return replace(baseline, objective=SquaredReLU(**vars(baseline.objective)))
