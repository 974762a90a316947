"""How well a character encoder does what it was trained to do, on lines that it has not seen.

Each figure stands beside what chance reaches on the same text: `score_table`. Letters: B rows, T characters a row.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import torch
import torch.nn.functional as F

from lab.chars.batches import BATCH, line_batches
from lab.chars.bottleneck import write_greedily
from lab.chars.corruption import character_ids, mask_characters, remove_characters, vocabulary_of
from lab.chars.model import CharEncoder
from lab.data import IGNORE
from lab.nn import evaluating
from lab.score import Score
from lab.text.protocol import as_lines


@dataclass(frozen=True)
class Guessed:
    """Of the characters that stood where `<mask>` was shown, `right` of `asked` were the likeliest; all cost `nats`.

    Of few characters none may have been masked; accuracy and mean are then NaN.
    """

    right: int
    asked: int
    nats: float

    @property
    def accuracy(self) -> float:
        return self.right / self.asked if self.asked else math.nan

    @property
    def mean_nats(self) -> float:
        return self.nats / self.asked if self.asked else math.nan


@dataclass(frozen=True)
class Exact:
    """How many texts came back without one mistake, and how many of their characters."""

    right: int
    total: int
    chars_right: int
    chars: int

    @property
    def share(self) -> float:
        return self.right / self.total


@dataclass(frozen=True)
class Restored:
    """A kind of character that was taken out: `there` were so many, `said` were put back, `right` of them rightly.

    `characters` are those of the kind, one or a whole set.
    """

    characters: str
    right: int
    said: int
    there: int

    @property
    def precision(self) -> float:
        """Of those put back, how many stood there; 0 where none was."""
        return self.right / self.said if self.said else 0.0

    @property
    def recall(self) -> float:
        """Of those that stood there, how many came back; 0 where none stood."""
        return self.right / self.there if self.there else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall.

        >>> Restored(",", right=2, said=4, there=2).f1
        0.6666666666666666
        """
        return 2 * self.right / (self.said + self.there) if self.said + self.there else 0.0


@dataclass(frozen=True)
class CharacterScores:
    """What held-out lines say of a character encoder; None where the model has no bottleneck.

    `restoration` holds each set of characters that is taken out, then each of its characters alone.
    """

    mlm: Guessed
    clm: Score
    reconstruction: Exact
    bottleneck: Exact | None
    restoration: tuple[Restored, ...]

    def to_outcome(self) -> dict[str, float]:
        """Flat, as the table of runs keeps it: the decoder's score as columns, all other counts as details."""
        flat = self.clm.columns()
        for name in ("mlm", "reconstruction", "bottleneck"):
            if (score := getattr(self, name)) is not None:
                flat |= {f"{name}.{field}": count for field, count in asdict(score).items()}
        for kind in self.restoration:
            for field in ("right", "said", "there"):
                flat[f"restoration.{kind.characters}.{field}"] = getattr(kind, field)
        return flat

    @classmethod
    def from_outcome(cls, outcome: Mapping[str, float]) -> Self:
        """The scores that `to_outcome` made flat."""
        parts: dict[str, dict[str, float]] = {}
        for name, value in outcome.items():
            if "." in name:
                part, _, field = name.rpartition(".")
                parts.setdefault(part, {})[field] = value
        restored = {name.partition(".")[2]: counts for name, counts in parts.items() if "." in name}
        return cls(
            mlm=Guessed(**parts["mlm"]),
            clm=Score.of_columns(outcome),
            reconstruction=Exact(**parts["reconstruction"]),
            bottleneck=Exact(**parts["bottleneck"]) if "bottleneck" in parts else None,
            restoration=tuple(Restored(characters, **counts) for characters, counts in restored.items()),
        )

    def __str__(self) -> str:
        exact = "" if self.bottleneck is None else f"; through the bottleneck {self.bottleneck.share:.1%}"
        restored = f"; restoration F1 {self.restoration[0].f1:.3f}" if self.restoration else ""
        back = f"exactly back: {self.reconstruction.share:.1%}{exact}{restored}"
        return f"mlm {self.mlm.accuracy:.1%}, clm {self.clm}; {back}"


