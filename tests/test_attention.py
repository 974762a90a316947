"""Attention is the average that the formula says, however it is computed."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lab.nn.attention import MultiHeadAttention, attend, attention_weights, settle_mask
from lab.nn.cache import KeyValueCache, LayerCache
from lab.nn.config import TransformerConfig
from lab.nn.latent import LatentAttention
from lab.nn.positions import make_positions

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
    expected = by_hand(q, k, v, allowed)
    fused = attend(q, k, v, mask, causal=kind == "causal")
    torch.testing.assert_close(fused, expected, rtol=1e-10, atol=1e-12)
    weights = attention_weights(q, k, mask, causal=kind == "causal")
    sums = allowed.any(-1)[:, None].expand(weights.shape[:-1]).double()
    torch.testing.assert_close(weights.sum(-1), sums)
    torch.testing.assert_close(weights @ v.repeat_interleave(group, 1), fused, rtol=1e-10, atol=1e-12)


def attention(config=CONFIG, kind=MultiHeadAttention) -> MultiHeadAttention:
    module = kind(config).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


@pytest.mark.parametrize("bias", [False, True])
def test_heads_are_those_of_torch_with_the_same_weights(bias):
    ours = attention(replace(CONFIG, bias=bias))
    theirs = nn.MultiheadAttention(24, 4, bias=bias, batch_first=True).double()
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.data = torch.cat([part.weight for part in parts]).detach()
    theirs.out_proj.weight.data = ours.output.weight.detach()
    if bias:
        theirs.in_proj_bias.data = torch.cat([part.bias for part in parts]).detach()
        theirs.out_proj.bias.data = ours.output.bias.detach()
    x, memory = torch.randn(3, 5, 24).double(), torch.randn(3, 7, 24).double()
    for source in (None, memory):
        wanted, weights = theirs(
            x, *[x if source is None else source] * 2, need_weights=True, average_attn_weights=False
        )
        torch.testing.assert_close(ours(x, memory=source), wanted, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(ours.weights(x, memory=source), weights, rtol=1e-10, atol=1e-12)
    blocked = ~torch.ones(5, 5, dtype=torch.bool).tril()
    wanted, weights = theirs(x, x, x, attn_mask=blocked, average_attn_weights=False)
    torch.testing.assert_close(ours(x, causal=True), wanted, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.weights(x, causal=True), weights, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_keys_are_many_heads_with_keys_repeated(groups):
    grouped = attention(replace(CONFIG, num_key_value_heads=groups))
    full = attention()
    weights = grouped.state_dict()
    for name in ("key.weight", "value.weight"):
        heads = weights[name].view(groups, 6, 24)  # a head's six rows
        weights[name] = heads.repeat_interleave(4 // groups, dim=0).flatten(0, 1)
    full.load_state_dict(weights)
    x = torch.randn(2, 5, 24).double()
    torch.testing.assert_close(grouped(x, causal=True), full(x, causal=True), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [MultiHeadAttention, LatentAttention])
@pytest.mark.parametrize("positions", ["rotary", "none"])
@pytest.mark.parametrize("sizes", [[1] * 7, [3, 1, 3], [7]])
def test_with_a_cache_parts_give_what_the_whole_gives(kind, positions, sizes):
    config = replace(
        CONFIG, positions=positions, width=32, latent_width=10 if kind is LatentAttention else None
    )
    module, x = attention(config, kind), torch.randn(2, 7, 32).double()
    places = make_positions(config).double()
    turn = lambda start, end: partial(places.turn, tables=places.tables(torch.arange(start, end)))  # noqa: E731
    whole = module(x, causal=True, turn=turn(0, 7))
    cache = KeyValueCache(1, 2, 16, *module.cache_shapes, dtype=torch.float64).layers[0]
    parts, start = [], 0
    for part in x.split(sizes, dim=1):
        end = start + part.shape[1]
        parts.append(module(part, causal=True, turn=turn(start, end), cache=cache))
        start = end
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-10, atol=1e-12)
    assert cache.length == 7


def test_a_memory_is_projected_once_and_kept():
    module, x, memory = attention(), torch.randn(2, 3, 24).double(), torch.randn(2, 5, 24).double()
    cache = LayerCache(torch.zeros(2, 4, 8, 6).double(), torch.zeros(2, 4, 8, 6).double())
    first = module(x, memory=memory, cache=cache)
    assert torch.equal(first, module(x, memory=memory))
    assert torch.equal(module(x, memory=memory * 0, cache=cache), first), "the memory was read again"
    assert cache.length == 0, "a memory takes no room of the tokens"


@pytest.mark.parametrize(
    "changes, heads_and_channels",
    [
        ({}, 2 * 4 * 6),
        ({"num_key_value_heads": 2}, 2 * 2 * 6),
        ({"num_key_value_heads": 1}, 2 * 1 * 6),
        ({"latent_width": 10, "positions": "none"}, 10),
        ({"latent_width": 10, "width": 32}, 10 + 4),
    ],
)
def test_what_one_token_leaves_in_the_cache(changes, heads_and_channels):
    config = replace(CONFIG, **changes)
    kind = LatentAttention if config.latent_width else MultiHeadAttention
    cache = KeyValueCache(3, 5, 16, *kind(config).cache_shapes)
    assert cache.bytes_per_token == 3 * 4 * heads_and_channels
    room = sum(t.numel() * 4 for layer in cache.layers for t in (layer.keys, layer.values))
    assert room == 5 * 16 * cache.bytes_per_token


def test_a_latent_says_all_that_is_kept_of_a_token():
    """Tokens with the same latent and the same turned key cannot be told apart, however wide they are."""
    module = attention(replace(CONFIG, positions="none", latent_width=3), LatentAttention)
    x = torch.randn(1, 4, 24).double()
    _, _, basis = torch.linalg.svd(module.compress.weight)
    hidden = x.clone()
    hidden[0, 0] += 5 * basis[-1]  # a direction that the latent does not hold
    _, k, v = module.project(x)
    _, k_too, v_too = module.project(hidden)
    torch.testing.assert_close((k, v), (k_too, v_too), rtol=0, atol=1e-9)
    assert (module.project(hidden)[0] - module.project(x)[0])[0, :, 0].abs().max() > 0.1, "queries see it"


def test_a_settled_mask_is_the_mask():
    q = torch.randn(2, 3, 4, 5)
    mask = torch.rand(2, 1, 4, 4) < 0.5
    mask[0, 0, 2] = False
    torch.testing.assert_close(attend(q, q, q, settle_mask(mask, 2, 4, 4)), attend(q, q, q, mask))
    assert settle_mask(mask | True, 2, 4, 4).empty is None


@pytest.mark.parametrize(
    "q, k, v, dtype",
    [
        ((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 7, 5), torch.float32),
        ((2, 3, 4, 5), (1, 3, 6, 5), (1, 3, 6, 5), torch.float32),
        ((2, 3, 4, 5), (2, 3, 6, 4), (2, 3, 6, 4), torch.float32),
        ((3, 4, 5), (3, 6, 5), (3, 6, 5), torch.float32),
        ((2, 3, 4, 5), (2, 2, 6, 5), (2, 2, 6, 5), torch.float32),
        ((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 5), torch.int64),
    ],
)
def test_what_does_not_fit_is_named(q, k, v, dtype):
    with pytest.raises(ValueError, match="q"):
        attend(*(torch.ones(shape, dtype=dtype) for shape in (q, k, v)))


def test_a_full_cache_says_so():
    cache = KeyValueCache(1, 2, 4, (1, 3), (1, 3)).layers[0]
    cache.append(torch.ones(2, 1, 3, 3), torch.ones(2, 1, 3, 3))
    with pytest.raises(ValueError, match="2 rows of 4 tokens, with 3 filled, cannot take keys"):
        cache.append(torch.ones(2, 1, 2, 3), torch.ones(2, 1, 2, 3))
    with pytest.raises(ValueError, match=r"cannot take keys \(3, 1, 1, 3\)"):
        cache.append(torch.ones(3, 1, 1, 3), torch.ones(3, 1, 1, 3))
    assert cache.length == 3


def test_a_latent_is_normalised():
    """However long the vector that is compressed, the latent has one length, and with it keys and values."""
    module, x = (
        attention(replace(CONFIG, positions="none", latent_width=3), LatentAttention),
        torch.randn(1, 4, 24),
    )
    _, k, v = module.project(x.double())
    _, k_too, v_too = module.project(10 * x.double())
    torch.testing.assert_close((k, v), (k_too, v_too), rtol=1e-4, atol=1e-4)
