"""The checks of softmax and attention pass what is right, ours and others', and catch every planted bug."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_checks import failing, passing

from lab import checks
from lab.nn.attention import attend

SUMS, VALUES, AXES, LARGE, CONSTANT = "sum to one", "exp(x) / sum", "any axis", "overflow", "constant"
INFINITE, SOFTMAX_ANSWER, ANSWER, TOGETHER = "-inf", "the answer", "the answer", "all together"


def softmax_in_loops(x, dim):
    answer = np.empty(x.shape)
    for place in np.ndindex(*x.shape):
        others = list(place)
        others[dim] = slice(None)
        line = np.asarray(x)[tuple(others)]
        answer[place] = np.exp(np.asarray(x)[place] - line.max()) / sum(np.exp(line - line.max()))
    return answer


test_right_softmax_passes = passing(
    checks.softmax,
    torch.softmax,
    softmax_in_loops,
    lambda x, dim: x.float().softmax(dim),
    lambda x, dim: list(x.requires_grad_().softmax(dim)) if x.dim() == 1 else x.softmax(dim),
    numpy=[softmax_in_loops, lambda x, dim: softmax_in_loops(x, dim).tolist()],
)
test_wrong_softmax_is_caught = failing(
    checks.softmax,
    (lambda x, dim: x.exp() / x.exp().sum(dim, keepdim=True), [LARGE]),
    (lambda x, dim: x.softmax(-1), [AXES]), (lambda x, dim: x.softmax(0), [AXES, LARGE]),
    (lambda x, dim: (x * np.log(2)).softmax(dim), [VALUES]),
    (lambda x, dim: (x - x.amax(dim, keepdim=True)).exp(), [SUMS, VALUES, AXES, LARGE, INFINITE]),
    (lambda x, dim: x.clamp(min=-9).softmax(dim), [INFINITE]),
    (lambda x, dim: x.sum(dim), [SOFTMAX_ANSWER, SUMS, VALUES, AXES, LARGE, CONSTANT, INFINITE]),
)  # fmt: skip

EQUAL, OVER_KEYS, BY_HAND, SCALE = "equal keys", "sum to one over the keys", "by hand", "divided by sqrt(E)"
BLOCKED, OTHERS, LENGTHS = "a blocked key", "every other key", "more keys than queries"
NOTHING, HEADS, ROWS = "attend nothing", "each head", "each row"


def attention_in_loops(q, k, v, mask):
    q, k, v = (np.asarray(x) for x in (q, k, v))
    B, H, T, E = q.shape
    answer = np.zeros((B, H, T, v.shape[-1]))
    for b, h, t in np.ndindex(B, H, T):
        sees = [s for s in range(k.shape[2]) if mask is None or mask[b % len(mask), 0, t, s]]
        powers = [np.exp(q[b, h, t] @ k[b, h, s] / np.sqrt(E)) for s in sees]
        for s, power in zip(sees, powers, strict=True):
            answer[b, h, t] += power / sum(powers) * v[b, h, s]
    return answer


def ours(q, k, v, mask):
    return attend(q, k, v, torch.ones(1, 1, 1, 1, dtype=torch.bool) if mask is None else mask)


def torchs(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, mask).nan_to_num()


def blocked(fn):
    """The same, for masks in which True is blocked."""
    return lambda q, k, v, mask, *more: fn(q, k, v, None if mask is None else ~mask, *more)


@pytest.mark.parametrize(
    "fn, given",
    [(ours, "torch"), (torchs, "torch"), (attention_in_loops, "torch"), (attention_in_loops, "numpy")],
)
def test_right_attention_passes_in_either_convention(fn, given):
    checks.attention(fn, given=given).raise_if_failed()
    checks.attention(blocked(fn), convention="blocked", given=given).raise_if_failed()
    assert not checks.attention(fn, convention="blocked", given=given)


def attention(q, k, v, mask, scale=None, dim=-1, hide=None, normalise=None):
    """Attention in parts that a test may break."""
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale(q, v))
    if mask is not None:
        scores = hide(scores, mask) if hide else scores.masked_fill(~mask, -torch.inf)
    return (normalise(scores) if normalise else scores.softmax(dim).nan_to_num()) @ v


def broken(**parts):
    return lambda *args: attention(*args, **parts)


WRONG = [
    (broken(scale=lambda q, v: v.shape[-1] ** -0.5), [SCALE]), (broken(dim=-2), [OVER_KEYS, LENGTHS]),
    (broken(normalise=lambda scores: scores.exp()), [EQUAL, OVER_KEYS, BY_HAND, SCALE, LENGTHS]),
    (broken(hide=lambda scores, mask: scores.masked_fill(mask, -torch.inf)), [BLOCKED, OTHERS, NOTHING]),
    (broken(hide=lambda scores, mask: scores + mask.double()), [BLOCKED, NOTHING]),
    (broken(hide=lambda scores, mask: scores.masked_fill(~mask.roll(1, -1), -torch.inf)), [BLOCKED, OTHERS]),
    (broken(hide=lambda scores, mask: scores.masked_fill(~mask[:1], -torch.inf)), [ROWS]),
    (lambda q, k, v, mask: attention(q, k[:, :1], v[:, :1], mask), [HEADS]),
    (lambda q, k, v, mask: attention(q, k, v, mask) if q.shape[2] == k.shape[2] else 1 / 0, [LENGTHS]),
]  # fmt: skip
BOTH = [row for row in WRONG if row[1] and BLOCKED in row[1]]
test_wrong_attention_is_caught = failing(checks.attention, *WRONG, also=[TOGETHER])
test_and_with_the_other_convention = failing(
    lambda fn: checks.attention(blocked(fn), convention="blocked"), *BOTH, also=[TOGETHER]
)
test_wrong_attention_is_explained = failing(
    checks.attention,
    (broken(hide=lambda scores, mask: scores.masked_fill(~mask, -1e9)), [NOTHING]),
    (broken(normalise=lambda scores: scores.softmax(-1)), [NOTHING], "[nan]"),
    (broken(scale=lambda q, v: 1), [SCALE, TOGETHER], "as with no scale"),
    (broken(scale=lambda q, v: 1 / q.shape[-1]), [SCALE, TOGETHER], "as with a division by E"),
    (broken(scale=lambda q, v: q.shape[-1] ** 0.5), [SCALE, TOGETHER], "as with a multiplication by sqrt(E)"),
)


def test_the_smallest_example_can_be_typed_again():
    report = checks.attention(broken(scale=lambda q, v: 1))
    (example,) = [p.example for p in report.properties if SCALE in p.name]
    q, k = "[[[[1.0, 1.0], [-1.0, -1.0]]]]", "[[[[0.5, 0.5], [-0.5, -0.5]]]]"
    assert example.call == f"fn(q={q}, k={k}, v=[[[[0.0], [4.0]]]], mask=None)"
    assert example.actual.lines() == ["[0.4768]", "[ 3.523]"]
