"""The speech explorer: every control does something, bad sound says why, and letters stand where they were heard."""

import pytest
import torch

from lab.nn import TransformerConfig
from lab.show.listening import listened, listening_figure
from lab.show.widgets.speech_explorer import SpeechExplorer
from lab.speech import espeak
from lab.speech.audio import Audio, resampled, wav_bytes
from lab.speech.model import SpeechConfig, SpeechTransformer
from lab.speech.text import character_alphabet
from lab.speech.whistle import whistle

TOKENIZER = character_alphabet()
RATE = 22_050


@pytest.fixture
def model() -> SpeechTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 16}
        decoder = TransformerConfig(TOKENIZER.vocab_size, context=96, **sizes)
        model = SpeechTransformer(SpeechConfig(decoder, encoder_layers=1, channels=4))
        torch.nn.init.normal_(model.ctc_output.weight, std=1.0)
        torch.nn.init.normal_(model.output.weight, std=1.0)
    return model.eval()


@pytest.fixture
def whistling(monkeypatch):
    monkeypatch.setattr(espeak, "available", lambda: False)


def test_letters_are_those_of_the_transcript_in_order(model):
    found = listened(model, TOKENIZER, whistle("one two", 3, RATE))
    assert "".join(letter for _, letter, _ in found.letters) == found.ctc != ""
    seconds = [second for second, _, _ in found.letters]
    assert seconds == sorted(seconds) and seconds[-1] < found.seconds
    assert len(listening_figure(found, "one two").axes[0].texts) == len(found.letters)


def test_every_control_does_something(model, whistling):
    widget = SpeechExplorer(model, TOKENIZER, "one")
    first, sound = widget.view.value, widget.sound.value
    assert "data:audio/wav;base64" in sound and widget.said == "one"
    widget.sentence.value = "two three"
    widget.speak.click()
    assert widget.said == "two three" and widget.view.value != first
    second = widget.sound.value
    widget.voice.value = widget.voice.options[1]
    widget.speak.click()
    assert widget.sound.value != second
    content = wav_bytes(whistle("four", 1, RATE))
    widget._load({"new": ({"content": memoryview(content)},)})
    assert widget.said == "" and widget.figure().axes


def test_what_cannot_be_said_or_heard_is_refused_and_the_widget_lives(model, whistling):
    widget = SpeechExplorer(model, TOKENIZER, "one")
    for sentence in ("7 up", ""):
        widget.sentence.value = sentence
        widget.speak.click()
        assert "can be whistled" in widget.view.value and widget.sound.value == ""
    widget.hear(Audio(torch.zeros(RATE), RATE))
    assert "role='alert'" in widget.view.value
    widget._load({"new": ({"content": b"this is no WAV file"},)})
    assert "role='alert'" in widget.view.value
    widget.sentence.value = "one"
    widget.speak.click()
    assert "role='alert'" not in widget.view.value


def test_resampling_keeps_a_tone_and_its_length():
    time = torch.arange(44_100, dtype=torch.float64) / 44_100
    tone = Audio((0.5 * torch.sin(2 * torch.pi * 440 * time)).float(), 44_100)
    lower = resampled(tone, RATE)
    expected = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(RATE, dtype=torch.float64) / RATE)
    assert lower.rate == RATE and torch.allclose(lower.samples, expected.float(), atol=1e-4)
    high = Audio((0.5 * torch.sin(2 * torch.pi * 15_000 * time)).float(), 44_100)
    assert resampled(high, RATE).samples.abs().max() < 1e-3  # above half the rate: left out, not folded back
