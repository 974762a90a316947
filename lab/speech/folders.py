"""Recorded speech in folders: filter banks with transcripts, or audio with transcripts.

Letters: T frames, F bands.
"""

import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lab.speech.audio import AudioError, Unusable, plain_bytes, read_audio
from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import FeatureError, FeatureSpec, check_features, log_mel
from lab.speech.text import TextError, character_alphabet, encode, plain
from lab.text.corpus import CorpusError
from lab.text.download import cache_folder
from lab.text.own import decode, folders_of_parts, split_lines

# How the filter banks were made that come with courses on LibriSpeech: librosa's, in decibels below each one's maximum.
SAMPLE_SPEC = FeatureSpec(rate=16_000, n_fft=512, hop=128, bands=80, mel="slaney", scale="db")
SOUNDS = (".flac", ".wav", ".ogg", ".opus", ".mp3", ".m4a", ".aif", ".aiff")
LAYOUT = """expected are sounds beside their words, such as
    train/a.wav  train/a.txt  train/b.flac  train/b.txt  dev/c.wav  dev/c.txt
in folders whose names begin with train, dev (or val) and, if you like, test; LibriSpeech's *.trans.txt do as well, and
so do filter banks, train/fbank/a.npy with train/text/a.npy"""


def sample_folder() -> Path | None:
    """Where the small real sample lies, `hw4_subset/hw4p2_data`: in the folder `LAB_MIRROR` or the cache; else None."""
    places = (Path(place) for place in (os.environ.get("LAB_MIRROR"), cache_folder()) if place)
    folders = (place / "hw4_subset" / "hw4p2_data" for place in places)
    return next(filter(Path.is_dir, folders), None)


class Found(NamedTuple):
    """Utterances, and those left out: reason -> names, and reason -> what was wrong with the first."""

    utterances: list[Utterance]
    skipped: dict[str, list[str]]
    first: dict[str, str]


def read_fbank(
    folder: str | os.PathLike, spec: FeatureSpec = SAMPLE_SPEC, subset: float = 1.0, seed: int = 0
) -> Found:
    """Features from `fbank/*.npy`, each `(F, T)`, and transcripts from `text/*.npy` of the same names.

    A transcript is one string or a row of characters, as in `lab.text`; it is spelled as `plain` has it. Left out and
    counted are files that cannot be read, features without transcript, transcripts beyond the character alphabet, and
    features with NaN. Nothing is unpickled. Of all files a share of `subset` is read, drawn by the `seed`.

    Raises ValueError for a folder without filter banks, and its subclass FeatureError, naming the file, where `(T, F)`
    or another number of bands was given.
    """
    folder = Path(folder)

    def one(file: Path) -> Utterance:
        features, said = read_features(file, spec), folder / "text" / file.name
        if not said.is_file():
            missing = f"{folder.name}/text/{file.name} is not there"
            raise TextError(
                "no transcript", f"{missing}; `lab transcribe RUN .../{folder.name}` writes down what is said"
            )
        text = "".join(_load(said, "U").reshape(-1))
        return Utterance(file.stem, features, _spoken(text), file.stem.split("-")[0])

    files = (file for file in _files(folder / "fbank") if file.suffix.lower() == ".npy")
    named = [(file.stem, lambda file=file: one(file)) for file in files]
    return _collect(folder, drawn(named, subset, seed))


def read_features(file: Path, spec: FeatureSpec) -> Tensor:
    """The filter banks in a `.npy` file, `(F, T)` there: float32 `(T, F)`. Raises ValueError for anything else."""
    array = _load(file, "f")
    features = torch.from_numpy(np.array(array.T, dtype=np.float32, order="C"))
    if not (array.size and features.isfinite().all()):
        raise AudioError("not finite" if array.size else "empty", f"{file} holds nothing, or NaN or infinity")
    try:
        check_features(features, spec)
    except FeatureError as error:
        raise FeatureError(f"{file} must hold (bands, frames); its transpose: {error}") from None
    return features


def sounds_at(place: Path, spec: FeatureSpec) -> Iterator[tuple[str, Tensor]]:
    """The name and the features `(T, F)` of a sound or of filter banks; of a folder, of all in it, sorted by name.

    Where the folder has a folder `fbank` they lie in that. Raises ValueError, naming the file, for what is unreadable.
    """
    files = [place]
    if place.is_dir():
        inside = _files(place / "fbank" if (place / "fbank").is_dir() else place)
        files = [file for file in inside if file.suffix.lower() in (".npy", *SOUNDS)]
    for file in files:
        made = file.suffix.lower() == ".npy"
        yield file.name, read_features(file, spec) if made else log_mel(read_audio(file), spec)


