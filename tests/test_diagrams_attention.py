"""Diagrams of attention: every shape that they draw is one that the running model has."""

import doctest
import importlib
import re
from collections.abc import Callable
from functools import cache, partial
from xml.etree import ElementTree

import pytest
import torch

from lab.nn.attention import attend, attention_weights
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.show.diagrams import attention_layer, decoder, decoder_block
from lab.show.diagrams.render import to_svg
from lab.show.diagrams.shapes import Shapes, legend, report_shapes, written
from lab.show.diagrams.sketch import SVG, labels

DIAGRAMS = {"attention": attention_layer, "block": decoder_block, "model": decoder}
B, T, PAST = 3, 7, 4
S = PAST + T
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
OTHER_PARTS = {
    "a gate": ("block", {"activation": "gated_silu"}, r"has besides \['block.feed_forward.gate'\]"),
    "dropout": ("block", {"dropout": 0.1}, r"has besides \['block.feed_forward.dropout', "),
    "post-norm": ("block", {"norm_place": "post"}, "in the model the order is"),
    "no last norm": ("model", {"norm_place": "post"}, r"the model lacks \['model.decoder.norm'\]"),
    "latent keys": ("attention", {"latent_width": 16}, r"has besides \['attention.compress', "),
    "a latent cache": ("model", {"latent_width": 16}, r"decoder.rotary is drawn as \(1 T E\)"),
}


def report(config: TransformerConfig) -> tuple[DecoderOnlyTransformer, Shapes]:
    model = DecoderOnlyTransformer(config)
    return model, report_shapes(model, torch.zeros(B, S, dtype=torch.long), PAST)


@pytest.fixture(params=CONFIGS, scope="module")
def case(request) -> tuple[TransformerConfig, DecoderOnlyTransformer, Shapes]:
    config = CONFIGS[request.param]
    return config, *report(config)


def numbers(line: str) -> list[tuple[int, ...]]:
    """The shapes in a line that are written with numbers: `numbers("(B, H, T) = (B, 4, T)") == [(3, 4, 7)]`."""
    known, found = {"B": B, "T": T, "S": S}, []
    for inside in re.findall(r"\(([^()]+)\)", line):
        parts = re.split(r", |,$", inside)
        parts = [part.replace(",", "") for part in parts if part]
        if all(part in known or part.isdigit() for part in parts):
            found.append(tuple(known.get(part) or int(part) for part in parts))
    return found


@cache
def draw(diagram: Callable[..., str], config: TransformerConfig | None) -> tuple[ElementTree.Element, str]:
    """A diagram (of a config) as Graphviz lays it out, and the finished drawing; each is made once."""
    module, plain = importlib.import_module(diagram.__module__), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "to_svg", lambda dot: plain.append(to_svg(dot)) or plain[0])
        svg = diagram() if config is None else diagram(config, report(config)[1])
    return ElementTree.fromstring(plain[0]), svg


def arrows(root: ElementTree.Element) -> dict[str, str]:
    """What each arrow says: {"x->key": "(B, T, C) = (B, T, 192)"}."""
    edges = [g for g in root.iter(f"{SVG}g") if g.get("class").startswith("edge")]
    return {g.findtext(f"{SVG}title"): (g.findtext(f"{SVG}text") or "").strip() for g in edges}


# The report


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


def test_report_leaves_the_model_as_it_was(case):
    _, model, shapes = case
    assert report_shapes(model, torch.ones(B, S, dtype=torch.long), PAST) == shapes
    with pytest.raises(ValueError, match="context of 64"):
        report_shapes(model, torch.zeros(B, 65, dtype=torch.long), past=1)
    assert not any(module._forward_hooks for module in model.modules())


# What is drawn


@pytest.mark.parametrize("name", DIAGRAMS)
def test_shapes_drawn_are_those_of_the_running_model(case, name):
    config, _, shapes = case
    said = labels(draw(DIAGRAMS[name], config)[1])
    drawn = {shape for line in said for shape in numbers(line)}
    reported = {shape for tensor, shape in shapes.items() if tensor.startswith(f"{name}.")}
    given = {"attention": {(B, 1, T, S)}, "block": set(), "model": {(T,)}}[name]  # the mask, the positions
    assert drawn - given == reported - given
    assert ("rotate" in said) == (name == "attention" and config.positions == "rotary")


