"""How well a character encoder does what it was trained to do, on lines that it has not seen.

Each figure stands beside what chance reaches on the same text: `score_table`. Letters: B rows, T characters a row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.chars.batches import character_rows, in_order
from lab.chars.bottleneck import write_greedily
from lab.chars.corruption import Masked, character_ids, mask_characters, remove_characters, special_ids
from lab.chars.model import CharEncoder
from lab.chars.objective import CharacterObjectives
from lab.data.batch import IGNORE, Batch
from lab.nn.cache import KeyValueCache
from lab.score.lines import Score, score_lines

BATCH = 64  # rows scored at once


@dataclass(frozen=True)
class Guessed:
    """Of the characters that stood where `<mask>` was shown, `right` of `asked` were the likeliest; all cost `nats`."""

    right: int
    asked: int
    nats: float

    @property
    def accuracy(self) -> float:
        return self.right / self.asked

    @property
    def mean_nats(self) -> float:
        return self.nats / self.asked


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
class Found:
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

        >>> Found(",", right=2, said=4, there=2).f1
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
    restoration: tuple[Found, ...]

    def __str__(self) -> str:
        exact = "" if self.bottleneck is None else f"; through the bottleneck {self.bottleneck.share:.1%}"
        return (
            f"mlm {self.mlm.accuracy:.1%}, clm {self.clm}; exactly back: {self.reconstruction.share:.1%}{exact}; "
            f"restoration F1 {self.restoration[0].f1:.3f}"
        )


@torch.inference_mode()
def mlm_score(
    model: CharEncoder, tokenizer, lines: Sequence[str], *, rate: float = 0.2, seed: int = 0
) -> Guessed:
    """The accuracy where `<mask>` is shown, spaces included, of lines masked at `rate` (of which 80 % show it).

    The same seed masks the same characters. Raises ValueError when no character was masked.
    """
    right = asked = 0
    nats = 0.0
    for batch, masked in masked_batches(model, tokenizer, lines, rate, seed):
        shown = (masked.ids == tokenizer.mask_id) & (masked.targets != IGNORE)
        logits = model.heads["mlm"](model.encode(masked.ids)[shown])
        targets = batch.ids[shown]
        right += int((logits.argmax(-1) == targets).sum())
        nats += F.cross_entropy(logits, targets, reduction="sum").item()
        asked += len(targets)
    if not asked:
        raise ValueError(
            f"no character of these {len(lines)} lines was masked at rate {rate}: give more lines"
        )
    return Guessed(right, asked, nats)


def masked_batches(
    model: CharEncoder, tokenizer, lines: Sequence[str], rate: float, seed: int
) -> Iterator[tuple[Batch, Masked]]:
    """Lines as batches, and the same masked."""
    generator = torch.Generator().manual_seed(seed)
    for batch in line_batches(model, tokenizer, lines):
        yield (
            batch,
            mask_characters(
                batch.ids,
                rate=rate,
                vocab_size=tokenizer.vocab_size,
                mask_id=tokenizer.mask_id,
                specials=special_ids(tokenizer),
                generator=generator,
            ),
        )


def line_batches(model: CharEncoder, tokenizer, lines: Sequence[str]) -> Iterator[Batch]:
    """Each line once, a long one in pieces, in evaluation mode: the model is left in the mode it was in."""
    if not lines:
        raise ValueError("no lines to score: pass at least one")
    rows = [row for ids in tokenizer.encode_lines(lines) for row in character_rows(ids, model.config.context)]
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    try:
        for batch in in_order(rows, model.config.pad_id, BATCH):
            yield batch.to(device)
    finally:
        model.train(was_training)


class NextCharacter(nn.Module):
    """A character encoder as a model of the next character alone: what `score_lines` and `generate` take."""

    def __init__(self, model: CharEncoder):
        super().__init__()
        self.model, self.config = model, model.config
        self.train(model.training)

    def forward(
        self, ids: Tensor, *, mask=None, positions=None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """ids `(B, T)`, padded on the right -> logits `(B, T, V)`; padding is known by its id, a mask not read."""
        if self.config.cross_attention == "states":
            if cache is not None:
                raise ValueError(
                    'with cross_attention="states" the whole text is read anew for each character: generate with '
                    "cached=False"
                )
            return self.model(ids, heads=("clm",)).clm
        return self.model.decode(ids, cache=cache)

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache of the decoder, for `lab.decode.search.generate`."""
        return self.model.new_cache(batch, device)


def clm_score(model: CharEncoder, tokenizer, lines: Sequence[str]) -> Score:
    """Bits a character, counted as `lab.score.score_lines` counts: `<s>` given, `</s>` and newline included."""
    return score_lines(NextCharacter(model), tokenizer, lines)


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
    encoded = tokenizer.encode_lines(lines, add_special=False)
    chunks = [ids[i : i + chunk] for ids in encoded for i in range(0, len(ids) - chunk + 1, chunk)][:most]
    if not chunks:
        raise ValueError(f"no line has {chunk} characters: give longer lines, or a smaller chunk")
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    right = chars_right = 0
    for i in range(0, len(chunks), BATCH):
        ids = torch.tensor(chunks[i : i + BATCH], device=device)
        written = F.pad(write_greedily(model, model.compress(ids), tokenizer.bos_id), (0, chunk))[:, :chunk]
        right += int((written == ids).all(1).sum())
        chars_right += int((written == ids).sum())
    model.train(was_training)
    return Exact(right, len(chunks), chars_right, len(chunks) * chunk)


@torch.inference_mode()
def restoration_score(
    model: CharEncoder, tokenizer, lines: Sequence[str], characters: str
) -> tuple[Found, ...]:
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
        Found(tokenizer.tokens([i])[0], int(right[i]), int(said[i]), int(there[i]))
        for i in removed
        if said[i] or there[i]
    ]
    whole = Found(characters, *(int(count[removed].sum()) for count in (right, said, there)))
    return (whole, *alone) if len(removed) > 1 else (whole,)


def character_scores(
    model: CharEncoder, tokenizer, lines: Sequence[str], objectives: CharacterObjectives, *, seed: int = 0
) -> CharacterScores:
    """All that can be measured of the first `objectives.scored_lines` lines; masked at rate 0.2, whatever was trained.

    Raises what the single scores raise.
    """
    lines = lines[: objectives.scored_lines or None]
    known = [one for one in objectives.removed if character_ids(tokenizer, one)]
    long = any(len(line) >= objectives.chunk for line in lines)
    return CharacterScores(
        mlm=mlm_score(model, tokenizer, lines, seed=seed),
        clm=clm_score(model, tokenizer, lines),
        reconstruction=reconstruction_score(model, tokenizer, lines),
        bottleneck=bottleneck_score(model, tokenizer, lines, chunk=objectives.chunk)
        if model.config.latents and long
        else None,
        restoration=tuple(
            found for one in known for found in restoration_score(model, tokenizer, lines, one)
        ),
    )
