"""Error rates equal jiwer's, edit for edit; what is chosen by them on one part is reported on another."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_checks import failing

from lab import checks
from lab.speech import choosing
from lab.speech.batches import Utterance
from lab.speech.choosing import choose_weight, compare
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import FeatureSpec
from lab.speech.scores import align, cer, edit_distance, show_alignment, wer
from lab.speech.script import near_duplicates
from lab.speech.text import character_alphabet, plain

WORDS = st.lists(st.sampled_from(["a", "b", "ab", "c"]), max_size=9)
SOME = st.lists(st.tuples(WORDS.filter(bool), WORDS), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(SOME)
def test_both_rates_are_jiwers_edit_for_edit(pairs):
    jiwer = pytest.importorskip("jiwer")
    references, hypotheses = ([" ".join(side) for side in sides] for sides in zip(*pairs, strict=True))
    for ours, theirs, rate in ((wer, jiwer.process_words, "wer"), (cer, jiwer.process_characters, "cer")):
        mine, other = ours(references, hypotheses, resamples=10), theirs(references, hypotheses)
        assert mine.rate == pytest.approx(getattr(other, rate))
        expected = (other.substitutions, other.deletions, other.insertions)
        assert (mine.substitutions, mine.deletions, mine.insertions) == expected


def test_a_lecture_is_scored_in_under_a_second():
    jiwer = pytest.importorskip("jiwer")
    random = np.random.default_rng(0)
    said = random.integers(2000, size=9000).astype(str)
    heard = said[random.random(9000) > 0.1]
    heard[random.random(len(heard)) < 0.1] = "wrong"
    said, heard = " ".join(said), " ".join(heard)
    start = time.process_time()  # not the wall's: others may be at work
    words, characters, shown = wer([said], [heard]), cer([said], [heard]), show_alignment(said, heard)
    assert time.process_time() - start < 1
    theirs = jiwer.process_words(said, heard)
    counts = (theirs.substitutions, theirs.deletions, theirs.insertions)
    assert (words.substitutions, words.deletions, words.insertions) == counts
    assert (
        tuple(shown.splitlines()[2].count(mark) for mark in "sdi") == counts and 0.1 < characters.rate < 0.3
    )


@settings(max_examples=100, deadline=None)
@given(WORDS, WORDS)
def test_an_alignment_holds_both_sides_and_costs_the_distance(a, b):
    edits = align(a, b)
    assert [e.reference for e in edits if e.reference is not None] == a
    assert [e.hypothesis for e in edits if e.hypothesis is not None] == b
    assert sum(e.kind != "equal" for e in edits) == edit_distance(a, b) == edit_distance(b, a)
    for e in edits:
        assert (e.kind == "equal") == (e.reference == e.hypothesis)
        assert (e.reference is None) == (e.kind == "insert")
        assert (e.hypothesis is None) == (e.kind == "delete")


def test_the_interval_holds_the_rate_and_narrows_with_more_utterances():
    references = ["one two three four five six seven eight nine ten"] * 20
    hypotheses = [*["one two three"] * 5, *references[5:]]
    few, many = wer(references, hypotheses), wer(references * 20, hypotheses * 20)
    assert few.rate == many.rate == 0.175 and few.deletions == 35 and few.length == 200
    assert few.low < few.rate < few.high and many.low < many.rate < many.high
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(20**0.5, rel=0.2)
    # By hand: each utterance has 7 errors with chance 1/4, so the rate has standard deviation 0.7 sqrt(3/16 / 20).
    assert few.high - few.low == pytest.approx(2 * 1.96 * 0.7 * (3 / 16 / 20) ** 0.5, rel=0.15)


@pytest.mark.parametrize(
    ("score", "given", "named"),
    [
        (wer, (["a", "  "], ["a", "b"]), "utterance 1"),
        (wer, (["a"], []), "1 references and 0"),
        *((rate, ("cat", ["cap"]), r"references.*\['cat'\]") for rate in (wer, cer)),
        *((rate, (["cat"], "cap"), r"hypotheses.*\['cap'\]") for rate in (wer, cer)),
        (near_duplicates, ("cat", ["cap"]), r"held_out.*\['cat'\]"),
        (near_duplicates, (["cat"], "cap"), r"train.*\['cap'\]"),
        (show_alignment, ("a", "b", "line"), "unit"),
    ],
)
def test_what_cannot_be_scored_is_refused(score, given, named):
    with pytest.raises(ValueError, match=named):
        score(*given)


def test_an_accent_is_the_same_however_it_was_typed():
    assert plain("Cafe\u0301!") == plain("caf\xe9") == "caf\xe9"


TOKENIZER = character_alphabet()
RIGHT, WRONG = (TOKENIZER.encode(char) for char in "ba")
VALIDATION, TEST = ([Utterance("u", torch.zeros(frames, 2), "b")] for frames in (1, 2))
SPEECH = SpeechCorpus("s", FeatureSpec(bands=2), (), VALIDATION, TEST)


@pytest.fixture
def understood(monkeypatch):
    """`understood(when)`: an utterance of so many frames is understood when `when(reading, frames)` says so."""

    def read_so(when):
        asked = []

        def read_each(model, encoded, tokenizer, reading, scorer=None):
            asked.append(reading)
            return [RIGHT if when(reading, frames) else WRONG for frames in encoded]

        monkeypatch.setattr(choosing, "listen", lambda model, features: [len(x) for x in features])
        monkeypatch.setattr(choosing, "read_each", read_each)
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


def by_row(a, b):
    """Another implementation: one row of the table."""
    row = list(range(len(b) + 1))
    for x in a:
        diagonal, row[0] = row[0], row[0] + 1
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def test_the_check_passes_two_implementations():
    for fn in (edit_distance, by_row, lambda a, b: float(by_row(a, b))):
        checks.edit_distance(fn).raise_if_failed()


def hamming(a, b):
    return max(len(a), len(b)) - sum(x == y for x, y in zip(a, b, strict=False))


ANSWER, WORDS_TOO, CHEAPEST = "whole number", "may be words", "of several ways"
DELETION, INSERTION = "a deletion", "an insertion"

test_wrong_distances_are_caught = failing(
    checks.edit_distance,
    (lambda a, b: len(a) + len(b) - 2 * len(set(a) & set(b)), ["a substitution", CHEAPEST, WORDS_TOO]),
    (lambda a, b: by_row(a, b) / max(1, len(a)), [ANSWER, DELETION]),
    (hamming, [DELETION, INSERTION]),
    (lambda a, b: by_row(a, b) if b else 0, ["against nothing"]),
    (lambda a, b: by_row(a, b) + (a == b), ["what is equal"]),
    (lambda a, b: abs(len(a) - len(b)) + len(set(a) ^ set(b)) // 2, [CHEAPEST]),
    (lambda a, b: None, [ANSWER]),
    only=False,
)
