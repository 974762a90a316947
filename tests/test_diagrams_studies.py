"""Diagrams of the character encoder and of speech: their shapes and parts are the running model's."""

from dataclasses import replace

import pytest
import torch

from lab.chars import CharEncoder, CharEncoderConfig
from lab.nn import TransformerConfig
from lab.show.diagrams import char_encoder, speech
from lab.show.diagrams.sketch import labels
from lab.speech.model import SpeechConfig, SpeechTransformer

STACK = TransformerConfig(31, width=12, num_layers=2, num_heads=2, feed_forward=20)
CHARS = CharEncoderConfig(STACK, decoder_layers=1, memory_slots=3, latents=5, latent_width=7)
SIZES = TransformerConfig(33, width=16, num_layers=1, num_heads=2, feed_forward=20)
SPEECH = SpeechConfig(SIZES, encoder_layers=2, channels=4, kernel=5)


def said_of_speech(config: SpeechConfig) -> str:
    features, ids = torch.zeros(2, 60, config.features.bands), torch.ones(2, 7, dtype=torch.long)
    return " ".join(labels(speech(SpeechTransformer(config), features, ids)))


def test_the_character_encoder_is_drawn_with_its_shapes_and_layers():
    said = " ".join(labels(char_encoder(CharEncoder(CHARS), torch.ones(2, 9, dtype=torch.long))))
    for shape in ("(B, M, C) = (B, 3, 12)", "(B, K, W) = (B, 5, 7)", "(B, T, V) = (B, T, 31)"):
        assert shape in said
    assert "encoder, 2 blocks" in said and "decoder, 1 block" in said and "5 latents of 7 numbers" in said


def test_a_character_encoder_without_the_parts_in_the_picture_is_refused():
    with pytest.raises(ValueError, match="memory_slots"):
        char_encoder(CharEncoder(replace(CHARS, memory_slots=0)), torch.ones(2, 9, dtype=torch.long))


def test_speech_is_drawn_with_its_shapes_and_parts():
    said = said_of_speech(SPEECH)
    for shape in ("(B, T, 80)", "(B, S, 16)", "(B, S, 33)", "(B, 2, U, S)", "(B, U, 33)"):
        assert shape in said
    assert "encoder, 2 blocks" in said and "convolution over 5 frames" in said and "one frame of 4" in said
    plain = said_of_speech(replace(SPEECH, kernel=0, embedding="blstm"))
    assert "convolution over" not in plain and "recurrent network, both ways" in plain
