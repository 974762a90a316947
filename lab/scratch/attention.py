"""Scaled dot-product attention: each query takes an average of the values, weighted by how its keys fit."""

import math

from numpy import ndarray

from lab.scratch.layer import Layer, require_floats, require_mask
from lab.scratch.softmax import Softmax


class ScaledDotProductAttention(Layer):
    """O = softmax(Q K' / sqrt(E)) V. Source: Vaswani et al. 2017, section 3.2.1, equation 1.

    Shapes: N rows of a batch, H heads, L queries, S keys and as many values, E channels of a query and a key,
    Ev of a value. N, ..., H are any leading dimensions, the same for all three, or none.

        Z = Q K' / sqrt(E)       (L, E) @ (E, S)   -> (L, S)     scores
        A = softmax(Z)           each row over S   -> (L, S)     weights: a row sums to 1
        O = A V                  (L, S) @ (S, Ev)  -> (L, Ev)    output

    Why sqrt(E): the dot product of two vectors of E independent numbers of variance 1 has variance E. Without
    the scale the softmax of wide heads would put all weight on one key, and have next to no gradient.

    Backward, from the last line to the first. For a product O = A V, dA = dO V' and dV = A' dO:

        dV = A' dO                     (S, L) @ (L, Ev)            -> (S, Ev)
        dA = dO V'                     (L, Ev) @ (Ev, S)           -> (L, S)
        dZ = A * (dA - sum(dA * A))    (L, S) * ((L, S) - (L, 1))  -> (L, S)     see `Softmax`
        dQ = dZ K / sqrt(E)            (L, S) @ (S, E)             -> (L, E)
        dK = dZ' Q / sqrt(E)           (S, L) @ (L, E)             -> (S, E)

    A query that may attend nothing has a row of zeros in A: it gets zeros, and neither takes part in any
    gradient nor gets one.

    >>> import numpy as np
    >>> attention = ScaledDotProductAttention()
    >>> query, key = np.array([[1.0], [0.0]]), np.log([[1.0], [3.0]])  # L = S = 2, E = 1: no scale
    >>> value = np.array([[8.0], [4.0]])
    >>> attention.forward(query, key, value).round(4).tolist()
    [[5.0], [6.0]]
    >>> attention.weights.round(4).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
    >>> d_query, d_key, d_value = attention.backward(np.array([[1.0], [0.0]]))
    >>> d_key.round(4).tolist(), d_value.round(4).tolist()
    ([[0.75], [-0.75]], [[0.25], [0.75]])
    """

    def __init__(self):
        self.softmax = Softmax(dim=-1)

    @property
    def weights(self) -> ndarray:
        """A (N, ..., H, L, S): how much the latest `forward` let each query take from each value."""
        if not self._memory:
            raise ValueError("attention has no weights yet: call forward first")
        return self._memory[-1]

    def forward(self, query: ndarray, key: ndarray, value: ndarray, mask: ndarray | None = None) -> ndarray:
        """query (N, ..., H, L, E), key (N, ..., H, S, E), value (N, ..., H, S, Ev) -> (N, ..., H, L, Ev).

        mask: bool, broadcastable to (N, ..., H, L, S), True = may attend. A mask (N, L, S) of rows lacks the
        heads' place and would be taken for one mask a head if N = H: give it as `mask[:, None]`.
        """
        self._require_shapes(query, key, value)
        if mask is not None:
            require_mask(mask, (*query.shape[:-1], key.shape[-2]), "(N, ..., H, L, S)")
        scale = math.sqrt(query.shape[-1])  # sqrt(E)
        scores = query @ key.swapaxes(-1, -2) / scale  # (.., L, E) @ (.., E, S) -> (.., L, S)
        weights = self.softmax.forward(scores, mask)  # (.., L, S)
        output = weights @ value  # (.., L, S) @ (.., S, Ev) -> (.., L, Ev)
        return self._remember(output, query, key, value, weights)

    def backward(self, grad_output: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        """dO (N, ..., H, L, Ev) -> (d_query, d_key, d_value), each of the shape of its input."""
        query, key, value, weights = self._recall(grad_output)
        scale = math.sqrt(query.shape[-1])  # sqrt(E)
        d_value = weights.swapaxes(-1, -2) @ grad_output  # (.., S, L) @ (.., L, Ev) -> (.., S, Ev)
        d_weights = grad_output @ value.swapaxes(-1, -2)  # (.., L, Ev) @ (.., Ev, S) -> (.., L, S)
        d_scores = self.softmax.backward(d_weights)  # (.., L, S)
        d_query = d_scores @ key / scale  # (.., L, S) @ (.., S, E) -> (.., L, E)
        d_key = d_scores.swapaxes(-1, -2) @ query / scale  # (.., S, L) @ (.., L, E) -> (.., S, E)
        return d_query, d_key, d_value

    @staticmethod
    def _require_shapes(query: ndarray, key: ndarray, value: ndarray) -> None:
        require_floats(query=query, key=key, value=value)
        shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
        expected = "expected query (N, ..., H, L, E), key (N, ..., H, S, E), value (N, ..., H, S, Ev)"
        if min(query.ndim, key.ndim, value.ndim) < 2:
            raise ValueError(f"{shapes}: {expected}, so at least two dimensions each")
        if not query.shape[:-2] == key.shape[:-2] == value.shape[:-2]:
            raise ValueError(f"{shapes}: {expected}; N, ..., H differ, np.broadcast_to can make them equal")
        if query.shape[-1] != key.shape[-1] or query.shape[-1] == 0:
            raise ValueError(f"{shapes}: {expected}; E must be one width, at least 1: project to it first")
        if key.shape[-2] != value.shape[-2]:
            raise ValueError(f"{shapes}: {expected}; each of the S keys needs its value")
