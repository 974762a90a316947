"""Speech kept on disk: the features in one array, everything else in JSON, each with its hash."""

import io
import json
import os
from pathlib import Path

import numpy as np
import torch

from lab.config import from_json, to_json
from lab.files import sha256_bytes, sha256_file, write_atomic
from lab.speech.batches import Utterance
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import FeatureSpec

FORMAT = 1
FEATURES, INDEX = "features.npy", "index.json"


def write(folder: str | os.PathLike, corpus: SpeechCorpus, origin: dict) -> None:
    """Write `features.npy`, float16 `(all frames, F)`, and after it `index.json`, which says that all is there.

    `origin` is what the speech was made of, and what `read` must be given again.
    """
    folder = Path(folder)
    utterances = [u for part in corpus.parts.values() for u in part]
    frames = torch.cat([u.features.half() for u in utterances]).numpy()
    file = io.BytesIO()
    np.save(file, frames, allow_pickle=False)
    data = file.getvalue()
    write_atomic(folder / FEATURES, data)
    index = {
        "format": FORMAT,
        "name": corpus.name,
        "origin": origin,
        "spec": to_json(corpus.spec),
        "skipped": {reason: list(names) for reason, names in corpus.skipped.items()},
        "notes": dict(corpus.notes),
        "parts": {
            part: [[u.name, u.voice, len(u), u.text] for u in utterances]
            for part, utterances in corpus.parts.items()
        },
        "features_sha256": sha256_bytes(data),
    }
    text = json.dumps(index, indent=0, ensure_ascii=False)
    write_atomic(folder / INDEX, json.dumps({"sha256": sha256_bytes(text.encode())}) + "\n" + text + "\n")


def read(folder: str | os.PathLike, origin: dict) -> SpeechCorpus | None:
    """The corpus that `write` wrote there of the same `origin`; None where there is none, or it was damaged.

    The features stay on disk until they are looked at.
    """
    folder = Path(folder)
    try:
        head, text = (folder / INDEX).read_text(encoding="utf-8").split("\n", 1)
        text = text.removesuffix("\n")
        index = json.loads(text)
        sound = json.loads(head) == {"sha256": sha256_bytes(text.encode())}
        if not sound or index["format"] != FORMAT or index["origin"] != origin:
            return None
        if sha256_file(folder / FEATURES) != index["features_sha256"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # Copy on write: torch wants memory that can be written to, and the file must stay as it is.
    frames = torch.from_numpy(np.load(folder / FEATURES, mmap_mode="c", allow_pickle=False))
    parts, start = {}, 0
    for part, rows in index["parts"].items():
        parts[part] = []
        for name, voice, length, said in rows:
            parts[part].append(Utterance(name, frames[start : start + length], said, voice))
            start += length
    return SpeechCorpus(
        index["name"],
        from_json(FeatureSpec, index["spec"]),
        **{part: tuple(utterances) for part, utterances in parts.items()},
        skipped={reason: tuple(names) for reason, names in index["skipped"].items()},
        notes=index["notes"],
    )
