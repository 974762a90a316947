"""How much a language model may say is chosen on one part of the speech, and reported on another."""

import math
from dataclasses import replace

import pytest
import torch

from lab.speech import choosing
from lab.speech.batches import Utterance
from lab.speech.choosing import choose_weight, compare
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import FeatureSpec
from lab.speech.model import Encoded
from lab.speech.text import character_alphabet

TOKENIZER = character_alphabet()
V, A, B = TOKENIZER.vocab_size, *(TOKENIZER.encode(char)[0] for char in "ab")
SPEC = FeatureSpec(bands=2)


def utterance(text: str) -> Utterance:
    """Two frames a letter: the first is the letter, the second is silence. The ear below mistakes some b for a."""
    rows = [row for char in text for row in ([1.0, 0.0] if char == "a" else [0.0, 1.0], [0.0, 0.0])]
    return Utterance(text, torch.tensor(rows), text)


class HardOfHearing:
    """What CTC says: of a "b" it takes "a" to be a little likelier; of an "a" it is sure."""


def heard(features: torch.Tensor) -> Encoded:
    logits = torch.full((1, len(features), V), -20.0)
    for t, (a, b) in enumerate(features.tolist()):
        logits[0, t, 0] = 0 if a == b == 0 else -20
        logits[0, t, A] = 0 if a else 0.2 if b else -20
        logits[0, t, B] = 0 if b else -20
    return Encoded(torch.zeros(1, len(features), 4), torch.tensor([len(features)]), logits)


@pytest.fixture(autouse=True)
def ears(monkeypatch):
    monkeypatch.setattr(choosing, "listen", lambda model, features: [heard(x) for x in features])


class PrefersB:
    """A language model to which "b" is ten times as likely as "a"."""

    eos_id = TOKENIZER.eos_id

    def __call__(self, prefixes):
        row = [-30.0] * V
        row[A], row[B], row[self.eos_id] = math.log(0.08), math.log(0.8), math.log(0.12)
        return [row for _ in prefixes]


def test_the_weight_with_the_fewest_wrong_words_comes_first():
    spoken = [utterance("b"), utterance("bb"), utterance("ab")]
    tried = choose_weight(
        HardOfHearing(), TOKENIZER, spoken, PrefersB(), weights=(0.0, 0.3), bonuses=(0.0, 1.0)
    )
    assert len(tried) == 4 and tried[0].reading.weight == 0.3 and tried[0].wer.rate == tried[0].cer.rate == 0
    assert tried[-1].reading.weight == 0.0 and tried[-1].wer.rate == 1
    assert [one.wer.rate for one in tried] == sorted(one.wer.rate for one in tried)


def test_what_is_chosen_is_chosen_on_the_validation_part(monkeypatch):
    asked = []

    def reading(model, one, tokenizer, way, scorer=None):
        asked.append(way)
        if way.method == "both":  # the best on the validation part, and the worst on the test part
            return [B] if len(one.ctc_logits[0]) == 2 else [A]
        return [B] if way.weight == 0.5 else [A]

    monkeypatch.setattr(choosing, "read", reading)
    speech = SpeechCorpus("s", SPEC, (), (utterance("b"),), (utterance("bb"),))
    found = compare(
        HardOfHearing(), TOKENIZER, speech, PrefersB(), weights=(0.1, 0.5), bonuses=(0.0,), beam=3
    )
    assert next(iter(found)) == "CTC, best path" and len(found) == 7
    fused, both = found["CTC, beam and language model"], found["both, and language model"]
    assert (fused.reading.weight, fused.reading.beam) == (0.5, 3)
    assert found["with language model"].reading == fused.reading, "first of equals"
    assert found["CTC, best path"].texts == both.texts == ("a",)
    assert found["CTC, best path"].wer.rate == both.cer.rate == 1
    assert {way.method for way in asked if way.weight} == {"ctc beam", "both"}, (
        "only these ask a language model"
    )


def test_the_better_way_on_validation_is_reported_even_where_it_is_worse(monkeypatch):
    def reading(model, one, tokenizer, way, scorer=None):
        on_validation = len(one.ctc_logits[0]) == 2
        return [B] if (way.method == "both") == on_validation else [A]

    monkeypatch.setattr(choosing, "read", reading)
    speech = SpeechCorpus("s", SPEC, (), (utterance("b"),), (replace(utterance("bb"), text="b"),))
    found = compare(HardOfHearing(), TOKENIZER, speech, PrefersB(), weights=(0.5,), bonuses=(0.0,))
    assert found["with language model"].reading.method == "both"
    assert found["with language model"].wer.rate == 1 and found["CTC, beam and language model"].wer.rate == 0
