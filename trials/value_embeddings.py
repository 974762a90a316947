"""Value embeddings: each layer's values get a vector of the token itself, from a table of their own.

As in the record runs of nanoGPT since 2024; here one table a layer, which starts at zero.
"""

from dataclasses import dataclass, replace

from torch import nn

from lab.nn import DecoderOnlyTransformer
from lab.train import NextToken


class WithValues(DecoderOnlyTransformer):
    """Whose layers' linear maps to values are told the ids: of whole rows, as a trial reads them."""

    def __init__(self, config):
        super().__init__(config)
        width = config.key_value_heads * config.head_width
        self.values = nn.ModuleList(nn.Embedding(config.vocab_size, width) for _ in self.decoder.blocks)
        for table, block in zip(self.values, self.decoder.blocks, strict=True):
            nn.init.zeros_(table.weight)
            block.self_attention.attention.value.register_forward_hook(self.adding(table))

    def adding(self, table):
        return lambda module, given, v: v + table(self.ids).to(v.dtype)

    def forward(self, ids, **facts):
        self.ids = ids
        return super().forward(ids, **facts)


@dataclass(frozen=True)
class ValueEmbeddings(NextToken):
    name = "value-embeddings"

    def build(self, config, material):
        return WithValues(config)


def idea(baseline):
    return replace(baseline, objective=ValueEmbeddings(**vars(baseline.objective)))
