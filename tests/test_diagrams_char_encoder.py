"""The diagram of notebook 08: its shapes are the running model's, and it refuses those of another."""

import re
from dataclasses import replace

import pytest
import torch

from lab.chars.model import CharEncoder, CharEncoderConfig
from lab.show.diagrams import char_encoder, report_char_encoder_shapes
from lab.show.diagrams.sketch import labels

SIZES = {"width": 12, "encoder_layers": 2, "decoder_layers": 1, "num_heads": 2, "feed_forward": 20}
SMALL = CharEncoderConfig(31, memory_slots=3, latents=5, latent_width=7, **SIZES)


def shapes_of(config):
    return report_char_encoder_shapes(CharEncoder(config), torch.ones(2, 9, dtype=torch.long))


def test_every_arrow_bears_the_models_shape():
    texts = " ".join(labels(char_encoder(SMALL, shapes_of(SMALL))))
    for shape in ("(B, M, C) = (B, 3, 12)", "(B, K, W) = (B, 5, 7)", "(B, T, V) = (B, T, 31)"):
        assert shape in texts


def test_numbers_of_layers_and_latents_are_the_configs():
    texts = labels(char_encoder(SMALL, shapes_of(SMALL)))
    assert "encoder, 2 blocks" in texts and "decoder, 1 block" in texts
    assert "5 latents of 7 numbers" in texts


def test_shapes_of_another_model_are_refused():
    with pytest.raises(ValueError, match=re.escape("memory is drawn as (B M C) = (2, 4, 12)")):
        char_encoder(replace(SMALL, memory_slots=4), shapes_of(SMALL))


def test_a_model_without_the_parts_in_the_picture_is_refused():
    with pytest.raises(ValueError, match="latents and memory_slots"):
        shapes_of(replace(SMALL, memory_slots=0))
