"""Utterances, and the padded batches of them that a model hears: as many frames a batch as are asked for.

Letters: B rows, T frames, F bands, U tokens of a transcript, without `<s>` and `</s>`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lab.data.batch import IGNORE
from lab.speech.augment import SpecAugment, spec_augment
from lab.speech.features import FeatureError, Normalizer
from lab.speech.text import TextError, encode
from lab.text import Tokenizer

JITTER = (
    0.1  # utterances are ordered by a length changed by up to this share, so that batches differ each pass
)


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

    def __post_init__(self):
        B = len(self.features)
        shapes = [tuple(x.shape) for x in (self.features, self.lengths, self.targets, self.target_lengths)]
        if [len(shape) for shape in shapes] != [3, 1, 2, 1] or any(shape[0] != B for shape in shapes):
            raise ValueError(
                f"features, lengths, targets and target_lengths must be (B, T, F), (B,), (B, U) and (B,), got {shapes}"
            )

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
        tensors = ("features", "lengths", "targets", "target_lengths")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in tensors})

    def rows(self, rows: slice) -> "SpeechBatch":
        """A batch of some of these rows, padded as before."""
        tensors = (x[rows] for x in (self.features, self.lengths, self.targets, self.target_lengths))
        return SpeechBatch(*tensors, self.names[rows], self.pad_id, self.bos_id, self.eos_id)


def collate(
    utterances: Sequence[Utterance], tokenizer: Tokenizer, normalizer: Normalizer | None = None
) -> SpeechBatch:
    """One batch of utterances, padded to the longest.

    Raises TextError, naming the utterance, for a transcript that cannot be encoded; FeatureError for utterances with
    different numbers of bands; ValueError for none, or a tokenizer without `<pad>`, `<s>` and `</s>`.
    """
    if not utterances:
        raise ValueError("a batch needs at least one utterance, got none")
    special = {name: getattr(tokenizer, name) for name in ("pad_id", "bos_id", "eos_id")}
    if missing := [name for name, value in special.items() if value is None]:
        raise ValueError(f"this tokenizer has no {', '.join(missing)}; targets need all three")
    if len(bands := {u.features.shape[1] for u in utterances}) > 1:
        raise FeatureError(f"utterances of one batch must have equally many bands, got {sorted(bands)}")
    targets = []
    for utterance in utterances:
        try:
            targets.append(torch.tensor(encode(utterance.text, tokenizer)))
        except TextError as error:
            raise TextError(error.reason, f"utterance {utterance.name}: {error}") from None
    features = [normalizer(u.features) if normalizer else u.features.float() for u in utterances]
    return SpeechBatch(
        pad_sequence(features, batch_first=True),
        torch.tensor([len(x) for x in features]),
        pad_sequence(targets, batch_first=True, padding_value=IGNORE),
        torch.tensor([len(x) for x in targets]),
        tuple(u.name for u in utterances),
        **special,
    )


@dataclass(frozen=True)
class SpeechStream:
    """Batches without end, of at most `frames` frames with their padding; only a longer utterance comes alone.

    Utterances of like length come together; each pass is shuffled anew. The batches follow from `seed` alone, masks of
    `augment` included, and `skip(n)` gives the stream without its first n: so an interrupted training can go on.
    The first `augment_after` batches have no masks, for they slow the beginning down.

    Raises ValueError for no utterances, and for `frames` below 1.
    """

    utterances: Sequence[Utterance]
    tokenizer: Tokenizer
    frames: int = 1500
    seed: int = 0
    normalizer: Normalizer | None = None
    augment: SpecAugment | None = None
    augment_after: int = 0
    start: int = 0

    def __post_init__(self):
        _check(self.utterances, self.frames)

    def skip(self, n: int) -> "SpeechStream":
        """The same stream, begun n batches later."""
        return replace(self, start=self.start + n)

    def __iter__(self) -> Iterator[SpeechBatch]:
        lengths = np.array([len(u) for u in self.utterances])
        taken = 0  # batches before this pass
        for turn in range(1 << 62):
            random = np.random.default_rng((self.seed, turn))
            jitter = random.uniform(1 - JITTER, 1 + JITTER, len(lengths))
            groups = _groups(np.argsort(lengths * jitter, kind="stable"), lengths, self.frames)
            order = random.permutation(len(groups))
            for n in range(max(0, self.start - taken), len(order)):
                batch = collate(
                    [self.utterances[i] for i in groups[order[n]]], self.tokenizer, self.normalizer
                )
                masked = self.augment is not None and taken + n >= self.augment_after
                yield self._masked(batch, (self.seed, turn, n)) if masked else batch
            taken += len(order)

    def _masked(self, batch: SpeechBatch, seed: tuple[int, ...]) -> SpeechBatch:
        state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1)
        generator = torch.Generator().manual_seed(state)
        return replace(batch, features=spec_augment(batch.features, batch.lengths, self.augment, generator))


def batches(
    utterances: Sequence[Utterance],
    tokenizer: Tokenizer,
    frames: int = 1500,
    normalizer: Normalizer | None = None,
) -> Iterator[SpeechBatch]:
    """Every utterance once, the shortest first, at most `frames` frames a batch: for measuring.

    Raises ValueError for no utterances, and for `frames` below 1.
    """
    _check(utterances, frames)
    lengths = np.array([len(u) for u in utterances])
    for group in _groups(np.argsort(lengths, kind="stable"), lengths, frames):
        yield collate([utterances[i] for i in group], tokenizer, normalizer)


def _check(utterances: Sequence[Utterance], frames: int) -> None:
    if not utterances:
        raise ValueError("there are no utterances to make batches of")
    if frames < 1:
        raise ValueError(f"frames must be at least 1 a batch, got {frames}")


def _groups(order: np.ndarray, lengths: np.ndarray, frames: int) -> list[list[int]]:
    """Indices in this order, cut where one more would make the padded batch larger than `frames`."""
    groups, group, longest = [], [], 0
    for i in order.tolist():
        longest = max(longest, int(lengths[i]))
        if group and longest * (len(group) + 1) > frames:
            groups.append(group)
            group, longest = [], int(lengths[i])
        group.append(i)
    return [*groups, group]
