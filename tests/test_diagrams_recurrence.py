"""Diagrams of notebook 05: shapes are the running model's, files are the bundle's."""

import re
from dataclasses import replace
from functools import cache
from xml.etree import ElementTree

import pytest
import torch
from test_diagrams_attention import B, T, arrows, laid_out, numbers
from test_diagrams_layout import assert_none_overlap, assert_on_the_page, taken
from torch import nn

from lab.nn.recurrent import CELLS, RecurrentConfig, RecurrentLM
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.runs import Experiment, Run, save
from lab.show.diagrams import SKY, recurrence, report_recurrent_shapes, run
from lab.show.diagrams.run import PIECES
from lab.show.diagrams.sketch import SVG, labels
from lab.text import CharTokenizer
from lab.train.state import TrainingState

CONFIGS = {
    **{
        f"{cell}, {layers}": RecurrentConfig(101, cell=cell, width=20, num_layers=layers)
        for cell in CELLS
        for layers in (1, 2, 3)
    },
    "figure": RecurrentConfig(1000, cell="lstm", num_layers=2),
    "large": RecurrentConfig(50_000, cell="lstm", width=1024, num_layers=12, tied=True),
}


def report(config: RecurrentConfig) -> tuple[RecurrentLM, dict]:
    with torch.random.fork_rng():
        model = RecurrentLM(config)
        return model, report_recurrent_shapes(model, torch.zeros(B, T, dtype=torch.long))


def layers_of(model: RecurrentLM) -> nn.RNNBase:
    (layers,) = (module for module in model.modules() if isinstance(module, nn.RNNBase))
    return layers


@cache
def draw(name: str) -> tuple[ElementTree.Element, str]:
    """A diagram as Graphviz lays it out, and the finished drawing; each is made once."""
    return laid_out(run if name == "run" else lambda: recurrence(CONFIGS[name], shapes_of(name)))


@cache
def shapes_of(name: str) -> dict:
    c = CONFIGS[name]
    if name != "large":
        return report(c)[1]
    shapes = report(replace(c, vocab_size=101, width=20))[1]  # the same parts, quicker
    large = {101: c.vocab_size, 20: c.width}
    return {tensor: tuple(large.get(n, n) for n in shape) for tensor, shape in shapes.items()}


small = pytest.mark.parametrize("name", [name for name in CONFIGS if "," in name])
every = pytest.mark.parametrize("name", [*CONFIGS, "run"])


# A recurrent model: the report


@small
def test_report_is_what_the_model_does(name):
    """Each shape against the same tensor got without hooks: a model of the first layers alone, and the state."""
    c = CONFIGS[name]
    model, shapes = report(c)
    ids, state = torch.zeros(B, T, dtype=torch.long), model.new_cache(B)
    x = model.embedding(ids, None)
    expected = {"ids": ids, "embedding.token": x, "embedding": x, "output": model(ids, cache=state)}
    for layer in range(1, c.num_layers + 1):
        first = RecurrentLM(replace(c, num_layers=layer))
        expected[f"layer_{layer}"] = layers_of(first)(x)[0]
        for part, tensor in zip("hc", state.tensors, strict=False):
            expected[f"layer_{layer}.{part}"] = tensor[layer - 1]
    assert shapes == {tensor: tuple(x.shape) for tensor, x in expected.items()}
    assert ("layer_1.c" in shapes) == (c.cell == "lstm")


# A recurrent model: what is drawn


@small
def test_shapes_drawn_are_those_of_the_running_model(name):
    c, shapes, (root, svg) = CONFIGS[name], shapes_of(name), draw(name)
    said = arrows(root)
    last = f"layer_{c.num_layers}"
    down = {"ids->embedding": "ids", "embedding->layer_1": "embedding", f"{last}->output": last}
    down |= {"output->logits": "output"}
    assert {edge: numbers(said[edge]) for edge in down} == {edge: [shapes[t]] for edge, t in down.items()}
    assert {shape for line in labels(svg) for shape in numbers(line)} == set(shapes.values())
    assert f"C = {c.width} channels, V = {c.vocab_size} tokens" in " ".join(labels(svg))


@small
def test_each_layer_has_a_loop_with_its_state(name):
    """An edge from a layer to itself, from its lower right corner to its upper right one, says the state's parts."""
    c, shapes, (root, _) = CONFIGS[name], shapes_of(name), draw(name)
    loops = [g for g in root.iter(f"{SVG}g") if re.fullmatch(r"(\w+):se->\1:ne", g.findtext(f"{SVG}title"))]
    assert len(loops) == c.num_layers
    for loop in loops:
        first, *parts = (text.text.strip() for text in loop.findall(f"{SVG}text"))
        assert first == "its state, one token later"
        assert [part[0] for part in parts] == list("hc"[: len(parts)])
        assert [numbers(part) for part in parts] == [
            [shapes[f"layer_1.{k}"]] for k in ("hc" if c.cell == "lstm" else "h")
        ]
        x, y = zip(*re.findall(r"(-?[\d.]+),(-?[\d.]+)", loop.find(f"{SVG}path").get("d")), strict=True)
        assert max(map(float, x)) - min(map(float, x)) > 80 and max(map(float, y)) - min(map(float, y)) > 80


# A recurrent model: what is refused


def test_shapes_of_another_model_are_refused():
    shapes = shapes_of("lstm, 2")
    for other in ("gru, 2", "lstm, 3", "figure"):
        with pytest.raises(ValueError, match=r"the picture draws|is drawn as"):
            recurrence(CONFIGS[other], shapes)


# A run


def test_files_named_are_those_that_save_writes(tmp_path):
    tokenizer = CharTokenizer.train(SKY)
    config = TransformerConfig(tokenizer.vocab_size, 8, width=8, num_heads=1, feed_forward=8, num_layers=1)
    experiment, model = Experiment(config), DecoderOnlyTransformer(config)
    path = save(tmp_path, Run(experiment, tokenizer, model, TrainingState(model, experiment.training)))
    written = {file.name for file in path.iterdir()}
    assert {file for piece in PIECES.values() for file in piece.kept} == written
    assert set(re.findall(r"[a-z]+\.(?:jsonl|json|safetensors)", " ".join(labels(run())))) == written


# Both, as a reader sees them


@every
def test_nothing_overlaps_nor_leaves_the_page_in_a_wide_font(name):
    plain, svg = draw(name)
    assert_none_overlap(taken(plain))
    root = ElementTree.fromstring(svg)
    assert 700 <= float(root.get("width")) <= 900
    assert_on_the_page(root)
