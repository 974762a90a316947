"""Attention whose keys and values are all made from one short vector a token (DeepSeek-V2, section 2.1)."""

import torch
from torch import Tensor, nn

from lab.nn.attention import MultiHeadAttention, Turn
from lab.nn.cache import LayerCache
from lab.nn.config import TransformerConfig
from lab.nn.positions import turned_width


class LatentAttention(MultiHeadAttention):
    """Multi-head latent attention (DeepSeek-AI 2024): what is kept of a token is one latent vector.

    A token is compressed to R = `latent_width` channels, from which keys and values of every head are made
    when they are needed. A turned key cannot be made from a latent that is kept unturned, so where positions
    turn, the second half of each key is turned, is shared by all heads, and is kept beside the latent.

    Letters: as in `lab.nn.attention`; R channels of the latent, P = E / 2 turned channels, 0 where nothing turns.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        c = config
        self.num_heads = c.num_heads
        self.turned = turned_width(c)  # P
        self.cache_shapes = ((1, self.turned), (1, c.latent_width))
        self.compress = nn.Linear(c.width, c.latent_width, bias=c.bias)
        self.latent_norm = nn.RMSNorm(c.latent_width, eps=c.norm_epsilon)
        self.key = nn.Linear(c.latent_width, c.num_heads * (c.head_width - self.turned), bias=c.bias)
        self.value = nn.Linear(c.latent_width, c.width, bias=c.bias)
        self.turned_key = nn.Linear(c.width, self.turned, bias=c.bias) if self.turned else None

    def project(
        self, x: Tensor, turn: Turn | None = None, cache: LayerCache | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each `(B, H, ., E)`; it has no memory, each token reads its own row."""
        B, T, _ = x.shape
        q = self._split_heads(self.query(x))  # (B, H, T, E)
        latent = self.latent_norm(self.compress(x))[:, None]  # (B, 1, T, R)
        turned = x.new_empty(B, 1, T, 0)
        if self.turned:
            plain, to_turn = q.split([self.head_width - self.turned, self.turned], dim=-1)
            q = torch.cat((plain, turn(to_turn)), dim=-1)
            turned = turn(self.turned_key(x)[:, None])  # (B, 1, T, P)
        if cache is not None:
            turned, latent = cache.append(turned, latent)
        latent, S = latent[:, 0], latent.shape[2]
        k = self.key(latent).view(B, S, self.num_heads, -1).transpose(1, 2)  # (B, H, S, E - P)
        k = torch.cat((k, turned.expand(-1, self.num_heads, -1, -1)), dim=-1)  # (B, H, S, E)
        return q, k, self._split_heads(self.value(latent))
