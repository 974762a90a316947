"""Whole transformers: what each position may know, whatever the parts are."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from nn_toys import CONFIG, ids, in_parts, randomised, reach, same
from torch import nn
from torch.nn.functional import cross_entropy

from lab.chars import CharEncoder, CharEncoderConfig
from lab.data import masks
from lab.diffusion import VisualDiffusion, VisualDiffusionConfig
from lab.nn import RecurrentLM, TransformerConfig
from lab.nn.blocks import Block
from lab.nn.recurrence import RecurrentConfig
from lab.nn.transformer import DecoderOnlyTransformer, EncoderDecoderTransformer, EncoderOnlyTransformer

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


def decoder(**changes) -> DecoderOnlyTransformer:
    return randomised(DecoderOnlyTransformer(replace(CONFIG, **changes)))


def encoder(**changes) -> EncoderOnlyTransformer:
    return randomised(EncoderOnlyTransformer(replace(CONFIG, **changes)))


def encoder_decoder(**changes) -> EncoderDecoderTransformer:
    source = replace(CONFIG, vocab_size=30, num_layers=2, **changes)
    if changes.get("latent_width"):  # an encoder keeps nothing, so it has nothing to compress
        source = replace(source, latent_width=None)
    return randomised(EncoderDecoderTransformer(source, replace(CONFIG, **changes)))


@every_kind
def test_who_is_reached_by_gradients(changes):
    model, x = decoder(**changes), ids(1, 9)
    assert torch.equal(reach(model.embedding, lambda: model(x)), masks.causal(9)), "the past alone"
    model, real = encoder(**changes), masks.padding([6], 9)
    assert reach(model.embedding, lambda: model(x)).all(), "both sides"
    read = reach(model.embedding, lambda: model(x, mask=real))
    assert torch.equal(read[:6], real[0, 0].expand(6, 9)), "padding is never read"
    model, source, real = encoder_decoder(**changes), ids(1, 7), masks.padding([5], 7)
    assert torch.equal(reach(model.embedding, lambda: model(source, x)), masks.causal(9))
    assert reach(model.source_embedding, lambda: model(source, x)).all()
    read = reach(model.source_embedding, lambda: model(source, x, source_mask=real))
    assert torch.equal(read, real[0, 0].expand(9, 7)), "padding of the source is never read"


@every_kind
def test_reading_in_parts_with_a_cache_gives_the_same_logits(changes):
    model, x = decoder(**changes), ids(rows=3)
    for dtype, atol in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        whole = model.to(dtype)(x)
        for sizes in ([1] * 20, [20], [7, 1, 1, 11], [1, 19]):
            cache = model.new_cache(batch=3)
            parts = in_parts(model, x, sizes, cache)
            torch.testing.assert_close(parts, whole, rtol=1e-5, atol=atol * whole.abs().max().item())
            assert cache.length == 20


@every_kind
def test_a_translation_in_parts_is_the_same(changes):
    model, source, x, real = encoder_decoder(**changes), ids(2, 7), ids(2, 9), masks.padding([7, 4], 7)
    decode = partial(model.decode, memory=model.encode(source, mask=real), memory_mask=real)
    cache = model.new_cache(2)
    same(in_parts(decode, x, [3, 1, 5], cache), model(source, x, source_mask=real))
    assert all(layer.memory is not None for layer in cache.layers), "made once of the source"


@every_kind
def test_packed_documents_are_as_if_alone(changes):
    x = ids(rows=1, length=12)
    document_ids, positions = torch.tensor([[0] * 5 + [1] * 7]), torch.tensor([[*range(5), *range(7)]])
    for model in (decoder(**changes), encoder(**changes)):
        alone = torch.cat([model(x[:, :5]), model(x[:, 5:])], dim=1)
        same(model(x, document_ids=document_ids, positions=positions), alone)
        padded = model(x, document_ids=torch.where(document_ids == 0, 0, -1))
        same(padded[:, :5], alone[:, :5])
        own = model(x, mask=masks.causal(12), document_ids=document_ids)
        assert torch.equal(own, model(x, mask=masks.causal(12))), "a mask of one's own is used as it is"


@every_kind
def test_attention_maps_are_what_the_layers_used(changes):
    model, x, positions = decoder(**changes), ids(rows=2, length=8), torch.arange(8)
    first, heard = model.decoder.blocks[0].self_attention, {}
    first.attention.output.register_forward_hook(lambda _, args, __: heard.update(mixed=args[0]))
    maps = model.attention_maps(x)
    assert [m.shape for m in maps] == [(2, 4, 8, 8)] * 3
    assert not any(m[..., ~masks.causal(8)].any() for m in maps)
    model(x)
    place = model.embedding.place
    turn = partial(place.turn, tables=place.tables(positions))
    _, _, v = first.attention.project(first.read(model.embedding(x, positions)), turn=turn)
    mixed = maps[0] @ v.repeat_interleave(4 // v.shape[1], dim=1)
    same(mixed.transpose(1, 2).flatten(2), heard["mixed"])


@every_kind
def test_the_maps_of_an_encoder_and_a_decoder_are_what_their_layers_used(changes):
    model, source, x, real = encoder_decoder(**changes), ids(2, 7), ids(2, 9), masks.padding([7, 4], 7)
    heard = []
    layers = [block.self_attention for block in model.encoder.blocks]
    layers += [block.self_attention for block in model.decoder.blocks]
    layers += [block.cross_attention for block in model.decoder.blocks]
    for layer in layers:
        listen = lambda module, args, given: heard.append((module, args, given))  # noqa: E731
        layer.register_forward_pre_hook(listen, with_kwargs=True)
    model(source, x, source_mask=real)
    used = {module: module.weights(*args, **without_cache(given)) for module, args, given in heard}
    maps = model.attention_maps(source, x, source_mask=real)
    assert [m.shape for m in maps.cross] == [(2, 4, 9, 7)] * 3 and not maps.cross[0][1, ..., 4:].any()
    for found, layer in zip([*maps.encoder, *maps.decoder, *maps.cross], layers, strict=True):
        same(found, used[layer])


def without_cache(given: dict) -> dict:
    return {name: value for name, value in given.items() if name != "cache"}


@every_kind
def test_at_first_the_layers_add_nothing_and_all_tokens_are_equally_likely(changes):
    model, x = DecoderOnlyTransformer(replace(CONFIG, **changes)).eval(), ids()
    embedded = expected = model.embedding(x, torch.arange(20))
    layers = [layer for block in model.decoder.blocks for layer in (block.self_attention, block.feed_forward)]
    for norm in [layer.norm for layer in layers if changes.get("norm_place") == "post"] or [
        model.decoder.norm
    ]:
        expected = norm(expected)
    torch.testing.assert_close(model.decoder(embedded, torch.arange(20)), expected)
    assert model(x).any() == model.config.tied


@pytest.mark.parametrize("place", ["pre", "post"])
def test_an_encoder_layer_is_that_of_torch(place):
    ours = randomised(Block(replace(CONFIG, norm="layer", norm_place=place, bias=True, norm_epsilon=1e-5)))
    settings = dict(dropout=0.0, activation="gelu", batch_first=True, norm_first=place == "pre")
    theirs = nn.TransformerEncoderLayer(32, 4, 48, **settings).double()
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
    same(ours(x), theirs(x))


def test_tied_weights_are_one_tensor_and_start_near_a_uniform_guess():
    model, plain = (DecoderOnlyTransformer(replace(CONFIG, tied=tied, width=192)) for tied in (True, False))
    assert model.output.weight is model.embedding.token.weight
    assert model.num_parameters == plain.num_parameters - 50 * 192
    x = ids(rows=8)
    loss = cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten()).item()
    assert math.log(50) < loss < math.log(50) + 1, "a token's own logit stands out a little"


def test_dropout_reaches_every_layer_and_stops_in_evaluation():
    model, x = decoder(dropout=0.5), ids()
    assert sum(isinstance(module, nn.Dropout) for module in model.modules()) == 1 + 2 * 3
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def seeded(run):
    torch.manual_seed(5)
    return run()


def test_hidden_channels_are_left_out_in_training_alone():
    layer = decoder(feed_forward_dropout=0.5).decoder.blocks[0].feed_forward.train()
    x = torch.randn(2, 6, 32, dtype=torch.float64)
    hidden = torch.nn.functional.gelu(layer.expand(layer.read(x)))
    expected = seeded(lambda: x + layer.contract(torch.nn.functional.dropout(hidden, 0.5)))
    same(seeded(lambda: layer(x)), expected)
    same(layer.eval()(x), x + layer.contract(hidden))


def test_whole_blocks_are_passed_over_in_training_alone():
    stack = decoder(layer_dropout=0.4).decoder.train()
    x, places = torch.randn(2, 6, 32, dtype=torch.float64), torch.arange(6)
    shared, kept = stack._settle(x, places), []
    for seed in range(300):
        expected = x
        torch.manual_seed(seed)
        drawn = [float(torch.rand(())) >= 0.4 for _ in stack.blocks]
        for block in (block for block, there in zip(stack.blocks, drawn, strict=True) if there):
            expected = block(expected, **shared)
        torch.manual_seed(seed)
        same(stack(x, places), stack.norm(expected))
        kept += drawn
    assert 0.55 < sum(kept) / len(kept) < 0.65
    plain = decoder().decoder
    plain.load_state_dict(stack.state_dict())
    same(stack.eval()(x, places), plain(x, places))


def test_without_positions_the_order_of_the_past_is_lost():
    x = ids(rows=1, length=8)
    shuffled = torch.cat([x[:, torch.randperm(7)], x[:, 7:]], dim=1)
    # One layer: in deeper ones each token has seen another past, which gives some of the order away.
    for positions in ("none", "rotary", "learned", "sinusoidal"):
        model = decoder(positions=positions, num_layers=1)
        changed = (model(shuffled)[:, -1] - model(x)[:, -1]).abs().max()
        assert changed < 1e-10 if positions == "none" else changed > 1e-3


@pytest.mark.parametrize(
    "changes, move, matters",
    [
        ({}, lambda places: places + 9, False),
        ({}, lambda places: places * 2, True),
        ({"latent_width": 12}, lambda places: places + 9, False),
        ({"latent_width": 12}, lambda places: places * 2, True),
        ({"positions": "learned"}, lambda places: places + 30, True),
        ({"positions": "sinusoidal"}, lambda places: places + 30, True),
    ],
)
def test_only_distances_between_rotary_positions_matter(changes, move, matters):
    model, x, positions = decoder(num_positions=40, **changes), ids(length=10), torch.arange(10)
    moved = model(x, positions=move(positions))
    changed = (moved - model(x)).abs().max()
    assert changed > 1e-3 if matters else changed < 1e-5  # float32 tables
    both = model(x, positions=torch.stack([positions, move(positions)]))
    same(both, torch.stack([model(x)[0], moved[1]]))


def test_a_mask_says_who_may_attend_and_may_count_what_is_in_the_cache():
    model, x = decoder(), ids(length=12)
    same(model(x, mask=masks.causal(12)), model(x))
    alone = torch.cat([model(x[:, t : t + 1], positions=torch.tensor([t])) for t in range(12)], dim=1)
    same(model(x, mask=torch.eye(12, dtype=torch.bool)), alone)
    sliding, cache, parts = masks.sliding(12, 4), model.new_cache(batch=2), []
    for start, end in ((0, 5), (5, 6), (6, 12)):
        parts.append(model(x[:, start:end], mask=sliding[start:end, :end], cache=cache))
    same(torch.cat(parts, dim=1), model(x, mask=sliding))


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda m: m([[1, 2]]), "list"),
        (lambda m: m(ids(2, 3), positions=torch.arange(4)), "positions"),
        (lambda m: m(ids(2, 3), positions=torch.arange(3).byte()), "positions"),
        (
            lambda m: in_parts(
                partial(m, document_ids=torch.zeros(2, 1).long()), ids(2, 2), [1, 1], m.new_cache(2)
            ),
            "document",
        ),
        (lambda m: m(ids(2, 3), positions=torch.ones(3)), "positions"),
        (lambda m: m(ids(2, 3), positions=torch.arange(3) + 22), "positions"),
        (lambda m: m(ids(2, 3), mask=torch.ones(3, 4, dtype=torch.bool)), "mask"),
        (lambda m: m(ids(2, 3), mask=torch.ones(2, 3, 3)), "mask"),
        (lambda m: m(ids(2, 3), cache=m.new_cache(3)), "cache"),
        (lambda m: m(ids(length=25)), "context"),
        (lambda m: in_parts(m, ids(2, 25), [20, 5], m.new_cache(2)), "context"),
        (lambda m: replace(CONFIG, num_heads=5), "num_heads"),
        (lambda m: replace(CONFIG, num_heads=32), "positions"),  # odd heads: fine where nothing turns
        (lambda m: replace(CONFIG, num_key_value_heads=3), "num_key_value_heads"),
        (lambda m: replace(CONFIG, num_key_value_heads=2, latent_width=8), "num_key_value_heads"),
        (lambda m: replace(CONFIG, width=24, latent_width=8), "positions"),
        (lambda m: EncoderDecoderTransformer(replace(CONFIG, width=16), CONFIG), "width"),
        (lambda m: encoder_decoder().decode(ids(2, 5), torch.zeros(3, 7, 32).double()), "k"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match=rf"\b{named}\b"):
        call(decoder())


def visual(ids: torch.Tensor) -> torch.Tensor:
    sizes = TransformerConfig(50, context=24, width=8, num_heads=2, feed_forward=8)
    model = VisualDiffusion(VisualDiffusionConfig(sizes))
    return model(model.denoiser.cells(ids))


READERS = {
    "decoder": lambda: decoder(),
    "encoder": lambda: EncoderOnlyTransformer(CONFIG),
    "encoder-decoder, source": lambda: partial(encoder_decoder(), ids=torch.ones(2, 3, dtype=torch.int64)),
    "encoder-decoder, target": lambda: partial(encoder_decoder(), torch.ones(2, 3, dtype=torch.int64)),
    "recurrent": lambda: RecurrentLM(RecurrentConfig(50, width=8)),
    "characters": lambda: CharEncoder(
        CharEncoderConfig(TransformerConfig(50, context=24, width=8, num_heads=2))
    ),
    "diffusion": lambda: visual,
}


@pytest.mark.parametrize(
    "bad, named",
    [
        (torch.ones(2, 3), "float32"),
        (torch.ones(2, 3, dtype=torch.uint8), "uint8"),
        (torch.ones(2, 3, dtype=torch.bool), "bool"),
        (torch.ones(0, 3, dtype=torch.int64), r"\(0, 3\)"),
        (torch.ones(2, 0, dtype=torch.int64), r"\(2, 0\)"),
        (torch.ones(3, dtype=torch.int64), r"\(3,"),
        (torch.tensor([[1, 50], [60, 1]]), "50"),
        (torch.tensor([[1, -1], [2, 1]]), "-1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("reader", READERS)
def test_ids_that_cannot_be_read_are_named_by_every_model(reader, bad, named):
    read = READERS[reader]()
    with pytest.raises(ValueError, match=named):
        read(bad)


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda: DecoderOnlyTransformer(replace(CONFIG, width=4 * 10**7)), "layers of width 40,000,000"),
        (lambda: DecoderOnlyTransformer(replace(CONFIG, context=2 * 10**11)), "200,000,000,000 places"),
        (lambda: EncoderOnlyTransformer(replace(CONFIG, vocab_size=10**12)), "1,000,000,000,000 tokens"),
        (lambda: EncoderOnlyTransformer(replace(CONFIG, num_layers=10**9)), "1,000,000,000 layers"),
        (lambda: RecurrentLM(RecurrentConfig(30, width=10**7)), "width 10,000,000"),
        (lambda: RecurrentLM(RecurrentConfig(30, num_layers=10**9)), "1,000,000,000 layers"),
        (lambda: CharEncoder(CharEncoderConfig(replace(CONFIG, width=4 * 10**7))), "width 40,000,000"),
        (
            lambda: VisualDiffusion(VisualDiffusionConfig(replace(CONFIG, num_layers=10**9))),
            "1,000,000,000 layers",
        ),
        (lambda: decoder().new_cache(10**10), "10,000,000,000 rows"),
        (
            lambda: decoder().new_cache(1).select(torch.zeros(1, dtype=torch.int64).expand(10**9)),
            "1,000,000,000 rows",
        ),
    ],
)
def test_what_does_not_fit_into_memory_is_said_before_it_is_made(make, named):
    with pytest.raises(ValueError, match=rf"{named}.* GiB, and .* GiB of memory are free"):
        make()


def test_sizes_that_fit_are_not_looked_at(monkeypatch):
    monkeypatch.setattr("lab.machine.psutil", None)
    decoder().new_cache(4)


@pytest.mark.parametrize("config", [CONFIG, RecurrentConfig(vocab_size=30)], ids=lambda c: type(c).__name__)
def test_every_field_of_a_config_refuses_nonsense(config):
    for field in vars(config):
        for value in ("nonsense", -1, float("nan")):
            with pytest.raises(ValueError, match=field):
                replace(config, **{field: value})
