"""Utterances, and the padded batches of them that a model hears: as many frames a batch as are asked for.

Letters: B rows, T frames, F bands, U tokens of a transcript, without `<s>` and `</s>`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from torch import Tensor

from lab.data import IGNORE, by_length, pad
from lab.speech.augment import SpecAugment, spec_augment
from lab.speech.text import TextError, encode
from lab.text import Tokenizer

JITTER = 0.1  # utterances are ordered by a length changed by up to this share: so batches differ each pass


@dataclass(frozen=True, eq=False)
class Utterance:
    """One thing said: `features` `(T, F)`, float16 or float32, and the `text`; who said it, where that is known."""

    name: str
    features: Tensor
    text: str
    voice: str = ""

    def __len__(self) -> int:
        """T, its frames."""
        return len(self.features)


@dataclass(frozen=True, eq=False)
class SpeechBatch:
    """`B` utterances and what was said in them.

    features        float32 `(B, T, F)`, 0 where an utterance is over
    lengths         int64 `(B,)`: the frames of each
    targets         int64 `(B, U)`: the tokens of each transcript, then `IGNORE` (-100); what CTC aligns
    target_lengths  int64 `(B,)`
    names           of the utterances

    A decoder reads `ids` and should say `golden`, both `(B, U + 1)`; the three special ids are the tokenizer's.
    """

    features: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    names: tuple[str, ...] = ()
    pad_id: int = 0
    bos_id: int = 2
    eos_id: int = 3

    def __len__(self) -> int:
        """B."""
        return len(self.lengths)

    @property
    def ids(self) -> Tensor:
        """`<s>` and the transcript, then padding: int64 `(B, U + 1)`."""
        start = self.targets.new_full((len(self), 1), self.bos_id)
        return torch.cat([start, self.targets.masked_fill(self.targets == IGNORE, self.pad_id)], dim=1)

    @property
    def golden(self) -> Tensor:
        """The transcript and `</s>`, then `IGNORE`: int64 `(B, U + 1)`."""
        room = self.targets.new_full((len(self), 1), IGNORE)
        return torch.cat([self.targets, room], dim=1).scatter(1, self.target_lengths[:, None], self.eos_id)

    @property
    def num_targets(self) -> int:
        """The tokens of all transcripts."""
        return int(self.target_lengths.sum())

    def to(self, device: torch.device | str) -> "SpeechBatch":
        """The same batch on another device."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def rows(self, rows: slice) -> "SpeechBatch":
        """A batch of some of these rows, padded as before."""
        return replace(self._each(lambda x: x[rows]), names=self.names[rows])

    def _each(self, change) -> "SpeechBatch":
        tensors = ("features", "lengths", "targets", "target_lengths")
        return replace(self, **{name: change(getattr(self, name)) for name in tensors})


def collate(utterances: Sequence[Utterance], tokenizer: Tokenizer) -> SpeechBatch:
    """One batch of utterances, padded to the longest.

    Raises TextError, naming the utterance, for a transcript that cannot be encoded.
    """
    targets = []
    for utterance in utterances:
        try:
            targets.append(torch.tensor(encode(utterance.text, tokenizer)))
        except TextError as error:
            raise TextError(error.reason, f"utterance {utterance.name}: {error}") from None
    features = [u.features.float() for u in utterances]
    return SpeechBatch(
        pad(features),
        torch.tensor([len(x) for x in features]),
        pad(targets, IGNORE),
        torch.tensor([len(x) for x in targets]),
        tuple(u.name for u in utterances),
        tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id,
    )  # fmt: skip


@dataclass(frozen=True)
class SpeechStream:
    """Batches without end, of at most `frames` frames with their padding; only a longer utterance comes alone.

    Utterances of like length come together; each pass is shuffled anew. The batches follow from `seed` alone, masks of
    `augment` included, and `skip(n)` gives the stream without its first n: so an interrupted training can go on.
    The first `augment_after` batches have no masks, for they slow the beginning down.
    """

    utterances: Sequence[Utterance]
    tokenizer: Tokenizer
    frames: int = 1500
    seed: int = 0
    augment: SpecAugment | None = None
    augment_after: int = 0
    start: int = 0

    def skip(self, n: int) -> "SpeechStream":
        """The same stream, begun n batches later."""
        return replace(self, start=self.start + n)

    def __iter__(self) -> Iterator[SpeechBatch]:
        lengths = np.array([len(u) for u in self.utterances])
        taken = 0  # batches before this pass
        for turn in count():
            random = np.random.default_rng((self.seed, turn))
            jitter = random.uniform(1 - JITTER, 1 + JITTER, len(lengths))
            groups = by_length(lengths, size=self.frames, keys=lengths * jitter)
            order = random.permutation(len(groups))
            for n in range(max(0, self.start - taken), len(order)):
                batch = collate([self.utterances[i] for i in groups[order[n]]], self.tokenizer)
                masked = self.augment is not None and taken + n >= self.augment_after
                yield self._masked(batch, (self.seed, turn, n)) if masked else batch
            taken += len(order)

    def _masked(self, batch: SpeechBatch, seed: tuple[int, ...]) -> SpeechBatch:
        state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1)
        generator = torch.Generator().manual_seed(state)
        return replace(batch, features=spec_augment(batch.features, batch.lengths, self.augment, generator))
