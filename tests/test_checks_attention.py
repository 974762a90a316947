"""The checks of softmax and attention pass what is right, ours and others', and catch every planted bug."""

import html

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_checks import caught

from lab import checks
from lab.nn.attention import attend

SOFTMAX_ANSWER = "the answer is real numbers in the shape of x"
SUMS, VALUES = "the probabilities sum to one", "each is exp(x) / sum(exp(x))"
AXES, LARGE = "dim may be any axis, not the last alone", "large numbers do not overflow"
CONSTANT, INFINITE = "a constant added to all numbers changes nothing", "-inf gets exactly zero"


def softmax_in_loops(x, dim):
    answer = np.empty(x.shape)
    for place in np.ndindex(*x.shape):
        others = list(place)
        others[dim] = slice(None)
        line = np.asarray(x)[tuple(others)]
        answer[place] = np.exp(np.asarray(x)[place] - line.max()) / sum(np.exp(line - line.max()))
    return answer


@pytest.mark.parametrize(
    "fn, given",
    [
        (torch.softmax, "torch"),
        (lambda x, dim: x.float().softmax(dim), "torch"),
        (lambda x, dim: x.requires_grad_().softmax(dim), "torch"),
        (lambda x, dim: list(x.requires_grad_().softmax(dim)) if x.dim() == 1 else x.softmax(dim), "torch"),
        (softmax_in_loops, "torch"),
        (softmax_in_loops, "numpy"),
        (lambda x, dim: softmax_in_loops(x, dim).tolist(), "numpy"),
    ],
)
def test_right_softmax_passes(fn, given):
    checks.softmax(fn, given=given).raise_if_failed()


@pytest.mark.parametrize(
    "fn, failed",
    [
        (lambda x, dim: x.exp() / x.exp().sum(dim, keepdim=True), [LARGE]),
        (lambda x, dim: (x - x.max()).exp() / (x - x.max()).exp().sum(dim, keepdim=True), [LARGE]),
        (lambda x, dim: x.softmax(-1), [AXES]),
        (lambda x, dim: x.softmax(0), [AXES, LARGE]),
        (lambda x, dim: x.flatten().softmax(0).view(x.shape), [AXES, LARGE, INFINITE]),
        (lambda x, dim: (x - x.amax(dim, True)).exp() / (x - x.amax(dim, True)).exp().sum(dim), [AXES]),
        (lambda x, dim: (x * np.log(2)).softmax(dim), [VALUES]),
        (lambda x, dim: (-x).softmax(dim), [VALUES, AXES, LARGE, INFINITE]),
        (lambda x, dim: x.log_softmax(dim), [SUMS, VALUES, AXES, LARGE, INFINITE]),
        (lambda x, dim: (x - x.amax(dim, keepdim=True)).exp(), [SUMS, VALUES, AXES, LARGE, INFINITE]),
        (lambda x, dim: x.clamp(min=-9).softmax(dim), [INFINITE]),
        (lambda x, dim: x.sum(dim), [SOFTMAX_ANSWER, SUMS, VALUES, AXES, LARGE, CONSTANT, INFINITE]),
    ],
)
def test_wrong_softmax_is_caught(fn, failed):
    names = caught(checks.softmax(fn))
    assert names == failed


ANSWER = "the answer is real numbers (B, H, T, Ev)"
EQUAL, OVER_KEYS = (
    "equal keys: the plain average of the values",
    "the weights of a query sum to one over the keys",
)
BY_HAND, SCALE = "two queries and two keys, by hand", "the scores are divided by sqrt(E)"
BLOCKED, OTHERS = "a blocked key has no influence", "every other key has influence"
LENGTHS = "there may be more keys than queries, or fewer"
NOTHING = "a query that may attend nothing gets zeros"
HEADS, ROWS = "each head works by itself", "each row of the batch works by itself"
TOGETHER = "all together: the formula, on random numbers"


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
    [
        (ours, "torch"),
        (torchs, "torch"),
        (
            lambda *args: torchs(
                *(a.float() if a is not None and a.is_floating_point() else a for a in args)
            ),
            "torch",
        ),
        (attention_in_loops, "torch"),
        (attention_in_loops, "numpy"),
        (lambda *args: attention_in_loops(*args).tolist(), "numpy"),
    ],
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


@pytest.mark.parametrize(
    "fn, failed",
    [
        (broken(scale=lambda q, v: 1), [SCALE]),
        (broken(scale=lambda q, v: 1 / q.shape[-1]), [SCALE]),
        (broken(scale=lambda q, v: v.shape[-1] ** -0.5), [SCALE]),
        (broken(dim=-2), [OVER_KEYS, LENGTHS]),
        (broken(normalise=lambda scores: scores.exp()), [EQUAL, OVER_KEYS, BY_HAND, SCALE, LENGTHS]),
        (lambda q, k, v, mask: attention(k, q, v, mask) if q.shape == k.shape else attention(q, k, v, mask), None),
        (broken(hide=lambda scores, mask: scores.masked_fill(mask, -torch.inf)), [BLOCKED, OTHERS, NOTHING]),
        (broken(hide=lambda scores, mask: scores + mask.double()), [BLOCKED, NOTHING]),
        (broken(hide=lambda scores, mask: scores * mask), [BLOCKED, NOTHING]),
        (broken(hide=lambda scores, mask: scores), [BLOCKED, NOTHING]),
        (broken(hide=lambda scores, mask: scores.masked_fill(~mask, -1e9)), [NOTHING]),
        (broken(hide=lambda scores, mask: scores.masked_fill(~mask.roll(1, -1), -torch.inf)), [BLOCKED, OTHERS]),
        (broken(hide=lambda scores, mask: scores.masked_fill(~mask[:1], -torch.inf)), [ROWS]),
        (lambda q, k, v, mask: attention(q, k[:, :1], v[:, :1], mask), [HEADS]),
        (lambda q, k, v, mask: attention(q, k[:1], v[:1], mask), [ROWS]),
        (lambda q, k, v, mask: attention(q, k, v, mask) if q.shape[2] == k.shape[2] else 1 / 0, [LENGTHS]),
        (lambda q, k, v, mask: attention(q, k, v, mask).transpose(1, 2), None),
    ],
)  # fmt: skip
def test_wrong_attention_is_caught(fn, failed):
    names = caught(checks.attention(fn))
    if failed is None:
        assert names
    elif failed == [NOTHING]:
        assert names == failed  # the random masks leave something to every query
    else:
        assert names == [*failed, TOGETHER]
    if BLOCKED in names:
        assert caught(checks.attention(blocked(fn), convention="blocked")) == names


