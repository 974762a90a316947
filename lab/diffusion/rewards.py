"""What a written line is worth: do its grids decode, would a frozen model have said it, does it repeat itself.

Letters: B lines, T tokens, n cells a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lab.diffusion.codebook import Codebook
from lab.score import token_logprobs


@dataclass(frozen=True)
class Judge:
    """A frozen autoregressive model that says how likely a text is: its mean log-probability in nats a token.

    What it says is clipped to what it says of real lines, `low` to `high`: a text that is likelier than nearly all real
    ones is dull rather than good, and how far one lies below nearly all of them is noise.
    """

    model: nn.Module
    low: float
    high: float

    @classmethod
    def of(cls, model: nn.Module, lines: Sequence[Sequence[int]]) -> "Judge":
        """With the 5th and 95th percentile of these lines, `<s>` to `</s>`, one token at least between."""
        told = token_logprobs(model, [ids[:-1] for ids in lines])
        means = [log_p.mean() for log_p in told if len(log_p)]
        if not means:
            raise ValueError("no lines to judge by: pass some with a token between <s> and </s>")
        low, high = torch.stack(means).quantile(torch.tensor([0.05, 0.95], dtype=torch.float64)).tolist()
        return cls(model, low, high)

    def log_probability(self, ids: Tensor, written: Tensor) -> Tensor:
        """Of lines ids `(B, T)`, the mean over the tokens `written` `(B, T)`: float64 `(B,)`, not clipped.

        A line's first token has none before it and does not count; a line in which none counts gets 0.
        """
        log_p = torch.stack(token_logprobs(self.model, ids.tolist())).to(ids.device)  # (B, T - 1)
        counts = written[:, 1:]
        return (log_p * counts).sum(-1) / counts.sum(-1).clamp_min(1)


class Rewards(NamedTuple):
    """What lines are worth, and the parts of it before their weights: each float64 `(B,)`."""

    total: Tensor
    hit_rate: Tensor
    distance: Tensor
    fluency: Tensor
    repetition: Tensor


@dataclass(frozen=True)
class Reward:
    """What a finished line is worth: hit rate - distance + fluency - repetition, the last three times their weights.

    hit_rate    the share of the written grids that are words
    distance    wrong cells to the nearest word, mean over the written grids, over the codebook's minimum distance
    fluency     what the judge says, clipped, each grid read as its nearest word; 0 without a judge
    repetition  the share of the pairs of neighbours (of nearest words) that the line had before

    Called with cells `(B, T, n)` and which tokens were `given`, bool `(B, T)`.

    >>> book = Codebook(torch.tensor([[0, 0], [1, 1]]), num_colours=2)
    >>> cells = torch.tensor([[[1, 1], [0, 1]]])  # a word, and a grid one cell away from one; words are 2 apart
    >>> Reward(book)(cells, given=torch.tensor([[False, False]])).total.tolist()  # 1/2 - 0.5 * 1/4
    [0.375]

    Raises ValueError for a line in which everything was given.
    """

    codebook: Codebook
    judge: Judge | None = None
    distance: float = 0.5
    fluency: float = 1.0
    repetition: float = 1.0

    @cached_property
    def minimum_distance(self) -> int:
        return self.codebook.minimum_distance()

    def __call__(self, cells: Tensor, given: Tensor) -> Rewards:
        written = ~given
        if not written.any(-1).all():
            raise ValueError(
                "a line in which everything is given cannot be rewarded: leave a place to write at"
            )
        nearest = self.codebook.nearest(cells)
        mean = lambda x: (x.double() * written).sum(-1) / written.sum(-1)  # noqa: E731
        hit_rate = mean(nearest.distances == 0)
        distance = mean(nearest.distances) / self.minimum_distance
        repetition = hit_rate.new_tensor([repeated_share(ids, 2) for ids in nearest.ids.tolist()])
        fluency = torch.zeros_like(hit_rate)
        if self.judge is not None:
            said = self.judge.log_probability(nearest.ids, written)
            fluency = said.clamp(self.judge.low, self.judge.high)
        total = hit_rate - self.distance * distance + self.fluency * fluency - self.repetition * repetition
        return Rewards(total, hit_rate, distance, fluency, repetition)


def repeated_share(ids: Sequence[int], n: int) -> float:
    """The share of a line's n-grams that it had before (Welleck et al. 2020, seq-rep-n).

    >>> repeated_share([1, 2, 1, 2, 1], 2)
    0.5
    """
    grams = n_grams(ids, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def n_grams(ids: Sequence[int], n: int) -> list[tuple[int, ...]]:
    """All runs of n neighbours, in order."""
    return [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
