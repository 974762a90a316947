"""A model that goes to `transformers`, or comes from there, still says the same."""

import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.data.masks import causal, combine, padding
from lab.decode.search import Sampling, generate
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
    "gpt2 untied": GPT2,
    "gpt2 exact gelu, one head": replace(GPT2, activation="gelu", num_heads=1),
    "gpt2 more places": replace(GPT2, num_positions=30),
    "llama": LLAMA,
    "llama tied, biased": replace(LLAMA, tied=True, bias=True),
    "llama more places": replace(LLAMA, num_positions=30),
    "llama one key head": replace(LLAMA, num_key_value_heads=1),
    "llama as many key heads": replace(LLAMA, num_key_value_heads=None, bias=True),
}


def randomised(model):
    """Random weights everywhere, norms and biases too: a part that is left out or mixed up shows."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def gpt2(**settings):
    settings = (
        dict(
            vocab_size=41,
            n_positions=24,
            n_embd=24,
            n_layer=2,
            n_head=4,
            bos_token_id=None,
            eos_token_id=None,
        )
        | settings
    )
    return randomised(transformers.GPT2LMHeadModel(transformers.GPT2Config(**settings)))


def llama(**settings):
    sizes = dict(vocab_size=41, max_position_embeddings=24, hidden_size=24, intermediate_size=20)
    sizes |= dict(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
    return randomised(transformers.LlamaForCausalLM(transformers.LlamaConfig(**(sizes | settings))))


THEIRS = {"gpt2": gpt2, "llama": llama}


def ids(rows: int = 3, length: int = 20) -> torch.Tensor:
    return torch.randint(0, 41, (rows, length))


def assert_same_logits(ours, theirs, atol=1e-5):
    x = ids()
    with torch.no_grad():
        expected = theirs(x).logits
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("config", OURS.values(), ids=OURS)
def test_what_goes_there_and_comes_back_is_the_same_model(config):
    ours = randomised(DecoderOnlyTransformer(config))
    theirs = to_transformers(ours)
    assert_same_logits(ours, theirs)
    back = from_transformers(theirs)
    assert back.config == replace(config, context=config.places, num_positions=None)
    assert back.state_dict().keys() == ours.state_dict().keys()
    for name, weight in back.state_dict().items():
        assert torch.equal(weight, ours.state_dict()[name]), name
        assert weight.data_ptr() != ours.state_dict()[name].data_ptr(), "copied, not shared"


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["gpt2", "llama"]),
    num_heads=st.sampled_from([1, 2, 3, 6]),
    groups=st.integers(1, 6),
    half_width=st.integers(2, 4),
    layers=st.integers(1, 3),
    hidden=st.integers(1, 30),
    tied=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_theirs_of_any_size_gives_the_same_logits_here(
    kind, num_heads, groups, half_width, layers, hidden, tied, bias, seed
):
    torch.manual_seed(seed)
    width = 2 * half_width * num_heads
    if kind == "gpt2":
        theirs = gpt2(
            n_embd=width, n_head=num_heads, n_layer=layers, n_inner=hidden, tie_word_embeddings=tied
        )
    else:
        theirs = llama(
            hidden_size=width,
            intermediate_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=num_heads,
            num_key_value_heads=max(g for g in range(1, groups + 1) if num_heads % g == 0),
            tie_word_embeddings=tied,
            attention_bias=bias,
            mlp_bias=bias,
            rope_parameters={"rope_type": "default", "rope_theta": 70.0},
            rms_norm_eps=0.02,
        )
    ours = from_transformers(theirs)
    assert (ours.output.weight is ours.embedding.token.weight) == tied
    assert_same_logits(ours, theirs, atol=1e-4)
    assert_same_logits(ours, to_transformers(ours), atol=1e-4)


# Llama's norm is computed in float32 there, whatever the weights.
@pytest.mark.parametrize(("make", "atol"), [(gpt2, 1e-12), (llama, 1e-5)], ids=THEIRS)
def test_type_and_mode_stay_as_they_are(make, atol):
    ours = from_transformers(make().double())
    assert {p.dtype for p in ours.parameters()} == {torch.float64} and not ours.training
    there = to_transformers(ours)
    assert there.dtype == torch.float64 and not there.training
    assert_same_logits(ours, there, atol)
    assert to_transformers(ours.train()).training and from_transformers(there.train()).training
    half = from_transformers(make().bfloat16())
    assert half(ids()).dtype == torch.bfloat16
    assert {p.dtype for p in to_transformers(half).parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=THEIRS)
def test_dropout_is_not_carried_over(config):
    ours = randomised(DecoderOnlyTransformer(replace(config, dropout=0.5)))
    there, x = to_transformers(ours).train(), ids()
    torch.testing.assert_close(there(x).logits, ours(x), rtol=0, atol=1e-5)
    with_dropout = gpt2(resid_pdrop=0.5, embd_pdrop=0.5) if config is GPT2 else llama(attention_dropout=0.5)
    here = from_transformers(with_dropout).train()
    torch.testing.assert_close(here(x), with_dropout(x).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", THEIRS.values(), ids=THEIRS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_padded_batch_gives_the_same_logits(make, attention):
    theirs = make(attn_implementation=attention)
    x, lengths = ids(), torch.tensor([20, 13, 1])
    real = torch.arange(20) < lengths[:, None]  # (B, T)
    mask = combine(causal(20), padding(lengths, 20))
    with torch.no_grad():
        found = from_transformers(theirs)(x, mask=mask)
        expected = theirs(x, attention_mask=real.long()).logits
        torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", THEIRS.values(), ids=THEIRS)
def test_a_batch_padded_on_the_left_gives_the_same_logits(make):
    theirs, x = make(), ids()
    real = torch.arange(20) >= torch.tensor([0, 7, 19])[:, None]
    positions = (real.cumsum(dim=1) - 1).clamp(min=0)
    mask = combine(causal(20), real[:, None, None, :])
    with torch.no_grad():
        found = from_transformers(theirs)(x, mask=mask, positions=positions)
        expected = theirs(x, attention_mask=real.long(), position_ids=positions).logits
        torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", THEIRS.values(), ids=THEIRS)
def test_an_imported_model_read_in_parts_with_our_cache_gives_their_logits(make):
    theirs, x = make(), ids()
    ours = from_transformers(theirs)
    cache = ours.new_cache(batch=3)
    with torch.no_grad():
        parts = [ours(part, cache=cache) for part in x.split([5, 1, 1, 9, 4], dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), theirs(x).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=THEIRS)
def test_their_greedy_decoding_gives_our_tokens(config):
    ours = randomised(DecoderOnlyTransformer(config))
    for name, weight in ours.named_parameters():  # so that the text depends on what it says so far
        if name.startswith("embedding"):
            weight.data *= 10
        elif name == "decoder.norm.bias":
            weight.data.zero_()
    theirs, prompt = to_transformers(ours), [2, 9, 30]
    there = theirs.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)[0].tolist()
    here = [d.token for d in generate(ours, prompt, max_new_tokens=20, strategy=Sampling(temperature=0))]
    assert there == prompt + here
    assert theirs.generation_config.eos_token_id is None, "2, Llama's usual end, may be any token here"
    assert len(set(here)) > 5


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (replace(GPT2, positions="sinusoidal"), "positions"),
        (replace(GPT2, positions="none"), "positions"),
        (replace(GPT2, norm="rms"), "norm"),
        (replace(GPT2, norm_place="post"), "norm_place"),
        (replace(GPT2, activation="gated_silu"), "activation"),
        (replace(GPT2, bias=False), "bias"),
        (replace(GPT2, num_key_value_heads=2), "num_key_value_heads"),
        (replace(GPT2, latent_width=8), "latent_width"),
        (replace(LLAMA, norm="layer"), "norm"),
        (replace(LLAMA, norm_place="post"), "norm_place"),
        (replace(LLAMA, activation="gelu"), "activation"),
        (replace(LLAMA, num_key_value_heads=None, width=32, latent_width=8), "latent_width"),
    ],
)
def test_what_they_do_not_have_is_refused(config, field):
    with pytest.raises(ValueError, match=rf"\b{field}\b"):
        to_transformers(DecoderOnlyTransformer(config))


LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("make", "settings", "field"),
    [
        (gpt2, dict(activation_function="relu"), "activation_function"),
        (gpt2, dict(scale_attn_weights=False), "scale_attn_weights"),
        (gpt2, dict(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx"),
        (gpt2, dict(add_cross_attention=True), "add_cross_attention"),
        (llama, dict(hidden_act="gelu"), "hidden_act"),
        (llama, dict(head_dim=8), "head_dim"),
        (llama, dict(attention_bias=True), "mlp_bias"),
        (llama, dict(rope_parameters=LINEAR), "rope_type"),
    ],
)
def test_what_we_do_not_have_is_refused(make, settings, field):
    with pytest.raises(ValueError, match=field):
        from_transformers(make(**settings))


def test_other_models_are_refused_by_name():
    with pytest.raises(ValueError, match="got a GPT2Model"):
        from_transformers(gpt2().transformer)
    with pytest.raises(ValueError, match="got a EncoderOnlyTransformer"):
        to_transformers(EncoderOnlyTransformer(GPT2))


def test_without_transformers_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install transformers"):
        to_transformers(DecoderOnlyTransformer(GPT2))
