"""Speech made here: texts and voices dealt into three parts that share neither, spoken once and kept.

Everything follows from a `SyntheticConfig`, the corpus and the version of espeak-ng: built twice it is the same, to the
byte. It is one synthesiser that speaks, so what a model learns of it says nothing about people.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from lab.config import to_json
from lab.corpora import Corpus, Splits
from lab.corpora.download import cache_folder
from lab.files import sha256_bytes
from lab.speech import espeak, materials, store, voices
from lab.speech.audio import AudioError
from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import FeatureSpec, log_mel

VOICES = {"train": voices.TRAIN, "validation": voices.VALIDATION, "test": voices.TEST}
DIGIT_ROWS = 20_000  # of which as many are held out as are asked for
VERSION = 1  # of what is made of a config; raised when the same config gives other speech
SHOWN = 3  # near-duplicates that a corpus's notes show


@dataclass(frozen=True)
class SyntheticConfig:
    """What is said, how often and how.

    material                 "digits": 2 to 5 digit words; "easy": clauses of at most 6 of the corpus's 300 commonest
                             words; "clauses": any of 2 to 8 words
    train, validation, test  utterances of each part
    accents                  of English, as espeak-ng names them; `lab.speech.voices.ACCENTS` are four
    speeds                   words a minute, from and to
    seed                     of who says what
    features                 what becomes of the sound

    Raises ValueError for another material, for no utterances in a part, and for speeds that are no range.
    """

    material: Literal["digits", "easy", "clauses"] = "digits"
    train: int = 2000
    validation: int = 200
    test: int = 200
    accents: tuple[str, ...] = ("en-us",)
    speeds: tuple[int, int] = (150, 200)
    seed: int = 0
    features: FeatureSpec = field(default_factory=FeatureSpec)

    def __post_init__(self):
        if self.material not in ("digits", "easy", "clauses"):
            raise ValueError(f"material must be digits, easy or clauses, got {self.material!r}")
        for part in VOICES:
            value = getattr(self, part)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{part} must be a whole number of utterances, at least 1; got {value!r}")
        if not self.accents:
            raise ValueError(f"accents must name at least one, such as {voices.ACCENTS[0]!r}")
        low, high = self.speeds
        if not espeak.SPEEDS[0] <= low <= high <= espeak.SPEEDS[1]:
            raise ValueError(
                f"speeds must be words a minute, {espeak.SPEEDS[0]} to {espeak.SPEEDS[1]}, got {self.speeds}"
            )


def texts(config: SyntheticConfig, corpus: Corpus | None = None) -> Splits:
    """All texts of the material, dealt at random: as many held out as the config asks for, the others for training.

    No text is in two parts. A language model may read all of `train`, spoken or not, and nothing else of the corpus.

    Raises ValueError where a material other than digits has no corpus, or too few texts to train on something.
    """
    if config.material == "digits":
        found = materials.digits(DIGIT_ROWS, config.seed)
    elif corpus is None:
        raise ValueError(
            f"the material {config.material!r} is taken from a text: pass corpus=lab.corpora.load(...)"
        )
    else:
        found = getattr(materials, config.material)(corpus)
    held_out = config.validation + config.test
    if len(found) <= held_out:
        raise ValueError(
            f"{corpus.name if corpus else 'digits'} has {len(found):,} texts of the material {config.material!r}, but "
            f"{held_out:,} are to be held out: ask for fewer, or give a longer text"
        )
    dealt = [found[i] for i in np.random.default_rng((config.seed, 1)).permutation(len(found))]
    return Splits(dealt[held_out:], dealt[: config.validation], dealt[config.validation : held_out])


def requests(config: SyntheticConfig, corpus: Corpus | None = None) -> dict[str, list[espeak.Request]]:
    """Who says what, for each part. Where there are more utterances than texts, texts are said again by others."""
    asked = {}
    for number, (part, said) in enumerate(zip(VOICES, texts(config, corpus), strict=True)):
        random, count = np.random.default_rng((config.seed, 2, number)), getattr(config, part)
        speakers = random.permutation(np.resize(np.arange(len(VOICES[part])), count))
        accents = random.integers(len(config.accents), size=count)
        speeds = random.integers(config.speeds[0], config.speeds[1] + 1, size=count)
        asked[part] = [
            espeak.Request(
                said[n % len(said)], VOICES[part][speakers[n]], config.accents[accents[n]], int(speeds[n]), n
            )
            for n in range(count)
        ]
    return asked


def synthetic(
    config: SyntheticConfig,
    corpus: Corpus | None = None,
    *,
    folder: str | os.PathLike | None = None,
    workers: int = 2,
    progress: bool = True,
) -> SpeechCorpus:
    """The speech of a config: from the cache, `data/speech/`, or spoken now and kept there.

    Audio in which nothing can be heard is left out and counted. A cache that was damaged is made again.

    Raises ValueError as `texts` does; EspeakMissing where there is neither a cache nor espeak-ng; UnknownVoice.
    """
    folder = Path(folder) if folder else cache_folder() / "speech"
    origin = {"version": VERSION, "config": to_json(config), "corpus": _fingerprint(config, corpus)}
    place = folder / f"{config.material}-{sha256_bytes(json.dumps(origin, sort_keys=True).encode())[:12]}"
    if (kept := store.read(place, origin)) is not None:
        return kept
    asked = requests(config, corpus)
    rows = [(part, request) for part, said in asked.items() for request in said]
    spoken = espeak.speak([request for _, request in rows], workers=workers, progress=progress)
    parts, skipped = {part: [] for part in asked}, {}
    for n, ((part, request), audio) in enumerate(zip(rows, spoken, strict=True)):
        name = f"{part}-{n:06d}"
        try:
            features = log_mel(audio, config.features)
        except AudioError as error:
            if error.reason == "wrong rate":
                raise
            skipped.setdefault(error.reason, []).append(name)
            continue
        voice = f"{request.accent}+{request.voice}"
        parts[part].append(Utterance(name, features.half(), request.text, voice))
    made = SpeechCorpus(
        f"{config.material}, spoken by espeak-ng {espeak.describe().version}",
        config.features,
        **{part: tuple(utterances) for part, utterances in parts.items()},
        skipped={reason: tuple(names) for reason, names in skipped.items()},
        notes=_notes(asked),
    )
    store.write(place, made, origin)
    return made


def _fingerprint(config: SyntheticConfig, corpus: Corpus | None) -> str | None:
    return None if config.material == "digits" or corpus is None else corpus.sha256


def _notes(asked: dict[str, list[espeak.Request]]) -> dict[str, str]:
    """How near the held-out texts are to what is heard in training."""
    train = [request.text for request in asked["train"]]
    notes = {}
    for part in ("validation", "test"):
        near = materials.near_duplicates([request.text for request in asked[part]], train)
        shown = "; ".join(f"{text!r} is near {other!r}" for text, other in near[:SHOWN])
        notes[f"near-duplicates in {part}"] = (
            f"{len(near):,} of {len(asked[part]):,} are at most one word from a training text"
            + f" ({shown})" * bool(near)
        )
    return notes
