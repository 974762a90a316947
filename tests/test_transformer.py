"""Whole transformers: what each position may know, whatever the parts are."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lab.data import masks
from lab.nn.blocks import Block
from lab.nn.transformer import (
    DecoderOnlyTransformer,
    EncoderDecoderTransformer,
    EncoderOnlyTransformer,
    TransformerConfig,
)

CONFIG = TransformerConfig(vocab_size=50, context=24, width=32, num_layers=3, num_heads=4, feed_forward=48)
KINDS = {
    "defaults": {},
    "GPT-2": {"positions": "learned", "norm": "layer", "activation": "gelu_tanh", "bias": True, "tied": True},
    "Llama": {"activation": "gated_silu", "num_key_value_heads": 2},
    "first transformer": {"positions": "sinusoidal", "norm": "layer", "norm_place": "post", "bias": True},
    "one key for all heads": {"num_key_value_heads": 1},
    "latent": {"latent_width": 12},
    "latent, learned positions": {"latent_width": 12, "positions": "learned"},
}
every_kind = pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS.keys())


def random_weights(model: nn.Module) -> nn.Module:
    """Random weights everywhere: with the zero initialisation most tests here could not fail."""
    model = model.double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def decoder(**changes) -> DecoderOnlyTransformer:
    return random_weights(DecoderOnlyTransformer(replace(CONFIG, **changes)))


def encoder_decoder(**changes) -> EncoderDecoderTransformer:
    source = replace(CONFIG, vocab_size=30, num_layers=2, **changes)
    if changes.get("latent_width"):  # an encoder keeps nothing, so it has nothing to compress
        source = replace(source, latent_width=None)
    return random_weights(EncoderDecoderTransformer(source, replace(CONFIG, **changes)))


def ids(rows: int = 2, length: int = 20, vocab_size: int = 30) -> torch.Tensor:
    return torch.randint(5, vocab_size, (rows, length))


def reach(embedding: nn.Module, run) -> torch.Tensor:
    """bool `(T, S)`: which of the S embedded tokens have a gradient from each of the T rows of logits."""
    embedded = []
    hook = embedding.token.register_forward_hook(lambda *args: embedded.append(args[2].requires_grad_()))
    logits = run()
    hook.remove()
    rows = []
    for t in range(logits.shape[1]):
        (gradient,) = torch.autograd.grad(logits[0, t].square().sum(), embedded[0], retain_graph=True)
        rows.append(gradient[0].abs().sum(-1) > 0)
    return torch.stack(rows)


@every_kind
def test_no_gradient_reaches_the_future(changes):
    model, x = decoder(**changes), ids(rows=1, length=12)
    assert torch.equal(reach(model.embedding, lambda: model(x)), masks.causal(12))


@every_kind
def test_an_encoder_sees_both_ways(changes):
    model, x = random_weights(EncoderOnlyTransformer(replace(CONFIG, **changes))), ids(rows=1, length=9)
    assert reach(model.embedding, lambda: model(x)).all()
    real = masks.padding([6], 9)
    assert torch.equal(reach(model.embedding, lambda: model(x, mask=real))[:6], real[0, 0].expand(6, 9)), (
        "padding is never read"
    )


@every_kind
def test_a_target_sees_its_past_and_all_of_the_source(changes):
    model, source, x = encoder_decoder(**changes), ids(1, 7), ids(1, 9)
    assert torch.equal(reach(model.embedding, lambda: model(source, x)), masks.causal(9))
    assert reach(model.source_embedding, lambda: model(source, x)).all()
    real = masks.padding([5], 7)
    read = reach(model.source_embedding, lambda: model(source, x, source_mask=real))
    assert torch.equal(read, real[0, 0].expand(9, 7)), "padding of the source is never read"


@every_kind
def test_reading_in_parts_with_a_cache_gives_the_same_logits(changes):
    model, x = decoder(**changes), ids(rows=3)
    for dtype, atol in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        whole = model.to(dtype)(x)
        for sizes in ([1] * 20, [20], [7, 1, 1, 11], [1, 19]):
            cache = model.new_cache(batch=3)
            parts = torch.cat([model(part, cache=cache) for part in x.split(sizes, dim=1)], dim=1)
            torch.testing.assert_close(parts, whole, rtol=1e-5, atol=atol * whole.abs().max().item())
            assert cache.length == 20


@every_kind
def test_a_translation_in_parts_is_the_same(changes):
    model, source, x = encoder_decoder(**changes), ids(2, 7), ids(2, 9)
    real = masks.padding([7, 4], 7)
    whole = model(source, x, source_mask=real)
    memory, cache = model.encode(source, mask=real), model.new_cache(batch=2)
    parts = [model.decode(part, memory, memory_mask=real, cache=cache) for part in x.split([3, 1, 5], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-10)


@every_kind
def test_padding_on_the_right_changes_nothing_before_it(changes):
    model, x = decoder(**changes), ids(rows=2, length=10)
    padded = torch.cat([x, torch.zeros(2, 6, dtype=torch.long)], dim=1)
    mask = masks.combine(masks.causal(16), masks.padding([10, 10], 16))
    torch.testing.assert_close(model(padded, mask=mask)[:, :10], model(x), rtol=0, atol=1e-10)


@every_kind
def test_packed_documents_are_as_if_alone(changes):
    left, x = decoder(**changes), ids(rows=1, length=12)
    document_ids, positions = torch.tensor([[0] * 5 + [1] * 7]), torch.tensor([[*range(5), *range(7)]])
    encoder = random_weights(EncoderOnlyTransformer(replace(CONFIG, **changes)))
    for model in (left, encoder):
        packed = model(x, document_ids=document_ids, positions=positions)
        alone = torch.cat([model(x[:, :5]), model(x[:, 5:])], dim=1)
        torch.testing.assert_close(packed, alone, rtol=0, atol=1e-10)
        padded = model(x, document_ids=torch.where(document_ids == 0, 0, -1))
        torch.testing.assert_close(padded[:, :5], alone[:, :5], rtol=0, atol=1e-10)
        own = model(x, mask=masks.causal(12), document_ids=document_ids)
        assert torch.equal(own, model(x, mask=masks.causal(12))), "a mask of one's own is used as it is"


@every_kind
def test_attention_maps_are_what_the_layers_used(changes):
    model, x = decoder(**changes), ids(rows=2, length=8)
    maps = model.attention_maps(x)
    assert [m.shape for m in maps] == [(2, 4, 8, 8)] * 3
    for m in maps:
        torch.testing.assert_close(m.sum(-1), torch.ones(2, 4, 8).double())
        assert not m[..., masks.causal(8).logical_not()].any()
    first = model.decoder.blocks[0].self_attention
    heard = {}
    hook = first.attention.output.register_forward_hook(lambda _, args, __: heard.update(mixed=args[0]))
    model(x)
    hook.remove()
    positions = torch.arange(8)
    place = model.embedding.place
    turn = partial(place.turn, tables=place.tables(positions))
    _, _, v = first.attention.project(first.read(model.embedding(x, positions)), turn=turn)
    mixed = maps[0] @ v.repeat_interleave(4 // v.shape[1], dim=1)
    torch.testing.assert_close(mixed.transpose(1, 2).flatten(2), heard["mixed"], rtol=0, atol=1e-10)


def test_the_first_loss_is_that_of_a_uniform_guess():
    x = ids()
    for changes in ({}, {"norm_place": "post"}, {"positions": "learned"}, {"latent_width": 12}):
        model = DecoderOnlyTransformer(replace(CONFIG, **changes))
        loss = cross_entropy(model(x).flatten(0, 1), x.flatten())
        assert loss.item() == pytest.approx(math.log(50), rel=1e-6)


@every_kind
def test_at_first_the_layers_add_nothing(changes):
    model, x = DecoderOnlyTransformer(replace(CONFIG, **changes)).eval(), ids()
    embedded = model.embedding(x, torch.arange(20))
    expected = embedded
    for norm in [m for m in model.decoder.modules() if type(m) in (nn.RMSNorm, nn.LayerNorm)]:
        if norm.normalized_shape == (32,) and changes.get("norm_place") == "post":
            expected = norm(expected)
    if changes.get("norm_place") != "post":
        expected = model.decoder.norm(embedded)
    torch.testing.assert_close(model.decoder(embedded, torch.arange(20)), expected)


@pytest.mark.parametrize("place", ["pre", "post"])
def test_an_encoder_layer_is_that_of_torch(place):
    config = replace(CONFIG, norm="layer", norm_place=place, bias=True, norm_epsilon=1e-5)
    ours = random_weights(Block(config))
    theirs = nn.TransformerEncoderLayer(
        32, 4, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=place == "pre"
    ).double()
    attention, forward = ours.self_attention, ours.feed_forward
    parts = (attention.attention.query, attention.attention.key, attention.attention.value)
    pairs = {
        "self_attn.out_proj": attention.attention.output,
        "linear1": forward.expand,
        "linear2": forward.contract,
        "norm1": attention.norm,
        "norm2": forward.norm,
    }
    weights = {f"{name}.{kind}": getattr(m, kind) for name, m in pairs.items() for kind in ("weight", "bias")}
    weights["self_attn.in_proj_weight"] = torch.cat([part.weight for part in parts])
    weights["self_attn.in_proj_bias"] = torch.cat([part.bias for part in parts])
    theirs.load_state_dict(weights)
    x = torch.randn(2, 7, 32).double()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-10)


def test_tied_weights_are_one_tensor_and_start_near_a_uniform_guess():
    model = DecoderOnlyTransformer(replace(CONFIG, tied=True, width=192))
    assert model.output.weight is model.embedding.token.weight
    assert (
        model.num_parameters == DecoderOnlyTransformer(replace(CONFIG, width=192)).num_parameters - 50 * 192
    )
    x = ids(rows=8)
    loss = cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten()).item()
    assert math.log(50) < loss < math.log(50) + 1, "a token's own logit stands out a little"
    nn.init.normal_(model.embedding.token.weight)  # what untied embeddings start as
    loss = cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten()).item()
    assert loss > 2 * math.log(50), "tied, the embeddings of the other kind start far above ln V"


def test_dropout_reaches_every_layer_and_stops_in_evaluation():
    model = DecoderOnlyTransformer(replace(CONFIG, dropout=0.5))
    dropouts = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout)]
    assert len(dropouts) == 1 + 2 * 3, dropouts
    model = random_weights(model)
    x = ids()
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_without_positions_the_order_of_the_past_is_lost():
    x = ids(rows=1, length=8)
    shuffled = torch.cat([x[:, torch.randperm(7)], x[:, 7:]], dim=1)
    # One layer: in deeper ones each token has seen another past, which gives some of the order away.
    bag = decoder(positions="none", num_layers=1)
    torch.testing.assert_close(bag(shuffled)[:, -1], bag(x)[:, -1], rtol=0, atol=1e-10)
    for positions in ("rotary", "learned", "sinusoidal"):
        model = decoder(positions=positions, num_layers=1)
        assert (model(shuffled)[:, -1] - model(x)[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("changes", [{}, {"latent_width": 12}])
def test_only_distances_between_rotary_positions_matter(changes):
    model, x = decoder(**changes), ids(length=10)
    shifted = torch.arange(10) + 9
    torch.testing.assert_close(model(x, positions=shifted), model(x), rtol=0, atol=1e-5)  # float32 tables
    stretched = torch.arange(10) * 2
    assert (model(x, positions=stretched) - model(x)).abs().max() > 1e-3


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_with_absolute_positions_it_matters_where_a_token_stands(positions):
    model, x = decoder(positions=positions, num_positions=40), ids(rows=2, length=10)
    assert (model(x, positions=torch.arange(10) + 30) - model(x)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="positions must be below 40"):
        model(x, positions=torch.arange(10) + 31)


def test_positions_may_differ_from_row_to_row():
    model, x = decoder(), ids(length=6)
    positions = torch.stack([torch.arange(6), torch.arange(6) * 3])
    both = model(x, positions=positions)
    for row in range(2):
        alone = model(x[row : row + 1], positions=positions[row])
        torch.testing.assert_close(both[row : row + 1], alone, rtol=0, atol=1e-10)


def test_a_mask_says_who_may_attend():
    model, x = decoder(), ids()
    torch.testing.assert_close(model(x, mask=masks.causal(20)), model(x), rtol=0, atol=1e-10)
    only_self = torch.eye(20, dtype=torch.bool)
    alone = torch.cat([model(x[:, t : t + 1], positions=torch.tensor([t])) for t in range(20)], dim=1)
    torch.testing.assert_close(model(x, mask=only_self), alone, rtol=0, atol=1e-10)


def test_a_mask_may_count_what_is_in_the_cache():
    model, x = decoder(), ids(rows=2, length=12)
    sliding = masks.sliding(12, 4)
    cache, parts = model.new_cache(batch=2), []
    for start, end in ((0, 5), (5, 6), (6, 12)):
        parts.append(model(x[:, start:end], mask=sliding[start:end, :end], cache=cache))
    torch.testing.assert_close(torch.cat(parts, dim=1), model(x, mask=sliding), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda m: m(torch.ones(2, 3)), "ids"),
        (lambda m: m(torch.ones(3, dtype=torch.long)), "ids"),
        (lambda m: m(ids(2, 3), positions=torch.arange(4)), "positions"),
        (lambda m: m(ids(2, 3), positions=torch.ones(3)), "positions"),
        (lambda m: m(ids(2, 3), mask=torch.ones(3, 4, dtype=torch.bool)), "mask"),
        (lambda m: m(ids(2, 3), mask=torch.ones(2, 3, 3)), "mask"),
        (lambda m: m(ids(2, 3), cache=m.new_cache(3)), "cache"),
        (lambda m: m(ids(length=25)), "context of 24"),
        (
            lambda m: (cache := m.new_cache(2), m(ids(2, 20), cache=cache), m(ids(2, 5), cache=cache)),
            "context of 24",
        ),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call(decoder())


def test_encoder_and_decoder_must_fit_together():
    with pytest.raises(ValueError, match="width"):
        EncoderDecoderTransformer(replace(CONFIG, width=16), CONFIG)
    with pytest.raises(ValueError, match="k"):
        encoder_decoder().decode(ids(2, 5), torch.zeros(3, 7, 32).double())
