"""Pure functions that reshape next-token logits `(..., V)` before one is drawn.

A removed token's logit becomes -inf. `filter_logits` applies them in the order of the field's libraries: repetition
penalty, temperature, top-k, top-p, min-p. Each reads what those before it left, so the order matters: top-p after a
high temperature keeps more tokens than before it. At least one token always survives.
"""

import math
from numbers import Integral, Real

import torch
from torch import Tensor

REMOVED = -math.inf


def repetition_penalty(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Divide the positive logits of the tokens in `ids` by `penalty`, multiply the others (Keskar et al. 2019, CTRL).

    `ids` int64 `(..., T)` holds the text so far; a token that stands there twice is penalised once. Above 1 the text
    repeats itself less, below 1 more. Unlike the other filters it depends on where the logits' zero lies: a constant
    added to all of them changes what comes out, though not the probabilities that go in.

    >>> repetition_penalty(torch.tensor([2.0, -2.0, 2.0]), torch.tensor([0, 1, 1]), 2.0).tolist()
    [1.0, -4.0, 2.0]
    """
    check_penalty(penalty)
    if penalty == 1:
        return logits
    try:
        there = logits.gather(-1, ids)  # (..., T)
    except RuntimeError as error:
        raise ValueError(
            f"ids {tuple(ids.shape)} must be (..., T) for logits (..., V) {tuple(logits.shape)}, each from 0 to "
            f"{logits.shape[-1] - 1}; got {ids.tolist()}"
        ) from error
    return logits.scatter(-1, ids, torch.where(there > 0, there / penalty, there * penalty))


def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide by `value`: below 1 sharpens, above 1 flattens; 0 keeps only the likeliest token.

    >>> temperature(torch.tensor([2.0, 4.0]), 2.0).tolist()
    [1.0, 2.0]
    """
    check_temperature(value)
    if value == 0:
        return top_k(logits, 1)
    return logits if value == 1 else logits / value


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` likeliest tokens (Fan et al. 2018); of equals the one with the smaller id.

    >>> top_k(torch.tensor([1.0, 3.0, 2.0]), 2).tolist()
    [-inf, 3.0, 2.0]
    """
    check_top_k(k)
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
    check_top_p(p)
    if p == 1:
        return logits
    probs, order = logits.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    reached_before = probs.cumsum(dim=-1) - probs >= p  # the tokens before this one already reach p
    remove = torch.zeros_like(reached_before).scatter(-1, order, reached_before)
    return logits.masked_fill(remove, REMOVED)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens at least `p` times as likely as the likeliest (Nguyen et al. 2024).

    Where the model is sure few are left, where it is not, many. 0 removes nothing, 1 all but the likeliest.

    >>> min_p(torch.tensor([0.5, 0.25, 0.125, 0.125]).log(), 0.4).exp().tolist()
    [0.5, 0.25, 0.0, 0.0]
    """
    check_min_p(p)
    if p == 0:
        return logits
    probs = logits.softmax(dim=-1)
    return logits.masked_fill(probs < p * probs.amax(dim=-1, keepdim=True), REMOVED)


def filter_logits(
    logits: Tensor,
    *,
    temperature_: float = 1.0,
    k: int | None = None,
    p: float = 1.0,
    minimum: float = 0.0,
    penalty: float = 1.0,
    ids: Tensor | None = None,
) -> Tensor:
    """Repetition penalty (of the tokens in `ids`), temperature, top-k, top-p, then min-p (`minimum`).

    Raises ValueError on NaN, on +inf, and on logits that allow no token.
    """
    check_logits(logits)
    if penalty != 1:
        if ids is None:
            raise ValueError(
                f"a repetition penalty of {penalty!r} needs `ids`, the tokens of the text so far"
            )
        logits = repetition_penalty(logits, ids, penalty)
    logits = temperature(logits, temperature_)
    if k is not None:
        logits = top_k(logits, k)
    return min_p(top_p(logits, p), minimum)


def kept_mass(logits: Tensor, filtered: Tensor) -> Tensor:
    """How much of the probability that `logits` `(..., V)` say is on tokens that `filtered` still allows: `(...)`.

    >>> logits = torch.tensor([0.5, 0.25, 0.25]).log()
    >>> float(kept_mass(logits, top_k(logits, 2)))
    0.75
    """
    return (logits.softmax(dim=-1) * (filtered != REMOVED)).sum(dim=-1)


def check_logits(logits: Tensor) -> None:
    """Raises ValueError unless each row `(V,)` has a largest logit, and that one finite."""
    check_largest(logits.amax(dim=-1).flatten().tolist())


def check_largest(largest: list[float]) -> None:
    """The same, given the largest logit of each row: it is NaN where a row holds NaN."""
    for row, value in enumerate(largest):
        if math.isfinite(value):
            continue
        if math.isnan(value):
            raise ValueError(
                f"the logits of row {row} hold NaN: the model is broken, or its training diverged"
            )
        if value == REMOVED:
            raise ValueError(f"all logits of row {row} are -inf: no token is left to choose")
        raise ValueError(f"a logit of row {row} is {value}, which gives no probability: the model is broken")


def check_temperature(value: float) -> None:
    if not (isinstance(value, Real) and 0 <= value < math.inf):
        raise ValueError(f"temperature must be 0 or more, and finite; got {value!r}")


def check_top_k(k: int) -> None:
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ValueError(f"top-k must be a whole number of at least 1, got {k!r}")


def check_top_p(p: float) -> None:
    if not (isinstance(p, Real) and 0 < p <= 1):
        raise ValueError(f"top-p must be above 0 and at most 1, got {p!r}")


def check_min_p(p: float) -> None:
    if not (isinstance(p, Real) and 0 <= p <= 1):
        raise ValueError(f"min-p must be between 0 and 1, got {p!r}")


def check_penalty(penalty: float) -> None:
    if not (isinstance(penalty, Real) and 0 < penalty < math.inf):
        raise ValueError(f"a repetition penalty must be above 0 (1 changes nothing), got {penalty!r}")
