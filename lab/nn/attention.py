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


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k' / sqrt(E)) v, the weighted average of the values that `mask` allows to be looked at.

    q `(B, H, T, E)`, k and v `(B, H, S, E)` -> `(B, H, T, E)`. `mask` is bool, broadcastable to
    `(B, 1, T, S)`, `True` = may attend; `None` = causal, for T = S or T = 1. A query that may attend
    nothing gets zeros, and gradients of zero: some of torch's kernels give that by themselves, others
    give NaN, so such rows are opened before the softmax and emptied after it.

    Raises ValueError for a mask that is not bool or does not broadcast.
    """
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)
    mask = _with_four_dims(mask, (q.shape[0], 1, q.shape[2], k.shape[2]))
    sees_something = mask.any(dim=-1, keepdim=True)  # (..., T, 1)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask | ~sees_something)
    return mixed.masked_fill(~sees_something, 0.0)


def _with_four_dims(mask: Tensor, wanted: tuple[int, int, int, int]) -> Tensor:
    if mask.dtype != torch.bool:
        raise ValueError(
            f"a mask must be bool, True = may attend; got {mask.dtype} (lab.masks converts other conventions)"
        )
    shape = (1,) * (4 - mask.dim()) + tuple(mask.shape)
    if len(shape) > 4 or any(m not in (1, w) for m, w in zip(shape, wanted, strict=True)):
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} does not broadcast to (B, 1, T, S) = {wanted}: "
            "B rows, one mask for all heads, T queries, S keys; a mask (B, T, S) lacks the heads' place, "
            "mask[:, None] gives it one"
        )
    return mask.view(shape)


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
        mixed = attend(q, k, v, mask)
        return self.output(mixed.transpose(1, 2).reshape(B, T, C))
