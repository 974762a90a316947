"""Speech kept on disk: one safetensors file, the features in one tensor, everything else as JSON in its header."""

import json
import os
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lab.config import from_json, to_json
from lab.files import write_atomic
from lab.speech.batches import Utterance
from lab.speech.corpus import PARTS, SpeechCorpus
from lab.speech.features import FeatureSpec


def write(file: str | os.PathLike, corpus: SpeechCorpus, origin: dict) -> None:
    """Write a corpus, its features as float16 `(all frames, F)`; `read` must be given the same `origin`."""
    frames = torch.cat([u.features.half() for part in corpus.parts.values() for u in part])
    said = {part: [[u.name, u.voice, len(u), u.text] for u in us] for part, us in corpus.parts.items()}
    about = {"origin": origin, "name": corpus.name, "spec": to_json(corpus.spec), "notes": dict(corpus.notes)}
    about |= {"skipped": {reason: list(names) for reason, names in corpus.skipped.items()}, "parts": said}
    text = json.dumps(about, ensure_ascii=False)
    header = {"corpus": json.dumps({"sha256": _digest(text, frames), "about": text})}
    write_atomic(file, save({"frames": frames}, header))


def read(file: str | os.PathLike, origin: dict) -> SpeechCorpus | None:
    """The corpus that `write` wrote of the same `origin`; None where there is none, or it was damaged.

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
    skipped = {reason: tuple(names) for reason, names in about["skipped"].items()}
    spec = from_json(FeatureSpec, about["spec"])
    return SpeechCorpus(about["name"], spec, **parts, skipped=skipped, notes=about["notes"])


def _digest(text: str, frames: Tensor) -> str:
    digest = sha256(text.encode())
    digest.update(frames.numpy())
    return digest.hexdigest()
