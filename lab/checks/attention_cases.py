"""Attention by its formula, and small questions about it, in each of which one fact decides.

B rows, H heads, T queries, S keys, E channels of queries and keys, Ev of values.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lab.checks.check import Case, one_of
from lab.checks.masks import CONVENTIONS
from lab.checks.numbers import noise, tokens
from lab.checks.softmax import plain_softmax

CAUSAL = ((True, False), (True, True))
HOLES = ((True, False, True), (True, True, False), (False, True, True))


class Masked:
    """Cases with a mask in the reader's convention."""

    def __init__(self, convention: str):
        self.convention = one_of("convention", convention, CONVENTIONS)

    def mask(self, may_attend: Sequence | Tensor | None) -> Tensor | None:
        """`(B, 1, T, S)` or `(1, 1, T, S)` as the reader writes it, of `True` = may attend."""
        if may_attend is None:
            return None
        mask = torch.as_tensor(may_attend, dtype=torch.bool)
        mask = mask if mask.dim() == 4 else mask[None, None]
        return mask if self.convention == "may_attend" else ~mask

    def may_attend(self, case: Case) -> Tensor | None:
        """The mask of a case, in whichever convention, as `True` = may attend."""
        return self.mask(case["mask"])

    def visible(self, case: Case) -> np.ndarray:
        """`(T, S)`: which keys a query may attend, in the first row of the batch."""
        return self.may_attend(case)[0, 0].numpy()


class Questions(Masked):
    """Cases `fn(q, k, v, mask)` with masks in the reader's convention."""

    def case(self, q: Tensor, k: Tensor, v: Tensor, may_attend: object = None) -> Case:
        return Case(q=q, k=k, v=v, mask=self.mask(may_attend))

    def random(self, B: int, H: int, T: int, S: int, E: int, Ev: int, may_attend: object = None) -> Case:
        q, k, v = noise(B, H, T, E, seed=1), noise(B, H, S, E, seed=2), noise(B, H, S, Ev, seed=3)
        return self.case(q, k, v, may_attend)

    def wide(self) -> list[Case]:
        """The same with several channels."""
        return [
            self.case(tokens([1] * E, [-1] * E), tokens([0.5] * E, [-0.5] * E), tokens([0], [4]))
            for E in (2, 4)
        ]

    def masked(self) -> list[Case]:
        sizes = ((1, 2, CAUSAL), (1, 3, HOLES), (2, 2, CAUSAL))
        return [self.random(1, H, T, T, 1, 1, mask) for H, T, mask in sizes]

    def nothing(self) -> list[Case]:
        masks = [[[False]], [[False, False], [True, True]]]
        return [self.random(1, 1, len(mask), len(mask), 1, 1, mask) for mask in masks]

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
    return case.but(
        **{
            name: value if value is None or value.shape[axis] == 1 else value.narrow(axis, i, 1)
            for name, value in case.arguments.items()
        }
    )


def changed(case: Case, s: int, **by: float) -> Case:
    """The question with what belongs to key `s` changed, as in `changed(case, 1, k=3.0, v=5.0)`."""
    new = {name: case[name].clone() for name in by}
    for name, amount in by.items():
        new[name][:, :, s] += amount
    return case.but(**new)


def pairs(visible: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where it is `True`: (query, key)."""
    return map(tuple, np.argwhere(visible).tolist())


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
