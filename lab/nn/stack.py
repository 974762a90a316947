"""Tokens and places into vectors, and vectors through a stack of layers: the two halves of every transformer here.

Letters: B rows, T tokens, S tokens of a memory, C channels.
"""

from functools import partial

import torch
from torch import Tensor, nn

from lab.data import masks
from lab.machine import check_memory
from lab.nn.attention import last_queries, settle_mask
from lab.nn.blocks import Block, initialise, make_norm
from lab.nn.cache import KeyValueCache
from lab.nn.config import TransformerConfig
from lab.nn.positions import Positions, make_positions

WHOLE = (torch.int64, torch.int32)  # what a table can be asked for


def check_ids(ids: Tensor, positions: Tensor | None) -> None:
    """Raises ValueError unless ids are int64 `(B, T)`, one at least, and positions, if given, `(T,)` or `(B, T)`.

    Whether the ids are known is left to `unknown_id`: to look at each would take time at every step.
    """
    if not isinstance(ids, Tensor) or ids.dtype not in WHOLE or ids.dim() != 2 or not ids.numel():
        given = f"{ids.dtype} {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise ValueError(f"ids must be an int64 tensor (B, T), one row of one id at least; got {given}")
    if positions is None:
        return
    B, T = ids.shape
    if positions.shape not in ((T,), (B, T), (1, T)) or positions.dtype not in WHOLE:
        given = f"{positions.dtype} {tuple(positions.shape)}"
        raise ValueError(f"positions must be int64 (T,) or (B, T) for ids {(B, T)}, got {given}")


def unknown_id(ids: Tensor, vocab_size: int) -> ValueError:
    """The error for ids that a table of so many rows does not have."""
    unknown = ids[(ids < 0) | (ids >= vocab_size)][0]
    return ValueError(f"unknown token id {int(unknown)}: ids are from 0 to {vocab_size - 1}")


def settle_positions(ids: Tensor, positions: Tensor | None, past: int, config: TransformerConfig) -> Tensor:
    """The positions of ids `(B, T)`: those given, `(T,)` or `(B, T)`, else the places after `past` earlier tokens.

    Raises ValueError when the tokens do not fit in the context, or a position is not among those there are.
    """
    check_ids(ids, positions)
    T = ids.shape[1]
    if past + T > config.context:
        needed = f"{past + T} tokens do not fit in a context of {config.context}"
        raise ValueError(f"{needed}: cut the text, or read it in windows")
    if positions is None:
        return torch.arange(past, past + T, device=ids.device)
    if T and not 0 <= int(positions.min()) <= int(positions.max()) < config.places:
        raise ValueError(f"positions must be below {config.places} (num_positions), got {positions.tolist()}")
    return positions


def check_size(config: TransformerConfig) -> None:
    """Raises ValueError where a transformer of these sizes, which has at least so many weights, would not fit."""
    c = config
    numbers = c.vocab_size * c.width + c.places * c.head_width * (c.positions != "none")
    numbers += 2 * c.num_layers * c.width * (c.width + c.feed_forward)
    sizes = f"{c.num_layers:,} layers of width {c.width:,} for {c.vocab_size:,} tokens in {c.places:,} places"
    check_memory(sizes, 4 * numbers, "make the model smaller")


