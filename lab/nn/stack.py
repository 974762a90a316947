"""Tokens and places into vectors, and vectors through a stack of layers: the two halves of every transformer here.

Letters: B rows, T tokens, S tokens of a memory, C channels.
"""

import torch
from torch import Tensor, nn

from lab.nn.attention import MultiHeadAttention, settle_mask
from lab.nn.blocks import DecoderLayer, EncoderLayer, initialise, make_norm
from lab.nn.cache import KeyValueCache
from lab.nn.config import TransformerConfig
from lab.nn.latent import LatentAttention
from lab.nn.positions import LearnedPositions, RotaryPositions, SinusoidalPositions


def settle_positions(ids: Tensor, positions: Tensor | None, past: int, config: TransformerConfig) -> Tensor:
    """The positions of ids `(B, T)`: those given, `(T,)` or `(B, T)`, else the places after `past` earlier tokens.

    Raises ValueError when the tokens do not fit in the context, or a position is not among those there are.
    """
    if ids.dim() != 2 or ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"ids must be whole numbers (B, T), got {ids.dtype} {tuple(ids.shape)}")
    B, T = ids.shape
    if past + T > config.context:
        raise ValueError(
            f"{past + T} tokens do not fit in a context of {config.context}: cut the text, or read it in windows"
        )
    if positions is None:
        return torch.arange(past, past + T, device=ids.device)
    if positions.shape not in ((T,), (B, T), (1, T)) or positions.is_floating_point():
        raise ValueError(
            f"positions must be whole numbers (T,) or (B, T) for ids {(B, T)}, got {positions.dtype} "
            f"{tuple(positions.shape)}"
        )
    if T and not 0 <= int(positions.min()) <= int(positions.max()) < config.places:
        raise ValueError(
            f"position {int(positions.min())} to {int(positions.max())}, but there are only {config.places}: "
            "num_positions says how many (else context does)"
        )
    return positions


class TokenEmbedding(nn.Module):
    """A vector for each token; with learned or sinusoidal positions, plus a vector for its place."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.width)
        kinds = {"learned": LearnedPositions, "sinusoidal": SinusoidalPositions}
        kind = kinds.get(config.positions)
        self.place = kind(config.width, config.places) if kind else None
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """ids `(B, T)`, positions `(T,)` or `(B, T)` -> `(B, T, C)`."""
        x = self.token(ids)
        return self.dropout(x if self.place is None else x + self.place(positions))


class Stack(nn.Module):
    """Layers one after the other, with what they share settled once: the mask and the rotation.

    `causal`: each token sees itself and what came before it, unless a mask says otherwise; `reads_memory`: the
    layers also attend to a memory. Encoders are neither.
    """

    def __init__(self, config: TransformerConfig, *, causal: bool, reads_memory: bool = False):
        super().__init__()
        c = self.config = config
        self.reads_memory = reads_memory
        attention = LatentAttention if c.latent_width else MultiHeadAttention
        self.cache_shapes = attention.cache_shapes(c)
        turned = c.head_width // 2 if c.latent_width else c.head_width
        self.rotary = RotaryPositions(turned, c.places, c.rotary_base) if c.positions == "rotary" else None
        self.blocks = nn.ModuleList(
            DecoderLayer(c, reads_memory) if causal else EncoderLayer(c) for _ in range(c.num_layers)
        )
        self.norm = make_norm(c) if c.norm_place == "pre" else nn.Identity()  # post-norm ends in one already
        for layer in (layer for block in self.blocks for layer in block.children()):
            initialise(layer)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        *,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """`x` `(B, T, C)` at `positions` `(T,)` or `(B, T)` -> `(B, T, C)`.

        `mask` bool, broadcastable to `(B, 1, T, S)` with S counting the tokens in the cache too; `memory_mask`
        likewise for the tokens of the memory `(B, S, C)`, which must be there if the layers read one.
        """
        shared = self._settle(x, positions, mask, cache, memory, memory_mask)
        caches = cache.layers if cache is not None else [None] * len(self.blocks)
        for block, layer_cache in zip(self.blocks, caches, strict=True):
            x = block(x, **shared) if layer_cache is None else block(x, cache=layer_cache, **shared)
        return self.norm(x)

    def attention_maps(self, x: Tensor, positions: Tensor, *, mask: Tensor | None = None) -> list[Tensor]:
        """The self-attention weights `(B, H, T, T)` of each layer, on the way of `x` through the stack."""
        shared, maps = self._settle(x, positions, mask), []
        for block in self.blocks:
            maps.append(block.weights(x, **shared))
            x = block(x, **shared)
        return maps

    def _settle(self, x, positions, mask, cache=None, memory=None, memory_mask=None) -> dict:
        """What every layer is given, by name."""
        B, T, _ = x.shape
        past = cache.length if cache is not None else 0
        shared = {
            "mask": None if mask is None else settle_mask(mask, B, T, past + T),
            "rotation": None if self.rotary is None else self.rotary(positions),
        }
        if self.reads_memory:
            if memory is None or memory.shape[0] != B or memory.shape[2] != self.config.width:
                given = None if memory is None else tuple(memory.shape)
                raise ValueError(f"expected a memory (B, S, C) = ({B}, S, {self.config.width}), got {given}")
            shared["memory"] = memory
            shared["memory_mask"] = (
                None if memory_mask is None else settle_mask(memory_mask, B, T, memory.shape[1])
            )
        return shared
