"""Speech made here: texts and voices dealt into three parts that share neither, spoken once and kept.

Everything follows from a `SyntheticConfig`, the corpus and the version of espeak-ng: built twice it is the same, to the
byte. It is one synthesiser that speaks, so what a model learns of it says nothing about people.
"""

import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np

from lab.config import to_json
from lab.files import sha256_bytes
from lab.speech import espeak, voices
from lab.speech.audio import AudioError, resampled
from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus, read_corpus, write_corpus
from lab.speech.features import log_mel
from lab.speech.script import SyntheticConfig, near_duplicates, texts
from lab.speech.whistle import whistled
from lab.text import Corpus
from lab.text.download import cache_folder

VOICES = {"train": voices.TRAIN, "validation": voices.VALIDATION, "test": voices.TEST}
VERSION = 1  # of what is made of a config; raised when the same config gives other speech
SHOWN = 3  # near-duplicates that a corpus's notes show


def requests(config: SyntheticConfig, corpus: Corpus | None = None) -> dict[str, list[espeak.Request]]:
    """Who says what, for each part. Where there are more utterances than texts, texts are said again by others."""
    asked = {}
    for number, (part, said) in enumerate(zip(VOICES, texts(config, corpus), strict=True)):
        random, count = np.random.default_rng((config.seed, 2, number)), getattr(config, part)
        speakers = random.permutation(np.resize(np.arange(len(VOICES[part])), count))
        accents = random.integers(len(config.accents), size=count)
        speeds = random.integers(config.speeds[0], config.speeds[1] + 1, size=count)
        who = zip(speakers, accents, speeds.tolist(), strict=True)
        asked[part] = [
            espeak.Request(said[n % len(said)], VOICES[part][voice], config.accents[accent], speed, n)
            for n, (voice, accent, speed) in enumerate(who)
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

    What espeak-ng speaks is brought to the rate of the config's features; whistles are made anew each time. Audio in
    which nothing can be heard is left out and counted. A cache that was damaged is made again.

    Raises ValueError as `texts` does; EspeakMissing where there is neither a cache nor espeak-ng; UnknownVoice.
    """
    if config.speaker == "whistle":
        return whistled(config, corpus)
    folder = Path(folder) if folder else cache_folder() / "speech"
    origin = {"version": VERSION, "config": to_json(config), "corpus": corpus and corpus.sha256}
    name = f"{config.material}-{sha256_bytes(json.dumps(origin, sort_keys=True).encode())[:12]}"
    if (kept := read_corpus(folder / f"{name}.safetensors", origin)) is not None:
        return kept
    folder.mkdir(parents=True, exist_ok=True)  # rather than find out when all is said
    asked = requests(config, corpus)
    rows = [(part, request) for part, said in asked.items() for request in said]
    spoken = espeak.speak([request for _, request in rows], workers=workers, progress=progress)
    parts, skipped = {part: [] for part in asked}, defaultdict(list)
    try:
        for n, ((part, request), audio) in enumerate(zip(rows, spoken, strict=True)):
            utterance, voice = f"{part}-{n:06d}", f"{request.accent}+{request.voice}"
            try:
                features = log_mel(resampled(audio, config.features.rate), config.features)
                parts[part].append(Utterance(utterance, features.half(), request.text, voice))
            except AudioError as error:
                skipped[error.reason].append(utterance)
    except KeyboardInterrupt:
        made = f"stopped after {sum(map(len, parts.values())):,} of {len(rows):,} utterances"
        raise KeyboardInterrupt(f"{made}, of which none is kept: the same command begins anew") from None
    finally:
        spoken.close()  # and with it the processes that speak
    title = f"{config.material}, spoken by espeak-ng {espeak.describe().version}"
    made = SpeechCorpus(title, config.features, **parts, skipped=dict(skipped), notes=_notes(asked))
    write_corpus(folder / f"{name}.safetensors", made, origin)
    return made


def _notes(asked: dict[str, list[espeak.Request]]) -> dict[str, str]:
    """How near the held-out texts are to what is heard in training."""
    train = [request.text for request in asked["train"]]
    notes = {}
    for part in ("validation", "test"):
        near = near_duplicates([request.text for request in asked[part]], train)
        shown = "; ".join(f"{text!r} is near {other!r}" for text, other in near[:SHOWN])
        notes[f"near-duplicates in {part}"] = (
            f"{len(near):,} of {len(asked[part]):,} are at most one word from a training text"
            + f" ({shown})" * bool(near)
        )
    return notes
