"""Attention: each position takes a weighted average of the values at the positions it may look at.

Letters: B rows, H heads, T queries, S keys, E channels a head, C = H * E channels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.nn.cache import LayerCache
from lab.nn.config import TransformerConfig

Turn = Callable[[Tensor], Tensor]  # queries or keys `(B, H, T, E)`, turned to their positions


class SettledMask(NamedTuple):
    """A mask made ready once, for all layers: see `settle_mask`.

    allowed  bool, broadcastable to `(B, 1, T, S)`; rows that allow nothing are opened
    empty    bool, broadcastable to `(B, 1, T, 1)`: which rows those were; None where there are none
    added    float, broadcastable to `(B, H, T, S)`: what is added to the scores, -inf where nothing is allowed
    """

    allowed: Tensor
    empty: Tensor | None
    added: Tensor | None = None


Mask = Tensor | SettledMask | None
SHORT = 512  # tokens, up to which weights are written out where that is faster


def settle_mask(mask: Tensor, B: int, T: int, S: int, bias: Tensor | None = None) -> SettledMask:
    """Check a mask (bool, broadcastable to `(B, 1, T, S)`, `True` = may attend) and find its empty rows.

    A query that may attend nothing gets zeros here, and gradients of zero. Some of torch's kernels give that
    by themselves, others give NaN, so such rows are opened before the softmax and emptied after it.
    `bias`, broadcastable to `(B, H, T, S)`, is added to the scores of what is allowed.

    Raises ValueError for a mask that is not bool or does not broadcast.
    """
    if mask.dtype != torch.bool:
        raise ValueError(f"a mask must be bool, True = may attend (see lab.data.masks), got {mask.dtype}")
    shape = (1,) * (4 - mask.dim()) + tuple(mask.shape)
    if len(shape) > 4 or any(m not in (1, w) for m, w in zip(shape, (B, 1, T, S), strict=True)):
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} does not broadcast to (B, 1, T, S) = {(B, 1, T, S)}, one for all "
            "heads; a mask (B, T, S) lacks their place, mask[:, None] gives it one"
        )
    mask = mask.view(shape)
    empty = ~mask.any(dim=-1, keepdim=True)  # (..., T, 1)
    mask, empty = (mask | empty, empty) if empty.any() else (mask, None)
    return SettledMask(mask, empty, None if bias is None else bias.masked_fill(~mask, -torch.inf))


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Mask = None, *, causal: bool = False, dropout: float = 0.0
) -> Tensor:
    """softmax(q k' / sqrt(E)) v, the weighted average of the values (Vaswani et al. 2017, eq. 1), fused.

    q `(B, H, T, E)`, k and v `(B, G, S, E)` -> `(B, H, T, E)`. G divides H: H / G heads of queries share one
    head of keys and values. `mask` is bool, broadcastable to `(B, 1, T, S)`, `True` = may attend; a query that may
    attend nothing gets zeros. `causal`, in place of a mask: the queries are the last T of the S tokens, and
    each sees itself and what came before it. `dropout` is the share of weights that are left out, by torch's global
    generator; the others grow by as much.

    >>> attend(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).tolist()
    [[[[2.0, 3.0]]]]

    Raises ValueError for shapes that do not fit each other, for what is not floating point, and for `causal` with more
    queries than keys.
    """
    (_, H, T, _), (_, G, S, _) = _checked_shapes(q, k, v)
    grouped = H != G
    if mask is None and causal and T > 1 and T != S:
        mask = last_queries(T, S, q.device)
    if q.dtype == torch.bfloat16 and q.requires_grad and q.device.type == "cpu" and S <= SHORT:
        # Forward and backward, over torch 2.13's fused kernel: 3.4 times as fast for 64 tokens, 2.4 for 128, 1.2 for
        # 512; but 0.7 for 1,024 and 0.4 for 2,048 (one thread of an AMD EPYC).
        weights = attention_weights(q, k, mask, causal=causal)
        return F.dropout(weights, dropout, dropout > 0) @ v.repeat_interleave(H // G, dim=1)
    if mask is None:  # one query, the last, sees everything
        return F.scaled_dot_product_attention(q, k, v, None, dropout, causal and T > 1, enable_gqa=grouped)
    allowed, empty, added = _settled(mask, q, k)
    mask = allowed if added is None else added.to(q.dtype)
    mixed = F.scaled_dot_product_attention(q, k, v, mask, dropout, enable_gqa=grouped)
    return mixed if empty is None else mixed.masked_fill(empty, 0.0)


def attention_weights(q: Tensor, k: Tensor, mask: Mask = None, *, causal: bool = False) -> Tensor:
    """softmax(q k' / sqrt(E)) `(B, H, T, S)`: how much each query takes of each value; rows sum to 1.

    The averages that the fused `attend` never writes down: `attention_weights(q, k, mask) @ v` equals
    `attend(q, k, v, mask)`. Arguments as there; a query that may attend nothing has weights of zero.

    >>> attention_weights(torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 2, 4)).tolist()
    [[[[0.5, 0.5]]]]
    """
    (_, H, T, E), (_, G, S, _) = _checked_shapes(q, k, k)
    if mask is None and causal:
        mask = last_queries(T, S, q.device)
    k = k.repeat_interleave(H // G, dim=1)  # (B, H, S, E)
    scores = q @ k.mT * E**-0.5  # (B, H, T, S)
    if mask is None:
        return scores.softmax(dim=-1)
    allowed, empty, added = _settled(mask, q, k)
    scores = scores.masked_fill(~allowed, -torch.inf) if added is None else scores + added
    weights = scores.softmax(dim=-1)
    return weights if empty is None else weights.masked_fill(empty, 0.0)


def last_queries(T: int, S: int, device: torch.device) -> Tensor:
    """The causal mask `(T, S)` of the last T of S tokens. Raises ValueError where S is less than T."""
    if T > S:
        raise ValueError(
            f"causal attention: the {T} queries are the last of the tokens that have keys, of which there are {S}; "
            "give as many keys as queries at least, or a mask"
        )
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


def _settled(mask: Tensor | SettledMask, q: Tensor, k: Tensor) -> SettledMask:
    return mask if isinstance(mask, SettledMask) else settle_mask(mask, len(q), q.shape[2], k.shape[2])


def _checked_shapes(q: Tensor, k: Tensor, v: Tensor) -> tuple[torch.Size, torch.Size]:
    """The shapes of q and k, if all fit together. Each is read once: on small tensors even that takes time."""
    of_q, of_k, of_v = q.shape, k.shape, v.shape
    fits = len(of_q) == len(of_k) == len(of_v) == 4 and of_q[0] == of_k[0] == of_v[0] and of_q[3] == of_k[3]
    fits = fits and of_k[1:3] == of_v[1:3] and of_q[1] % of_k[1] == 0
    if not (fits and q.dtype == k.dtype == v.dtype and q.is_floating_point()):
        given = ", ".join(f"{name} {tuple(x.shape)} {x.dtype}" for name, x in (("q", q), ("k", k), ("v", v)))
        raise ValueError(
            "attention takes q (B, H, T, E), and k and v (B, G, S, E), a value for each key, G dividing H, all of one "
            f"floating point type; got {given}"
        )
    return of_q, of_k


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each on channels of its own (Vaswani et al. 2017, section 3.2.2).

    Self-attention by default; with a `memory`, cross-attention: queries from `x`, keys and values from it.
    With fewer key-value heads than heads it is grouped-query attention (Ainslie et al. 2023).
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        c = config
        self.head_width, self.dropout = c.head_width, c.attention_dropout
        key_value_width = c.key_value_heads * c.head_width
        # (heads, channels) of the keys and of the values that one token leaves in a cache
        self.cache_shapes = ((c.key_value_heads, c.head_width),) * 2
        self.query = nn.Linear(c.width, c.width, bias=c.bias)
        self.key = nn.Linear(c.width, key_value_width, bias=c.bias)
        self.value = nn.Linear(c.width, key_value_width, bias=c.bias)
        self.output = nn.Linear(c.width, c.width, bias=c.bias)

    def forward(self, x: Tensor, mask=None, *, causal: bool = False, **given) -> Tensor:
        """`x` `(B, T, C)` -> `(B, T, C)`; `mask` and `causal` as in `attend`, what is `given` as in `project`."""
        q, k, v = self.project(x, **given)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(q, k, v, mask, causal=causal, dropout=dropout)  # (B, H, T, E)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, mask=None, *, causal: bool = False, **given) -> Tensor:
        """The attention weights `(B, H, T, S)` that `forward` uses for the same arguments, before any dropout."""
        q, k, _ = self.project(x, **given)
        return attention_weights(q, k, mask, causal=causal)

    def project(
        self, x: Tensor, memory=None, turn: Turn | None = None, cache: LayerCache | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries `(B, H, T, E)`, keys and values `(B, G, S, E)` of `x` `(B, T, C)`.

        Keys and values are those of `memory` `(B, S, C)`, where there is one. `turn` turns queries and keys to their
        positions. With a `cache` the keys and values of earlier tokens come from there, and those of a memory are
        made once.
        """
        q = self._split_heads(self.query(x))
        if memory is not None:
            return q, *self._read_memory(memory, cache)
        k, v = self._split_heads(self.key(x)), self._split_heads(self.value(x))
        if turn is not None:
            q, k = turn(q), turn(k)
        if cache is not None:
            k, v = cache.append(k, v)
        return q, k, v

    def _read_memory(self, memory: Tensor, cache: LayerCache | None) -> tuple[Tensor, Tensor]:
        if cache is not None and cache.memory is not None:
            return cache.memory
        k, v = self._split_heads(self.key(memory)), self._split_heads(self.value(memory))
        if cache is not None:
            cache.memory = (k, v)
        return k, v

    def _split_heads(self, x: Tensor) -> Tensor:
        """`(B, T, H * E)` -> `(B, H, T, E)`."""
        B, T, _ = x.shape
        return x.view(B, T, -1, self.head_width).transpose(1, 2)
