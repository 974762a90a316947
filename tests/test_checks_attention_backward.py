"""The check of attention's gradients passes what is right and catches every planted bug."""

import numpy as np
import pytest
import torch
from test_checks import failing
from test_checks_attention import blocked, torchs

from lab import checks, scratch
from lab.checks.attention_cases import plain_attention, plain_backward
from lab.nn.attention import attend

ANSWER, TOGETHER = "the answer", "all together"
DV, DQ, DK, SCALE, SUM_ZERO = "dv is", "dq is", "dk is", "the scale", "sum to zero"
UNSEEN, NOTHING, APART = "blocked for all", "gives zero gradients", "each head and each row"


def by_autograd(q, k, v, mask, grad_output):
    inputs = [torch.as_tensor(x).requires_grad_() for x in (q, k, v)]
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool) if mask is None else torch.as_tensor(mask)
    return torch.autograd.grad(attend(*inputs, mask), inputs, torch.as_tensor(grad_output))


def backward(q, k, v, mask, g, *, scale=None, weights_scale=None, centre=True, see=None, order="qkv"):
    """The chain rule in parts that a test may break; NumPy or torch."""
    q, k, v, g = (torch.as_tensor(x) for x in (q, k, v, g))
    usual = q.shape[-1] ** -0.5
    scores = q @ k.mT * (usual if weights_scale is None else weights_scale)
    mask = None if mask is None else torch.as_tensor(mask)
    if mask is not None and see != "all":
        scores = scores.masked_fill(mask if see == "inverted" else ~mask, -torch.inf)
    weights = scores.softmax(-1) if see == "nan" else scores.softmax(-1).nan_to_num()
    dweights = g @ v.mT
    dscores = weights * (dweights - centre * (weights * dweights).sum(-1, keepdim=True))
    scale = usual if scale is None else scale
    grads = {"q": dscores @ k * scale, "k": dscores.mT @ q * scale, "v": weights.mT @ g}
    return tuple(grads[name] for name in order)


@pytest.mark.parametrize("fn", [by_autograd, backward, lambda *args: list(map(np.asarray, backward(*args)))])
@pytest.mark.parametrize("given", ["torch", "numpy"])
def test_right_gradients_pass_in_either_convention(fn, given):
    checks.attention_backward(fn, given=given).raise_if_failed()
    checks.attention_backward(blocked(fn), convention="blocked", given=given).raise_if_failed()
    assert not checks.attention_backward(fn, convention="blocked", given=given)


def broken(**parts):
    return lambda *args: backward(*args, **parts)


WRONG = [
    (broken(scale=1), [SCALE]), (broken(weights_scale=1), [SCALE]),
    (broken(see="inverted"), [UNSEEN, NOTHING]), (broken(see="all"), [UNSEEN, NOTHING]),
    (lambda *args: [g * sign for g, sign in zip(backward(*args), (-1, 1, 1), strict=True)], [DQ, SCALE]),
    (lambda *args: [g * sign for g, sign in zip(backward(*args), (1, 0, 1), strict=True)], [DK, SCALE]),
    (lambda q, k, v, m, g: (*backward(q, k, v, m, g)[:2], g), [ANSWER, DV, DQ, DK, SCALE, SUM_ZERO, UNSEEN, NOTHING]),
    (broken(order="kqv"), [ANSWER, DQ, DK, SCALE, SUM_ZERO, UNSEEN, NOTHING]),
    (lambda q, k, v, m, g: [x.sum(1, True).expand(x.shape) for x in backward(q, k, v, m, g)], [APART]),
    (lambda q, k, v, m, g: [x.mean(0, True).expand(x.shape) for x in backward(q, k, v, m, g)], [APART]),
]  # fmt: skip
BOTH = [row for row in WRONG if UNSEEN in (row[1] or ())]
test_wrong_gradients_are_caught = failing(checks.attention_backward, *WRONG, also=[TOGETHER])
test_and_with_the_other_convention = failing(
    lambda fn: checks.attention_backward(blocked(fn), convention="blocked"), *BOTH, also=[TOGETHER]
)
test_wrong_gradients_are_explained = failing(
    checks.attention_backward,
    (broken(see="nan"), [NOTHING], "[nan]"),
    (broken(centre=False), [SUM_ZERO, TOGETHER], "is sum(P * dP) taken away?"),
)


def test_the_formula_of_the_check_agrees_with_autograd():
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3), (2, 2, 3, 3))
    q, k, v, g = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    mask = torch.rand(2, 1, 3, 5, generator=generator) < 0.5
    mask[1, 0, 0] = False
    np.testing.assert_allclose(plain_attention(q, k, v, mask), torchs(q, k, v, mask), atol=1e-12)
    question = q, k, v, mask, g
    for formula, gradient in zip(plain_backward(*question), by_autograd(*question), strict=True):
        np.testing.assert_allclose(formula, gradient, atol=1e-12)


def test_the_numpy_layers_of_the_lab_pass():
    def layers(q, k, v, mask, grad_output):
        layer = scratch.ScaledDotProductAttention()
        layer.forward(q, k, v, mask=mask)
        return layer.backward(grad_output)

    forward = lambda q, k, v, mask: scratch.ScaledDotProductAttention().forward(q, k, v, mask=mask)  # noqa: E731
    checks.attention_backward(layers, given="numpy").raise_if_failed()
    checks.attention(forward, given="numpy").raise_if_failed()
    checks.softmax(lambda x, dim: scratch.Softmax(dim).forward(x), given="numpy").raise_if_failed()
