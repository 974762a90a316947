"""The diagram of notebook 10: its shapes are the running model's, and it refuses those of another."""

import re
from dataclasses import replace

import pytest
import torch

from lab.show.diagrams import report_speech_shapes, speech
from lab.show.diagrams.sketch import labels
from lab.speech.model import SpeechConfig, SpeechTransformer

SMALL = SpeechConfig(33, width=16, num_heads=2, feed_forward=20, encoder_layers=2, channels=4, kernel=5)


def shapes_of(config):
    features, ids = torch.zeros(2, 60, config.features.bands), torch.ones(2, 7, dtype=torch.long)
    return report_speech_shapes(SpeechTransformer(config), features, ids)


def test_every_arrow_bears_the_models_shape():
    texts = " ".join(labels(speech(SMALL, shapes_of(SMALL))))
    for shape in ("(B, T, 80)", "(B, S, 16)", "(B, S, 33)", "(B, 2, U, S)", "(B, U, 33)"):
        assert shape in texts


def test_parts_are_the_configs():
    texts = " ".join(labels(speech(SMALL, shapes_of(SMALL))))
    assert "encoder, 2 blocks" in texts and "convolution over 5 frames" in texts and "one frame of 4" in texts
    plain = replace(SMALL, kernel=0, embedding="blstm")
    texts = " ".join(labels(speech(plain, shapes_of(plain))))
    assert "convolution over" not in texts and "recurrent network, both ways" in texts


def test_shapes_of_another_model_are_refused():
    with pytest.raises(ValueError, match=re.escape("memory is drawn as (B S C) = (2, 15, 24)")):
        speech(replace(SMALL, width=24), shapes_of(SMALL))
