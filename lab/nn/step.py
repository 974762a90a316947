"""One new token a row through a decoder-only transformer, in as few operations as there can be.

It stays beside the module because that, read a token at a time with its cache, takes longer: 1.77 times for the
default config and a batch of 1, 1.37 of 16; 1.19 and 1.09 for 11 million weights. There is much calling of modules and
checking in such a step, and little arithmetic. Here the weights are taken out of the modules once, those of queries,
keys and values side by side; there is no mask (one query, the last, sees everything), one place for all rows, and one
write to the cache.

Letters: B rows, H heads, G heads of keys and values, S tokens in the cache, E channels a head, C = H * E channels.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.nn.attention import MultiHeadAttention
from lab.nn.blocks import AttentionLayer, Block, FeedForwardLayer
from lab.nn.cache import KeyValueCache, LayerCache
from lab.nn.config import TransformerConfig
from lab.nn.positions import LearnedPositions, Positions, RotaryPositions, SinusoidalPositions
from lab.nn.stack import Stack, TokenEmbedding
from lab.nn.transformer import DecoderOnlyTransformer

# A model of these alone computes what `Step` does. With any other module in it, or a hook, it is read as it is.
KNOWN = {
    DecoderOnlyTransformer, TokenEmbedding, Stack, Block, AttentionLayer, MultiHeadAttention, FeedForwardLayer,
    Positions, RotaryPositions, LearnedPositions, SinusoidalPositions,
    nn.ModuleList, nn.Embedding, nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Dropout, nn.Identity,
}  # fmt: skip


def make_step(model: nn.Module) -> "Step | None":
    """A `Step` with the weights that `model` has now; None for a model that is not made of the parts it knows."""
    if type(model) is not DecoderOnlyTransformer or any(map(_is_special, model.modules())):
        return None
    return Step(model)


class Step:
    """`step(tokens, cache)` is `model(tokens[:, None], cache=cache)[:, -1]` for a model without dropout.

    >>> from lab.nn import TransformerConfig
    >>> model = DecoderOnlyTransformer(TransformerConfig(vocab_size=10, width=8, num_heads=2, feed_forward=16))
    >>> cache, step = model.new_cache(batch=1), make_step(model)
    >>> with torch.inference_mode():
    ...     logits = step(torch.tensor([2]), cache)
    >>> logits.shape, cache.length
    (torch.Size([1, 10]), 1)
    """

    def __init__(self, model: DecoderOnlyTransformer):
        place = model.embedding.place
        self.token, self.output = model.embedding.token.weight.detach(), model.output.weight.detach()
        self.place = {"learned": "weight", "sinusoidal": "table"}.get(model.config.positions)
        self.place = self.place and getattr(place, self.place).detach()
        self.tables: tuple[Tensor, ...] = ()
        if isinstance(place, RotaryPositions):  # the sines are those of channels that changed halves
            first, second = place.sin.chunk(2, dim=-1)
            self.tables = (place.cos, torch.cat((-first, second), dim=-1))
        self.layers = [Layer(block, model.config) for block in model.decoder.blocks]
        self.norm = _norm(model.decoder.norm)

    def __call__(self, tokens: Tensor, cache: KeyValueCache) -> Tensor:
        """`tokens` int64 `(B,)` -> logits `(B, V)`; the cache is updated in place."""
        place = cache.length
        x = F.embedding(tokens, self.token)  # (B, C)
        if self.place is not None:
            x = x + self.place[place]
        tables = tuple(table[place] for table in self.tables)
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer.feed_forward(layer.attend(x, layer_cache, tables))
        x = self.norm(x)
        if x.shape[0] == 1:  # the product of a matrix and a vector, for which addmm is slow
            return torch.mv(self.output, x[0])[None]
        return F.linear(x, self.output)


class Layer:
    """A block with its weights taken out: linear maps are (weight, bias), `expand` holds the gate too."""

    def __init__(self, block: Block, config: TransformerConfig):
        attention, feed_forward = block.self_attention.attention, block.feed_forward
        self.heads = config.num_heads, config.key_value_heads, config.head_width  # H, G, E
        self.norm_first, self.activation = feed_forward.norm_first, feed_forward.activation
        self.norm, self.feed_forward_norm = _norm(block.self_attention.norm), _norm(feed_forward.norm)
        self.query_key_value = _side_by_side(attention.query, attention.key, attention.value)
        self.gated = feed_forward.gate is not None
        gate = [feed_forward.gate] if self.gated else []
        self.expand = _side_by_side(*gate, feed_forward.expand)
        self.output, self.contract = _side_by_side(attention.output), _side_by_side(feed_forward.contract)

    def attend(self, x: Tensor, cache: LayerCache, tables: tuple[Tensor, ...]) -> Tensor:
        (B, C), (H, G, E) = x.shape, self.heads
        read = self.norm(x) if self.norm_first else x
        heads = F.linear(read, *self.query_key_value).view(B, H + 2 * G, 1, E)
        values, heads = heads.narrow(1, H + G, G), heads.narrow(1, 0, H + G)
        if tables:
            heads = torch.addcmul(heads * tables[0], heads.roll(E // 2, -1), tables[1])
        q = heads.narrow(1, 0, H)
        keys, values = cache.append(heads.narrow(1, H, G), values)  # (B, G, S, E)
        # Queries that share a head of keys stand where attention has its queries: all of them see every key.
        mixed = F.scaled_dot_product_attention(q.reshape(B, G, H // G, E), keys, values).reshape(B, C)
        return self._add(x, mixed, self.output, self.norm)

    def feed_forward(self, x: Tensor) -> Tensor:
        hidden = F.linear(self.feed_forward_norm(x) if self.norm_first else x, *self.expand)
        if self.gated:
            gate, hidden = hidden.chunk(2, dim=-1)
            hidden = self.activation(gate) * hidden
        else:
            hidden = self.activation(hidden)
        return self._add(x, hidden, self.contract, self.feed_forward_norm)

    def _add(self, x: Tensor, found: Tensor, linear: tuple[Tensor, Tensor | None], norm) -> Tensor:
        weight, bias = linear
        x = torch.addmm(x, found, weight.t()) if bias is None else F.linear(found, weight, bias).add_(x)
        return x if self.norm_first else norm(x)


def _is_special(module: nn.Module) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    return type(module) not in KNOWN or bool(hooked)


def _side_by_side(*parts: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of linear maps that read the same; of one alone its own, not a copy."""
    bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts]).detach()
    return (torch.cat([p.weight for p in parts]) if len(parts) > 1 else parts[0].weight).detach(), bias


def _norm(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """What a norm does, without a call of the module."""
    if isinstance(norm, nn.Identity):  # post-norm: the blocks end in one
        return norm.forward
    shape, weight, epsilon = norm.normalized_shape, norm.weight, norm.eps
    if isinstance(norm, nn.RMSNorm):
        return lambda x: torch.rms_norm(x, shape, weight, epsilon)
    bias = norm.bias
    return lambda x: torch.layer_norm(x, shape, weight, bias, epsilon)
