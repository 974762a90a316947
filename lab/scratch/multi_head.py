"""Multi-head attention: several attentions side by side, each in its own projection of the channels."""

from numbers import Integral

import numpy as np
from numpy import ndarray

from lab.scratch.attention import ScaledDotProductAttention
from lab.scratch.layer import Layer, require_bool, require_floats
from lab.scratch.linear import Linear


class MultiHeadAttention(Layer):
    """Concat(head_1, ..., head_H) W_output, head_h = Attention(Q W_query_h, K W_key_h, V W_value_h).

    Source: Vaswani et al. 2017, section 3.2.2, with biases. The W of all heads are the slices of one Linear.
    Shapes: N rows of a batch, ... any further dimensions, L queries, S keys and values, C = H * E
    channels, H heads, E channels a head.

        q = split(query W_query' + b)    (N, ..., L, C) -> (N, ..., L, H, E) -> (N, ..., H, L, E)
        k = split(key W_key' + b)        (N, ..., S, C)                      -> (N, ..., H, S, E)
        v = split(value W_value' + b)    (N, ..., S, C)                      -> (N, ..., H, S, E)
        m = attention(q, k, v, mask)                                            (N, ..., H, L, E)
        y = concat(m) W_output' + b      (N, ..., H, L, E) -> (N, ..., L, C) -> (N, ..., L, C)

    Backward is the same lines from the last to the first. Split and concat only move numbers, so each is the
    other's backward:

        dm = split(output.backward(dy))                (N, ..., L, C)    -> (N, ..., H, L, E)
        dq, dk, dv = attention.backward(dm)            (N, ..., H, L, E), (N, ..., H, S, E) twice
        d_query = query.backward(concat(dq))           (N, ..., H, L, E) -> (N, ..., L, C)
        d_key = key.backward(concat(dk))               (N, ..., H, S, E) -> (N, ..., S, C)
        d_value = value.backward(concat(dv))           (N, ..., H, S, E) -> (N, ..., S, C)

    In self-attention one x is query, key and value, and its gradient the sum of the three. The gradient of
    "key.bias" is 0: the same vector added to every key adds one number to all scores of a query, and
    softmax does not see it. A query that may attend nothing gets the bias of `output`.

    >>> layer = MultiHeadAttention(embed_dim=4, num_heads=2, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((1, 3, 4))
    >>> layer.forward(x, x, x, key_padding_mask=np.array([[True, True, False]])).shape
    (1, 3, 4)
    >>> layer.attention.weights.round(2)[0].tolist()[0]  # the first head: nobody attends the padding
    [[0.48, 0.52, 0.0], [0.44, 0.56, 0.0], [0.46, 0.54, 0.0]]
    >>> [gradient.shape for gradient in layer.backward(np.ones((1, 3, 4)))]
    [(1, 3, 4), (1, 3, 4), (1, 3, 4)]
    """

    def __init__(self, embed_dim: int, num_heads: int, rng: np.random.Generator):
        for name, number in (("embed_dim", embed_dim), ("num_heads", num_heads)):
            if isinstance(number, bool) or not isinstance(number, Integral) or number < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {number!r}")
        if embed_dim % num_heads:
            raise ValueError(
                f"embed_dim = {embed_dim} channels do not divide into num_heads = {num_heads} equal heads: "
                f"try embed_dim = {-(-embed_dim // num_heads) * num_heads}"
            )
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.query = Linear(embed_dim, embed_dim, rng)
        self.key = Linear(embed_dim, embed_dim, rng)
        self.value = Linear(embed_dim, embed_dim, rng)
        self.output = Linear(embed_dim, embed_dim, rng)
        self.attention = ScaledDotProductAttention()

    def forward(
        self,
        query: ndarray,
        key: ndarray,
        value: ndarray,
        key_padding_mask: ndarray | None = None,
        attention_mask: ndarray | None = None,
    ) -> ndarray:
        """query (N, ..., L, C), key and value (N, ..., S, C) -> (N, ..., L, C).

        key_padding_mask: bool (N, S), which keys are real. attention_mask: bool (L, S) for all rows or
        (N, L, S) for each, which key each query may see. True = may attend in both.
        """
        self._require_shapes(query, key, value)
        mask = self._merge_masks(
            query, key, key_padding_mask, attention_mask
        )  # broadcasts to (N, .., H, L, S)
        q = self._split_heads(self.query.forward(query))  # (N, .., L, C) -> (N, .., H, L, E)
        k = self._split_heads(self.key.forward(key))  # (N, .., S, C) -> (N, .., H, S, E)
        v = self._split_heads(self.value.forward(value))  # (N, .., S, C) -> (N, .., H, S, E)
        mixed = self.attention.forward(q, k, v, mask)  # (N, .., H, L, E)
        return self._remember(self.output.forward(self._concat_heads(mixed)))  # (N, .., L, C)

    def backward(self, grad_output: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        """dy (N, ..., L, C) -> (d_query, d_key, d_value), each of the shape of its input."""
        self._recall(grad_output)
        d_mixed = self._split_heads(self.output.backward(grad_output))  # (N, .., L, C) -> (N, .., H, L, E)
        d_q, d_k, d_v = self.attention.backward(d_mixed)  # (N, .., H, L, E), (N, .., H, S, E) twice
        d_query = self.query.backward(self._concat_heads(d_q))  # (N, .., H, L, E) -> (N, .., L, C)
        d_key = self.key.backward(self._concat_heads(d_k))  # (N, .., H, S, E) -> (N, .., S, C)
        d_value = self.value.backward(self._concat_heads(d_v))  # (N, .., H, S, E) -> (N, .., S, C)
        return d_query, d_key, d_value

    def parameters(self) -> dict[str, ndarray]:
        """ "query.weight" (C, C), "query.bias" (C,), and so on for key, value and output."""
        return {
            f"{n}.{p}": array for n, linear in self._linears() for p, array in linear.parameters().items()
        }

    def gradients(self) -> dict[str, ndarray]:
        return {f"{n}.{p}": array for n, linear in self._linears() for p, array in linear.gradients().items()}

    def _linears(self) -> list[tuple[str, Linear]]:
        return [(name, getattr(self, name)) for name in ("query", "key", "value", "output")]

    def _split_heads(self, x: ndarray) -> ndarray:
        """(N, ..., T, C) -> (N, ..., H, T, E): head h gets the channels h * E .. (h + 1) * E."""
        *leading, T, C = x.shape
        x = x.reshape(*leading, T, self.num_heads, C // self.num_heads)  # (N, ..., T, H, E)
        return x.swapaxes(-3, -2)  # (N, ..., H, T, E)

    def _concat_heads(self, x: ndarray) -> ndarray:
        """(N, ..., H, T, E) -> (N, ..., T, C), the way back."""
        *leading, H, T, E = x.shape
        return x.swapaxes(-3, -2).reshape(*leading, T, H * E)  # (N, ..., T, H, E) -> (N, ..., T, C)

    @staticmethod
    def _merge_masks(
        query: ndarray, key: ndarray, key_padding_mask: ndarray | None, attention_mask: ndarray | None
    ) -> ndarray | None:
        """What both masks allow, with as many dimensions as the scores (N, ..., H, L, S); None for no mask."""
        N, L, S = query.shape[0], query.shape[-2], key.shape[-2]
        between = (1,) * (query.ndim - 2)  # one 1 for each of ..., one for H
        masks = []
        if key_padding_mask is not None:
            _require_mask_of("key_padding_mask", key_padding_mask, {"(N, S)": (N, S)})
            masks.append(key_padding_mask.reshape(N, *between, 1, S))  # (N, S) -> (N, 1.., 1, 1, S)
        if attention_mask is not None:
            _require_mask_of("attention_mask", attention_mask, {"(L, S)": (L, S), "(N, L, S)": (N, L, S)})
            rows = attention_mask.shape[:-2] or (1,)  # (N,) or, for all rows, (1,)
            masks.append(attention_mask.reshape(*rows, *between, L, S))  # -> (N or 1, 1.., 1, L, S)
        if len(masks) == 2:
            return masks[0] & masks[1]  # (N, 1.., 1, 1, S) & (N or 1, 1.., 1, L, S) -> (N, 1.., 1, L, S)
        return masks[0] if masks else None

    def _require_shapes(self, query: ndarray, key: ndarray, value: ndarray) -> None:
        require_floats(query=query, key=key, value=value)
        shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
        expected = (
            f"expected query (N, ..., L, {self.embed_dim}), key and value (N, ..., S, {self.embed_dim})"
        )
        if min(query.ndim, key.ndim, value.ndim) < 3:
            raise ValueError(f"{shapes}: {expected}; a single row needs its N, x[None] gives it one")
        if key.shape != value.shape:
            raise ValueError(f"{shapes}: {expected}; each of the S keys needs its value")
        if query.shape[:-2] != key.shape[:-2]:
            raise ValueError(f"{shapes}: {expected}; N, ... differ, np.broadcast_to can make them equal")
        if not query.shape[-1] == key.shape[-1] == self.embed_dim:
            raise ValueError(f"{shapes}: {expected}; embed_dim comes last, project to it first")


def _require_mask_of(name: str, mask: ndarray, allowed: dict[str, tuple[int, ...]]) -> None:
    require_bool(name, mask)
    if mask.shape not in allowed.values():
        wanted = " or ".join(f"{letters} = {shape}" for letters, shape in allowed.items())
        raise ValueError(
            f"{name} has shape {mask.shape}, expected {wanted}: a mask (N, 1, L, S) of `lab.data.masks` fits as "
            "mask[:, 0], a mask that differs from head to head goes to ScaledDotProductAttention"
        )
