"""Pure functions that reshape next-token logits `(..., V)` before one is drawn.

A removed token's logit becomes -inf. `Sampling.logits` applies them in the order of the field's libraries: repetition
penalty, temperature, then `FILTERS`. Each reads what those before it left, so the order matters: top-p after a high
temperature keeps more tokens than before it. At least one token always survives.

One more filter is a function here, `name(logits, value)`, its entry in `FILTERS`, and the field `name` of `Sampling`,
whose default changes nothing. From outside, `Sampling(filters=...)` takes any function of logits and ids.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

REMOVED = -math.inf
# Logits so large, times a penalty and over a temperature that is not colder, are still numbers in float32; SMALLEST is
# one of its smallest.
LARGEST, COLD, SMALLEST = 1e20, 1e-4, 1e-37


def repetition_penalty(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Divide the positive logits of the tokens in `ids` by `penalty`, multiply the others (Keskar et al. 2019, CTRL).

    `ids` int64 `(..., T)` holds the text so far; a token that stands there twice is penalised once. Above 1 the text
    repeats itself less, below 1 more. Unlike the other filters it depends on where the logits' zero lies: a constant
    added to all of them changes what comes out, though not the probabilities that go in.

    >>> repetition_penalty(torch.tensor([2.0, -2.0, 2.0]), torch.tensor([0, 1, 1]), 2.0).tolist()
    [1.0, -4.0, 2.0]
    """
    if not 1e-6 <= penalty <= 1e6:
        raise ValueError(f"penalty must be from 1e-6 to 1e6 (1 changes nothing), got {penalty!r}")
    there = logits.gather(-1, ids)  # (..., T)
    return logits.scatter(-1, ids, torch.where(there > 0, there / penalty, there * penalty))


def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide by `value`: below 1 sharpens, above 1 flattens; 0 keeps only the likeliest token.

    >>> temperature(torch.tensor([2.0, 4.0]), 2.0).tolist()
    [1.0, 2.0]
    """
    if not 0 <= value < math.inf:
        raise ValueError(f"temperature must be 0 or more, and finite; got {value!r}")
    if value == 0:
        return top_k(logits, 1)
    if value < COLD:  # quotients may be beyond all numbers: the largest becomes 0, others at worst -inf
        logits = logits - logits.amax(dim=-1, keepdim=True)
    return logits if value == 1 else logits / min(max(value, SMALLEST), 1 / SMALLEST)


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` likeliest tokens (Fan et al. 2018); of equals the one with the smaller id.

    >>> top_k(torch.tensor([1.0, 3.0, 2.0]), 2).tolist()
    [-inf, 3.0, 2.0]
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k!r}")
    if k >= logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[..., -1:]
    if ((logits >= least).sum(dim=-1) == k).all():
        return logits.masked_fill(logits < least, REMOVED)
    order = logits.argsort(dim=-1, descending=True, stable=True)  # ties; several times as slow
    return logits.scatter(-1, order[..., k:], REMOVED)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest likeliest tokens whose probabilities reach `p` (Holtzman et al. 2020, nucleus sampling).

    >>> top_p(torch.tensor([0.5, 0.25, 0.125, 0.125]).log(), 0.7).exp().tolist()
    [0.5, 0.25, 0.0, 0.0]
    """
    if not 0 < p <= 1:
        raise ValueError(f"p must be above 0 and at most 1, got {p!r}")
    if p == 1:
        return logits
    probs, order = logits.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    # The tokens before this one already reach p; a p that is rounded to 0 there would be reached by none at all.
    reached_before = probs.cumsum(dim=-1) - probs >= max(p, SMALLEST)
    remove = torch.zeros_like(reached_before).scatter(-1, order, reached_before)
    return logits.masked_fill(remove, REMOVED)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens at least `p` times as likely as the likeliest (Nguyen et al. 2024).

    Where the model is sure few are left, where it is not, many. 0 removes nothing, 1 all but the likeliest.

    >>> min_p(torch.tensor([0.5, 0.25, 0.125, 0.125]).log(), 0.4).exp().tolist()
    [0.5, 0.25, 0.0, 0.0]
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must be from 0 to 1, got {p!r}")
    if p == 0:
        return logits
    probs = logits.softmax(dim=-1)
    return logits.masked_fill(probs < p * probs.amax(dim=-1, keepdim=True), REMOVED)


FILTERS = (top_k, top_p, min_p)  # in the order in which they are applied


def kept_mass(logits: Tensor, filtered: Tensor) -> Tensor:
    """How much of the probability that `logits` `(..., V)` say is on tokens that `filtered` still allows: `(...)`.

    >>> logits = torch.tensor([0.5, 0.25, 0.25]).log()
    >>> float(kept_mass(logits, top_k(logits, 2)))
    0.75
    """
    return (logits.softmax(dim=-1) * (filtered != REMOVED)).sum(dim=-1)


def check_logits(logits: Tensor) -> None:
    """Raises ValueError unless each row `(V,)` has a largest logit, which is a number of at most 1e20."""
    check_largest(logits.amax(dim=-1).flatten().tolist())


def check_largest(largest: Sequence[float]) -> None:
    """The same, given the largest logit of each row: it is NaN where a row holds NaN."""
    for row, value in enumerate(largest):
        if value == REMOVED:
            raise ValueError(f"all logits of row {row} are -inf: no token is left to choose")
        if not abs(value) <= LARGEST:
            raise ValueError(
                f"row {row} holds a logit of {value}: the model is broken, or its training diverged"
            )
