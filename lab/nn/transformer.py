"""A decoder-only transformer: ids in, a distribution over the next token out."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab.nn.attention import KeyValueCache
from lab.nn.blocks import DecoderBlock
from lab.nn.positions import RotaryPositions


@dataclass(frozen=True)
class TransformerConfig:
    """What a transformer is made of.

    `context` is the most tokens it reads at once; `feed_forward` the hidden width of its feed-forward layers.
    """

    vocab_size: int
    context: int = 64
    width: int = 192
    num_layers: int = 2
    num_heads: int = 4
    feed_forward: int = 768

    def __post_init__(self):
        for name, value in vars(self).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.width % self.num_heads or (self.width // self.num_heads) % 2:
            raise ValueError(
                f"width {self.width} must split into {self.num_heads} heads of an even width: "
                f"use a width that is a multiple of {2 * self.num_heads}"
            )


class DecoderOnlyTransformer(nn.Module):
    """Embedding, pre-norm blocks with rotary positions, a last norm, output weights (GPT, rotary as in RoFormer).

    >>> model = DecoderOnlyTransformer(TransformerConfig(vocab_size=10, width=8, num_heads=2, feed_forward=16))
    >>> model(torch.tensor([[2, 7, 5]])).shape
    torch.Size([1, 3, 10])

    Shapes: B rows, T tokens, C channels, V the vocabulary.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        c = config
        self.embedding = nn.Embedding(c.vocab_size, c.width)
        self.positions = RotaryPositions(c.width // c.num_heads, c.context)
        self.blocks = nn.ModuleList(
            DecoderBlock(c.width, c.num_heads, c.feed_forward) for _ in range(c.num_layers)
        )
        self.norm = nn.RMSNorm(c.width)
        self.output = nn.Linear(c.width, c.vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding.weight, std=1.0)
        for block in self.blocks:
            for matrix in (block.attention.query_key_value, block.feed_forward.expand):
                nn.init.normal_(matrix.weight, std=matrix.in_features**-0.5)
            # A block that adds nothing yet: the stream starts as the embedding alone, at any depth.
            nn.init.zeros_(block.attention.output.weight)
            nn.init.zeros_(block.feed_forward.contract.weight)
        # Zero logits are a uniform guess: the first loss is ln V.
        nn.init.zeros_(self.output.weight)

    def forward(
        self,
        ids: Tensor,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """`ids` `(B, T)` -> logits `(B, T, V)`.

        `mask` bool, broadcastable to `(B, 1, T, S)`, `True` = may attend; `None` = causal. With a `cache`
        the ids hold only what is new, S counts the cached tokens too, and the cache is updated in place.
        Raises ValueError when the tokens would not fit in the context.
        """
        past = cache.length if cache is not None else 0
        next_places = self._next_places(ids, past)
        return self._run(self.embedding(ids), next_places if positions is None else positions, mask, cache)

    def _next_places(self, ids: Tensor, past: int) -> Tensor:
        """The places `(T,)` of new tokens after `past` earlier ones, if they fit."""
        end = past + ids.shape[1]
        if end > self.config.context:
            raise ValueError(f"{end} tokens do not fit in a context of {self.config.context}")
        return torch.arange(past, end, device=ids.device)

    def _run(self, x: Tensor, positions: Tensor, mask: Tensor | None, cache: KeyValueCache | None) -> Tensor:
        """From embedded tokens `(B, T, C)` to logits `(B, T, V)`."""
        T, past = x.shape[1], cache.length if cache is not None else 0
        if mask is None and past and T > 1:
            mask = torch.ones(T, past + T, dtype=torch.bool, device=x.device).tril(past)
        rotation = self.positions.at(positions)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotation, mask, cache, layer)
        if cache is not None:
            cache.length += T
        return self.output(self.norm(x))

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache for `batch` rows, for reading a text a few tokens at a time."""
        c = self.config
        dtype = self.embedding.weight.dtype
        return KeyValueCache(
            c.num_layers, batch, c.num_heads, c.context, c.width // c.num_heads, device=device, dtype=dtype
        )

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())


class AbsolutePositionTransformer(DecoderOnlyTransformer):
    """The same model with learned absolute positions: a vector for each place is added to the embedding.

    For comparison with rotary positions: here it matters where a token stands, there only how far from which.
    `num_positions` (by default the context) may be larger, for positions that count from elsewhere.
    """

    def __init__(self, config: TransformerConfig, num_positions: int | None = None):
        super().__init__(config)
        self.place = nn.Embedding(num_positions or config.context, config.width)
        nn.init.normal_(self.place.weight, std=0.1)

    def forward(
        self,
        ids: Tensor,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """As in the base class; raises ValueError for positions beyond the last."""
        past = cache.length if cache is not None else 0
        next_places = self._next_places(ids, past)
        where = next_places if positions is None else positions
        if int(where.max()) >= self.place.num_embeddings:
            raise ValueError(f"position {int(where.max())}, but there are only {self.place.num_embeddings}")
        return self._run(self.embedding(ids) + self.place(where), torch.zeros_like(where), mask, cache)
