"""Attention by its formula, and small questions about it, in each of which one fact decides.

B rows, H heads, T queries, S keys, E channels of queries and keys, Ev of values.
"""

import math

import numpy as np
import torch
from torch import Tensor

from lab.checks.numbers import noise, spoken, tokens
from lab.checks.report import Case
from lab.checks.softmax import plain_softmax

CAUSAL = ((True, False), (True, True))
HOLES = ((True, False, True), (True, True, False), (False, True, True))


class Questions:
    """Cases `fn(q, k, v, mask)` with masks in the reader's convention."""

    def __init__(self, convention: str):
        spoken(None, convention)  # refuses an unknown one
        self.convention = convention

    def case(self, q: Tensor, k: Tensor, v: Tensor, may_attend: object = None) -> Case:
        return Case(q=q, k=k, v=v, mask=spoken(may_attend, self.convention))

    def random(self, B: int, H: int, T: int, S: int, E: int, Ev: int, may_attend: object = None) -> Case:
        q, k, v = noise(B, H, T, E, seed=1), noise(B, H, S, E, seed=2), noise(B, H, S, Ev, seed=3)
        return self.case(q, k, v, may_attend)

    def may_attend(self, case: Case) -> Tensor | None:
        """The mask of a case, in whichever convention, as `True` = may attend."""
        return spoken(case["mask"], self.convention)

    def equal_keys(self) -> list[Case]:
        """As many queries as keys, all alike: which axis is normalised makes no difference."""
        one, ones = tokens([1], [1]), tokens([1], [1], [1])
        return [self.case(one, one, tokens([0], [4])), self.case(ones, ones, tokens([0, 1], [3, 1], [6, 4]))]

    def unlike_keys(self) -> list[Case]:
        return [self.case(tokens([0], [1]), tokens([0], [2]), tokens([1], [1]))]

    def by_hand(self) -> list[Case]:
        """Scores ((c, -c), (-c, c)) with exp(2c) = 3: weights of 3/4 and 1/4. With E = 1 nothing is scaled."""
        c = math.log(3) / 2
        return [self.case(tokens([1], [-1]), tokens([c], [-c]), tokens([0], [4]))]

    def wide(self) -> list[Case]:
        """The same with several channels."""
        return [
            self.case(tokens([1] * E, [-1] * E), tokens([0.5] * E, [-0.5] * E), tokens([0], [4]))
            for E in (2, 4)
        ]

    def masked(self) -> list[Case]:
        return [
            self.random(1, 1, 2, 2, 1, 1, CAUSAL),
            self.random(1, 1, 3, 3, 1, 1, HOLES),
            self.random(1, 2, 2, 2, 1, 1, CAUSAL),
        ]

    def unequal_lengths(self) -> list[Case]:
        return [self.random(1, 1, 1, 2, 1, 1), self.random(1, 1, 2, 1, 1, 1), self.random(1, 1, 3, 5, 1, 1)]

    def nothing(self) -> list[Case]:
        blind = ((False, False), (True, True))
        return [self.random(1, 1, 1, 1, 1, 1, [[False]]), self.random(1, 1, 2, 2, 1, 1, blind)]

    def two_heads(self) -> list[Case]:
        return [self.random(1, 2, 2, 2, 1, 1)]

    def two_rows(self) -> list[Case]:
        """Rows with unlike masks."""
        masks = torch.tensor([[[[True, False]] * 2], [[[False, True]] * 2]])
        return [self.random(2, 1, 2, 2, 1, 1), self.random(2, 1, 2, 2, 1, 1, masks)]

    def together(self) -> list[Case]:
        mask = torch.rand(2, 1, 3, 5, generator=torch.Generator().manual_seed(4)) < 0.5
        mask[..., 1] = True  # every query sees something
        mask[..., -1] = torch.tensor([[False], [True]])[..., None]
        return [
            self.random(1, 1, 2, 2, 2, 1, CAUSAL),
            self.random(2, 2, 3, 5, 4, 3),
            self.random(2, 2, 3, 5, 4, 3, mask),
        ]


def part(case: Case, axis: int, i: int) -> Case:
    """The question about row `i` (axis 0) or head `i` (axis 1) alone."""
    alone = {
        name: value if value is None or value.shape[axis] == 1 else value.narrow(axis, i, 1)
        for name, value in case.arguments.items()
    }
    return Case(**alone)


def changed(case: Case, s: int, **by: float) -> Case:
    """The question with what belongs to key `s` changed, as in `changed(case, 1, k=3.0, v=5.0)`."""
    new = dict(case.arguments)
    for name, amount in by.items():
        new[name] = new[name].clone()
        new[name][:, :, s] += amount
    return Case(**new)


def plain_weights(q: Tensor, k: Tensor, may_attend: Tensor | None, scale: float | None = None) -> np.ndarray:
    """softmax(q k' / sqrt(E)) `(B, H, T, S)`, zeros for a query that may attend nothing."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = np.einsum("bhte,bhse->bhts", q, k) * scale
    if may_attend is not None:
        scores = np.where(may_attend, scores, -np.inf)
    return plain_softmax(scores, -1)


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, may_attend: Tensor | None, scale: float | None = None
) -> np.ndarray:
    """The definition (Vaswani et al. 2017, eq. 1) `(B, H, T, Ev)`."""
    return np.einsum("bhts,bhsv->bhtv", plain_weights(q, k, may_attend, scale), v)


def plain_backward(
    q: Tensor, k: Tensor, v: Tensor, may_attend: Tensor | None, grad_output: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Its gradients (dq, dk, dv), by the chain rule."""
    weights, scale = plain_weights(q, k, may_attend), q.shape[-1] ** -0.5
    dv = np.einsum("bhts,bhtv->bhsv", weights, grad_output)
    dweights = np.einsum("bhtv,bhsv->bhts", grad_output, v)
    dscores = weights * (dweights - (weights * dweights).sum(-1, keepdims=True))
    dq = np.einsum("bhts,bhse->bhte", dscores, k) * scale
    dk = np.einsum("bhts,bhte->bhse", dscores, q) * scale
    return dq, dk, dv
