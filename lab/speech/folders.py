"""Recorded speech in folders: filter banks with transcripts, or audio with transcripts.

Letters: T frames, F bands.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lab.speech.audio import AudioError, Unusable, read_audio
from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import FeatureError, FeatureSpec, check_features, log_mel
from lab.speech.text import TextError, character_alphabet, encode, plain
from lab.text.download import cache_folder

# How the filter banks were made that come with courses on LibriSpeech: librosa's, in decibels below each one's maximum.
SAMPLE_SPEC = FeatureSpec(rate=16_000, n_fft=512, hop=128, bands=80, mel="slaney", scale="db")
PARTS = {"train": ("train",), "validation": ("dev", "val"), "test": ("test",)}  # how folders' names begin
SOUNDS = (".flac", ".wav", ".ogg", ".mp3")


def sample_folder() -> Path | None:
    """Where the small real sample lies, `hw4_subset/hw4p2_data`: in the folder `LAB_MIRROR` or the cache; else None."""
    for place in (os.environ.get("LAB_MIRROR", ""), cache_folder()):
        folder = Path(place) / "hw4_subset" / "hw4p2_data"
        if str(place) and folder.is_dir():
            return folder
    return None


class Found(NamedTuple):
    """Utterances, and those left out: reason -> names."""

    utterances: list[Utterance]
    skipped: dict[str, list[str]]


def read_fbank(folder: str | os.PathLike, spec: FeatureSpec = SAMPLE_SPEC) -> Found:
    """Features from `fbank/*.npy`, each `(F, T)`, and transcripts from `text/*.npy` of the same names.

    A transcript is one string or a row of characters, as in `lab.text`; it is spelled as `plain` has it. Left out and
    counted are features without transcript, transcripts beyond the character alphabet, and features with NaN. Nothing
    is unpickled.

    Raises ValueError for a folder without filter banks, and its subclass FeatureError, naming the file, where `(T, F)`
    or another number of bands was given.
    """
    folder = Path(folder)
    files = sorted((folder / "fbank").glob("*.npy"))
    if not files:
        raise ValueError(f"{folder} has no fbank/*.npy: give the folder in which fbank/ and text/ lie")

    def one(file: Path) -> Utterance:
        array, said = _load(file, "f"), folder / "text" / file.name
        if not np.isfinite(array).all():
            raise AudioError("not finite", f"{file} holds NaN or infinity")
        try:
            features = torch.from_numpy(np.ascontiguousarray(array.T, dtype=np.float32))
            check_features(features, spec)
        except FeatureError as error:
            raise FeatureError(f"{file} must hold (bands, frames); its transpose: {error}") from None
        if not said.is_file():
            raise TextError("no transcript", f"{said} is not there")
        text = "".join(_load(said, "U").reshape(-1))
        return Utterance(file.stem, features, _spoken(text), file.stem.split("-")[0])

    return _collect((file.stem, lambda file=file: one(file)) for file in files)


def read_audio_folder(folder: str | os.PathLike, spec: FeatureSpec = SAMPLE_SPEC) -> Found:
    """Audio with transcripts, wherever in the folder they lie.

    Either as LibriSpeech has it, `84-121123.trans.txt` with lines `84-121123-0000 GO DO YOU HEAR` beside
    `84-121123-0000.flac`, or `name.wav` beside `name.txt`. Left out and counted is what `read_audio`, `log_mel` and
    `read_fbank` refuse, audio without transcript and transcripts without audio.

    Raises ValueError where nothing is left, with the reasons.
    """
    folder = Path(folder)
    files = sorted(folder.rglob("*"))
    sounds = {file.with_suffix(""): file for file in files if file.suffix.lower() in SOUNDS}
    said = dict(_transcripts(folder, sounds))

    def one(place: Path) -> Utterance:
        if place not in said:
            raise TextError("no transcript", f"{place.name} has no transcript")
        if place not in sounds:
            raise AudioError("no audio", f"{place.name} has a transcript, but no audio beside it")
        features = log_mel(read_audio(sounds[place]), spec)
        return Utterance(place.name, features, _spoken(said[place]), place.name.split("-")[0])

    found = _collect((place.name, lambda place=place: one(place)) for place in sorted({*sounds, *said}))
    if not found.utterances:
        why = {reason: len(names) for reason, names in found.skipped.items()} or "there is no audio in it"
        raise ValueError(
            f"{folder} has no utterance that can be used: {why}. Expected are FLAC or WAV of {spec.rate:,} samples a "
            "second with transcripts, NAME.txt or *.trans.txt, beside them"
        )
    return found


def folder_corpus(folder: str | os.PathLike, spec: FeatureSpec = SAMPLE_SPEC) -> SpeechCorpus:
    """The folders in `folder` whose names begin with train, dev or val, and test, each as a part.

    They hold filter banks where one of them has a folder `fbank`, else audio. Raises ValueError without such a folder
    for training, and where that holds nothing usable.
    """
    folder, parts, skipped = Path(folder), {part: [] for part in PARTS}, defaultdict(list)
    read = read_fbank if any(folder.glob("*/fbank")) else read_audio_folder
    inside = sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    for part, beginnings in PARTS.items():
        for entry in (entry for entry in inside if entry.name.startswith(beginnings)):
            found = read(entry, spec)
            parts[part] += found.utterances
            for reason, names in found.skipped.items():
                skipped[reason] += [f"{entry.name}/{name}" for name in names]
    if not parts["train"]:
        raise ValueError(
            f"{folder} has nothing to train on: expected a folder train... with transcribed speech in it"
        )
    return SpeechCorpus(folder.resolve().name, spec, **parts, skipped=dict(skipped))


def _transcripts(folder: Path, sounds: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    for file in sorted(folder.rglob("*.trans.txt")):
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition(" ")
            if name:
                yield file.parent / name, text
    for place in sounds:
        if (file := place.with_name(f"{place.name}.txt")).is_file():
            yield place, file.read_text(encoding="utf-8")


def _spoken(text: str) -> str:
    encode(text := plain(text), character_alphabet())
    return text


def _collect(named: Iterable[tuple[str, Callable[[], Utterance]]]) -> Found:
    """What can be made, and the names of what cannot, by reason."""
    utterances, skipped = [], defaultdict(list)
    for name, make in named:
        try:
            utterances.append(make())
        except Unusable as error:
            skipped[error.reason].append(name)
    return Found(utterances, dict(skipped))


def _load(file: Path, kind: str) -> np.ndarray:
    """The array in a .npy file: of floats ("f") or characters ("U")."""
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{file} is no plain .npy file ({error}); nothing is ever unpickled") from None
    if array.dtype.kind != kind:
        expected = {"f": "floats", "U": "characters"}[kind]
        raise FeatureError(f"{file} must hold {expected}, got {array.dtype} {array.shape}")
    return array
