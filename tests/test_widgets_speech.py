"""The speech explorer: every control does something, bad sound says why, and letters stand where they were heard."""

import io
from base64 import b64decode, b64encode

import numpy as np
import pytest
import torch
from PIL import Image
from test_widgets_base import asked

from lab.nn import TransformerConfig
from lab.show.listening import Listened, listened
from lab.show.widgets.speech_explorer import SpeechExplorer, picture_of
from lab.speech import espeak
from lab.speech.audio import Audio, read_audio, resampled, wav_bytes
from lab.speech.model import SpeechConfig, SpeechTransformer
from lab.speech.text import character_alphabet
from lab.speech.whistle import whistle

TOKENIZER = character_alphabet()
RATE = 22_050


def small_recogniser() -> SpeechTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 16}
        decoder = TransformerConfig(TOKENIZER.vocab_size, context=96, **sizes)
        model = SpeechTransformer(SpeechConfig(decoder, encoder_layers=1, channels=4))
        torch.nn.init.normal_(model.ctc_output.weight, std=1.0)
        torch.nn.init.normal_(model.output.weight, std=1.0)
    return model.eval()


@pytest.fixture
def model() -> SpeechTransformer:
    return small_recogniser()


@pytest.fixture
def whistling(monkeypatch):
    monkeypatch.setattr(espeak, "available", lambda: False)


def test_letters_are_those_of_the_transcript_in_order(model):
    found = listened(model, TOKENIZER, whistle("one two", 3, RATE))
    assert "".join(letter for _, letter, _ in found.letters) == found.ctc != ""
    seconds = [second for second, _, _ in found.letters]
    assert seconds == sorted(seconds) and seconds[-1] < found.seconds


def sound_of(widget) -> bytes:
    return b64decode(widget.drawing["sound"].removeprefix("data:audio/wav;base64,"))


def test_every_control_does_something(model, whistling):
    widget = SpeechExplorer(model, TOKENIZER, "one")
    first = widget.drawing
    assert first["said"] == "one" and sound_of(widget) == wav_bytes(widget.audio)
    widget.sentence = "two three"
    assert widget.drawing == first, "nothing is said before the button is pressed"
    asked(widget, "say")
    second = widget.drawing
    assert second["said"] == "two three"
    widget.voice = second["voices"][1]
    asked(widget, "say")
    assert widget.drawing["sound"] != second["sound"] and widget.drawing["picture"] != second["picture"]
    content = wav_bytes(whistle("four", 1, RATE))
    asked(widget, "load", data=b64encode(content).decode())
    assert widget.drawing["said"] == ""
    found = listened(model, TOKENIZER, read_audio(content))
    assert sound_of(widget) == wav_bytes(read_audio(content))
    assert (widget.drawing["ctc"], widget.drawing["attention"]) == (found.ctc, found.attention)
    assert [second for second, _, _ in widget.drawing["letters"]] == [
        second for second, _, _ in found.letters
    ]


def test_the_picture_has_a_pixel_a_frame_and_band_with_low_bands_below():
    features = torch.zeros(7, 5)
    features[2, 0] = 1  # the lowest band of the third frame is loud
    data = picture_of(Listened(features, (), "", "", 0.1)).removeprefix("data:image/png;base64,")
    pixels = np.asarray(Image.open(io.BytesIO(b64decode(data))).convert("L"))
    assert pixels.shape == (5, 7) and np.unravel_index(pixels.argmax(), (5, 7)) == (4, 2)


def test_what_cannot_be_said_or_heard_is_told_and_the_widget_lives(model, whistling):
    widget = SpeechExplorer(model, TOKENIZER, "one")
    before = widget.drawing
    for sentence in ("7 up", "", "<b>"):
        widget.sentence = sentence
        asked(widget, "say")
        assert "can be whistled" in widget.problem and widget.drawing == before
    widget.hear(Audio(torch.zeros(RATE), RATE))
    assert "silent" in widget.problem
    for data in (b64encode(b"this is no WAV file").decode(), "", "?"):
        assert asked(widget, "load", data=data) == [None] and widget.problem
    widget.voice = "nobody"
    asked(widget, "say")
    assert "nobody" in widget.problem and widget.drawing == before
    widget.sentence, widget.voice = "one", before["voices"][0]
    asked(widget, "say")
    assert not widget.problem and widget.drawing == before
    silent = SpeechExplorer(model, TOKENIZER, "7 up")
    assert "can be whistled" in silent.problem and list(silent.drawing) == ["voices"]


def test_resampling_keeps_a_tone_and_its_length():
    time = torch.arange(44_100, dtype=torch.float64) / 44_100
    tone = Audio((0.5 * torch.sin(2 * torch.pi * 440 * time)).float(), 44_100)
    lower = resampled(tone, RATE)
    expected = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(RATE, dtype=torch.float64) / RATE)
    assert lower.rate == RATE and torch.allclose(lower.samples, expected.float(), atol=1e-4)
    high = Audio((0.5 * torch.sin(2 * torch.pi * 15_000 * time)).float(), 44_100)
    assert resampled(high, RATE).samples.abs().max() < 1e-3  # above half the rate: left out, not folded back
