"""Speech corpora: the same to the byte when built twice, disjoint in text and voice, what is left out counted."""

import json
import math
import os
import shutil
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.speech import espeak, script, synthesis, voices
from lab.speech.audio import Audio, resampled, wav_bytes
from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus, read_corpus, write_corpus
from lab.speech.espeak import EspeakMissing, Request, UnknownVoice, speak
from lab.speech.features import FeatureSpec, log_mel
from lab.speech.folders import SAMPLE_SPEC, folder_corpus, read_audio_folder, read_fbank
from lab.speech.scores import edit_distance
from lab.speech.script import SyntheticConfig, digits, easy, near_duplicates, texts
from lab.speech.text import TextError, encode
from lab.speech.whistle import LETTERS, whistle, whistled
from lab.text import Corpus, from_huggingface
from lab.text.hf_format import BYTE_LEVEL

MIRROR = Path(os.environ.get("LAB_MIRROR", "/nowhere"))
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


def test_speech_that_is_interrupted_says_what_is_kept_and_ends_those_who_speak(tmp_path, monkeypatch):
    def speak(requests, **_):
        try:
            while True:
                yield Audio(0.3 * torch.sin(torch.arange(4000) / 9), 22_050)
        finally:
            ended.append(len(requests))

    def interrupted(audio, rate):
        heard.append(audio)
        if len(heard) == 2:
            raise KeyboardInterrupt
        return resampled(audio, rate)

    ended, heard, speakers = [], [], []
    monkeypatch.setattr(
        espeak, "speak", lambda *said, **how: speakers.append(speak(*said, **how)) or speakers[-1]
    )
    monkeypatch.setattr(synthesis, "resampled", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"1 of 5 utterances.*same command"):
        synthesis.synthetic(SMALL, folder=tmp_path / "kept")
    assert ended == [5] and not any((tmp_path / "kept").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        synthesis.synthetic(SMALL, folder=tmp_path / "file" / "kept")
    assert ended == [5], "asked for no speech that could not be kept"


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


def assert_disjoint(parts):
    for what in ("text", "voice"):
        for one, other in combinations(({getattr(each, what) for each in part} for part in parts), 2):
            assert not one & other


def test_parts_share_neither_text_nor_voice():
    config = SyntheticConfig("digits", train=500, validation=100, test=80, accents=voices.ACCENTS, seed=2)
    asked = synthesis.requests(config)
    assert {part: len(said) for part, said in asked.items()} == {"train": 500, "validation": 100, "test": 80}
    assert_disjoint(asked.values())
    train = asked["train"]
    assert ({r.voice for r in train}, {r.accent for r in train}) == ({*voices.TRAIN}, {*voices.ACCENTS})
    assert {r.voice for r in asked["test"]} == {*voices.TEST}
    assert min(r.speed for r in train) == 150 and max(r.speed for r in train) == 200
    assert {r.text for r in train} <= {*texts(config).train} and len({*texts(config).train}) == 1000 - 180
    assert synthesis.requests(config) == asked


def test_whistlers_share_neither_text_nor_voice_and_repeat_themselves():
    corpus = whistled(replace(SMALL, train=20, validation=5, test=5))
    assert_disjoint(corpus.parts.values())
    chosen = ((3, 1), (3, 1), (4, 1), (3, 2))
    one, same, *others = (whistle("seven", voice, 8000, seed).samples for voice, seed in chosen)
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


def fbank_folder(folder, shapes, text="MISTER QUILTER'S"):
    for kind in ("fbank", "text"):
        (folder / kind).mkdir(parents=True)
    for n, shape in enumerate(shapes):
        numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        np.save(folder / "fbank" / f"84-1-{n}.npy", numbers)
        np.save(folder / "text" / f"84-1-{n}.npy", np.array(list(text)))
    return folder


def test_filter_banks_are_turned_and_transcripts_are_spelled(tmp_path):
    found = read_fbank(fbank_folder(tmp_path, [(80, 12), (80, 7)]))
    assert [tuple(u.features.shape) for u in found.utterances] == [(12, 80), (7, 80)] and not found.skipped
    assert torch.equal(found.utterances[1].features, torch.arange(560.0).view(80, 7).T)
    assert {u.text for u in found.utterances} == {"mister quilter's"} and found.utterances[1].voice == "84"


def test_what_cannot_be_used_is_counted(tmp_path):
    folder = fbank_folder(tmp_path, [(80, 5)] * 5)
    np.save(folder / "fbank" / "84-1-0.npy", np.full((80, 5), np.nan, np.float32))
    (folder / "text" / "84-1-1.npy").unlink()
    np.save(folder / "text" / "84-1-2.npy", np.array("IN 1850"))
    np.save(folder / "text" / "84-1-3.npy", np.array(" "))
    found = read_fbank(folder)
    assert [u.name for u in found.utterances] == ["84-1-4"]
    reasons = ("not finite", "no transcript", "unknown characters", "empty transcript")
    assert found.skipped == {reason: [f"84-1-{n}"] for n, reason in enumerate(reasons)}


def test_a_vocabulary_that_passes_over_what_it_lacks_is_no_excuse():
    vocabulary = {"[PAD]": 0, "[SOS]": 1, "[EOS]": 2, "G": 3, "O": 4, "Ġ": 5}
    model = {"type": "BPE", "unk_token": None, "vocab": vocabulary, "merges": []}
    tokenizer = from_huggingface(json.dumps({"model": model, "pre_tokenizer": BYTE_LEVEL}))
    assert encode("GO GO", tokenizer) == [3, 4, 5, 3, 4]
    for text, unknown in (("go", "'g', 'o'"), ("GO DO", "'D'")):
        with pytest.raises(TextError, match=unknown):
            encode(text, tokenizer)


SPELLED = {  # how the words are written
    "utf-8": b"Go, do!", "with its mark": "Go, do!".encode("utf-8-sig"), "utf-16": "Go, do!".encode("utf-16"),
    "with tabs": b"go\tdo\r\n", "in capitals": b"GO DO",
}  # fmt: skip


def other_peoples(folder):
    """A folder as people have them: what their systems hide in it, links in circles, a pipe, every way to write."""
    tone = wav_bytes(Audio(0.3 * torch.sin(torch.arange(4000) / 9), 16_000))
    for name, words in SPELLED.items():
        (folder / f"{name}.wav").write_bytes(tone)
        (folder / f"{name}.txt").write_bytes(words)
    files = {
        "CAPITALS.WAV": tone, "CAPITALS.TXT": b"go do", "latin.wav": tone, "latin.txt": "caf\xe9".encode("latin-1"),
        "composed.wav": tone, "composed.txt": "caf\xe9".encode(), "decomposed.wav": tone,
        "decomposed.txt": "cafe\u0301".encode(), "one byte short.wav": tone[:-1], "one byte short.txt": b"go",
        "no sound.flac": b"fLaC but no more", "no sound.txt": b"go", "empty.wav": b"", "empty.txt": b"go",
        "of nothing.wav": tone, "of nothing.txt": b" \n", "alone.m4a": b"some", "words.txt": b"go",
        "tabs.trans.txt": b"s-1\tGO DO\n\ns-2 GO\x0cDO\ns-3\n", "s-1.wav": tone, "s-2.wav": tone, "s-3.wav": tone,
        "torn.trans.txt": b"s-4 caf\xe9", "._utf-8.wav": tone, "._utf-8.txt": b"\0\5\x16\7",
        ".DS_Store": b"\0\0\0\1Bud1",
        "Thumbs.db": b"\xd0\xcf\x11\xe0", "desktop.ini": b"[.ShellClassInfo]",
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "folder.wav").mkdir()
    (folder / "folder.wav" / "inside.wav").write_bytes(tone)
    (folder / "folder.wav" / "inside.txt").write_text("go do")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "hidden.wav").write_bytes(tone)
    if hasattr(os, "mkfifo"):  # where links are everybody's too
        os.mkfifo(folder / "pipe.wav")
        (folder / "pipe.txt").write_text("go")
        os.mkfifo(folder / "words.wav.txt")
        (folder / "gone.wav").symlink_to("nowhere.wav")
        (folder / "gone.txt").write_text("go")
        (folder / "circle").symlink_to(folder, target_is_directory=True)
        (folder / "itself.wav").symlink_to("itself.wav")
    return hasattr(os, "mkfifo")


