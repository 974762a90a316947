"""A check of the softmax, by hand-made numbers in which one fact at a time decides."""

from collections.abc import Callable

import numpy as np
import torch

from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.numbers import differing, reals


def softmax(fn: Callable, given: str = "torch") -> CheckReport:
    """Does `fn(x, dim)` turn the numbers along `dim` of `x` into probabilities, exp(x) / sum(exp(x))?

    `x` has one to three dimensions and `dim` counts them from the front or, negative, from the end. `given`
    says what `fn` gets, "torch" or "numpy", float64 either way; it may return any array or nested lists of
    the shape of `x`. What becomes of numbers that all are -inf is not judged.

    >>> print(softmax(lambda x, dim: x.exp() / x.exp().sum(dim, keepdim=True)))
    softmax: failed, 6 of 7 properties hold
      ✓ the answer is real numbers in the shape of x
      ✓ the probabilities sum to one
      ✓ each is exp(x) / sum(exp(x))
      ✓ dim may be any axis, not the last alone
      ✗ large numbers do not overflow
          fn(x=[1000.0, 0.0], dim=0)
          expected    actual
          [1] 0       [nan] 0
      ✓ a constant added to all numbers changes nothing
      ✓ -inf gets exactly zero
    """

    def right(case: Case) -> np.ndarray:
        return plain_softmax(case["x"].numpy(), case["dim"])

    first = _cases([0.0], [0.0, 0.0], [[0.0]], [[0.0, 0.0], [0.0, 0.0]])
    read = reals(lambda case: case["x"].shape)
    check = Check("softmax", fn, "real numbers in the shape of x", read, first, right=right, given=given)

    def sums(case: Case, answer: np.ndarray) -> Examples:
        total = answer.sum(keepdims=True)
        yield differing(f"sum of {case}", np.ones_like(total), total)

    def shifted(case: Case, answer: np.ndarray) -> Examples:
        yield differing(f"{case}, and the same with x + 3", answer, check.ask(case.but(x=case["x"] + 3)))

    def forbidden(case: Case, answer: np.ndarray) -> Examples:
        inexact = np.isneginf(case["x"].numpy()) & (answer != 0)
        yield differing(case, right(case), answer, wrong=inexact) or differing(case, right(case), answer)

    # One dimension where the axis is not the question; zeros, and numbers far apart, where the base is not.
    some = _cases([0.0], [0.0, 1.0], [-1.0, 2.0, 0.5], [0.1, -0.7, 1.2, 0.4])
    flat, cliff = torch.zeros(2, 3), torch.tensor([[50.0, 0.0, 0.0], [0.0, 50.0, 50.0]])
    axes = [
        Case(x=x.double(), dim=dim)
        for x, dims in ((flat, (0, 1, -1, -2)), (cliff, (0, 1)), (torch.zeros(2, 3, 4), (0, 1, 2, -2)))
        for dim in dims
    ]
    large = _cases([1000.0, 0.0], [1000.0] * 2, [-1000.0] * 2, [[1000.0] * 2, [-1000.0] * 2], [0.0, 1e30])
    infinite = _cases([0.0, -np.inf], [3.0, -np.inf, 3.0], [[-np.inf, 0.0], [0.0, -np.inf]])

    check.judge("the probabilities sum to one", sums, some)
    check.expect("each is exp(x) / sum(exp(x))", some)
    check.expect("dim may be any axis, not the last alone", axes)
    check.expect("large numbers do not overflow", large)
    check.judge("a constant added to all numbers changes nothing", shifted, some)
    check.judge("-inf gets exactly zero", forbidden, infinite)
    return check.report


def _cases(*numbers: list) -> list[Case]:
    tensors = [torch.tensor(x, dtype=torch.float64) for x in numbers]
    return [Case(x=x, dim=x.dim() - 1) for x in tensors]


def plain_softmax(x: np.ndarray, dim: int) -> np.ndarray:
    """The definition, with the largest number taken away first; numbers that all are -inf get zeros."""
    largest = x.max(axis=dim, keepdims=True)
    powers = np.exp(x - np.where(np.isneginf(largest), 0.0, largest))
    total = powers.sum(axis=dim, keepdims=True)
    return np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)
