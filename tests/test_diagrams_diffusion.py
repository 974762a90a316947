"""Diagrams of notebook 07: shapes and grids are the running model's, and nothing lies on another."""

from dataclasses import replace
from functools import cache
from xml.etree import ElementTree

import pytest
import torch
from diagram_toys import B, T, arrows, assert_readable, laid_out, numbers

from lab.diffusion import Codebook, Denoiser, DenoiserConfig
from lab.nn import TransformerConfig
from lab.show.diagrams import denoiser, visual_tokens
from lab.show.diagrams.sketch import labels
from lab.show.diagrams.visual_tokens import run_pipeline

STACK = TransformerConfig(101, width=20, num_layers=1, num_heads=2, feed_forward=12)
SMALL = DenoiserConfig(STACK, granularity="cell")
CONFIGS = {
    "cells alone": SMALL,
    "as in the figure": replace(SMALL, stack=replace(STACK, num_layers=2), reads="words", neighbours=2),
    "uniform, all added": replace(SMALL, noise="uniform", reads="words", time_input=True, neighbours=1),
    "factorised": replace(SMALL, stack=replace(STACK, num_layers=3), head="factorised"),
    "factorised, uniform": replace(SMALL, head="factorised", noise="uniform", grid=(3, 4), num_colours=5),
}  # fmt: skip


def build(config: DenoiserConfig) -> Denoiser:
    book = Codebook.random(config.vocab_size, grid=config.grid, num_colours=config.num_colours)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Denoiser(config, book)


@cache
def draw(name: str) -> tuple[ElementTree.Element, str]:
    """A diagram as Graphviz lays it out, and the finished drawing; `tokens` and a noise: the pipeline."""
    if name in NOISES:
        return laid_out(lambda: visual_tokens(*pipeline_of(name), example="In the beginning"))
    model = build(CONFIGS[name])
    return laid_out(lambda: denoiser(model, cells_of(CONFIGS[name]), torch.full((B,), 0.5)))


def cells_of(config: DenoiserConfig) -> torch.Tensor:
    return torch.zeros(B, T, config.num_cells, dtype=torch.long)


NOISES = {"tokens, absorbing": "absorbing", "tokens, uniform": "uniform"}
IDS = (torch.arange(B * T) % 101).view(B, T)


def pipeline_of(name: str) -> tuple:
    return build(replace(SMALL, noise=NOISES[name])), IDS


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_and_parts_drawn_are_those_of_the_running_model(name):
    """Each shape against the same tensor got without hooks."""
    c, model, (root, svg) = CONFIGS[name], build(CONFIGS[name]), draw(name)
    cells, alpha, said = cells_of(c), torch.full((B,), 0.5), arrows(root)
    x = model.embed(cells, alpha)
    expected = {
        "cells->states": tuple(cells.shape),
        "states->from_cells": (B, T, model.from_cells.in_features),
        "blocks->norm": tuple(x.shape),
        "norm->scores": tuple(model.encoder(x, torch.arange(T)).shape),
        "add->answer": tuple(model(cells, alpha=alpha).shape),
    }
    assert {edge: numbers(said[edge]) for edge in expected} == {e: [shape] for e, shape in expected.items()}
    text = " ".join(labels(svg))
    assert f"n = {c.num_cells} cells a token" in text and f"K = {c.num_colours} colours" in text
    assert ("their mean embedding" in text) == (model.from_word is not None)
    assert ("how much is left" in text) == (model.from_time is not None)
    assert ("neighbours" in text) == (model.beside is not None)
    assert ("and blank" in text) == (c.noise == "absorbing")
    assert ("a score for every word" in text) == (c.head == "codebook")
    assert f"{c.stack.num_layers} block" in text and f"{c.stack.num_heads} heads" in text
    assert_readable(root, svg)


@pytest.mark.parametrize("name", NOISES)
def test_the_pipeline_is_run_and_its_shapes_are_drawn(name):
    model, ids = pipeline_of(name)
    made, said = run_pipeline(model, ids), arrows(draw(name)[0])
    assert torch.equal(made.cells, model.patterns[ids]) and torch.equal(made.ids, ids)
    assert 0.3 < (made.noised != made.cells).float().mean() < 0.7
    assert made.logits.shape == (B, T, 101) and (made.new_ids >= 0).all()
    expected = {
        "tokenise->ids": made.ids, "codebook->cells": made.cells, "lose->noised": made.noised,
        "logits->denoiser": made.logits, "shown->reveal": made.shown, "new_ids->nearest": made.new_ids,
    }  # fmt: skip
    for edge, tensor in expected.items():
        assert numbers(said[edge]) == [tuple(tensor.shape)], edge
    assert f"{model.num_parameters:,} parameters" in labels(draw(name)[1])
    assert_readable(*draw(name))
    again = run_pipeline(model, ids)
    assert all(torch.equal(a, b) for a, b in zip(made, again, strict=True)), "seeded"


def test_a_model_that_is_not_the_one_in_the_picture_is_refused():
    with pytest.raises(ValueError, match="attends"):
        denoiser(build(replace(SMALL, attends=False)), cells_of(SMALL))
    with pytest.raises(ValueError, match="head"):
        visual_tokens(build(replace(SMALL, head="factorised")), IDS)