def test_other_peoples_files_are_read_or_left_out_with_a_reason(tmp_path):
    linked = other_peoples(tmp_path)
    found = read_audio_folder(tmp_path)
    kept = {u.name: u.text for u in found.utterances}
    assert kept == dict.fromkeys([*SPELLED, "CAPITALS", "inside", "s-1", "s-2"], "go do")
    expected = {
        "unreadable transcript": {"latin", "torn.trans", *linked * ["words.wav"]},
        "unknown characters": {"composed", "decomposed"},
        "cut short": {"one byte short"},
        "unreadable": {"no sound", "empty", *linked * ["pipe", "gone"]},
        "empty transcript": {"of nothing", "s-3"},
        "no transcript": {"alone", *linked * ["itself"]},
        "no audio": {"words"},
    }
    assert {reason: {*names} for reason, names in found.skipped.items()} == expected
    assert sum(map(len, found.skipped.values())) == sum(map(len, expected.values())), "each once"
    for reason, message in found.first.items():
        assert min(found.skipped[reason]) in message and "BytesIO" not in message


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "no data"),
        (b"\x93NUMPY", "unpickled"),
        (b"PK\x03\x04 a zip", "magic"),
        (
            b"\x93NUMPY\x01\x00F\x00{'descr': '<f4', 'fortran_order': False, 'shape': (80, 1000000000000)}   \n",
            "plain .npy",
        ),
    ],
)
def test_a_broken_array_is_one_utterance_less(tmp_path, data, named):
    folder = fbank_folder(tmp_path / "train", [(80, 5)] * 3)
    (folder / "fbank" / "84-1-0.npy").write_bytes(data)
    (folder / "text" / "84-1-1.npy").write_bytes(data)
    (folder / "fbank" / "._84-1-2.npy").write_bytes(b"\0\5\x16\7")
    corpus = folder_corpus(tmp_path)
    assert [u.name for u in corpus.train] == ["84-1-2"]
    assert corpus.skipped == {"unreadable": ["train/84-1-0", "train/84-1-1"]}
    assert "84-1-0.npy" in repr(corpus) and "left out: 2, unreadable" in repr(corpus)


