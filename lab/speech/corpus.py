"""Utterances in three parts, with an account of what was left out; and how they are kept on disk.

On disk it is one safetensors file: the features in one tensor, everything else as JSON in its header.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lab.config import from_json, to_json
from lab.files import write_atomic
from lab.speech.batches import Utterance
from lab.speech.features import FeatureSpec, Normalizer
from lab.text import Splits

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, repr=False, eq=False)
class SpeechCorpus:
    """Speech to train on, to choose by and to report on; all features are of one `spec`.

    skipped   reason -> names of the utterances that were left out for it
    notes     what a reader should know, such as how many held-out texts have a near-duplicate
    """

    name: str
    spec: FeatureSpec
    train: Sequence[Utterance]
    validation: Sequence[Utterance] = ()
    test: Sequence[Utterance] = ()
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Mapping[str, object] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Sequence[Utterance]]:
        return {part: getattr(self, part) for part in PARTS}

    def seconds(self, part: str) -> float:
        """How long the utterances of a part are together."""
        return sum(map(len, self.parts[part])) * self.spec.seconds_per_frame

    @property
    def texts(self) -> Splits:
        """What is said in each part."""
        return Splits(*([one.text for one in utterances] for utterances in self.parts.values()))

    @cached_property
    def sha256(self) -> str:
        """The fingerprint of every utterance: its part, name, text and features."""
        digest = hashlib.sha256()
        for part, utterances in self.parts.items():
            for one in utterances:
                digest.update(f"{part}\n{one.name}\n{one.text}\n{tuple(one.features.shape)}\n".encode())
                digest.update(one.features.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def normalizer(self) -> Normalizer:
        """The mean and deviation of every band over the training part."""
        return Normalizer.fit(utterance.features for utterance in self.train)

    def __repr__(self) -> str:
        lines = [f"SpeechCorpus({self.name})"]
        for part, utterances in self.parts.items():
            seconds, voices = self.seconds(part), len({u.voice for u in utterances})
            lines.append(f"  {part:10} {len(utterances):7,} utterances, {seconds:9,.1f} s, {voices:3} voices")
        lines += [f"  left out: {len(names):,}, {reason}" for reason, names in self.skipped.items()]
        return "\n".join([*lines, *(f"  {name}: {value}" for name, value in self.notes.items())])


def write_corpus(file: str | os.PathLike, corpus: SpeechCorpus, origin: dict) -> None:
    """Write a corpus, its features as float16 `(all frames, F)`; `read_corpus` must be given the same `origin`."""
    frames = torch.cat([u.features.half() for part in corpus.parts.values() for u in part])
    said = {part: [[u.name, u.voice, len(u), u.text] for u in us] for part, us in corpus.parts.items()}
    about = {"origin": origin, "name": corpus.name, "spec": to_json(corpus.spec), "notes": dict(corpus.notes)}
    about |= {"skipped": dict(corpus.skipped), "parts": said}
    text = json.dumps(about, ensure_ascii=False)
    header = {"corpus": json.dumps({"sha256": _digest(text, frames), "about": text})}
    write_atomic(file, save({"frames": frames}, header))


def read_corpus(file: str | os.PathLike, origin: dict) -> SpeechCorpus | None:
    """The corpus that `write_corpus` wrote of the same `origin`; None where there is none, or it was damaged.

    The features stay on disk until they are looked at; what is written to them stays in memory.
    """
    try:
        with safe_open(Path(file), "pt") as kept:
            header, frames = json.loads(kept.metadata()["corpus"]), kept.get_tensor("frames")
        about = json.loads(header["about"])
        if header["sha256"] != _digest(header["about"], frames) or about["origin"] != origin:
            return None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    lengths = [row[2] for part in PARTS for row in about["parts"][part]]
    features = iter(frames.split(lengths))
    parts = {
        part: tuple(
            Utterance(name, next(features), text, voice) for name, voice, _, text in about["parts"][part]
        )
        for part in PARTS
    }
    spec = from_json(FeatureSpec, about["spec"])
    return SpeechCorpus(about["name"], spec, **parts, skipped=about["skipped"], notes=about["notes"])


def _digest(text: str, frames: Tensor) -> str:
    digest = hashlib.sha256(text.encode())
    digest.update(frames.numpy())
    return digest.hexdigest()
