"""A whistled alphabet: speech-like sound made with nothing but sines, for a machine on which nothing can speak.

Each letter is two tones at once, as a vowel is known by two formants; a voice is a pitch, a pace and some noise. It is
far easier than speech and says nothing about it, but all that follows (features, alignments, training, scores) runs.

Letters: N samples.
"""

import string

import numpy as np
import torch

from lab.speech.audio import Audio
from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import log_mel
from lab.speech.script import SyntheticConfig, texts

LETTERS = string.ascii_lowercase + "'"
# In Hz; 6 x 6 pairs are enough for the letters.
LOW, HIGH = np.geomspace(300, 900, 6), np.geomspace(1100, 4000, 6)
VOICES = {"train": range(40), "validation": range(40, 44), "test": range(44, 48)}


def whistle(text: str, voice: int, rate: int, seed: int = 0) -> Audio:
    """`text`, letters and spaces, whistled by a voice, any whole number; the same arguments give the same samples.

    >>> audio = whistle("one two", voice=3, rate=22050)
    >>> 0.3 < audio.seconds < 1.0
    True

    Raises ValueError for a text with other characters.
    """
    if not text or set(text) - set(LETTERS) - {" "}:
        raise ValueError(f"only {LETTERS} and spaces can be whistled, got {text!r}")
    speaker, chance = np.random.default_rng((voice, 7)), np.random.default_rng((seed, voice, 8))
    pitch, pace, breath = speaker.uniform(0.85, 1.2), speaker.uniform(0.05, 0.09), speaker.uniform(0.01, 0.06)
    sounds = [_letter(char, pitch, pace * chance.uniform(0.8, 1.25), rate) for char in text]
    wave = np.concatenate(sounds)
    wave = 0.3 * wave + breath * chance.standard_normal(len(wave)) * 0.3
    return Audio(torch.from_numpy(wave.astype(np.float32)), rate)


def whistled(config: SyntheticConfig, corpus=None) -> SpeechCorpus:
    """What `lab.speech.synthesis.synthetic` gives, whistled: the same texts, other voices in each part.

    Raises ValueError as `texts` does.
    """
    parts = {}
    for part, said in zip(VOICES, texts(config, corpus), strict=True):
        voices = VOICES[part]
        parts[part] = [
            _utterance(f"{part}-{n:06d}", said[n % len(said)], voices[n % len(voices)], n, config)
            for n in range(getattr(config, part))
        ]
    notes = {"no speech": "two sines a letter: espeak-ng was not found (pip install espeakng-loader)"}
    return SpeechCorpus(f"{config.material}, whistled", config.features, **parts, notes=notes)


def _utterance(name: str, text: str, voice: int, seed: int, config: SyntheticConfig) -> Utterance:
    features = log_mel(whistle(text, voice, config.features.rate, seed), config.features)
    return Utterance(name, features.half(), text, f"whistle {voice}")


def _letter(char: str, pitch: float, seconds: float, rate: int) -> np.ndarray:
    """One letter `(N,)`, rising and falling; a space is silence."""
    time = np.arange(max(1, round(seconds * rate))) / rate
    if char == " ":
        return np.zeros_like(time)
    low, high = divmod(LETTERS.index(char), len(HIGH))
    both = np.sin(2 * np.pi * pitch * LOW[low] * time) + 0.7 * np.sin(2 * np.pi * pitch * HIGH[high] * time)
    return both * np.sin(np.pi * np.arange(len(time)) / len(time)) ** 0.5