def read_audio_folder(
    folder: str | os.PathLike, spec: FeatureSpec = SAMPLE_SPEC, subset: float = 1.0, seed: int = 0
) -> Found:
    """Audio with transcripts, wherever in the folder they lie; hidden files, `._a.wav`, are passed over.

    Either as LibriSpeech has it, `84-121123.trans.txt` with lines `84-121123-0000 GO DO YOU HEAR` beside
    `84-121123-0000.flac`, or `name.wav` beside `name.txt`, in UTF-8. Left out and counted is what `read_audio`,
    `log_mel` and `read_fbank` refuse, audio without transcript, and transcripts without audio. `subset` as there.

    Raises ValueError where there is neither audio nor a transcript.
    """
    files = _files(Path(folder))
    sounds = {file.with_suffix(""): file for file in files if file.suffix.lower() in SOUNDS}
    said = dict(_transcripts(files))

    def one(place: Path) -> Utterance:
        if isinstance(text := said.get(place), TextError):
            raise text
        if text is None:
            raise TextError("no transcript", f"{place}.txt is not there, nor a line of it in a *.trans.txt")
        if place not in sounds:
            raise AudioError("no audio", f"{place} has a transcript, but no audio beside it")
        features = log_mel(read_audio(sounds[place]), spec)
        return Utterance(place.name, features, _spoken(text), place.name.split("-")[0])

    places = sorted({*sounds, *said})
    named = [(place.name, lambda place=place: one(place)) for place in places]
    return _collect(folder, drawn(named, subset, seed))


def folder_corpus(
    folder: str | os.PathLike, spec: FeatureSpec = SAMPLE_SPEC, subset: float = 1.0, seed: int = 0
) -> SpeechCorpus:
    """The folders in `folder` whose names begin with train, dev or val, and test, each as a part.

    Those with a folder `fbank` hold filter banks, others audio. Of what is for training a share of `subset` is read,
    drawn by the `seed`: 100 hours take 14 GB of memory. Raises ValueError without a folder for training, and
    where that holds nothing usable.
    """
    folder, parts = Path(folder), defaultdict(list)
    skipped, first = defaultdict(list), {}
    for part, entries in folders_of_parts(folder).items():
        for entry in entries:
            read = read_fbank if (entry / "fbank").is_dir() else read_audio_folder
            found = read(entry, spec, subset if part == "train" else 1.0, seed)
            parts[part] += found.utterances
            for reason, names in found.skipped.items():
                skipped[reason] += [f"{entry.name}/{name}" for name in names]
                first.setdefault(reason, found.first[reason])
    if not parts["train"]:
        left_out = "".join(f"{len(names)} {why} ({first[why]}); " for why, names in skipped.items())
        what = "has nothing to train on" if folder.is_dir() else "is no folder"
        raise ValueError(f"{folder} {what}; {left_out}{LAYOUT}")
    notes = {f"first {reason}": message for reason, message in first.items()}
    return SpeechCorpus(folder.resolve().name, spec, **parts, skipped=dict(skipped), notes=notes)


def _files(folder: Path) -> list[Path]:
    """The files in a folder and in those within, sorted; each folder once, however links go round; none hidden."""
    found = {}
    for place, inside, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        inside[:] = [name for name in inside if name[0] != "." and real not in found]
        found.setdefault(real, [Path(place, name) for name in names if name[0] != "."])
    return sorted(chain.from_iterable(found.values()))


def _transcripts(files: Iterable[Path]) -> Iterator[tuple[Path, str | TextError]]:
    """What is said at each place, or why that cannot be read."""
    for file in (file for file in files if file.suffix.lower() == ".txt"):
        try:
            lines, _ = split_lines(decode(plain_bytes(file), file))
        except (OSError, CorpusError) as error:
            yield file.with_suffix(""), TextError("unreadable transcript", str(error))
            continue
        of_many = file.name.lower().endswith(".trans.txt")
        for name, *text in [line.split(maxsplit=1) for line in lines] if of_many else [[file.stem, *lines]]:
            yield file.parent / name, " ".join(text)


def _spoken(text: str) -> str:
    encode(text := plain(text), character_alphabet())
    return text


def drawn(items: Sequence, subset: float, seed: int) -> Sequence:
    """A share of the items, at least one, drawn by the seed, in their order.

    >>> drawn("abcdef", 0.5, seed=0)
    ['c', 'd', 'f']
    """
    if subset == 1:
        return items
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[n] for n in sorted(order[: max(1, round(subset * len(items)))])]


def _collect(folder: str | os.PathLike, named: Sequence[tuple[str, Callable[[], Utterance]]]) -> Found:
    """What can be made, and the names of what cannot, by reason."""
    if not named:
        raise ValueError(f"{folder} holds no speech: {LAYOUT}")
    utterances, skipped, first = [], defaultdict(list), {}
    for name, make in named:
        try:
            utterances.append(make())
        except Unusable as error:
            skipped[error.reason].append(name)
            first.setdefault(error.reason, f"{name}: {error}")
    return Found(utterances, dict(skipped), first)


def _load(file: Path, kind: str) -> np.ndarray:
    """The array in a .npy file: of floats ("f") or characters ("U")."""
    try:
        array = np.lib.format.read_array(io.BytesIO(plain_bytes(file)))
    except Exception as error:  # what NumPy raises for a forged header is not written anywhere
        what = f"{file} is no plain .npy file ({error}); nothing is ever unpickled"
        raise Unusable("unreadable", what) from None
    if array.dtype.kind != kind:
        what = {"f": "floats", "U": "characters"}[kind]
        raise FeatureError(f"{file} must hold {what}, got {array.dtype} {array.shape}")
    return array
