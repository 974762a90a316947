"""How much a language model may say is chosen on one part of the speech, and reported on another."""

import pytest
import torch

from lab.speech import choosing
from lab.speech.batches import Utterance
from lab.speech.choosing import choose_weight, compare
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import FeatureSpec
from lab.speech.text import character_alphabet

TOKENIZER = character_alphabet()
RIGHT, WRONG = (TOKENIZER.encode(char) for char in "ba")
VALIDATION, TEST = ([Utterance("u", torch.zeros(frames, 2), "b")] for frames in (1, 2))
SPEECH = SpeechCorpus("s", FeatureSpec(bands=2), (), VALIDATION, TEST)


@pytest.fixture
def understood(monkeypatch):
    """`understood(when)`: an utterance of so many frames is understood when `when(reading, frames)` says so."""

    def read_so(when):
        asked = []

        def read(model, frames, tokenizer, reading, scorer=None):
            asked.append(reading)
            return RIGHT if when(reading, frames) else WRONG

        monkeypatch.setattr(choosing, "listen", lambda model, features: [len(x) for x in features])
        monkeypatch.setattr(choosing, "read", read)
        return asked

    return read_so


def test_the_weight_with_the_fewest_wrong_words_comes_first(understood):
    understood(lambda reading, frames: reading.weight == 0.3)
    tried = choose_weight(None, TOKENIZER, VALIDATION, None, weights=(0.0, 0.3), bonuses=(0.0, 1.0))
    assert [one.reading.weight for one in tried] == [0.3, 0.3, 0.0, 0.0]
    assert [one.wer.rate for one in tried] == [one.cer.rate for one in tried] == [0, 0, 1, 1]


def test_what_is_chosen_is_chosen_on_the_validation_part(understood):
    # "both" is the best on the validation part, and the worst on the test part
    asked = understood(lambda way, frames: frames == 1 if way.method == "both" else way.weight == 0.5)
    found = compare(None, TOKENIZER, SPEECH, None, weights=(0.1, 0.5), bonuses=(0.0,), beam=3)
    assert next(iter(found)) == "CTC, best path" and len(found) == 7
    fused, both = found["CTC, beam and language model"], found["both, and language model"]
    assert (fused.reading.weight, fused.reading.beam) == (0.5, 3) and found["with language model"] == fused
    assert found["CTC, best path"].texts == both.texts == ("a",) and both.cer.rate == 1
    assert {way.method for way in asked if way.weight} == {"ctc beam", "both"}, "who ask a language model"
    understood(lambda reading, frames: (reading.method == "both") == (frames == 1))
    found = compare(None, TOKENIZER, SPEECH, None, weights=(0.5,), bonuses=(0.0,))
    assert (
        found["with language model"].reading.method == "both" and found["with language model"].wer.rate == 1
    )
