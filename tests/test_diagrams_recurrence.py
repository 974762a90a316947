"""Diagrams of notebook 05: shapes are the running model's, files are the bundle's."""

import re
from dataclasses import replace
from functools import cache
from xml.etree import ElementTree

import pytest
import torch
from diagram_toys import B, T, arrows, assert_readable, laid_out, numbers
from torch import nn

from lab.nn.recurrent import CELLS, RecurrentConfig, RecurrentLM
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.runs import Experiment, Run, save
from lab.show.diagrams import SKY, recurrence, report_recurrent_shapes, run
from lab.show.diagrams.run import PIECES
from lab.show.diagrams.sketch import labels
from lab.text import CharTokenizer
from lab.train.state import TrainingState

CONFIGS = {
    f"{cell}, {layers}": RecurrentConfig(101, cell=cell, width=20, num_layers=layers)
    for cell in CELLS
    for layers in (1, 2, 3)
} | {"figure": RecurrentConfig(1000, cell="lstm", num_layers=2)}


def report(config: RecurrentConfig) -> tuple[RecurrentLM, dict]:
    with torch.random.fork_rng():
        model = RecurrentLM(config)
        return model, report_recurrent_shapes(model, torch.zeros(B, T, dtype=torch.long))


@cache
def draw(name: str) -> tuple[ElementTree.Element, str]:
    """A diagram as Graphviz lays it out, and the finished drawing; each is made once."""
    return laid_out(run if name == "run" else lambda: recurrence(CONFIGS[name], report(CONFIGS[name])[1]))


small = pytest.mark.parametrize("name", [name for name in CONFIGS if "," in name])


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
        (layers,) = (module for module in first.modules() if isinstance(module, nn.RNNBase))
        expected[f"layer_{layer}"] = layers(x)[0]
        for part, tensor in zip("hc", state.tensors, strict=False):
            expected[f"layer_{layer}.{part}"] = tensor[layer - 1]
    assert shapes == {tensor: tuple(x.shape) for tensor, x in expected.items()}
    assert ("layer_1.c" in shapes) == (c.cell == "lstm")


@small
def test_shapes_drawn_are_those_of_the_running_model(name):
    c, shapes, (root, svg) = CONFIGS[name], report(CONFIGS[name])[1], draw(name)
    said = arrows(root)
    last = f"layer_{c.num_layers}"
    down = {"ids->embedding": "ids", "embedding->layer_1": "embedding", f"{last}->output": last}
    down |= {"output->logits": "output"}
    assert {edge: numbers(said[edge]) for edge in down} == {edge: [shapes[t]] for edge, t in down.items()}
    assert {shape for line in labels(svg) for shape in numbers(line)} == set(shapes.values())
    assert f"C = {c.width} channels, V = {c.vocab_size} tokens" in " ".join(labels(svg))


def test_shapes_of_another_model_are_refused():
    shapes = report(CONFIGS["lstm, 2"])[1]
    for other in ("gru, 2", "lstm, 3", "figure"):
        with pytest.raises(ValueError, match=r"the picture draws|is drawn as"):
            recurrence(CONFIGS[other], shapes)


def test_files_named_are_those_that_save_writes(tmp_path):
    tokenizer = CharTokenizer.train(SKY)
    config = TransformerConfig(tokenizer.vocab_size, 8, width=8, num_heads=1, feed_forward=8, num_layers=1)
    experiment, model = Experiment(config), DecoderOnlyTransformer(config)
    path = save(tmp_path, Run(experiment, tokenizer, model, TrainingState(model, experiment.training)))
    written = {file.name for file in path.iterdir()}
    assert {file for piece in PIECES.values() for file in piece.kept} == written
    assert set(re.findall(r"[a-z]+\.(?:jsonl|json|safetensors)", " ".join(labels(run())))) == written


@pytest.mark.parametrize("name", [*CONFIGS, "run"])
def test_nothing_overlaps_nor_leaves_the_page_in_a_wide_font(name):
    assert_readable(*draw(name))
