"""A check of the gradients of attention, one fact at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lab.checks.attention_cases import Questions, part, plain_backward
from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.numbers import differing, noise, parts, real_numbers, tokens

INPUTS = ("q", "k", "v")
Gradients = dict[str, np.ndarray]


def attention_backward(fn: Callable, convention: str = "may_attend", given: str = "torch") -> CheckReport:
    """Does `fn(q, k, v, mask, grad_output)` give the gradients (dq, dk, dv) of attention?

    q `(B, H, T, E)`, k `(B, H, S, E)`, v `(B, H, S, Ev)`, mask bool `(B, 1, T, S)` or `(1, 1, T, S)` or None,
    and grad_output, the gradient of the loss with respect to attention's answer, `(B, H, T, Ev)`. What
    comes back has the shapes of q, k and v, as a tuple or list. `convention` says what a mask's `True` means,
    "may_attend" or "blocked"; `given` what `fn` gets, "torch" or "numpy", float64 either way. With P the
    weights and g grad_output:

        dv = P' g      dP = g v'      dscores = P * (dP - sum(P * dP))      dq = dscores k / sqrt(E)

    >>> import torch
    >>> def by_autograd(q, k, v, mask, grad_output):
    ...     inputs = [x.requires_grad_() for x in (q, k, v)]
    ...     scores = q @ k.mT / q.shape[-1] ** 0.5
    ...     if mask is not None:  # finite, so that no gradient is NaN where nothing may be attended
    ...         scores = scores.masked_fill(~mask, -1e9)
    ...     weights = scores.softmax(-1) if mask is None else scores.softmax(-1) * mask
    ...     return torch.autograd.grad(weights @ v, inputs, grad_output)
    >>> bool(attention_backward(by_autograd))
    True
    """
    ask = GradientQuestions(convention)

    def read(case: Case, answer: object) -> Gradients:
        gradients = zip(INPUTS, parts(answer, ("dq", "dk", "dv")), strict=True)
        return {name: real_numbers(g, tuple(case[name].shape), f"d{name}") for name, g in gradients}

    def plain(case: Case) -> Gradients:
        q, k, v, _, grad_output = case
        return dict(zip(INPUTS, plain_backward(q, k, v, ask.may_attend(case), grad_output), strict=True))

    def formula(*names: str) -> Callable:
        return lambda case, answer: _different(case, {name: plain(case)[name] for name in names}, answer)

    def unseen(case: Case, answer: Gradients) -> Examples:
        hidden = ~ask.visible(case).any(axis=0)[:, None]
        nought = {name: np.where(hidden, 0.0, answer[name]) for name in "kv"}
        yield from _different(case, nought, answer, "of a key that every query finds blocked")

    def blind(case: Case, answer: Gradients) -> Examples:
        sees_nothing = ~ask.visible(case).any(axis=-1)[:, None]
        nought = {"q": np.where(sees_nothing, 0.0, answer["q"])}
        yield from _different(case, nought, answer, "of a query that may attend nothing")
        quiet = case["grad_output"].masked_fill(torch.tensor(sees_nothing), 0.0)
        without = check.ask(case.but(grad_output=quiet))
        without = {name: without[name] * (not sees_nothing.all()) for name in "kv"}
        yield from _different(case, without, answer, "without, and with, the query that sees nothing")

    def centred(case: Case, answer: Gradients) -> Examples:
        nought = answer["q"].copy()
        nought[..., -1] = 0.0
        note = "where all keys have one number, is sum(dscores) times that number = 0: is sum(P * dP) taken away?"
        yield from _different(case, {"q": nought}, answer, note)

    def apart(case: Case, whole: Gradients) -> Examples:
        for axis, i in ((1, 0), (1, 1), (0, 0), (0, 1)):
            among = {name: gradient.take([i], axis) for name, gradient in whole.items()}
            note = f"{('row', 'head')[axis]} {i} asked alone, and among the others"
            yield from _different(case, check.ask(part(case, axis, i)), among, note)

    nought, some, more, pair = [0] * 4, [2, 1, 0, 1], [3, 1, 1, 0], [[1], [3]]
    # Where zero queries or zero keys make all weights alike and the values sum to zero, the softmax's sum(P * dP) is
    # zero; with one channel the scale is 1.
    opposite = ((1,), (-1,))
    values = [ask.small([[0]], [[0]], [[0]], [[1]]), *(ask.random(1, 1, 2, 2, 1, Ev) for Ev in (1, 2))]
    queries = [ask.small([[0]] * len(grad), [[2], [3]], opposite, grad) for grad in ([[1]], pair)]
    keys = [ask.small(q, [[0]] * 2, opposite, grad) for q, grad in (([[2]], [[1]]), ([[2], [3]], pair))]
    # dq alone, dk alone, and, with values of zero, dv alone.
    wide = [
        ask.small([nought], [some, more], opposite, [[1]]),
        ask.small([some], [nought] * 2, opposite, [[1]]),
        ask.small([some], [[0.5] * 4, nought], [[0], [0]], [[1]]),
    ]
    # Keys with the same number in their last channel.
    alike = [
        ask.small([[1]], [[2], [2]], pair, [[1]]),
        ask.small([[1, 0], [2, 0]], [[0, 1], [1, 1], [3, 1]], [[1], [3], [6]], [[1], [2]]),
    ]
    hidden = [ask.random(1, 1, len(mask), 2, 1, 1, mask) for mask in ([[True, False]], [[False, True]] * 2)]
    shapes = ((1, 1, 1, 1, 1, 1), (1, 1, 2, 2, 1, 1), (1, 2, 2, 3, 2, 4))
    wanted = "(dq, dk, dv) in the shapes of q, k and v"
    check = Check(
        "attention_backward", fn, wanted, read, [ask.random(*shape) for shape in shapes], given=given
    )
    check.judge("dv is right", formula("v"), values)
    check.judge("dq is right", formula("q"), queries)
    check.judge("dk is right", formula("k"), keys)
    check.judge("the scale 1/sqrt(E) is in the weights, in dq and in dk", formula(*INPUTS), wide)
    check.judge("the gradients of a query's scores sum to zero", centred, alike)
    check.judge("a key that is blocked for all gets zero gradients", unseen, hidden)
    check.judge("a query that may attend nothing gives zero gradients", blind, ask.nothing())
    check.judge("each head and each row of the batch by itself", apart, [ask.random(2, 2, 2, 2, 1, 1)])
    check.judge("all together: the formula, on random numbers", formula(*INPUTS), ask.together())
    return check.report


class GradientQuestions(Questions):
    """Cases `fn(q, k, v, mask, grad_output)`."""

    def case(self, q: Tensor, k: Tensor, v: Tensor, may_attend: object = None) -> Case:
        grad_output = noise(*q.shape[:3], v.shape[-1], seed=5)
        return Case(**super().case(q, k, v, may_attend).arguments, grad_output=grad_output)

    def small(self, q: Sequence, k: Sequence, v: Sequence, grad_output: Sequence) -> Case:
        return Case(q=tokens(*q), k=tokens(*k), v=tokens(*v), mask=None, grad_output=tokens(*grad_output))


def _different(case: Case, expected: Gradients, actual: Gradients, note: str = "") -> Examples:
    """Each of the expected gradients beside what came."""
    for name, gradient in expected.items():
        yield differing(case, gradient, actual[name], f"d{name}, {note}" if note else f"d{name}")
