"""Three transformers from the same parts: ids in, a score for every token of the vocabulary out.

Letters: B rows, T tokens, S source tokens, C channels, V the vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lab.nn.cache import KeyValueCache
from lab.nn.config import TransformerConfig
from lab.nn.model import Model
from lab.nn.stack import Stack, TokenEmbedding, settle_positions


class DecoderOnlyTransformer(Model):
    """Predicts the next token from those before it (GPT; Radford et al. 2018).

    >>> model = DecoderOnlyTransformer(TransformerConfig(vocab_size=10, width=8, num_heads=2, feed_forward=16))
    >>> model(torch.tensor([[2, 7, 5]])).shape
    torch.Size([1, 3, 10])
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.embedding = TokenEmbedding(config)
        self.decoder = Stack(config, causal=True, positions=self.embedding.place)
        self.output = make_output(config, self.embedding)

    def forward(
        self, ids: Tensor, *, mask=None, document_ids=None, positions=None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """`ids` `(B, T)` -> logits `(B, T, V)`.

        Each token attends to itself and what came before it, and where `document_ids` `(B, T)` are given only to
        its own document; -1 is padding. A `mask`, bool, broadcastable to `(B, 1, T, S)`, `True` = may attend, is used
        in place of all that. With a `cache` the ids hold only what is new, S counts the cached tokens too, and the
        cache is updated in place. Raises ValueError when the tokens would not fit in the context.
        """
        positions = settle_positions(ids, positions, cache.length if cache is not None else 0, self.config)
        x = self.embedding(ids, positions)
        return self.output(self.decoder(x, positions, mask=mask, document_ids=document_ids, cache=cache))

    def attention_maps(self, ids: Tensor, *, positions: Tensor | None = None, **facts) -> list[Tensor]:
        """The attention weights `(B, H, T, T)` of each layer while reading `ids` `(B, T)`, as `forward` does."""
        positions = settle_positions(ids, positions, 0, self.config)
        return self.decoder.attention_maps(self.embedding(ids, positions), positions, **facts)

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache for `batch` rows, for reading a text a few tokens at a time."""
        return self.decoder.new_cache(batch, device)


class EncoderOnlyTransformer(Model):
    """Says of every token what it should be, having seen those on both sides (BERT; Devlin et al. 2019)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.embedding = TokenEmbedding(config)
        self.encoder = Stack(config, causal=False, positions=self.embedding.place)
        self.output = make_output(config, self.embedding)

    def forward(self, ids: Tensor, *, mask=None, document_ids=None, positions=None) -> Tensor:
        """`ids` `(B, T)` -> logits `(B, T, V)`; arguments as in the decoder, but each token sees both ways."""
        positions = settle_positions(ids, positions, 0, self.config)
        x = self.embedding(ids, positions)
        return self.output(self.encoder(x, positions, mask=mask, document_ids=document_ids))

    def attention_maps(self, ids: Tensor, *, positions: Tensor | None = None, **facts) -> list[Tensor]:
        """The attention weights `(B, H, T, T)` of each layer while reading `ids` `(B, T)`, as `forward` does."""
        positions = settle_positions(ids, positions, 0, self.config)
        return self.encoder.attention_maps(self.embedding(ids, positions), positions, **facts)


class AttentionMaps(NamedTuple):
    """The attention weights of an encoder and a decoder, one tensor a layer.

    encoder  `(B, H, S, S)`: how much each token of the source takes of the others
    decoder  `(B, H, T, T)`: how much each token of the target takes of those before it
    cross    `(B, H, T, S)`: how much each token of the target takes of the source
    """

    encoder: list[Tensor]
    decoder: list[Tensor]
    cross: list[Tensor]


class EncoderDecoderTransformer(Model):
    """Reads a source on both sides, then writes a target one token after the other (Vaswani et al. 2017).

    >>> sizes = dict(width=8, num_heads=2, feed_forward=16)
    >>> model = EncoderDecoderTransformer(TransformerConfig(10, **sizes), TransformerConfig(20, **sizes))
    >>> model(torch.tensor([[5, 6, 7, 8]]), torch.tensor([[2, 9, 11]])).shape
    torch.Size([1, 3, 20])

    Raises ValueError when the two differ in width.
    """

    def __init__(self, source: TransformerConfig, config: TransformerConfig):
        super().__init__()
        if source.width != config.width:
            raise ValueError(f"encoder and decoder must have one width, got {source.width}, {config.width}")
        self.source_config, self.config = source, config
        self.source_embedding = TokenEmbedding(source)
        self.encoder = Stack(source, causal=False, positions=self.source_embedding.place)
        self.embedding = TokenEmbedding(config)
        self.decoder = Stack(config, causal=True, reads_memory=True, positions=self.embedding.place)
        self.output = make_output(config, self.embedding)

    def forward(self, source: Tensor, ids: Tensor, *, source_mask=None, mask=None) -> Tensor:
        """`source` `(B, S)`, `ids` `(B, T)` -> logits `(B, T, V)`.

        `source_mask` `(B, 1, 1, S)`: which source tokens may be attended to (`masks.padding`); `mask` as in the
        decoder-only model.
        """
        return self.decode(ids, self.encode(source, mask=source_mask), memory_mask=source_mask, mask=mask)

    def encode(self, source: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """`source` `(B, S)` -> memory `(B, S, C)`."""
        positions = settle_positions(source, None, 0, self.source_config)
        return self.encoder(self.source_embedding(source, positions), positions, mask=mask)

    def decode(
        self, ids: Tensor, memory: Tensor, *, positions=None, cache: KeyValueCache | None = None, **masks
    ) -> Tensor:
        """`ids` `(B, T)`, memory `(B, S, C)` -> logits `(B, T, V)`; the rest as in the decoder-only model.

        `masks` are `mask` and `memory_mask`, the source_mask of `forward`. A cache belongs to one memory: its keys and
        values are made on the first call and kept.
        """
        positions = settle_positions(ids, positions, cache.length if cache is not None else 0, self.config)
        x = self.embedding(ids, positions)
        return self.output(self.decoder(x, positions, memory=memory, cache=cache, **masks))

    def attention_maps(self, source: Tensor, ids: Tensor, *, source_mask=None, mask=None) -> AttentionMaps:
        """The attention weights of all layers while they read and write, as `forward` does."""
        places = settle_positions(source, None, 0, self.source_config)
        own = self.encoder.attention_maps(self.source_embedding(source, places), places, mask=source_mask)
        facts = {"memory": self.encode(source, mask=source_mask), "memory_mask": source_mask, "mask": mask}
        positions = settle_positions(ids, None, 0, self.config)
        return AttentionMaps(own, *self.decoder.maps(self.embedding(ids, positions), positions, **facts))

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache for `batch` rows, for decoding a few tokens at a time."""
        return self.decoder.new_cache(batch, device)


def make_output(config: TransformerConfig, embedding: TokenEmbedding) -> nn.Linear:
    """The output weights, of their own or the embedding's, and the initialisation that goes with each.

    Untied: embeddings of size 1 and output weights of 0, so that all tokens start equally likely and the first
    loss is ln V. Tied, a state is scored against its own embedding, and such embeddings would give each token
    itself as the next with a logit of C: a first loss far above ln V. So they start small, as in GPT-2.
    """
    output = nn.Linear(config.width, config.vocab_size, bias=False)
    if config.tied:
        nn.init.normal_(embedding.token.weight, std=0.02)
        output.weight = embedding.token.weight
    else:
        nn.init.normal_(embedding.token.weight, std=1.0)
        nn.init.zeros_(output.weight)
    embedding.place.initialise(config)
    return output
