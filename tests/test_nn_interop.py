"""A model that goes to `transformers`, or comes from there, still says the same."""

import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_toys import ids, randomised, same

from lab.data.masks import causal, combine
from lab.nn.interop import from_transformers, to_transformers
from lab.nn.transformer import DecoderOnlyTransformer, EncoderOnlyTransformer, TransformerConfig

transformers = pytest.importorskip("transformers")

SIZES = dict(vocab_size=41, context=24, width=24, num_layers=2, num_heads=4, feed_forward=20)
GPT2 = TransformerConfig(
    **SIZES, positions="learned", norm="layer", activation="gelu_tanh", bias=True, norm_epsilon=0.03
)
LLAMA = TransformerConfig(
    **SIZES, num_key_value_heads=2, activation="gated_silu", rotary_base=300.0, norm_epsilon=0.03
)
OURS = {
    "gpt2": replace(GPT2, tied=True),
    "gpt2 exact gelu, one head": replace(GPT2, activation="gelu", num_heads=1),
    "gpt2 more places": replace(GPT2, num_positions=30),
    "llama": LLAMA,
    "llama tied, biased": replace(LLAMA, tied=True, bias=True),
    "llama more places": replace(LLAMA, num_positions=30),
    "llama as many key heads": replace(LLAMA, num_key_value_heads=None, bias=True),
}


def gpt2(**settings):
    sizes = dict(vocab_size=41, n_positions=24, n_embd=24, n_layer=2, n_head=4)
    config = transformers.GPT2Config(**sizes | dict(bos_token_id=None, eos_token_id=None) | settings)
    return randomised(transformers.GPT2LMHeadModel(config), 0.4, torch.float32)


