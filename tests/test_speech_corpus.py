"""Speech corpora: the same to the byte when built twice, disjoint in text and voice, what is left out counted."""

import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.speech import espeak, script, synthesis, voices
from lab.speech.audio import resampled
from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus, read_corpus, write_corpus
from lab.speech.espeak import EspeakMissing, Request, UnknownVoice, speak
from lab.speech.features import FeatureSpec, log_mel
from lab.speech.scores import edit_distance
from lab.speech.script import SyntheticConfig, digits, easy, near_duplicates, texts
from lab.speech.whistle import LETTERS, whistle, whistled
from lab.text import Corpus

FEW = Corpus("few", ("a b, c d, e f, g h, i j",), "none")
SPEC = FeatureSpec(rate=16_000, hop=128, bands=20)
SMALL = SyntheticConfig("digits", train=3, validation=1, test=1, accents=("en-us", "en"), features=SPEC)
needs_espeak = pytest.mark.skipif(not espeak.available(), reason="espeak-ng is not installed")


@pytest.fixture(autouse=True)
def fewer_rows(monkeypatch):
    monkeypatch.setattr(script, "DIGIT_ROWS", 1000)


@needs_espeak
def test_what_is_said_depends_on_nothing_but_the_request(monkeypatch):
    wanted = [
        Request("in the beginning", voice, accent, speed)
        for voice, accent, speed in (("f2", "en-us", 175), ("whisper", "en", 150), ("croak", "en-029", 190))
    ] + [Request("god created the heaven", "whisper")]
    first = list(speak(wanted))
    again = list(speak(wanted[::-1], workers=2))[::-1]
    monkeypatch.setattr(espeak, "FORKS", False)
    for a, b, c in zip(first, again, speak(wanted, workers=2), strict=True):
        assert torch.equal(a.samples, b.samples) and a.rate == b.rate == 22_050
        assert torch.equal(a.samples, c.samples)
    assert len({a.samples.numpy().tobytes() for a in first}) == 4
    assert all(0.4 < a.seconds < 4 and 0.05 < a.samples.abs().max() < 1 for a in first)


@needs_espeak
def test_every_voice_and_accent_is_there_and_is_another():
    assert {*voices.TRAIN, *voices.VALIDATION, *voices.TEST} <= set(espeak.describe().voices)
    said = speak([Request("hello father", accent=accent) for accent in voices.ACCENTS])
    assert len({audio.samples.numpy().tobytes() for audio in said}) == len(voices.ACCENTS)
    for bad, name in (({"voice": "f22"}, "did you mean f2"), ({"accent": "xx"}, "xx[+]f2")):
        with pytest.raises(UnknownVoice, match=name):
            list(speak([Request("hello", **bad)]))


def test_without_espeak_everything_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # so that its import raises ImportError
    monkeypatch.setattr(espeak.ctypes.util, "find_library", lambda name: None)
    assert not espeak.available()
    for call in (
        lambda: list(speak([Request("hello")])),
        lambda: synthesis.synthetic(SyntheticConfig(train=1, validation=1, test=1), folder=tmp_path),
    ):
        with pytest.raises(EspeakMissing, match=r"pip install espeakng-loader.*apt install espeak-ng"):
            call()
    made = synthesis.synthetic(replace(SMALL, speaker="whistle"), folder=tmp_path)
    assert [u.text for u in made.test] == list(texts(SMALL).test) and not any(tmp_path.iterdir())
    monkeypatch.setattr(espeak, "find", lambda: ("/no/such/libespeak-ng.so",))
    with pytest.raises(EspeakMissing, match=r"does not work .*libespeak-ng"):
        espeak.describe()


def test_digits_are_different_rows_of_2_to_5():
    rows = digits(500, seed=3)
    assert len(set(rows)) == 500 and digits(500, seed=3) == rows and digits(500, seed=4) != rows
    assert {len(row.split()) for row in rows} == {2, 3, 4, 5}


def test_easy_clauses_are_short_and_of_common_words():
    lines = ("The king said, the king went: said he (the end).", "Abimelech the king said so")
    assert easy(Corpus("small", lines, "none"), words=4) == ["the king said", "the king went"]


TEXTS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(" ".join), max_size=12)


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS)
def test_near_duplicates_are_at_most_one_word_away(held_out, train):
    found = near_duplicates(held_out, train)
    near = lambda a, b: edit_distance(a.split(), b.split()) <= 1  # noqa: E731
    first = [(text, next((other for other in train if near(text, other)), None)) for text in held_out]
    assert found == [(text, other) for text, other in first if other is not None]


def test_parts_share_neither_text_nor_voice():
    config = SyntheticConfig("digits", train=500, validation=100, test=80, accents=voices.ACCENTS, seed=2)
    asked = synthesis.requests(config)
    assert {part: len(said) for part, said in asked.items()} == {"train": 500, "validation": 100, "test": 80}
    for what in ("text", "voice"):
        train, validation, test = ({getattr(r, what) for r in said} for said in asked.values())
        assert not train & validation and not train & test and not validation & test
    train = asked["train"]
    assert ({r.voice for r in train}, {r.accent for r in train}) == ({*voices.TRAIN}, {*voices.ACCENTS})
    assert {r.voice for r in asked["test"]} == {*voices.TEST}
    assert min(r.speed for r in train) == 150 and max(r.speed for r in train) == 200
    assert {r.text for r in train} <= {*texts(config).train} and len({*texts(config).train}) == 1000 - 180
    assert synthesis.requests(config) == asked