class TokenEmbedding(nn.Module):
    """A vector for each token, to which positions may add something."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        check_size(config)
        self.token = nn.Embedding(config.vocab_size, config.width)
        self.place = make_positions(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """ids `(B, T)`, positions `(T,)` or `(B, T)` -> `(B, T, C)`. Raises ValueError for an unknown id, on a CPU."""
        try:
            x = self.token(ids)
        except IndexError:
            raise unknown_id(ids, self.token.num_embeddings) from None
        return self.dropout(self.place.embed(x, positions))


class Stack(nn.Module):
    """Blocks one after the other, with what they share settled once: the mask and the positions.

    `causal`: each token sees itself and what came before it, unless a mask says otherwise; `reads_memory`: the
    blocks also attend to a memory. `positions` are those of the embedding, if that has any.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        causal: bool,
        reads_memory=False,
        positions: Positions | None = None,
    ):
        super().__init__()
        self.config, self.causal, self.reads_memory = config, causal, reads_memory
        check_size(config)
        if positions is None:
            self.positions = make_positions(config)
        else:  # no part of this module: they are stored with the embedding
            self.__dict__["positions"] = positions
        self.blocks = nn.ModuleList(Block(config, reads_memory) for _ in range(config.num_layers))
        # post-norm ends in one already
        self.norm = make_norm(config) if config.norm_place == "pre" else nn.Identity()
        for layer in (layer for block in self.blocks for layer in block.children()):
            initialise(layer)

    def forward(self, x: Tensor, positions: Tensor, *, cache: KeyValueCache | None = None, **facts) -> Tensor:
        """`x` `(B, T, C)` at `positions` `(T,)` or `(B, T)` -> `(B, T, C)`.

        `facts` are mask, document_ids, memory and memory_mask. `mask` bool, broadcastable to `(B, 1, T, S)` with S
        counting the tokens in the cache too; without one, `document_ids` `(B, T)` say who may attend: only tokens of
        the same document, -1 is padding. `memory_mask` is as `mask`, for the tokens of the memory `(B, S, C)`, which
        must be there if the blocks read one.
        """
        shared = self._settle(x, positions, cache.length if cache is not None else 0, **facts)
        return self.norm(self._through(x, shared, cache))

    def attention_maps(self, x: Tensor, positions: Tensor, **facts) -> list[Tensor]:
        """The attention weights `(B, H, T, T)` of each block, on the way of `x` through; `facts` as in `forward`."""
        return self.maps(x, positions, **facts)[0]

    def maps(self, x: Tensor, positions: Tensor, **facts) -> tuple[list[Tensor], list[Tensor]]:
        """Those, and of blocks that read a memory the weights `(B, H, T, S)` over it."""
        return self._maps(x, self._settle(x, positions, **facts))

    def _through(self, x: Tensor, shared: dict, cache: KeyValueCache | None = None) -> Tensor:
        """`x` after all blocks; in training a share of them, drawn by torch's global generator, is passed over."""
        passed_over = self.config.layer_dropout if self.training else 0.0
        caches = cache.layers if cache is not None else [None] * len(self.blocks)
        for block, layer_cache in zip(self.blocks, caches, strict=True):
            if not passed_over or torch.rand(()) >= passed_over:
                x = block(x, cache=layer_cache, **shared)
        return x

    def _maps(self, x: Tensor, shared: dict) -> tuple[list[Tensor], list[Tensor]]:
        own, across = [], []
        for block in self.blocks:
            for maps, weights in zip((own, across), block.weights(x, **shared), strict=False):
                maps.append(weights)
            x = block(x, **shared)
        return own, across

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache for `batch` rows."""
        c, dtype = self.config, next(self.parameters()).dtype
        shapes = self.blocks[0].self_attention.attention.cache_shapes
        return KeyValueCache(c.num_layers, batch, c.context, *shapes, device=device, dtype=dtype)

    def _settle(self, x, positions, past=0, mask=None, document_ids=None, memory=None, memory_mask=None):
        """What every block is given, by name."""
        B, T, _ = x.shape
        if past and document_ids is not None:
            raise ValueError("a row in a cache is one document: give no document_ids, or a mask (B, 1, T, S)")
        if mask is None and document_ids is not None:
            mask = masks.documents(document_ids, both_ways=not self.causal)
        # Keys in a cache stand right before the new ones.
        before = positions[..., :1] + torch.arange(-past, 0, device=positions.device)
        bias = self.positions.bias(positions, torch.cat([before, positions], dim=-1))
        if mask is None and bias is not None:
            mask = last_queries(T, past + T, x.device) if self.causal else x.new_ones(1, 1, dtype=torch.bool)
        shared = {
            "mask": None if mask is None else settle_mask(mask, B, T, past + T, bias),
            "causal": self.causal and mask is None,
            "turn": partial(self.positions.turn, tables=self.positions.tables(positions)),
        }
        if self.reads_memory:
            shared["memory"] = memory
            if memory_mask is not None:
                shared["memory_mask"] = settle_mask(memory_mask, B, T, memory.shape[1])
        return shared
