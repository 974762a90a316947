"""What the memory of earlier lines is worth: the same held-out lines with it and without it, line by line.

Letters: B rows, T characters a row, M rows of memory before each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.chars.batches import BATCH, Row, character_rows
from lab.chars.corruption import mask_characters, vocabulary_of
from lab.chars.model import CharEncoder
from lab.data import IGNORE, by_length, pad_pairs
from lab.nn import evaluating
from lab.text.protocol import as_lines


@dataclass(frozen=True)
class Paired:
    """Nats a character of the same characters `without` and `with_memory`; `error` is that of their difference.

    `chars` characters in `rows` rows. The standard error takes rows as independent, not their characters.
    """

    without: float
    with_memory: float
    error: float
    chars: int
    rows: int

    @property
    def saved(self) -> float:
        """Nats a character by which the memory lowers the loss; negative where it does harm."""
        return self.without - self.with_memory

    def __str__(self) -> str:
        return (
            f"{self.without:.4f} nats without, {self.with_memory:.4f} with memory: "
            f"{self.saved:+.4f} ± {self.error:.4f} saved over {self.chars:,} characters"
        )


@dataclass(frozen=True)
class MemoryEffect:
    """The effect of the memory on both losses; `clm` is None where the decoder does not read it."""

    mlm: Paired
    clm: Paired | None


@torch.inference_mode()
def memory_effect(
    model: CharEncoder,
    tokenizer,
    text: Sequence[str],
    lines: Sequence[str],
    *,
    memory: int = 1,
    rate: float = 0.2,
    seed: int = 0,
) -> MemoryEffect:
    """Read the `lines`, wherever in `text` they follow `memory` others, with those as memory and without.

    `text` is running text, in order; the lines before a held-out one may have been trained on, it was not. Masks are
    the same for both, and only characters shown as `<mask>` count. The memory is of rows read without a memory.

    Raises ValueError when none of the lines follows so many others.
    """
    text, lines = as_lines("text", text), set(as_lines("lines", lines))
    pairs = _rows_and_memories(tokenizer, text, lines, model.config.context, memory)
    if not pairs:
        raise ValueError(f"none of these {len(lines)} lines follows {memory} others in the text")
    device, pad_id = next(model.parameters()).device, model.config.pad_id
    generator, vocabulary = torch.Generator().manual_seed(seed), vocabulary_of(tokenizer)
    reads = model.config.cross_attention == "memory"
    nats: dict[str, list[Tensor]] = {"mlm": [], "clm": []}
    with evaluating(model):
        for group in by_length([len(ids) for (ids, _), _ in pairs], rows=BATCH):
            rows, memories = zip(*(pairs[n] for n in group), strict=True)
            batch = pad_pairs(rows, pad_id).to(device)
            before = pad_pairs([row for earlier in memories for row in earlier], pad_id).ids.to(device)
            vectors = model.pool(model.encode(before), before != pad_id).view(len(rows), memory, -1)
            masked = mask_characters(batch.ids, rate=rate, generator=generator, **vocabulary)
            shown = torch.where(masked.ids == tokenizer.mask_id, masked.targets, IGNORE)
            logits = (model.heads["mlm"](model.encode(masked.ids, memory=m)) for m in (None, vectors))
            nats["mlm"].append(_paired_nats(*logits, shown))
            if reads:
                logits = (model.decode(batch.ids, memory=m) for m in (None, vectors))
                nats["clm"].append(_paired_nats(*logits, batch.targets))
    return MemoryEffect(_paired(nats["mlm"]), _paired(nats["clm"]) if reads else None)


def _rows_and_memories(
    tokenizer, text: Sequence[str], lines: set[str], context: int, memory: int
) -> list[tuple[Row, list[Row]]]:
    """Each row of each of the lines in the text, and the `memory` rows before it."""

    def rows_of(line: str) -> list[Row]:
        return character_rows(tokenizer.encode_lines([line])[0], context)

    pairs = []
    for n, line in enumerate(text):
        if line in lines:
            # A line has one row at least, so this many lines are enough.
            rows = [row for earlier in text[max(0, n - memory) : n] for row in rows_of(earlier)]
            for row in rows_of(line):
                if len(rows) >= memory:
                    pairs.append((row, rows[-memory:]))
                rows.append(row)
    return pairs


def _paired_nats(without: Tensor, with_memory: Tensor, targets: Tensor) -> Tensor:
    """For each row the nats of its targets both ways, and how many there are: `(B, 3)`."""
    nats = [
        F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none").sum(1)
        for logits in (without, with_memory)
    ]
    return torch.stack([*nats, (targets != IGNORE).sum(1)], dim=1).cpu().double()


def _paired(batches: list[Tensor]) -> Paired:
    rows = torch.cat(batches)
    without, with_memory, chars = rows.sum(0).tolist()
    # The standard error of a ratio of sums over rows.
    saved = (rows[:, 0] - rows[:, 1]) - (without - with_memory) / chars * rows[:, 2]
    error = math.sqrt(len(rows) / max(1, len(rows) - 1) * float(saved.square().sum())) / chars
    return Paired(without / chars, with_memory / chars, error, int(chars), len(rows))
