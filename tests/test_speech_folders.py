"""Recorded speech in folders is read as it was meant, and what cannot be used is counted or named."""

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.speech.audio import Audio, wav_bytes
from lab.speech.features import FeatureSpec, log_mel
from lab.speech.folders import SAMPLE_SPEC, folder_corpus, read_audio_folder, read_fbank

MIRROR = Path(os.environ.get("LAB_MIRROR", "/nowhere"))


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


def pickled(folder):
    array = np.array(["a", None], dtype=object)
    np.save(fbank_folder(folder, [(80, 5)]) / "text" / "84-1-0.npy", array, allow_pickle=True)


@pytest.mark.parametrize(
    ("make", "read", "named"),
    [
        (pickled, read_fbank, "nothing is ever unpickled"),
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
    with pytest.raises(ValueError, match="'wrong rate': 2"):
        read_audio_folder(tmp_path, FeatureSpec())


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
