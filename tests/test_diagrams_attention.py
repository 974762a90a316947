"""Diagrams of attention: every shape that they draw is one that the running model has."""

from collections.abc import Callable
from functools import cache, partial
from xml.etree import ElementTree

import pytest
import torch
from diagram_toys import PAST, B, S, T, assert_readable, laid_out, numbers

from lab.nn.attention import attend, attention_weights
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.show.diagrams import attention_layer, decoder, decoder_block
from lab.show.diagrams.shapes import Shapes, report_shapes, written
from lab.show.diagrams.sketch import labels

DIAGRAMS = {"attention": attention_layer, "block": decoder_block, "model": decoder}
CONFIGS = {
    "first model": TransformerConfig(vocab_size=1000),
    "grouped keys": TransformerConfig(
        101, width=60, num_layers=3, num_heads=6, num_key_value_heads=2, feed_forward=130, norm="layer", bias=True
    ),
    "learned positions": TransformerConfig(
        101, width=39, num_layers=5, num_heads=3, num_key_value_heads=1, positions="learned", tied=True
    ),
    "sinusoids": TransformerConfig(101, width=40, num_layers=1, num_heads=1, positions="sinusoidal"),
    "no positions": TransformerConfig(101, width=40, positions="none", activation="gelu_tanh"),
}  # fmt: skip
OTHER_PARTS = [
    ("block", {"activation": "gated_silu"}),
    ("block", {"dropout": 0.1}),
    ("block", {"norm_place": "post"}),
    ("model", {"norm_place": "post"}),
    ("attention", {"latent_width": 16}),
    ("model", {"latent_width": 16}),
]


def report(config: TransformerConfig) -> tuple[DecoderOnlyTransformer, Shapes]:
    model = DecoderOnlyTransformer(config)
    return model, report_shapes(model, torch.zeros(B, S, dtype=torch.long), PAST)


@pytest.fixture(params=CONFIGS, scope="module")
def case(request) -> tuple[TransformerConfig, DecoderOnlyTransformer, Shapes]:
    config = CONFIGS[request.param]
    return config, *report(config)


@cache
def draw(diagram: Callable[..., str], config: TransformerConfig) -> tuple[ElementTree.Element, str]:
    """A diagram of a config as Graphviz lays it out, and the finished drawing; each is made once."""
    return laid_out(lambda: diagram(config, report(config)[1]))


def test_report_is_what_the_model_does(case):
    """Each shape against the same tensor, got without hooks."""
    c, model, shapes = case
    block = model.decoder.blocks[0]
    attention, x, ids = block.self_attention.attention, torch.randn(B, T, c.width), torch.zeros(B, T).long()
    place = model.embedding.place
    turn = partial(place.turn, tables=place.tables(torch.arange(PAST, S)))
    q, k, v = attention.project(x, turn=turn)
    earlier = torch.zeros(B, c.key_value_heads, PAST, c.head_width)
    keys, values = torch.cat((earlier, k), dim=2), torch.cat((earlier, v), dim=2)
    weights, mixed = attention_weights(q, keys, causal=True), attend(q, keys, values, causal=True)
    expected = {
        "attention.x": x, "attention.q": q, "attention.k": k, "attention.v": v, "attention.keys": keys,
        "attention.values": values, "attention.scores": weights, "attention.weights": weights,
        "attention.mixed": mixed, "attention.query": attention.query(x), "attention.key": attention.key(x),
        "attention.value": attention.value(x), "attention.output": attention(x, turn=turn),
        "attention.joined": mixed.transpose(1, 2).flatten(2), "model.keys": keys, "model.values": values,
        "block.feed_forward.hidden": block.feed_forward.expand(x), "block.feed_forward": block(x, turn=turn),
        "model.ids": ids, "model.output": model(ids),
    }  # fmt: skip
    assert {name: shapes[name] for name in expected} == {name: tuple(t.shape) for name, t in expected.items()}
    assert ("attention.turned_q" in shapes) == ("model.decoder.rotary" in shapes) == (c.positions == "rotary")


@pytest.mark.parametrize("name", DIAGRAMS)
def test_shapes_drawn_are_those_of_the_running_model(case, name):
    config, _, shapes = case
    said = labels(draw(DIAGRAMS[name], config)[1])
    drawn = {shape for line in said for shape in numbers(line)}
    reported = {shape for tensor, shape in shapes.items() if tensor.startswith(f"{name}.")}
    given = {"attention": {(B, 1, T, S)}, "block": set(), "model": {(T,)}}[name]  # the mask, the positions
    assert drawn - given == reported - given
    assert ("rotate" in said) == (name == "attention" and config.positions == "rotary")
    assert_readable(*draw(DIAGRAMS[name], config))


def test_mask_drawn_is_one_that_the_layer_takes(case):
    c, model, _ = case
    said = labels(draw(attention_layer, c)[1])
    (mask,) = {shape for line in said if "mask" in line for shape in numbers(line)}
    cache = model.new_cache(B)
    model(torch.zeros(B, PAST, dtype=torch.long), cache=cache)
    model(torch.zeros(B, T, dtype=torch.long), mask=torch.ones(mask, dtype=torch.bool), cache=cache)


@pytest.mark.parametrize(("name", "change"), OTHER_PARTS)
def test_a_model_with_other_parts_is_refused(name, change):
    config = TransformerConfig(101, width=40, num_heads=2, **change)
    with pytest.raises(ValueError, match=r"the picture draws|is drawn as"):
        DIAGRAMS[name](config, report(config)[1])


def test_the_check_of_every_picture_refuses_other_parts_other_orders_and_other_shapes():
    drawn, shapes, numbers = {"x": "B T", "y": "T C"}, {"x": (2, 3), "y": (3, 5)}, {"B": 2, "T": 3, "C": 5}
    assert written(drawn, shapes, numbers) == {"x": "(B, T)", "y": "(T, C) = (T, 5)"}
    less, more, turned = {"x": (2, 3)}, shapes | {"z": (1,)}, dict(reversed(shapes.items()))
    for other in (less, more, turned, shapes | {"y": (3, 4)}):
        with pytest.raises(ValueError, match=r"\by\b"):
            written(drawn, other, numbers)
    config = TransformerConfig(101, width=40, num_heads=2)
    with pytest.raises(ValueError, match="query is drawn as"):
        attention_layer(CONFIGS["first model"], report(config)[1])