def test_a_folder_of_another_layout_is_told_which_is_expected(tmp_path):
    said = []
    for name in ("nowhere", "a file", "flat", "parted"):
        folder = tmp_path / name
        if name == "a file":
            folder.write_text("go")
        elif name != "nowhere":
            inside = folder / "Train-1" if name == "parted" else folder
            inside.mkdir(parents=True)
            (inside / "a.wav").write_bytes(b"RIFF")
        with pytest.raises(ValueError, match=r"train/a\.wav") as refused:
            folder_corpus(folder)
        said.append(str(refused.value))
    assert all(str(tmp_path) in message for message in said) and "no transcript" in said[-1]
    assert ["no folder" in message for message in said] == [True, True, False, False]


def pickled(folder):
    array = np.array(["a", None], dtype=object)
    np.save(fbank_folder(folder, [(80, 5)]) / "text" / "84-1-0.npy", array, allow_pickle=True)


@pytest.mark.parametrize(
    ("make", "read", "named"),
    [
        (lambda folder: pickled(folder / "train"), folder_corpus, "nothing is ever unpickled"),
        *((lambda folder, shape=shape: fbank_folder(folder, [(80, 12), shape]), read_fbank, "84-1-1")
          for shape in [(12, 80), (40, 12), (80,)]),
        *((Path.exists, read, "test_what_is_no_speech") for read in (read_fbank, read_audio_folder, folder_corpus)),
    ],
)  # fmt: skip
def test_what_is_no_speech_is_named(tmp_path, make, read, named):
    make(tmp_path)
    with pytest.raises(ValueError, match=named):
        read(tmp_path)


@pytest.mark.skipif(not (MIRROR / "hw4_subset").is_dir(), reason="the sample is not at hand")
def test_the_real_sample():
    corpus = folder_corpus(MIRROR / "hw4_subset" / "hw4p2_data")
    assert [len(part) for part in corpus.parts.values()] == [28, 2, 0]
    assert len(corpus.skipped["no transcript"]) == 2, "its test-clean has no transcripts"
    assert corpus.validation[0].text.startswith("mister quilter is the apostle of the middle classes")
    for u in corpus.train:
        assert u.features.shape[1] == 80 and abs(u.features.max()) < 1e-5 and u.features.min() >= -80
    characters = sum(len(u.text) for u in corpus.train)
    assert 0.04 < corpus.seconds("train") / characters < 0.1, "some 70 ms each, so the hop is right"


def test_librispeechs_layout(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    chapter = tmp_path / "84" / "121123"
    chapter.mkdir(parents=True)
    sound = (0.3 * torch.sin(torch.arange(16_000) / 9)).numpy()
    for n in (0, 1, 2):
        soundfile.write(chapter / f"84-121123-000{n}.flac", sound if n < 2 else 0 * sound, 16_000)
    lines = ["84-121123-0000 GO DO YOU HEAR", "84-121123-0002 A SILENCE", "84-121123-0003 NO AUDIO", ""]
    (chapter / "84-121123.trans.txt").write_text("\n".join(lines))
    found = read_audio_folder(tmp_path)
    (u,) = found.utterances
    assert (u.name, u.text, u.voice) == ("84-121123-0000", "go do you hear", "84")
    reasons = ("no transcript", "silent", "no audio")
    assert u.features.shape == (126, 80)
    assert found.skipped == {reason: [f"84-121123-000{n}"] for n, reason in enumerate(reasons, start=1)}
    assert len(read_audio_folder(tmp_path, FeatureSpec()).skipped["wrong rate"]) == 2


def test_wav_beside_text(tmp_path):
    shown = Audio(0.3 * torch.sin(torch.arange(8000) / 9), 16_000)
    (tmp_path / "mine.one.wav").write_bytes(wav_bytes(shown))
    (tmp_path / "mine.one.txt").write_text("Hello, father!\n", encoding="utf-8")
    (u,) = read_audio_folder(tmp_path).utterances
    assert u.text == "hello father"
    expected = log_mel(shown, SAMPLE_SPEC)
    torch.testing.assert_close(u.features, expected, rtol=0, atol=0.5)  # 16 bits are not all


def test_parts_are_found_by_their_names(tmp_path):
    for name in ("train-a", "train-b", "dev-clean", "test-clean"):
        fbank_folder(tmp_path / name, [(80, 4)] * 2)
    shutil.rmtree(tmp_path / "test-clean" / "text")
    corpus = folder_corpus(tmp_path)
    assert [len(part) for part in corpus.parts.values()] == [4, 2, 0]
    assert corpus.skipped == {"no transcript": ["test-clean/84-1-0", "test-clean/84-1-1"]}
    assert math.isclose(corpus.seconds("train"), 16 * 128 / 16_000)
