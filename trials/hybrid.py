"""A hybrid: recurrence low, attention high. The first block has a GRU in the place of its attention."""

from dataclasses import dataclass, replace

from torch import nn

from lab.nn import DecoderOnlyTransformer
from lab.train import NextToken


class Cells(nn.Module):
    """A GRU that takes what attention is given; of whole rows, as a trial reads them."""

    def __init__(self, width):
        super().__init__()
        self.cells, self.output = nn.GRU(width, width, batch_first=True), nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(self, x, mask=None, **given):
        return self.output(self.cells(x)[0])


@dataclass(frozen=True)
class Hybrid(NextToken):
    name = "hybrid"

    def build(self, config, material):
        model = DecoderOnlyTransformer(config)
        model.decoder.blocks[0].self_attention.attention = Cells(config.width)
        return model


def idea(baseline):
    return replace(baseline, objective=Hybrid(**vars(baseline.objective)))
