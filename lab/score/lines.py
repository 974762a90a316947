"""Predicting the next token: the loss, and what lines of text cost in bits a character."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.data.batch import IGNORE, Batch


def next_token_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """The summed cross-entropy of the targets in nats, and how many there are.

    A sum and a count, not a mean: batches of unequal length can then be averaged rightly.
    """
    logits = model(batch.ids, mask=batch.mask, positions=batch.positions)  # (B, T, V)
    nats = F.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    return nats, batch.num_targets


@dataclass(frozen=True)
class Score:
    """How well a model predicts some lines. `nats` is -log P of all of them, `<s>` given, `</s>` included.

    Per character, so that models with different tokenizers can be compared; each line's newline counts.

    >>> Score(nats=math.log(2) * 30, chars=20, tokens=8).bits_per_char
    1.5
    """

    nats: float
    chars: int
    tokens: int
    standard_error: float | None = None  # of bits_per_char
    is_bound: bool = False  # True: the model does at least as well as this

    @property
    def bits_per_char(self) -> float:
        return self.nats / (math.log(2) * self.chars)

    @property
    def char_perplexity(self) -> float:
        """Between how many equally likely characters the model seems to choose."""
        return 2**self.bits_per_char

    def __str__(self) -> str:
        bound = "<= " if self.is_bound else ""
        error = f" ± {self.standard_error:.3f}" if self.standard_error is not None else ""
        return f"{bound}{self.bits_per_char:.3f}{error} bits per character over {self.chars:,} characters"


def scoring_windows(length: int, context: int) -> list[tuple[int, int, int]]:
    """Windows `(start, end, first)` over `length` inputs: feed `start:end`, score the targets of `first:end`.

    Each input's target is scored exactly once; past the first window each has at least half a
    context before it.

    >>> scoring_windows(length=10, context=4)
    [(0, 4, 0), (2, 6, 4), (4, 8, 6), (6, 10, 8)]
    """
    windows = [(0, min(length, context), 0)]
    stride = max(1, context // 2)
    while windows[-1][1] < length:
        first = windows[-1][1]
        end = min(length, first + stride)
        windows.append((end - context, end, first))
    return windows


@torch.inference_mode()
def score_lines(
    model: nn.Module, tokenizer, lines: Sequence[str], *, batch_size: int = 64, context: int | None = None
) -> Score:
    """Score every token of every line exactly once, each line alone: `<s>` is given, `</s>` is predicted.

    `context` is the most tokens fed at once, by default the model's own. A longer line is read in overlapping
    windows. The model is left in the mode (training or evaluation) it was in.

    Raises ValueError when there are no lines.
    """
    if not lines:
        raise ValueError("no lines to score: pass at least one")
    context = context or model.config.context
    windows = []  # (ids, targets) of one window each, targets IGNOREd where another window scores them
    for ids in tokenizer.encode_lines(lines):
        inputs, targets = ids[:-1], ids[1:]
        for start, end, first in scoring_windows(len(inputs), context):
            windows.append((inputs[start:end], [IGNORE] * (first - start) + targets[first:end]))
    windows.sort(key=lambda window: len(window[0]))  # rows of like length: little padding
    was_training, nats, tokens = model.training, 0.0, 0
    model.eval()
    device = next(model.parameters()).device
    for i in range(0, len(windows), batch_size):
        batch = _pad(windows[i : i + batch_size], tokenizer.pad_id or 0).to(device)
        batch_nats, count = next_token_loss(model, batch)
        nats, tokens = nats + batch_nats.item(), tokens + count
    model.train(was_training)
    return Score(nats, chars=sum(len(line) + 1 for line in lines), tokens=tokens)


def _pad(windows: list[tuple[list[int], list[int]]], pad_id: int) -> Batch:
    """Rows padded on the right: under a causal mask nothing real can see the padding."""
    T = max(len(ids) for ids, _ in windows)
    ids = torch.tensor([ids + [pad_id] * (T - len(ids)) for ids, _ in windows])
    targets = torch.tensor([targets + [IGNORE] * (T - len(targets)) for _, targets in windows])
    return Batch(ids, targets)