def test_whistlers_share_neither_text_nor_voice_and_repeat_themselves():
    corpus = whistled(replace(SMALL, train=20, validation=5, test=5))
    for what in ("text", "voice"):
        train, validation, test = ({getattr(u, what) for u in part} for part in corpus.parts.values())
        assert not train & validation and not train & test and not validation & test
    one, same, *others = (
        whistle("seven", v, 8000, seed).samples for v, seed in ((3, 1), (3, 1), (4, 1), (3, 2))
    )
    assert torch.equal(one, same) and not any(torch.equal(one, other) for other in others)
    spectra = torch.stack([log_mel(whistle(x * 3, 0, 22_050), FeatureSpec()).mean(0) for x in LETTERS])
    assert torch.pdist(spectra).min() > 1, "letters have spectra of their own"


def test_more_utterances_than_texts_are_said_again_by_others():
    asked = synthesis.requests(SyntheticConfig("clauses", train=30, validation=1, test=1), FEW)["train"]
    assert len({r.text for r in asked}) == 3 and len({(r.text, r.voice) for r in asked}) == 30


@needs_espeak
def test_built_twice_it_is_the_same_to_the_byte(tmp_path):
    one = synthesis.synthetic(SMALL, folder=tmp_path / "one", workers=1, progress=False)
    two = synthesis.synthetic(SMALL, folder=tmp_path / "two", workers=2, progress=False)
    files = [file.read_bytes() for file in tmp_path.rglob("*.safetensors")]
    assert len(files) == 2 and files[0] == files[1]
    assert [len(part) for part in two.parts.values()] == [3, 1, 1] and not two.skipped
    u = two.test[0]
    accent, voice = u.voice.split("+")
    asked = synthesis.requests(SMALL)["test"][0]
    assert (asked.text, asked.voice, asked.accent) == (u.text, voice, accent)
    audio = next(speak([asked]))
    assert audio.rate == 22_050 and one.spec.rate == 16_000
    assert torch.equal(u.features, log_mel(resampled(audio, 16_000), SPEC).half())
    assert abs(len(u) * SPEC.seconds_per_frame - audio.seconds) < 2 * SPEC.seconds_per_frame


@needs_espeak
def test_what_is_kept_is_read_again_unless_it_was_damaged(tmp_path, monkeypatch):
    made = synthesis.synthetic(SMALL, folder=tmp_path, progress=False)
    (place,) = tmp_path.iterdir()
    whole = place.read_bytes()

    def refuse(*_, **__):
        raise AssertionError("spoken again")

    with monkeypatch.context() as patch:
        patch.setattr(espeak, "speak", refuse)
        kept = synthesis.synthetic(SMALL, folder=tmp_path)
        assert kept.sha256 == made.sha256 and repr(kept) == repr(made) and kept.spec == made.spec
        assert [u.voice for u in kept.train] == [u.voice for u in made.train]
        kept.train[0].features.zero_()  # what is read can be written to, and the file stays
        assert place.read_bytes() == whole
        with pytest.raises(AssertionError, match="spoken again"):
            synthesis.synthetic(replace(SMALL, seed=1), folder=tmp_path)
    for at in (12, 600, len(whole) // 2, len(whole) - 1):  # the header, the index, the features
        place.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        synthesis.synthetic(SMALL, folder=tmp_path, progress=False)
        assert place.read_bytes() == whole, "what is damaged is made again"


def test_a_corpus_is_kept_with_all_it_knows(tmp_path):
    some = [Utterance(f"u{n}", torch.full((n + 3, 4), float(n)), "ab", "her") for n in range(3)]
    left_out, file = {"silent": ["x"]}, tmp_path / "corpus.safetensors"
    corpus = SpeechCorpus("c", FeatureSpec(bands=4), tuple(some), (), (some[1],), left_out, {"n": 1})
    write_corpus(file, corpus, {"of": "this"})
    kept = read_corpus(file, {"of": "this"})
    assert kept.skipped == left_out and kept.notes == {"n": 1} and repr(kept) == repr(corpus)
    assert all(torch.equal(a.features.half(), b.features) for a, b in zip(some, kept.train, strict=True))
    assert read_corpus(file, {"of": "that"}) is None and read_corpus(tmp_path / "none", {}) is None


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: SyntheticConfig(accents=()), "accents"),
        (lambda: SyntheticConfig(speeds=(200, 150)), "speeds"),
        (lambda: SyntheticConfig(speeds=(1, 150)), "speeds"),
        (lambda: Request(" "), "nothing to say"),
        (lambda: whistle("7 up", 0, 8000), "'7 up'"),
        (lambda: digits(111_101), "111,100"),
        (lambda: texts(SyntheticConfig("clauses", 1, 3, 2), FEW), "5 texts"),
        (lambda: texts(SyntheticConfig("easy", 1, 3, 2), FEW), "5 texts"),
        (lambda: texts(SyntheticConfig("clauses")), "corpus="),
    ],
)
def test_what_cannot_be_spoken_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
