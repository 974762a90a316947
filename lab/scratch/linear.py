"""The linear layer: each output is a weighted sum of the inputs, plus a bias."""

from numbers import Integral

import numpy as np
from numpy import ndarray

from lab.scratch.layer import Layer, require_floats


class Linear(Layer):
    """y = x W' + b, as in `torch.nn.Linear`: weight W (out, in), bias b (out,), both float64.

    Backward. Flatten the leading dimensions of x to n rows; then, one number at a time,

        y_no  = sum_i x_ni W_oi + b_o
        dx_ni = sum_o dy_no W_oi     that is  dx = dy W     (n, out) @ (out, in) -> (n, in)
        dW_oi = sum_n dy_no x_ni     that is  dW = dy' x    (out, n) @ (n, in)   -> (out, in)
        db_o  = sum_n dy_no                                 (n, out)             -> (out,)

    The parameters serve every row, so their gradients are sums over the rows.

    Both start uniform in +-1/sqrt(in), which is also where `torch.nn.Linear` starts.

    >>> layer = Linear(2, 1, np.random.default_rng(0))
    >>> layer.weight[:], layer.bias[:] = [[3.0, 4.0]], [0.5]
    >>> layer.forward(np.array([[1.0, 1.0], [2.0, 0.0]])).tolist()
    [[7.5], [6.5]]
    >>> layer.backward(np.array([[1.0], [10.0]])).tolist()
    [[3.0, 4.0], [30.0, 40.0]]
    >>> {name: gradient.tolist() for name, gradient in layer.gradients().items()}
    {'weight': [[21.0, 1.0]], 'bias': [11.0]}
    """

    def __init__(self, in_features: int, out_features: int, rng: np.random.Generator):
        for name, value in (("in_features", in_features), ("out_features", out_features)):
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not isinstance(rng, np.random.Generator):
            raise ValueError(f"rng must be a generator such as np.random.default_rng(0), got {rng!r}")
        bound = 1 / np.sqrt(in_features)
        self.weight = rng.uniform(-bound, bound, (out_features, in_features))
        self.bias = rng.uniform(-bound, bound, out_features)
        self._weight_gradient = np.zeros_like(self.weight)
        self._bias_gradient = np.zeros_like(self.bias)

    def forward(self, x: ndarray) -> ndarray:
        """x (..., in) -> (..., out), for any number of leading dimensions."""
        require_floats(x=x)
        in_features = self.weight.shape[1]
        if x.shape[-1:] != (in_features,):
            raise ValueError(f"x has shape {x.shape}, expected (..., {in_features}): in_features comes last")
        y = x @ self.weight.T + self.bias  # (..., in) @ (in, out) + (out,) -> (..., out)
        return self._remember(y, x)

    def backward(self, grad_output: ndarray) -> ndarray:
        """dy (..., out) -> dx (..., in)."""
        (x,) = self._recall(grad_output)
        out_features, in_features = self.weight.shape
        dy = grad_output.reshape(-1, out_features)  # (n, out)
        self._weight_gradient = dy.T @ x.reshape(-1, in_features)  # (out, n) @ (n, in) -> (out, in)
        self._bias_gradient = dy.sum(axis=0)  # (n, out) -> (out,)
        return grad_output @ self.weight  # (..., out) @ (out, in) -> (..., in)

    def parameters(self) -> dict[str, ndarray]:
        return {"weight": self.weight, "bias": self.bias}

    def gradients(self) -> dict[str, ndarray]:
        return {"weight": self._weight_gradient, "bias": self._bias_gradient}
