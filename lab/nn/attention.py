"""Attention: each position takes a weighted average of the values at the positions it may look at."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.nn.positions import rotate


class KeyValueCache:
    """The keys and values of the tokens read so far, for one batch of rows and every layer.

    Room for `max_length` tokens is taken once; `length` counts those that are filled.
    Shapes: L layers, B rows, H heads, T tokens, E channels a head.
    """

    def __init__(
        self, num_layers: int, batch: int, num_heads: int, max_length: int, head_width: int, **where
    ):
        shape = (num_layers, batch, num_heads, max_length, head_width)
        self.keys, self.values = torch.zeros(shape, **where), torch.zeros(shape, **where)
        self.length = 0

    @property
    def max_length(self) -> int:
        return self.keys.shape[3]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new tokens' keys and values `(B, H, T, E)` of one layer; return all so far."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class MultiHeadSelfAttention(nn.Module):
    """Scaled dot-product self-attention in several heads (Vaswani et al. 2017, section 3.2).

    Shapes: B rows, T tokens, C = H * E channels, H heads, E channels a head.
    """

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """`x` `(B, T, C)` -> `(B, T, C)`. `mask` None means causal; else `True` = may attend."""
        B, T, C = x.shape
        q, k, v = (
            self.query_key_value(x).view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        )  # (B, H, T, E)
        q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and T > 1)
        return self.output(mixed.transpose(1, 2).reshape(B, T, C))