@torch.inference_mode()
def mlm_score(
    model: CharEncoder, tokenizer, lines: Sequence[str], *, rate: float = 0.2, seed: int = 0
) -> Guessed:
    """The accuracy where `<mask>` is shown, spaces included, of lines masked at `rate` (of which 80 % show it).

    The same seed masks the same characters.
    """
    right = asked = 0
    nats = 0.0
    generator, vocabulary = torch.Generator().manual_seed(seed), vocabulary_of(tokenizer)
    for batch in line_batches(model, tokenizer, lines):
        masked = mask_characters(batch.ids, rate=rate, generator=generator, **vocabulary)
        shown = (masked.ids == tokenizer.mask_id) & (masked.targets != IGNORE)
        logits = model.heads["mlm"](model.encode(masked.ids)[shown])
        targets = batch.ids[shown]
        right += int((logits.argmax(-1) == targets).sum())
        nats += F.cross_entropy(logits, targets, reduction="sum").item()
        asked += len(targets)
    return Guessed(right, asked, nats)


@torch.inference_mode()
def reconstruction_score(model: CharEncoder, tokenizer, lines: Sequence[str]) -> Exact:
    """How many lines come back, each character from its own state; `<s>` and `</s>` do not count."""
    right = total = chars_right = chars = 0
    ends = torch.tensor(
        [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id], device=next(model.parameters()).device
    )
    for batch in line_batches(model, tokenizer, lines):
        real = ~torch.isin(batch.ids, ends)
        same = model.heads["reconstruction"](model.encode(batch.ids)).argmax(-1) == batch.ids
        right, total = right + int((same | ~real).all(1).sum()), total + len(same)
        chars_right, chars = chars_right + int((same & real).sum()), chars + int(real.sum())
    return Exact(right, total, chars_right, chars)


@torch.inference_mode()
def bottleneck_score(
    model: CharEncoder, tokenizer, lines: Sequence[str], *, chunk: int = 64, most: int = 1000
) -> Exact:
    """How many chunks of `chunk` characters come back from their latents, written greedily and free-running.

    Lines are cut into chunks one after the other, and what is left at a line's end is passed over; the first `most`
    chunks are scored. Raises ValueError when there is none, or the model has no bottleneck.
    """
    if not model.config.latents:
        raise ValueError("this model has no bottleneck: its config has latents=0")
    encoded = tokenizer.encode_lines(as_lines("lines", lines), add_special=False)
    chunks = [ids[i : i + chunk] for ids in encoded for i in range(0, len(ids) - chunk + 1, chunk)][:most]
    if not chunks:
        raise ValueError(f"no line has {chunk} characters: give longer lines, or a smaller chunk")
    device = next(model.parameters()).device
    right = chars_right = 0
    with evaluating(model):
        for i in range(0, len(chunks), BATCH):
            ids = torch.tensor(chunks[i : i + BATCH], device=device)
            written = write_greedily(model, model.compress(ids), tokenizer.bos_id)
            same = F.pad(written, (0, chunk))[:, :chunk] == ids
            right, chars_right = right + int(same.all(1).sum()), chars_right + int(same.sum())
    return Exact(right, len(chunks), chars_right, len(chunks) * chunk)


@torch.inference_mode()
def restoration_score(
    model: CharEncoder, tokenizer, lines: Sequence[str], characters: str
) -> tuple[Restored, ...]:
    """What comes back of `characters`, once all of them are taken out: of the whole set, then of each of them.

    Of several in a row only the last can come back; all count as having stood there. Characters that the text does not
    have and the model does not say are left out. Raises ValueError when the tokenizer knows none of them.
    """
    removed = character_ids(tokenizer, characters)
    if not removed:
        raise ValueError(f"the vocabulary has none of the characters {characters!r}")
    right, said, there = (torch.zeros(tokenizer.vocab_size, dtype=torch.int64) for _ in range(3))
    for batch in line_batches(model, tokenizer, lines):
        shorter, labels = remove_characters(batch.ids, removed, pad_id=model.config.pad_id)
        guess = model.heads["restoration"](model.encode(shorter)).argmax(-1).cpu()
        labels, V = labels.cpu(), tokenizer.vocab_size
        there += batch.ids.cpu().flatten().bincount(minlength=V)
        said += guess[labels != IGNORE].bincount(minlength=V)
        right += guess[guess == labels].bincount(minlength=V)
    alone = [
        Restored(tokenizer.tokens([i])[0], int(right[i]), int(said[i]), int(there[i]))
        for i in removed
        if said[i] or there[i]
    ]
    whole = Restored(characters, *(int(count[removed].sum()) for count in (right, said, there)))
    return (whole, *alone) if len(removed) > 1 else (whole,)
