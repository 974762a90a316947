"""Softmax: any numbers become positive weights that sum to one, or zeros where a mask says so."""

import numpy as np
from numpy import ndarray

from lab.scratch.layer import Layer, require_floats, require_mask


class Softmax(Layer):
    """y_i = exp(x_i) / sum_j exp(x_j), along the dimension `dim`.

    Stable: exp overflows from about 710 on, so the largest x is subtracted first. It cancels:
    exp(x_i - m) / sum_j exp(x_j - m) = exp(x_i) / sum_j exp(x_j).

    Masked: a blocked x counts as -inf, whose exp is exactly 0. Where everything is blocked the sum is 0
    too, and 0 / 0 would be NaN; a divisor of 1 in its place makes it what it means: no weight to anybody.

    Backward. Each y depends on each x, once through its own exp and once through the sum:

        dy_i / dx_j = y_i ((1 if i = j else 0) - y_j)                          quotient rule
        dx_j = sum_i dy_i y_i ((1 if i = j else 0) - y_j)                      chain rule
             = y_j (dy_j - sum_i dy_i y_i)                                     y_j taken out
        dx   = y * (dy - sum(dy * y))             (..., n) * ((..., n) - (..., 1)) -> (..., n)

    The sum is what the y agree on; only how much dy exceeds it moves an x. Where y is 0, so is dx: blocked
    entries and whole blocked slices have no gradient, without a mask in `backward`.

    >>> layer = Softmax()
    >>> layer.forward(np.log([1.0, 2.0, 5.0]), mask=np.array([True, True, False])).round(4).tolist()
    [0.3333, 0.6667, 0.0]
    >>> layer.backward(np.array([9.0, 0.0, 7.0])).round(4).tolist()
    [2.0, -2.0, 0.0]
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x: ndarray, mask: ndarray | None = None) -> ndarray:
        """x of any shape -> weights of that shape; bool mask broadcastable to it, True = may take part."""
        require_floats(x=x)
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(
                f"dim = {self.dim} is not a dimension of x, shape {x.shape}: choose {-x.ndim} .. {x.ndim - 1}"
            )
        if mask is not None:
            require_mask(mask, x.shape, "the shape of x")
            x = np.where(mask, x, -np.inf)  # (..., n)
        largest = x.max(axis=self.dim, keepdims=True, initial=-np.inf)  # (..., 1)
        largest = np.where(largest == -np.inf, 0.0, largest)  # all blocked: -inf - -inf would be NaN
        exp = np.exp(x - largest)  # (..., n) - (..., 1) -> (..., n), all in 0 .. 1
        total = exp.sum(axis=self.dim, keepdims=True)  # (..., 1)
        y = exp / np.where(total == 0, 1.0, total)  # (..., n) / (..., 1) -> (..., n)
        return self._remember(y, y)

    def backward(self, grad_output: ndarray) -> ndarray:
        """dy, of the shape of x -> dx, of the same."""
        (y,) = self._recall(grad_output)
        agreed = (grad_output * y).sum(axis=self.dim, keepdims=True)  # (..., n) -> (..., 1)
        return y * (grad_output - agreed)  # (..., n) * ((..., n) - (..., 1)) -> (..., n)
