"""Operations, weights and memory by formula, against what torch counts while it works."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from lab.bench import (
    TrainingStep,
    floor_seconds,
    fraction_of_limit,
    matmul_ceiling,
    memory_needed,
    model_flops_per_token,
    num_parameters,
    operations,
    step_total,
    totals,
)
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig

# torch counts its CPU kernel of attention as nothing, unless told that it does what the others do.
kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
ATTENTION = {
    kernel: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    backward: lambda d, q, k, v, *_, **__: sdpa_backward_flop_count(d, q, k, v),
}


configs = st.builds(
    TransformerConfig,
    vocab_size=st.integers(3, 40),
    context=st.integers(2, 12),
    width=st.sampled_from([8, 16]),
    num_layers=st.integers(1, 3),
    num_heads=st.sampled_from([1, 2, 4]),
    feed_forward=st.integers(1, 30),
    num_key_value_heads=st.sampled_from([None, 1]),
    positions=st.sampled_from(["rotary", "learned", "sinusoidal", "none"]),
    norm=st.sampled_from(["rms", "layer"]),
    norm_place=st.sampled_from(["pre", "post"]),
    activation=st.sampled_from(["gelu", "gated_silu"]),
    bias=st.booleans(),
    tied=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(configs, st.integers(1, 5))
def test_products_and_weights_are_those_that_torch_counts(config, B):
    torch.manual_seed(0)
    model = DecoderOnlyTransformer(config)
    step = TrainingStep(model, torch.optim.AdamW(model.parameters()))
    ids = torch.randint(config.vocab_size, (B, config.context))
    found = operations(config, B, config.context)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as forward:
        loss = step.forward(ids, ids)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as backward:
        step.backward(loss)
    counted = {name: work.matmul_flops for name, work in totals(found).items()}
    assert forward.get_total_flops() == counted["forward"]
    assert backward.get_total_flops() == counted["backward"]
    assert num_parameters(config) == model.num_parameters
    tokens = B * config.context
    assert model_flops_per_token(config, config.context) * tokens == 3 * counted["forward"]


def test_gpt2_has_124_million_weights():
    gpt2 = TransformerConfig(
        vocab_size=50257, context=1024, width=768, num_layers=12, num_heads=12, feed_forward=3072,
        positions="learned", norm="layer", activation="gelu_tanh", bias=True, tied=True,
    )  # fmt: skip
    assert num_parameters(gpt2) == 124_439_808  # Radford et al. 2019's smallest, as published
    assert num_parameters(replace(gpt2, tied=False)) == 124_439_808 + 50257 * 768


def test_bytes_of_simple_operations_are_what_one_can_count_by_hand():
    config = TransformerConfig(vocab_size=10, width=8, num_heads=2, num_layers=3, feed_forward=16)
    few = dict(element_bytes=2, weight_bytes=2)
    counted = operations(config, 2, 5), operations(config, 2, 5, **few)
    found, half = ({(o.name, o.phase): o for o in each} for each in counted)
    N = 2 * 5
    assert found["output", "forward"].bytes == 4 * (N * 8 + N * 10 + 8 * 10)
    # Two products: (N, V) x (V, C) and (C, N) x (N, V).
    assert found["output", "backward"].bytes == 4 * (2 * (N * 8 + N * 10) + 8 * 10 + 8 * 10)
    assert found["residual", "forward"].bytes == 4 * 3 * (2 * 3 * N * 8)
    assert found["attention", "forward"].bytes == 4 * 3 * 4 * N * 8
    assert found["AdamW", "optimizer"].bytes == 28 * num_parameters(config)
    assert half["output", "forward"].bytes * 2 == found["output", "forward"].bytes
    assert half["AdamW", "optimizer"] == found["AdamW", "optimizer"]


GPT2, GATED = {"positions": "learned", "norm": "layer", "bias": True}, {"activation": "gated_silu"}


@pytest.mark.parametrize("change", [{}, GPT2, GATED], ids=["default", "gpt2", "gated"])
def test_memory_needed_is_about_what_forward_keeps(change):
    config = TransformerConfig(vocab_size=300, width=128, num_layers=3, **change)
    model = DecoderOnlyTransformer(config)
    step = TrainingStep(model, torch.optim.AdamW(model.parameters()))
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(300, (8, 64))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = step.forward(ids, ids)
    expected = memory_needed(config, 8, 64) - 16 * model.num_parameters
    assert 0.75 < sum(kept.values()) / expected < 1.25
    assert loss.isfinite()


def test_the_least_time_is_that_of_arithmetic_or_of_memory():
    found = operations(TransformerConfig(vocab_size=100), 4, 64)
    whole, endless = step_total(found), math.inf
    assert (whole.flops, whole.bytes) == (sum(o.flops for o in found), sum(o.bytes for o in found))
    by_flops = sum(floor_seconds(o, 1e9, endless) for o in found)
    by_bytes = sum(floor_seconds(o, endless, 1e9) for o in found)
    assert (by_flops, by_bytes) == pytest.approx((whole.flops / 1e9, whole.bytes / 1e9))
    assert max(by_flops, by_bytes) <= fraction_of_limit(found, 1.0, 1e9, 1e9) < by_flops + by_bytes


def test_a_ceiling_is_the_rate_of_the_size_that_did_best_and_what_cannot_be_counted_is_refused():
    product = matmul_ceiling(sizes=(64, 192), repeats=2)
    assert product.size in (64, 192)
    assert product.per_second == pytest.approx(2 * product.size**3 / min(product.timing.seconds))
    for call, named in [
        (lambda: operations(TransformerConfig(10), 0, 4), "at least 1"),
        (lambda: operations(TransformerConfig(10, latent_width=32), 1, 4), "latent_width 32"),
        (lambda: matmul_ceiling(sizes=(2**28,), repeats=1), "sizes"),
    ]:
        with pytest.raises(ValueError, match=named):
            call()
