"""NumPy layers with gradients written by hand: no autograd, nothing hidden, each derivation in its docstring.

| file | holds |
|---|---|
| `layer` | what all layers share: `forward`, `backward`, `parameters`, `gradients` |
| `linear` | y = x W' + b |
| `softmax` | numbers to weights, stable and masked |
| `attention` | softmax(Q K' / sqrt(E)) V, Vaswani et al. 2017, equation 1 |
| `multi_head` | several attentions side by side, section 3.2.2 |
| `gradient_check` | any backward against central differences |

Every mask is bool, `True` = may attend, as in `lab.data.masks` (whose masks come here by `.numpy()`).

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> layer = MultiHeadAttention(embed_dim=4, num_heads=2, rng=rng)
>>> x = rng.standard_normal((2, 3, 4))
>>> gradient_check(layer, x, x, x, attention_mask=np.tri(3, dtype=bool)).worst < 1e-7
True
"""

from lab.scratch.attention import ScaledDotProductAttention
from lab.scratch.gradient_check import GradientCheck, gradient_check
from lab.scratch.layer import Layer
from lab.scratch.linear import Linear
from lab.scratch.multi_head import MultiHeadAttention
from lab.scratch.softmax import Softmax

__all__ = [
    "GradientCheck",
    "Layer",
    "Linear",
    "MultiHeadAttention",
    "ScaledDotProductAttention",
    "Softmax",
    "gradient_check",
]
