"""Pure functions that reshape next-token logits `(..., V)` before one is drawn.

A removed token's logit becomes -inf. `filter_logits` applies them in a fixed order: temperature,
then top-k, then top-p. At least one token always survives.
"""

import math

import torch
from torch import Tensor

REMOVED = -math.inf


def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide by `value`: below 1 sharpens, above 1 flattens; 0 keeps only the likeliest token.

    >>> temperature(torch.tensor([2.0, 4.0]), 2.0).tolist()
    [1.0, 2.0]
    """
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"temperature must be 0 or more, got {value!r}")
    return top_k(logits, 1) if value == 0 else logits / value


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` likeliest tokens; of equals the one with the smaller id.

    >>> top_k(torch.tensor([1.0, 3.0, 2.0]), 2).tolist()
    [-inf, 3.0, 2.0]
    """
    if k < 1:
        raise ValueError(f"top-k must be at least 1, got {k!r}")
    order = logits.argsort(dim=-1, descending=True, stable=True)
    return logits.scatter(-1, order[..., k:], REMOVED)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest likeliest tokens whose probabilities reach `p` (Holtzman et al. 2020, nucleus sampling).

    >>> top_p(torch.tensor([0.5, 0.25, 0.125, 0.125]).log(), 0.7).exp().tolist()
    [0.5, 0.25, 0.0, 0.0]
    """
    if not 0 < p <= 1:
        raise ValueError(f"top-p must be above 0 and at most 1, got {p!r}")
    if p == 1:
        return logits
    probs, order = logits.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    reached_before = probs.cumsum(dim=-1) - probs >= p  # the tokens before this one already reach p
    reached_before[..., 0] = False  # rounding must never remove the likeliest
    remove = torch.zeros_like(reached_before).scatter(-1, order, reached_before)
    return logits.masked_fill(remove, REMOVED)


def filter_logits(
    logits: Tensor, *, temperature_: float = 1.0, k: int | None = None, p: float = 1.0
) -> Tensor:
    """Temperature, then top-k, then top-p. Raises ValueError on NaN or on logits that allow no token."""
    if logits.isnan().any():
        raise ValueError("the logits hold NaN: the model is broken, or its training diverged")
    if (logits == REMOVED).all(dim=-1).any():
        raise ValueError("all logits are -inf: no token is left to choose")
    logits = temperature(logits, temperature_)
    if k is not None:
        logits = top_k(logits, k)
    return top_p(logits, p)
