"""Averaged weights: what writes and is scored is the running mean of the weights, over about the last 50 steps."""

import copy
from dataclasses import dataclass, replace

import torch

from lab.nn import DecoderOnlyTransformer
from lab.train import NextToken

FORGETS = 0.02  # the share of the mean that a step replaces


@dataclass(frozen=True)
class Averaged(NextToken):
    name = "averaged"

    def build(self, config, material):
        model = DecoderOnlyTransformer(config)
        for name, weight in list(model.named_parameters()):
            model.register_buffer(held(name), weight.detach().clone())
        return model

    @torch.no_grad()
    def keep(self, model):
        for name, weight in model.named_parameters():
            getattr(model, held(name)).lerp_(weight, FORGETS)

    def loss(self, model, batch, step):
        self.keep(model)
        return super().loss(model, batch, step)

    def outcome(self, model, material):
        return super().outcome(self.language_model(model), material)

    def language_model(self, model):
        mean = copy.deepcopy(model)
        with torch.no_grad():
            for name, weight in mean.named_parameters():
                weight.copy_(getattr(model, held(name)))
        return mean


def held(name):
    return "mean_" + name.replace(".", "_")


def idea(baseline):
    return replace(baseline, objective=Averaged(**vars(baseline.objective)))