def llama(**settings):
    sizes = dict(vocab_size=41, max_position_embeddings=24, hidden_size=24, intermediate_size=20)
    sizes |= dict(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
    config = transformers.LlamaConfig(**sizes | settings)
    return randomised(transformers.LlamaForCausalLM(config), 0.4, torch.float32)


def decoder(config):
    return randomised(DecoderOnlyTransformer(config), 0.4, torch.float32)


every_kind = pytest.mark.parametrize("make", [gpt2, llama])


@torch.no_grad()
def assert_same_logits(ours, theirs, atol=1e-5):
    x = ids(3)
    same(ours(x), theirs(x).logits, atol)


@pytest.mark.parametrize("config", OURS.values(), ids=OURS)
def test_what_goes_there_and_comes_back_is_the_same_model(config):
    ours = decoder(config)
    theirs = to_transformers(ours)
    assert_same_logits(ours, theirs)
    assert theirs.generation_config.eos_token_id is None, "2, Llama's usual end, may be any token here"
    back = from_transformers(theirs)
    assert back.config == replace(config, context=config.places, num_positions=None)
    weights, returned = ours.state_dict(), back.state_dict()
    assert returned.keys() == weights.keys()
    for name, weight in returned.items():
        assert torch.equal(weight, weights[name]), name
        assert weight.data_ptr() != weights[name].data_ptr(), "copied, not shared"


@settings(max_examples=25, deadline=None)
@given(
    grouped=st.sampled_from([(1, 1), (2, 1), (2, 2), (3, 1), (3, 3), (6, 2), (6, 3), (6, 6)]),
    kind=st.sampled_from(["gpt2", "llama"]), half_width=st.integers(2, 4), layers=st.integers(1, 3),
    hidden=st.integers(1, 30), tied=st.booleans(), bias=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_theirs_of_any_size_say_the_same(grouped, kind, half_width, layers, hidden, tied, bias, seed):
    torch.manual_seed(seed)
    heads, groups = grouped
    sizes = dict(hidden_size=2 * half_width * heads, num_attention_heads=heads, num_hidden_layers=layers)
    if kind == "gpt2":
        names = transformers.GPT2Config.attribute_map
        sizes = {names[name]: size for name, size in sizes.items()}
        theirs = gpt2(**sizes, n_inner=hidden, tie_word_embeddings=tied)
    else:
        rope = {"rope_type": "default", "rope_theta": 70.0}
        sizes |= dict(intermediate_size=hidden, num_key_value_heads=groups, rope_parameters=rope)
        biases = dict(attention_bias=bias, mlp_bias=bias)
        theirs = llama(**sizes, **biases, tie_word_embeddings=tied, rms_norm_eps=0.02)
    ours = from_transformers(theirs)
    assert (ours.output.weight is ours.embedding.token.weight) == tied
    assert_same_logits(ours, theirs, atol=1e-4)
    assert_same_logits(ours, to_transformers(ours), atol=1e-4)


# Llama's norm is computed in float32 there, whatever the weights.
@pytest.mark.parametrize(("make", "atol"), [(gpt2, 1e-12), (llama, 1e-5)])
def test_type_and_mode_stay_as_they_are(make, atol):
    ours = from_transformers(make().double())
    assert {p.dtype for p in ours.parameters()} == {torch.float64} and not ours.training
    there = to_transformers(ours)
    assert there.dtype == torch.float64 and not there.training
    assert_same_logits(ours, there, atol)
    assert to_transformers(ours.train()).training and from_transformers(there.train()).training
    half = from_transformers(make().bfloat16())
    assert half(ids()).dtype == to_transformers(half).dtype == torch.bfloat16


@every_kind
def test_dropout_is_not_carried_over(make):
    dropout = dict(resid_pdrop=0.5, embd_pdrop=0.5) if make is gpt2 else dict(attention_dropout=0.5)
    with_dropout = make(**dropout)
    ours = from_transformers(with_dropout)
    assert_same_logits(ours.train(), with_dropout)
    there = to_transformers(decoder(replace(ours.config, dropout=0.5)))
    x = ids()
    assert torch.equal(there.train()(x).logits, there.eval()(x).logits)


@every_kind
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "first, end", [([0, 0, 0], [20, 13, 1]), ([0, 7, 19], [20, 20, 20])], ids=["right", "left"]
)
@torch.no_grad()
def test_a_padded_batch_gives_the_same_logits(make, attention, first, end):
    theirs, x, places = make(attn_implementation=attention), ids(3), torch.arange(20)
    real = (places >= torch.tensor(first)[:, None]) & (places < torch.tensor(end)[:, None])  # (B, T)
    positions = (real.cumsum(dim=1) - 1).clamp(min=0)
    mask = combine(causal(20), real[:, None, None, :])
    found = from_transformers(theirs)(x, mask=mask, positions=positions)
    expected = theirs(x, attention_mask=real.long(), position_ids=positions).logits
    same(found[real], expected[real], 1e-5)


def sent(config, **changes):
    return to_transformers(DecoderOnlyTransformer(replace(config, **changes)))


NOT_LLAMA = {"norm": "layer"}, {"norm_place": "post"}, {"activation": "gelu"}
NOT_GPT2 = {"norm": "rms"}, {"norm_place": "post"}, {"activation": "gated_silu"}, {"bias": False}
NOT_GPT2 += {"num_key_value_heads": 2}, {"latent_width": 8}
IN_GPT2 = "scale_attn_by_inverse_layer_idx", "add_cross_attention"
LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}


@pytest.mark.parametrize(
    "call, named",
    [
        *[(lambda way=way: sent(GPT2, positions=way), "positions") for way in ("sinusoidal", "none")],
        *[(lambda other=other: sent(GPT2, **other), next(iter(other))) for other in NOT_GPT2],
        *[(lambda other=other: sent(LLAMA, **other), next(iter(other))) for other in NOT_LLAMA],
        (lambda: sent(LLAMA, num_key_value_heads=None, width=32, latent_width=8), "latent_width"),
        (lambda: from_transformers(gpt2(activation_function="relu")), "activation_function"),
        (lambda: from_transformers(gpt2(scale_attn_weights=False)), "scale_attn_weights"),
        *[(lambda name=name: from_transformers(gpt2(**{name: True})), name) for name in IN_GPT2],
        (lambda: from_transformers(llama(hidden_act="gelu")), "hidden_act"),
        (lambda: from_transformers(llama(head_dim=8)), "head_dim"),
        (lambda: from_transformers(llama(attention_bias=True)), "mlp_bias"),
        (lambda: from_transformers(llama(rope_parameters=LINEAR)), "rope_type"),
        (lambda: from_transformers(gpt2().transformer), "GPT2Model"),
        (lambda: to_transformers(EncoderOnlyTransformer(GPT2)), "EncoderOnlyTransformer"),
    ],
)
def test_what_one_side_does_not_have_is_named(call, named):
    with pytest.raises(ValueError, match=rf"\b{named}\b"):
        call()


def test_without_transformers_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install transformers"):
        to_transformers(DecoderOnlyTransformer(GPT2))
