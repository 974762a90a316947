"""Utterances in three parts, with an account of what was left out."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

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
    train: tuple[Utterance, ...]
    validation: tuple[Utterance, ...] = ()
    test: tuple[Utterance, ...] = ()
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: Mapping[str, object] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, tuple[Utterance, ...]]:
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
            voices = len({u.voice for u in utterances})
            lines.append(
                f"  {part:10} {len(utterances):7,} utterances, {self.seconds(part):9,.1f} s, {voices:3} voices"
            )
        lines += [f"  left out: {len(names):,}, {reason}" for reason, names in self.skipped.items()]
        return "\n".join([*lines, *(f"  {name}: {value}" for name, value in self.notes.items())])
