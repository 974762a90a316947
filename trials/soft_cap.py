"""Logit soft cap: no logit beyond 15, by 15 tanh(logit / 15) (Gemma 2, 2024; there 30)."""

from dataclasses import dataclass, replace

from lab.nn import DecoderOnlyTransformer
from lab.train import NextToken


@dataclass(frozen=True)
class SoftCap(NextToken):
    name = "soft-cap"

    def build(self, config, material):
        model = DecoderOnlyTransformer(config)
        model.output.register_forward_hook(lambda module, given, logits: 15 * (logits.float() / 15).tanh())
        return model


def idea(baseline):
    return replace(baseline, objective=SoftCap(**vars(baseline.objective)))
