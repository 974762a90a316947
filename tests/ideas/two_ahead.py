"""An objective of one's own: predict the token after the next one as well, by a second output over the same states."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import nn

from lab.data import IGNORE
from lab.nn import DecoderOnlyTransformer
from lab.train import Loss, NextToken


class TwoOutputs(DecoderOnlyTransformer):
    def __init__(self, config):
        super().__init__(config)
        self.second = nn.Linear(config.width, config.vocab_size, bias=False)
        nn.init.zeros_(self.second.weight)


@dataclass(frozen=True)
class TwoAhead(NextToken):
    """`weight` is what a nat of the second prediction counts beside one of the first."""

    name: ClassVar[str] = "two-ahead"
    weight: float = 0.3

    def build(self, config, material):
        return TwoOutputs(config)

    def loss(self, model, batch, step):
        states = []
        hook = model.output.register_forward_pre_hook(lambda module, args: states.append(args[0]))
        first = super().loss(model, batch, step)
        hook.remove()
        after = F.pad(batch.targets[:, 1:], (0, 1), value=IGNORE)
        logits = model.second(states[0])
        second = F.cross_entropy(logits.flatten(0, 1), after.flatten(), ignore_index=IGNORE, reduction="sum")
        return Loss(first.nats + self.weight * second, first.count, {"second": second.item() / first.count})