def test_torchs_own_is_right_but_where_nothing_may_be_attended_and_kernels_differ():
    report = checks.attention(F.scaled_dot_product_attention)
    assert report or caught(report) == [NOTHING]


def test_nan_where_nothing_may_be_attended_is_caught():
    def with_nan(q, k, v, mask):
        scores = q @ k.mT / q.shape[-1] ** 0.5
        return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1) @ v

    report = checks.attention(with_nan)
    assert caught(report) == [NOTHING] and "[nan]" in str(report)


def test_the_wrong_scale_is_named():
    for scale, said in (
        (lambda q, v: 1, "as with no scale"),
        (lambda q, v: 1 / q.shape[-1], "as with a division by E"),
        (lambda q, v: q.shape[-1] ** 0.5, "as with a multiplication by sqrt(E)"),
    ):
        assert said in str(checks.attention(broken(scale=scale)))


def test_the_smallest_example_can_be_typed_again():
    report = checks.attention(broken(scale=lambda q, v: 1))
    (example,) = [p.example for p in report.properties if p.name == SCALE]
    q, k = "[[[[1.0, 1.0], [-1.0, -1.0]]]]", "[[[[0.5, 0.5], [-0.5, -0.5]]]]"
    assert example.call == f"fn(q={q}, k={k}, v=[[[[0.0], [4.0]]]], mask=None)"
    assert example.actual.lines() == ["[0.4768]", "[ 3.523]"]
    assert html.escape(example.call) in report._repr_html_()


def raises(*_):
    raise KeyError("no such <thing>")


EVERY_CHECK = {
    "softmax": checks.softmax,
    "attention": checks.attention,
    "backward": checks.attention_backward,
    "heads": checks.multi_head_attention,
    "positions": checks.positional_encoding,
    "decoder": lambda fn: checks.decoder(fn, vocab_size=9, context=4),
}


@pytest.mark.parametrize("check", EVERY_CHECK.values(), ids=EVERY_CHECK)
@pytest.mark.parametrize(
    "fn, said",
    [
        (raises, "raised KeyError: 'no such <thing>'"),
        (lambda: None, "raised TypeError: "),
        (lambda *_: None, ""),
        (lambda *_: "abc", ""),
        (lambda *_: torch.zeros(2, 3, 4, 5, 6), ""),
        (lambda *_: [[1.5], [2, 3]], ""),
        (lambda *_: object(), ""),
        (lambda *_: ([[1.0]],), ""),
    ],
)
def test_no_answer_is_a_failed_property_and_never_a_crash(check, fn, said):
    report = check(fn)
    names = caught(report)
    assert names[0].startswith("the answer is ") and len(names) == len(report.properties)
    assert said in str(report) and "<thing>" not in report._repr_html_()
    assert fn is not raises or "(not judged)" in str(report)


@pytest.mark.parametrize(
    "name", ["softmax", "attention", "attention_backward", "multi_head_attention", "decoder"]
)
def test_what_is_given_is_torch_or_numpy(name):
    seen = []
    more = {"vocab_size": 9, "context": 4} if name == "decoder" else {}
    for given in ("torch", "numpy"):
        getattr(checks, name)(lambda *args: seen.append(args), given=given, **more)
    kinds = [type(args[0]) for args in seen]
    assert {k.__module__ for k in kinds} == {"torch", "numpy"}
    if name != "decoder":
        assert {str(args[0].dtype) for args in seen} == {"torch.float64", "float64"}
    with pytest.raises(ValueError, match="unknown given 'jax'; expected one of"):
        getattr(checks, name)(raises, given="jax", **more)


@pytest.mark.parametrize("check", [checks.attention, checks.attention_backward, checks.multi_head_attention])
def test_an_unknown_convention_is_refused(check):
    with pytest.raises(ValueError, match="unknown convention 'True'"):
        check(raises, convention="True")


def test_wrong_shapes_and_types_are_named():
    assert "shape (1, 1, 1, 2); expected (1, 1, 1, 1)" in str(
        checks.attention(lambda q, k, v, mask: torch.cat([q, q], -1))
    )
    assert "holds bool; expected real numbers" in str(checks.softmax(lambda x, dim: x > 0))
    assert "dk has shape (1, 2, 3, 2, 1); expected (1, 2, 3, 2)" in str(
        checks.attention_backward(lambda q, k, v, mask, g: (q, k if k.shape[2] < 3 else k[..., None], v))
    )
    said = str(checks.decoder(lambda ids: (ids, None), vocab_size=9, context=4))
    assert "a tuple of 2; give the logits alone, as lambda ids: model(ids)[0]" in said
    with pytest.raises(ValueError, match="vocab_size 1 and context 4; a model with at least 2 ids"):
        checks.decoder(lambda ids: ids, vocab_size=1, context=4)
