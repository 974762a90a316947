"""Positions of one's own: ALiBi (Press et al. 2022) takes from each score what the distance of the two tokens costs."""

from dataclasses import dataclass

import torch

from lab.nn import Positions


class Bias(Positions):
    def __init__(self, config, steepest):
        super().__init__(config)
        heads = torch.arange(1, config.num_heads + 1)
        slopes = steepest * 2.0 ** (-8 * heads / config.num_heads)
        self.register_buffer("slopes", slopes[:, None, None], persistent=False)

    def bias(self, q_positions, k_positions):
        distance = q_positions[..., :, None] - k_positions[..., None, :]  # (T, S) or (B, T, S)
        return -self.slopes * distance.abs().unsqueeze(-3)


@dataclass(frozen=True)
class ALiBi:
    """`TransformerConfig(positions=ALiBi())`; the first head's slope is half of `steepest` where there are 8."""

    steepest: float = 1.0

    def to_json(self):
        return {"steepest": self.steepest}

    def build(self, config):
        return Bias(config, self.steepest)
