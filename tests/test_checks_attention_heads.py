"""The check of multi-head attention passes what is right, torch's own included, and catches every planted bug."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_checks import blamed, failing
from torch import nn

from lab import checks, scratch

TOGETHER = "all together"
ONE, WEIGHTS, OUTPUT, HEADS = "one head", "x @ W.T", "output weights", "head h has"
SCALE, CROSS, ROWS = "its own width", "from memory", "each row"
BLOCKED, OTHERS = "a blocked key", "every other key"


def split(x, num_heads):
    return x.view(*x.shape[:2], num_heads, -1).transpose(1, 2)


def merge(x):
    return x.transpose(1, 2).flatten(2)


def heads(
    x, memory, weights, num_heads, mask, *, split=split, merge=merge, scale=None, attend=None, values="memory"
):
    """Multi-head attention in parts that a test may break."""
    q, k = split(x @ weights["query"].T, num_heads), split(memory @ weights["key"].T, num_heads)
    v = split((memory if values == "memory" else x) @ weights["value"].T, num_heads)
    scale = None if scale is None else scale(q, num_heads)
    mixed = (attend or F.scaled_dot_product_attention)(q, k, v, mask, scale=scale)
    return merge(mixed) @ weights["output"].T


def torchs_module(x, memory, weights, num_heads, mask):
    layer = nn.MultiheadAttention(x.shape[-1], num_heads, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([weights[name] for name in ("query", "key", "value")]))
        layer.out_proj.weight.copy_(weights["output"])
    if mask is not None:  # there True = blocked, and a mask has a place for every head
        mask = ~mask.expand(len(x), num_heads, -1, -1).flatten(0, 1)
    return layer(x, memory, memory, attn_mask=mask, need_weights=False)[0]


@pytest.mark.parametrize("fn", [heads, torchs_module])
def test_right_heads_pass_in_either_convention(fn):
    def other(x, memory, weights, num_heads, mask):
        return fn(x, memory, weights, num_heads, None if mask is None else ~mask)

    checks.multi_head_attention(fn).raise_if_failed()
    checks.multi_head_attention(other, convention="blocked").raise_if_failed()
    assert not checks.multi_head_attention(fn, convention="blocked")


def test_the_numpy_layers_of_the_lab_pass():
    def layers(x, memory, weights, num_heads, mask):
        layer = scratch.MultiHeadAttention(x.shape[-1], num_heads, np.random.default_rng(0))
        for name, w in weights.items():
            linear = getattr(layer, name)
            linear.weight[:], linear.bias[:] = w, 0
        mask = None if mask is None else np.repeat(mask[:, 0], len(x) // len(mask), axis=0)
        return layer.forward(x, memory, memory, attention_mask=mask)

    checks.multi_head_attention(layers, given="numpy").raise_if_failed()


def broken(**parts):
    return lambda *args: heads(*args, **parts)


def only_in_head_0(q, k, v, mask, scale):
    mask = None if mask is None else mask | (torch.arange(q.shape[1]) > 0)[:, None, None]
    return F.scaled_dot_product_attention(q, k, v, mask, scale=scale)


def backwards(x, memory, weights, num_heads, mask):
    return heads(x, memory, {name: w.T for name, w in weights.items()}, num_heads, mask)


def with_other_weights(**other):
    return lambda x, m, w, H, mask: heads(x, m, w | {name: w[new] if new else torch.eye(x.shape[-1]).double()
                                                     for name, new in other.items()}, H, mask)  # fmt: skip


test_wrong_heads_are_caught = failing(
    checks.multi_head_attention,
    (broken(merge=lambda m: m.reshape(len(m), m.shape[2], -1)), [HEADS, SCALE, BLOCKED, OTHERS]),
    (broken(merge=lambda m: merge(m.flip(1))), [HEADS]),
    (broken(split=lambda x, H: x.view(*x.shape[:2], -1, H).permute(0, 3, 1, 2)), [HEADS]),
    (broken(scale=lambda q, H: 1.0), [SCALE]), (broken(scale=lambda q, H: 1 / q.shape[-1]), [SCALE]),
    (with_other_weights(output=None), [OUTPUT]), (with_other_weights(query=None), [WEIGHTS, HEADS, SCALE]),
    (with_other_weights(query="key", key="query"), None), (backwards, [WEIGHTS, OUTPUT]),
    (broken(values="x"), [CROSS]), (broken(attend=only_in_head_0), [BLOCKED]),
    (lambda x, m, w, H, mask: heads(x, m, w, H, None), [BLOCKED]),
    (lambda x, m, w, H, mask: heads(x, m, w, H, None if mask is None else ~mask), [BLOCKED, OTHERS]),
    (lambda x, m, w, H, mask: heads(x, m[:1].expand(m.shape), w, H, mask), [ROWS]),
    (lambda x, m, w, H, mask: heads(x.mT, m.mT, w, H, mask).mT, None),
    also=[TOGETHER],
)  # fmt: skip


def test_examples_leave_out_what_is_plain():
    report = checks.multi_head_attention(broken(scale=lambda q, H: (q.shape[-1] * H) ** -0.5))
    blamed(report, [SCALE, TOGETHER], "as with a division by sqrt(C)")
    call = next(p.example.call for p in report.properties if SCALE in p.name)
    assert ", memory=x, weights={'query': [[0.5, 0.0," in call and "'value'" not in call
