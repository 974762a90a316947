"""The layers that a transformer stacks: attention and feed-forward, each added to the stream it reads.

Letters: B rows, T tokens, S tokens of a memory, C channels.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from lab.nn.attention import MultiHeadAttention
from lab.nn.config import TransformerConfig
from lab.nn.latent import LatentAttention

ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "gated_silu": F.silu}


def make_norm(config: TransformerConfig) -> nn.Module:
    """RMSNorm (Zhang and Sennrich 2019) or LayerNorm (Ba et al. 2016), as the config says."""
    if config.norm == "rms":
        return nn.RMSNorm(config.width, eps=config.norm_epsilon)
    return nn.LayerNorm(config.width, eps=config.norm_epsilon, bias=config.bias)


class ResidualLayer(nn.Module):
    """What all layers share: they add what they found to the stream, and a norm stands before or after.

    Pre-norm, x + f(norm(x)), leaves the stream itself untouched, so gradients live through depth; post-norm,
    norm(x + f(x)), is the older order (Xiong et al. 2020 compare them).
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.norm = make_norm(config)
        self.norm_first = config.norm_place == "pre"
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def read(self, x: Tensor) -> Tensor:
        """What the layer's function reads of the stream."""
        return self.norm(x) if self.norm_first else x

    def add(self, x: Tensor, found: Tensor) -> Tensor:
        """The stream with what was found added to it."""
        x = x + self.dropout(found)
        return x if self.norm_first else self.norm(x)


class AttentionLayer(ResidualLayer):
    """Each token gathers from others, of its own row or of a memory: `(B, T, C)` -> `(B, T, C)`."""

    def __init__(self, config: TransformerConfig, kind: type[MultiHeadAttention] = MultiHeadAttention):
        super().__init__(config)
        self.attention = kind(config)

    def forward(self, x: Tensor, mask=None, **given) -> Tensor:
        """Arguments as those of `MultiHeadAttention`."""
        return self.add(x, self.attention(self.read(x), mask, **given))

    def weights(self, x: Tensor, mask=None, **given) -> Tensor:
        """The attention weights `(B, H, T, S)` that `forward` uses for the same arguments."""
        return self.attention.weights(self.read(x), mask, **given)


class FeedForwardLayer(ResidualLayer):
    """Two linear maps with a curve between them, at each token alone: `(B, T, C)` -> `(B, T, C)`.

    The curve is GELU (Hendrycks and Gimpel 2016), or a gate silu(a) * b (Shazeer 2020, SwiGLU).
    """

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        c = config
        self.activation: Callable[[Tensor], Tensor] = ACTIVATIONS[c.activation]
        self.expand = nn.Linear(c.width, c.feed_forward, bias=c.bias)
        self.gate = nn.Linear(c.width, c.feed_forward, bias=c.bias) if c.activation == "gated_silu" else None
        self.contract = nn.Linear(c.feed_forward, c.width, bias=c.bias)
        self.hidden_dropout = c.feed_forward_dropout

    def forward(self, x: Tensor) -> Tensor:
        read = self.read(x)
        if self.gate is None:
            hidden = self.activation(self.expand(read))  # (B, T, feed_forward)
        else:
            hidden = self.activation(self.gate(read)) * self.expand(read)
        if self.hidden_dropout:
            hidden = F.dropout(hidden, self.hidden_dropout, self.training)
        return self.add(x, self.contract(hidden))


def initialise(layer: nn.Module) -> None:
    """Set a layer's linear maps so that it adds nothing yet: at any depth the stream starts as the embedding alone."""
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if name.endswith(("output", "contract")):
                nn.init.zeros_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Block(nn.Module):
    """Self-attention, then (with `reads_memory`) cross-attention, then feed-forward."""

    def __init__(self, config: TransformerConfig, reads_memory: bool = False):
        super().__init__()
        kind = LatentAttention if config.latent_width else MultiHeadAttention
        self.self_attention = AttentionLayer(config, kind)
        self.cross_attention = AttentionLayer(config) if reads_memory else None
        self.feed_forward = FeedForwardLayer(config)

    def forward(
        self, x: Tensor, mask=None, *, causal=False, turn=None, cache=None, memory=None, memory_mask=None
    ) -> Tensor:
        """`x` `(B, T, C)`, `memory` `(B, S, C)` -> `(B, T, C)`; without `mask` or `causal` every token sees all."""
        x = self.self_attention(x, mask, causal=causal, turn=turn, cache=cache)
        if self.cross_attention is not None:
            x = self.cross_attention(x, memory_mask, memory=memory, cache=cache)
        return self.feed_forward(x)

    def weights(
        self, x: Tensor, mask=None, *, causal=False, turn=None, memory=None, memory_mask=None
    ) -> tuple[Tensor, ...]:
        """The attention weights `(B, H, T, T)` that `forward` uses, and with a memory those over it, `(B, H, T, S)`."""
        own = self.self_attention.weights(x, mask, causal=causal, turn=turn)
        if self.cross_attention is None:
            return (own,)
        x = self.self_attention(x, mask, causal=causal, turn=turn)
        return own, self.cross_attention.weights(x, memory_mask, memory=memory)
