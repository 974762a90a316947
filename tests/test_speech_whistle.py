"""The whistled alphabet: repeatable, split like speech, and each letter tells itself apart."""

import pytest
import torch

from lab.speech.features import FeatureSpec, log_mel
from lab.speech.script import SyntheticConfig
from lab.speech.whistle import LETTERS, VOICES, whistle, whistled

SPEC = FeatureSpec()


def test_the_same_arguments_give_the_same_samples_and_others_do_not():
    one = whistle("seven", 3, SPEC.rate, seed=1).samples
    assert torch.equal(one, whistle("seven", 3, SPEC.rate, seed=1).samples)
    for other in (whistle("seven", 4, SPEC.rate, seed=1), whistle("seven", 3, SPEC.rate, seed=2)):
        assert other.samples.shape != one.shape or not torch.equal(other.samples, one)


def test_letters_have_spectra_of_their_own():
    spectra = torch.stack([log_mel(whistle(char * 3, 0, SPEC.rate), SPEC).mean(0) for char in LETTERS])
    distance = torch.cdist(spectra, spectra) + torch.eye(len(LETTERS)) * 1e9
    assert distance.min() > 1


def test_parts_share_neither_texts_nor_voices():
    corpus = whistled(SyntheticConfig(train=20, validation=5, test=5))
    assert [len(part) for part in corpus.parts.values()] == [20, 5, 5]
    for what in ("text", "voice"):
        seen = [{getattr(one, what) for one in part} for part in corpus.parts.values()]
        assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert not set(VOICES["train"]) & set(VOICES["test"])
    assert "espeak" in repr(corpus)


def test_other_characters_are_refused():
    with pytest.raises(ValueError, match="'7 up'"):
        whistle("7 up", 0, SPEC.rate)
