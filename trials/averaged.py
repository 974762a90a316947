"""Averaged weights: what writes and is scored is the running mean of the weights, over about the last 50 steps."""

import copy
from dataclasses import dataclass, replace

import torch

from lab.nn import DecoderOnlyTransformer
from lab.train import NextToken


@dataclass(frozen=True)
class Averaged(NextToken):
    name = "averaged"

    def build(self, config, material):
        model = DecoderOnlyTransformer(config)
        model.register_buffer("mean", torch.nn.utils.parameters_to_vector(model.parameters()).detach())
        return model

    def loss(self, model, batch, step):
        with torch.no_grad():
            model.mean.lerp_(torch.nn.utils.parameters_to_vector(model.parameters()), 0.02)
        return super().loss(model, batch, step)

    def outcome(self, model, material):
        return super().outcome(self.language_model(model), material)

    def language_model(self, model):
        mean = copy.deepcopy(model)
        torch.nn.utils.vector_to_parameters(model.mean, mean.parameters())
        return mean


def idea(baseline):
    return replace(baseline, objective=Averaged(**vars(baseline.objective)))
