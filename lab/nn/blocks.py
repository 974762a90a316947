"""The layers that a transformer stacks."""

import torch.nn.functional as F
from torch import Tensor, nn

from lab.nn.attention import KeyValueCache, MultiHeadSelfAttention


class FeedForward(nn.Module):
    """Two linear maps with a GELU between them, at each position alone: `(B, T, C)` -> `(B, T, C)`."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.expand = nn.Linear(width, hidden, bias=False)
        self.contract = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(F.gelu(self.expand(x)))


class DecoderBlock(nn.Module):
    """Pre-norm: each part reads a normalised copy and adds what it found to the stream.

    Adding to an untouched stream keeps gradients alive through depth (Xiong et al. 2020).
    """

    def __init__(self, width: int, num_heads: int, feed_forward: int):
        super().__init__()
        self.attention_norm = nn.RMSNorm(width)
        self.attention = MultiHeadSelfAttention(width, num_heads)
        self.feed_forward_norm = nn.RMSNorm(width)
        self.feed_forward = FeedForward(width, feed_forward)

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotation, mask, cache, layer)
        return x + self.feed_forward(self.feed_forward_norm(x))
