"""The losses of the three objectives on a batch, as a run with faults computes them, and on lines held out.

Letters: B rows, T characters, V the vocabulary.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from autopsy.curves import HeldOut
from autopsy.faults import Faults
from autopsy.levels import MASK_RATE, SPACE_RATE
from lab.chars import CharEncoder
from lab.chars.corruption import Masked, mask_characters, vocabulary_of
from lab.data import IGNORE, pad

OBJECTIVES = ("mlm", "clm", "reconstruction")


def batch_losses(
    model: CharEncoder, faults: Faults, corrupted: Masked, ids: Tensor, tokenizer
) -> dict[str, Tensor]:
    """The mean nats of each objective on `ids` `(B, T)`, of which `corrupted` is the masked form."""
    pad = tokenizer.pad_id
    out = model(
        corrupted.ids,
        causal_ids=corrupted.ids if faults.clm_reads_masked else ids,
        mask=attended(faults, ids, pad),
        heads=OBJECTIVES,
    )
    following = F.pad(ids[:, 1:], (0, 1), value=pad)
    nothing = ids == pad if faults.padding_label else following == pad
    return {
        "mlm": mean_nats(out.mlm, corrupted.targets),
        "clm": mean_nats(out.clm, following.masked_fill(nothing, IGNORE)),
        "reconstruction": mean_nats(out.reconstruction, ids.masked_fill(ids == pad, IGNORE)),
    }


@torch.inference_mode()
def measure(model: CharEncoder, faults: Faults, ids: Tensor, tokenizer, batch_size: int = 64) -> HeldOut:
    """The losses on lines `ids` `(B, T)` held out: the same masks for every variant, clean text for the decoder.

    CLM is asked for characters alone, and where the decoder may read the encoder's states, those of the clean line.
    """
    model.eval()
    generator, sums, counts = torch.Generator().manual_seed(0), dict.fromkeys(HeldOut.NAMES, 0.0), {}
    for rows in ids.split(batch_size):
        rows = trimmed(rows)
        corrupted, mask = masked(rows, tokenizer, generator), attended(faults, rows, tokenizer.pad_id)
        read = model(corrupted.ids, mask=mask, heads=("mlm", "reconstruction"))
        clm = model(rows, mask=mask, heads=("clm",)).clm
        real, chosen = rows != tokenizer.pad_id, corrupted.targets != IGNORE
        shown = chosen & (corrupted.ids == tokenizer.mask_id)
        following = F.pad(rows[:, 1:], (0, 1), value=tokenizer.pad_id)
        nats = {
            "mlm": (nats_of(read.mlm, rows), chosen),
            "mlm_accuracy": ((read.mlm.argmax(-1) == rows).float(), shown),
            "clm": (nats_of(clm, following), following != tokenizer.pad_id),
            "reconstruction": (nats_of(read.reconstruction, rows), real),
            "reconstruction_visible": (nats_of(read.reconstruction, rows), real & ~chosen),
            "reconstruction_masked": (nats_of(read.reconstruction, rows), shown),
        }
        for name, (values, where) in nats.items():
            sums[name] += values[where].sum().item()
            counts[name] = counts.get(name, 0) + int(where.sum())
    return HeldOut(**{name: sums[name] / max(1, counts[name]) for name in sums})


@torch.inference_mode()
def written_clm(model: CharEncoder, ids: Tensor) -> float:
    """CLM's loss on rows `ids` `(B, T)` without padding when nothing is there yet but what has been written.

    The encoder then reads the characters up to each alone: what a model whose decoder reads the encoder's states is
    worth when it writes. One pass a character.
    """
    model.eval()
    nats = 0.0
    for t in range(1, ids.shape[1]):
        nats += nats_of(model(ids[:, :t], heads=("clm",)).clm[:, -1], ids[:, t]).mean().item()
    return nats / (ids.shape[1] - 1)


def padded(tokenizer, lines: Sequence[str], chars: int) -> Tensor:
    """Lines cut to `chars` characters as ids `(N, T)`, padded on the right; those of one character are left out."""
    coded = [ids[:chars] for ids in tokenizer.encode_lines(lines, add_special=False) if len(ids) > 1]
    return pad(coded, tokenizer.pad_id) if coded else torch.zeros(0, 0, dtype=torch.int64)


def trimmed(rows: Tensor) -> Tensor:
    """`(B, T)` without the columns that are padding in every row. The id of padding is 0 in all our tokenizers."""
    return rows[:, : int((rows != 0).any(0).sum())]


def masked(ids: Tensor, tokenizer, generator: torch.Generator) -> Masked:
    """The line as MLM shows it, at the recorded rates."""
    vocabulary = vocabulary_of(tokenizer)
    return mask_characters(ids, rate=MASK_RATE, space_rate=SPACE_RATE, generator=generator, **vocabulary)


def attended(faults: Faults, ids: Tensor, pad_id: int) -> Tensor:
    """Which of `ids` `(B, T)` may be attended to."""
    return torch.ones_like(ids, dtype=torch.bool) if faults.padding_attended else ids != pad_id


def nats_of(logits: Tensor, targets: Tensor) -> Tensor:
    """-log P of each target: logits `(..., V)`, targets `(...)` -> `(...)`."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)


def mean_nats(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
