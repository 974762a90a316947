"""Attention is the average that the formula says, however it is computed."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_toys import randomised, same
from torch import nn

from lab.nn.attention import MultiHeadAttention, attend, attention_weights
from lab.nn.cache import KeyValueCache
from lab.nn.config import TransformerConfig
from lab.nn.latent import LatentAttention

CONFIG = TransformerConfig(vocab_size=9, context=16, width=24, num_heads=4, feed_forward=8)


def by_hand(q, k, v, allowed):
    """One query at a time, in plain Python arithmetic on float64."""
    B, H, T, E = q.shape
    out = torch.zeros(B, H, T, v.shape[-1], dtype=torch.float64)
    for b in range(B):
        for h in range(H):
            g = h * k.shape[1] // H  # the group of this head
            for t in range(T):
                seen = [s for s in range(k.shape[2]) if allowed[b, t, s]]
                scores = [float(q[b, h, t] @ k[b, g, s]) / math.sqrt(E) for s in seen]
                powers = [math.exp(score - max(scores)) for score in scores]
                for power, s in zip(powers, seen, strict=True):
                    out[b, h, t] += power / sum(powers) * v[b, g, s]
    return out


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    B=st.integers(1, 3), G=st.integers(1, 2), group=st.integers(1, 3), T=st.integers(1, 5), S=st.integers(1, 6),
    E=st.integers(1, 5), kind=st.sampled_from(["none", "causal", "random", "empty rows"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_fused_and_written_out_agree_with_the_formula(B, G, group, T, S, E, kind, seed):
    random = torch.Generator().manual_seed(seed)
    S = max(S, T) if kind == "causal" else S
    q = torch.randn(B, G * group, T, E, dtype=torch.float64, generator=random)
    k, v = (torch.randn(B, G, S, E, dtype=torch.float64, generator=random) for _ in range(2))
    allowed = torch.ones(B, T, S, dtype=torch.bool)
    if kind == "causal":
        allowed = allowed.tril(S - T)
    elif kind != "none":
        allowed = torch.rand(B, T, S, generator=random) < 0.6
        allowed[:, 0] = kind == "random"
    mask = allowed[:, None] if kind in ("random", "empty rows") else None
    fused = attend(q, k, v, mask, causal=kind == "causal")
    same(fused, by_hand(q, k, v, allowed))
    weights = attention_weights(q, k, mask, causal=kind == "causal")
    same(weights.sum(-1), allowed.any(-1)[:, None].expand(weights.shape[:-1]).double())
    same(weights @ v.repeat_interleave(group, 1), fused)


@pytest.mark.parametrize("masked", [False, True])
def test_weights_are_left_out_in_training_alone(masked):
    layer = MultiHeadAttention(replace(CONFIG, attention_dropout=0.4)).double().train()
    x = torch.randn(2, 6, CONFIG.width, dtype=torch.float64)
    mask = torch.rand(2, 1, 6, 6) > 0.5 if masked else None
    q, k, v = layer.project(x)
    torch.manual_seed(3)
    weights = nn.functional.dropout(attention_weights(q, k, mask), 0.4)
    torch.manual_seed(3)
    same(layer(x, mask), layer.output((weights @ v).transpose(1, 2).flatten(2)))
    same(layer.eval()(x, mask), layer.output(attend(q, k, v, mask).transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("bias", [False, True])
def test_heads_are_those_of_torch_with_the_same_weights(bias):
    ours = randomised(MultiHeadAttention(replace(CONFIG, bias=bias)), 0.5)
    theirs = nn.MultiheadAttention(24, 4, bias=bias, batch_first=True).double()
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.data = torch.cat([part.weight for part in parts]).detach()
    theirs.out_proj.weight.data = ours.output.weight.detach()
    if bias:
        theirs.in_proj_bias.data = torch.cat([part.bias for part in parts]).detach()
        theirs.out_proj.bias.data = ours.output.bias.detach()
    x, memory = torch.randn(3, 5, 24).double(), torch.randn(3, 7, 24).double()
    blocked = ~torch.ones(5, 5, dtype=torch.bool).tril()
    for given_here, source, given_there in [
        ({}, x, {}),
        ({"memory": memory}, memory, {}),
        ({"causal": True}, x, {"attn_mask": blocked}),
    ]:
        mixed, weights = theirs(x, source, source, average_attn_weights=False, **given_there)
        same(ours(x, **given_here), mixed)
        same(ours.weights(x, **given_here), weights)


@pytest.mark.parametrize(
    "changes, numbers",
    [
        ({}, 2 * 4 * 6),
        ({"num_key_value_heads": 2}, 2 * 2 * 6),
        ({"num_key_value_heads": 1}, 2 * 1 * 6),
        ({"latent_width": 10, "positions": "none"}, 10),
        ({"latent_width": 10, "width": 32}, 10 + 4),
    ],
)
def test_what_one_token_leaves_in_the_cache(changes, numbers):
    config = replace(CONFIG, **changes)
    kind = LatentAttention if config.latent_width else MultiHeadAttention
    assert KeyValueCache(3, 5, 16, *kind(config).cache_shapes).bytes_per_token == 3 * 4 * numbers


def test_a_latent_of_one_length_says_all_that_is_kept_of_a_token():
    """Tokens whose latents differ in length alone cannot be told apart, nor by what the latent does not hold."""
    module = randomised(LatentAttention(replace(CONFIG, positions="none", latent_width=3)), 0.5)
    x = torch.randn(1, 4, 24).double()
    _, _, basis = torch.linalg.svd(module.compress.weight)
    hidden = x.clone()
    hidden[0, 0] += 5 * basis[-1]  # a direction that the latent does not hold
    (q, *kept), (q_too, *kept_too) = module.project(x), module.project(hidden)
    same(kept, kept_too, 1e-9)
    assert (q_too - q)[0, :, 0].abs().max() > 0.1, "queries see it"
    same(module.project(10 * x)[1:], module.project(x)[1:], 1e-4)


HIDDEN = torch.ones(2, 3, 24)


def attend_ones(q, k, v, dtype=torch.float32, **how):
    attend(*(torch.ones(shape, dtype=dtype) for shape in (q, k, v)), **how)


def fill_cache(*rows_and_tokens):
    cache = KeyValueCache(1, 2, 4, (1, 3), (1, 3)).layers[0]
    for rows, tokens in rows_and_tokens:
        cache.append(*torch.ones(2, rows, 1, tokens, 3))


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: attend_ones((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 7, 5)), "q"),
        (lambda: attend_ones((2, 3, 4, 5), (1, 3, 6, 5), (1, 3, 6, 5)), "q"),
        (lambda: attend_ones((2, 3, 4, 5), (2, 3, 6, 4), (2, 3, 6, 4)), "q"),
        (lambda: attend_ones((3, 4, 5), (3, 6, 5), (3, 6, 5)), "q"),
        (lambda: attend_ones((2, 3, 4, 5), (2, 2, 6, 5), (2, 2, 6, 5)), "q"),
        (lambda: attend_ones((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 5), torch.int64), "q"),
        (lambda: attend_ones((2, 3, 4, 5), (2, 3, 3, 5), (2, 3, 3, 5), causal=True), "causal"),
        (lambda: attention_weights(torch.ones(1, 1, 4, 2), torch.ones(1, 1, 3, 2), causal=True), "causal"),
        (lambda: MultiHeadAttention(CONFIG)(HIDDEN, memory=HIDDEN[:, 1:], causal=True), "causal"),
        (lambda: MultiHeadAttention(CONFIG).weights(HIDDEN, memory=HIDDEN[:, 1:], causal=True), "causal"),
        (lambda: fill_cache((2, 3), (2, 2)), "keys"),
        (lambda: fill_cache((3, 1)), "keys"),
    ],
)
def test_what_does_not_fit_is_named(call, named):
    with pytest.raises(ValueError, match=rf"\b{named}\b"):
        call()
