"""Batches of utterances: padded, each once a pass, entered anywhere, and begun with the masks that the seed gives."""

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.data.batch import IGNORE
from lab.speech.augment import SpecAugment
from lab.speech.batches import SpeechStream, Utterance, collate
from lab.speech.text import TextError, character_alphabet, encode

ALPHABET = character_alphabet()


def utterances(n=30, bands=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 40, (n,), generator=generator).tolist()
    return [
        Utterance(f"u{i}", torch.randn(T, bands, generator=generator), "ab" * (1 + i % 3))
        for i, T in enumerate(lengths)
    ]


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1, 200), seed=st.integers(0, 9))
def test_a_pass_holds_every_utterance_once_in_batches_that_are_not_too_large(frames, seed):
    some, seen = utterances(seed=seed), []
    for batch in SpeechStream(some, ALPHABET, frames, seed):
        assert batch.features.shape[:2].numel() <= frames or len(batch) == 1
        assert int(batch.lengths.max()) == batch.features.shape[1]
        seen += batch.names
        if len(seen) >= len(some):
            break
    assert sorted(seen) == sorted(u.name for u in some)


def test_collation_pads_features_with_0_and_targets_with_ignore():
    some = [Utterance("long", torch.ones(3, 2).half(), "ab"), Utterance("short", torch.ones(1, 2), "cab")]
    batch = collate(some, ALPHABET)
    a, b, c = encode("abc", ALPHABET)
    assert batch.features.dtype == torch.float32 and batch.features[1, 1:].abs().sum() == 0
    assert batch.lengths.tolist() == [3, 1] and batch.target_lengths.tolist() == [2, 3]
    assert batch.num_targets == 5
    assert batch.targets.tolist() == [[a, b, IGNORE], [c, a, b]]
    assert batch.ids.tolist() == [[2, a, b, 0], [2, c, a, b]]
    assert batch.golden.tolist() == [[a, b, 3, IGNORE], [c, a, b, 3]]
    assert batch.rows(slice(1, 2)).names == ("short",) and len(batch.rows(slice(0, 0))) == 0


def test_a_stream_can_be_entered_anywhere_and_follows_its_seed():
    some = utterances()
    stream = SpeechStream(some, ALPHABET, 100, seed=5, augment=SpecAugment(time_width=3), augment_after=7)
    whole, plain = (list(islice(of, 60)) for of in (stream, SpeechStream(some, ALPHABET, 100, seed=5)))
    masked = [not torch.equal(a.features, b.features) for a, b in zip(whole, plain, strict=True)]
    assert not any(masked[:7]) and all(masked[7:]), "masks begin when they are told to"
    assert sum(map(len, whole)) > 3 * len(some), "60 batches are several passes"
    for n in (0, 1, 15, 37):
        for a, b in zip(islice(stream.skip(n), 10), whole[n : n + 10], strict=True):
            assert a.names == b.names and torch.equal(a.features, b.features)
    assert next(iter(stream.skip(20).skip(17))).names == whole[37].names
    other = [b.names for b in islice(SpeechStream(some, ALPHABET, 100, seed=6), 20)]
    assert other != [b.names for b in whole[:20]]
    passes = [tuple(b.names for b in whole[i : i + 10]) for i in (0, 10, 20)]
    assert len(set(passes)) == 3, "each pass is shuffled anew"


def test_a_transcript_that_cannot_be_encoded_is_named():
    with pytest.raises(TextError, match=r"x7.*ï"):
        collate([*utterances(2), Utterance("x7", torch.ones(3, 4), "naïve")], ALPHABET)
