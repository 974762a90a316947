"""What a language model says of lines of text: the log-probability of each token, and bits a character."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.data import IGNORE, Batch, by_length, pad_pairs
from lab.nn import evaluating
from lab.score.hidden import hidden_nats
from lab.text.protocol import as_lines


@dataclass(frozen=True)
class Score:
    """How well a model predicts some lines. `nats` is -log P of all of them, `<s>` given, `</s>` included.

    Per character, so that models with different tokenizers can be compared; each line's newline counts, and what
    `<unk>` hides is paid for (`lab.score.hidden`).

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

    def course_perplexity(self, lines: int) -> float:
        """The perplexity a character that some courses report, such as CMU's 11-785, of a score over so many lines.

        It is exp(nats a token / characters a token), where `</s>` is a token in the first and neither it nor the
        newline counts in the second. Where tokens are characters it is `char_perplexity`; the longer
        tokens are, the lower it is for the same nats, so tokenizers cannot be compared by it.

        >>> score = Score(nats=math.log(2) * 30, chars=20, tokens=8)
        >>> score.course_perplexity(lines=2) == math.exp(score.nats / 8 / (18 / 6))
        True
        """
        return math.exp(self.nats / self.tokens * (self.tokens - lines) / (self.chars - lines))

    def columns(self) -> dict[str, float]:
        """As the columns of a table of runs: `bits_per_char` and what it is made of."""
        return {"bits_per_char": self.bits_per_char} | {
            name: value for name, value in asdict(self).items() if value is not None and value is not False
        }

    @classmethod
    def of_columns(cls, columns: Mapping[str, float]) -> "Score | None":
        """The score that `columns` gave, whatever else there is; None where there is none."""
        own = {field.name: columns[field.name] for field in fields(cls) if field.name in columns}
        return cls(**own) if "nats" in own else None

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
def token_logprobs(
    model: nn.Module, lines: Sequence[Sequence[int]], *, batch_size: int = 64, context: int | None = None
) -> list[Tensor]:
    """log P of each token but the first, given those before it: float64 `(length - 1,)` on the CPU for each line.

    `lines` are token ids; a line longer than `context`, by default the model's own, is read in overlapping windows
    (see `scoring_windows`), `batch_size` windows at once. The model is left in the mode it was in.

    >>> token_logprobs(model, [[2, 7, 8, 3]])  # doctest: +SKIP
    [tensor([-3.2189, -0.9163, -1.6094], dtype=torch.float64)]
    """
    logprobs = [torch.zeros(max(0, len(ids) - 1), dtype=torch.float64) for ids in lines]
    for windows, batch, logits in _read(model, lines, batch_size, context):
        targets = batch.targets.clamp_min(0)[..., None]
        logits = logits.cpu() if logits.device.type == "mps" else logits  # which has no float64
        rows = logits.double().log_softmax(-1).gather(-1, targets)[..., 0].cpu()  # (B, T)
        for (line, start, end, first), row in zip(windows, rows, strict=True):
            logprobs[line][first:end] = row[first - start : end - start]
    return logprobs


@torch.inference_mode()
def score_lines(
    model: nn.Module, tokenizer, lines: Sequence[str], *, batch_size: int = 64, context: int | None = None
) -> Score:
    """Score every token of every line exactly once, each line alone: `<s>` is given, `</s>` is predicted.

    To their nats are added those of what `<unk>` hides, see `hidden_nats`: a vocabulary gains nothing by leaving words
    out. `context` is the most tokens fed at once, by default the model's own; a longer line is read in overlapping
    windows. The model is left in the mode (training or evaluation) it was in.

    Raises ValueError when there are no lines.
    """
    if not as_lines("lines", lines):
        raise ValueError("no lines to score: pass at least one")
    encoded = tokenizer.encode_lines(lines)
    nats, tokens = hidden_nats(tokenizer, lines, encoded), 0
    for _, batch, logits in _read(model, encoded, batch_size, context):
        logits, targets = logits.flatten(0, 1), batch.targets.flatten()
        nats += F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum").item()
        tokens += batch.num_targets
    return Score(nats, chars=sum(len(line) + 1 for line in lines), tokens=tokens)


def _read(
    model: nn.Module, lines: Sequence[Sequence[int]], batch_size: int, context: int | None
) -> Iterator[tuple[list[tuple[int, int, int, int]], Batch, Tensor]]:
    """All windows of the lines, those of like length together: `(line, start, end, first)` each, batch and logits.

    Rows are padded on the right by id 0, which under a causal mask nothing real can see; whatever another window
    scores is IGNOREd among the targets.
    """
    windows = [
        (line, *window)
        for line, ids in enumerate(lines)
        if len(ids) > 1
        for window in scoring_windows(len(ids) - 1, context or model.config.context)
    ]
    device = next(model.parameters()).device
    with evaluating(model):
        for group in by_length([end - start for _, start, end, _ in windows], rows=batch_size):
            some = [windows[n] for n in group]
            pairs = [
                (lines[line][start:end], [IGNORE] * (first - start) + list(lines[line][first + 1 : end + 1]))
                for line, start, end, first in some
            ]
            batch = pad_pairs(pairs).to(device)
            yield some, batch, model(batch.ids)
