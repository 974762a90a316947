"""What a model keeps of the tokens it has read, so that the next one costs one token and not the whole text."""

import math
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.machine import check_memory


@dataclass
class LayerCache:
    """The keys and values of one layer: room `(B, H, S, E)`, of which the first `length` tokens are filled.

    `memory` holds the keys and values of what cross-attention reads, made once.
    """

    keys: Tensor
    values: Tensor
    length: int = 0
    memory: tuple[Tensor, Tensor] | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new tokens' keys and values `(B, H, T, E)`; return those of all tokens so far.

        Raises ValueError when there is no room, or the rows are not those the cache was made for.
        """
        start, end = self.length, self.length + keys.shape[2]
        if end > self.keys.shape[2] or keys.shape[0] != self.keys.shape[0]:
            raise ValueError(
                f"a cache for {self.keys.shape[0]} rows of {self.keys.shape[2]} tokens, with {start} filled, "
                f"cannot take keys {tuple(keys.shape)} (B, H, T, E): make one with model.new_cache(batch)"
            )
        self.keys[:, :, start:end] = keys
        self.values[:, :, start:end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select(self, rows: Tensor) -> "LayerCache":
        """A cache of these rows, int64 `(N,)`, of which any may occur more than once."""
        kept = (self.keys, self.values, *(self.memory or ()))
        keys, values, *memory = (room.index_select(0, rows) for room in kept)
        return LayerCache(keys, values, self.length, tuple(memory) or None)

    def copy_rows(self, sources: Tensor, targets: Tensor, start: int) -> None:
        """Write what rows `sources` hold from token `start` on over what rows `targets` hold there, in place."""
        for room in (self.keys, self.values):
            filled = room[:, :, start : self.length]
            filled.index_copy_(0, targets, filled.index_select(0, sources))


class KeyValueCache:
    """The cache of a whole model: `cache.layers[i]` belongs to layer i, `cache.length` tokens are in it.

    `key_shape` and `value_shape` are (heads, channels) of what one token leaves in one layer. `cache.rows`, int64
    `(B,)`, says of each row which it was before any were selected.

    >>> cache = KeyValueCache(num_layers=2, batch=1, max_length=100, key_shape=(4, 16), value_shape=(4, 16))
    >>> cache.length, cache.bytes_per_token
    (0, 1024)
    """

    def __init__(self, num_layers, batch, max_length, key_shape, value_shape, device="cpu", dtype=None):
        numbers = num_layers * batch * max_length * (math.prod(key_shape) + math.prod(value_shape))
        what = f"a cache of {batch:,} rows of {max_length:,} tokens"
        check_memory(
            what, numbers * (dtype or torch.float32).itemsize, "take fewer rows, or a shorter context"
        )

        def room(shape: tuple[int, int]) -> Tensor:
            heads, channels = shape
            return torch.zeros(batch, heads, max_length, channels, device=device, dtype=dtype)

        self.layers = [LayerCache(room(key_shape), room(value_shape)) for _ in range(num_layers)]
        self.rows = torch.arange(batch, device=device)

    @property
    def length(self) -> int:
        """How many tokens have been read."""
        return self.layers[0].length

    @property
    def max_length(self) -> int:
        """How many tokens there is room for."""
        return self.layers[0].keys.shape[2]

    def select(self, rows: Tensor) -> "KeyValueCache":
        """A cache of these rows, int64 `(N,)`, of which any may occur more than once."""
        check_memory(
            f"a cache of {len(rows):,} rows", len(rows) * self.max_length * self.bytes_per_token, "take fewer"
        )
        chosen = copy(self)
        chosen.layers, chosen.rows = [layer.select(rows) for layer in self.layers], self.rows[rows]
        return chosen

    def copy_rows(self, sources: Tensor, targets: Tensor, start: int = 0) -> None:
        """Let rows `targets` go on where rows `sources` are; both have read the same tokens before `start`.

        int64 `(N,)` each. Cheaper than `select` where few rows change, or have long beginnings in common, as in beam
        search. What a memory left is not copied: rows of one text share it.
        """
        for layer in self.layers:
            layer.copy_rows(sources, targets, start)

    @property
    def bytes_per_token(self) -> int:
        """What one more token costs, in all layers, for one row."""
        rooms = [room for layer in self.layers for room in (layer.keys, layer.values)]
        return sum(room[0, :, 0].numel() * room.element_size() for room in rooms)