def test_each_arrow_bears_the_shape_of_its_own_tensor(case):
    c, _, shapes = case
    q, k = ("turn_q", "turn_k") if c.positions == "rotary" else ("split_q", "split_k")
    expected = {
        "x->key": "attention.x", "query->split_q": "attention.query", "key->split_k": "attention.key",
        "value->split_v": "attention.value", "split_v->keep_v": "attention.v", f"{q}->scores": "attention.q",
        f"{k}->keep_k": "attention.k", "keep_k->scores": "attention.keys", "scores->hide": "attention.scores",
        "hide->softmax": "attention.scores", "softmax->average": "attention.weights",
        "keep_v->average": "attention.values", "average->join": "attention.mixed",
        "join->output": "attention.joined", "output->found": "attention.output",
    }  # fmt: skip
    said = arrows(draw(attention_layer, c)[0])
    assert {edge: numbers(said[edge]) for edge in expected} == {e: [shapes[n]] for e, n in expected.items()}
    said = arrows(draw(decoder_block, c)[0])
    for edge, tensor in {
        "expand->curve": "expand",
        "curve->contract": "hidden",
        "norm_2->expand": "norm",
    }.items():
        assert numbers(said[edge]) == [shapes[f"block.feed_forward.{tensor}"]]
    said = arrows(draw(decoder, c)[0])
    expected = {
        "ids->embedding": "ids",
        f"block_{c.num_layers}->norm": "embedding",
        "output->logits": "output",
    }
    assert {e: numbers(said[e]) for e in expected} == {e: [shapes[f"model.{n}"]] for e, n in expected.items()}


def test_mask_drawn_is_one_that_the_layer_takes(case):
    c, model, _ = case
    said = labels(draw(attention_layer, c)[1])
    (mask,) = {shape for line in said if "mask" in line for shape in numbers(line)}
    cache = model.new_cache(B)
    model(torch.zeros(B, PAST, dtype=torch.long), cache=cache)
    model(torch.zeros(B, T, dtype=torch.long), mask=torch.ones(mask, dtype=torch.bool), cache=cache)


def test_letters_stand_for_the_numbers_of_the_model(case):
    c = case[0]
    said = " ".join(line for diagram in DIAGRAMS.values() for line in labels(draw(diagram, c)[1]))
    for letter, number in {"C": c.width, "H": c.num_heads, "G": c.key_value_heads, "E": c.head_width}.items():
        assert f"{letter} = {number} " in said
    assert f"V = {c.vocab_size:,} tokens" in said and f"F = {c.feed_forward} hidden" in said
    assert legend(TransformerConfig(9, width=8, num_heads=1), "HB") == "H = 1 head, B rows"


def test_the_decoder_shows_each_block_and_its_cache_once(case):
    c = case[0]
    said = labels(draw(decoder, c)[1])
    blocks = [line for line in said if re.match("blocks? ", line)]
    spans = [re.findall(r"\d+", line) for line in blocks]
    shown = [i for span in spans for i in range(int(span[0]), int(span[-1]) + 1)]
    assert shown == list(range(1, c.num_layers + 1))
    assert [line.removesuffix(", each") for line in said if "cache of" in line] == [
        f"cache of {b}" for b in blocks
    ]
    assert ("the embedding again" in said) == c.tied


# What is refused


@pytest.mark.parametrize("part", OTHER_PARTS)
def test_a_model_with_other_parts_is_refused(part):
    name, change, message = OTHER_PARTS[part]
    config = TransformerConfig(101, width=40, num_heads=2, **change)
    with pytest.raises(ValueError, match=message):
        DIAGRAMS[name](config, report(config)[1])


def test_shapes_of_another_model_are_refused():
    config = TransformerConfig(101, width=40, num_heads=2)
    shapes = report(config)[1]
    with pytest.raises(
        ValueError, match=r"attention.query is drawn as \(B T HE\) = \(3, 7, 192\), .* \(3, 7, 40\)"
    ):
        attention_layer(CONFIGS["first model"], shapes)
    for name, diagram in DIAGRAMS.items():
        first = next(tensor for tensor in shapes if tensor.startswith(f"{name}.") and tensor != "model.ids")
        with pytest.raises(ValueError, match=f"lacks .*{first}"):
            diagram(config, {tensor: shape for tensor, shape in shapes.items() if tensor != first})
        with pytest.raises(ValueError, match=f"besides .*{name}.extra"):
            diagram(config, shapes | {f"{name}.extra": (1,)})
    with pytest.raises(ValueError, match="the order is"):
        written(
            config, shapes, {"block.feed_forward": "B T C"} | {n: "B T C" for n in shapes if n[:5] == "block"}
        )


def test_examples_in_docstrings():
    assert doctest.testmod(importlib.import_module("lab.show.diagrams.shapes")).failed == 0
