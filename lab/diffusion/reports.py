"""What tuning changed, beside what costs nothing: projection, a joint reveal, more steps, the best of several.

All of these write with the same factorised model and differ only in how its answers are used.

Letters: B lines, T tokens, N tokens picked from them, n cells a token, K colours, V words.
"""

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lab.diffusion.denoiser import Denoiser
from lab.diffusion.heads import SMALLEST, evidence
from lab.diffusion.rewards import Judge, Reward, n_grams
from lab.diffusion.sampler import BLANK, denoise
from lab.diffusion.tuning import check_policy, write_apart
from lab.score import token_logprobs

Way = Literal["independent", "projected", "joint", "best of 8"]
WAYS = get_args(Way)
CANDIDATES = 8


@dataclass(frozen=True)
class Written:
    """Lines of ids, and means over what was written: `hit_rate` and `distance` as in `Reward`, and `reward`."""

    lines: list[list[int]]
    hit_rate: float
    distance: float
    reward: float


def write(
    model: Denoiser,
    prompts: Sequence[Tensor],
    way: Way,
    *,
    steps: int,
    reward: Reward,
    generator: torch.Generator,
) -> Written:
    """A line for each row of each of `prompts`, canvases `(B, T)` with -1 where to write.

    independent  each cell drawn by itself, as tuning has it; a grid that is no word is left out of the line
    projected    the same, and then each grid is replaced by its nearest word
    joint        words drawn in proportion to the product of their cells, see `words_head`
    best of 8    eight independent lines, of which the one with the highest reward is kept

    Raises ValueError for another way, a model that cannot be tuned, and steps below 1.
    """
    check_policy(model.config)
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}; got {way!r}")
    lines, found = [], []
    for board in prompts:
        board = board.to(model.patterns.device)
        cells, given = _written(model, board, way, steps, reward, generator), board != BLANK
        rewards = reward(cells, given)
        found.append(torch.stack([rewards.hit_rate, rewards.distance, rewards.total]))
        lines += [[token for token in row if token >= 0] for row in model.ids(cells).tolist()]
    return Written(lines, *torch.cat(found, dim=1).mean(1).tolist())


def _written(model: Denoiser, board: Tensor, way: Way, steps: int, reward: Reward, generator) -> Tensor:
    """The finished cells `(B, T, n)` of one canvas."""
    if way == "joint":
        return denoise(words_head(model), board, steps=steps, generator=generator).cells[-1].clone()
    if way != "best of 8":
        cells = write_apart(model, board, steps=steps, generator=generator).cells[-1]
        return reward.codebook.encode(reward.codebook.decode(cells)) if way == "projected" else cells
    board = board.repeat_interleave(CANDIDATES, dim=0)
    cells = write_apart(model, board, steps=steps, generator=generator).cells[-1]
    best = reward(cells, board != BLANK).total.view(-1, CANDIDATES).argmax(1)
    return cells.unflatten(0, (-1, CANDIDATES))[torch.arange(len(best)), best]


class WordsOfCells(nn.Module):
    """A factorised head read as a head of words: a word is as likely as its cells together, and must fit what shows."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, x: Tensor, cells: Tensor, patterns: Tensor, alpha: Tensor | None) -> Tensor:
        """x `(N, C)`, cells `(N, n)`, patterns one-hot `(V, n, K)` -> logits `(N, V)`."""
        log_p = self.head(x, cells, patterns, alpha).double().log_softmax(-1)
        log_p = log_p.clamp_min(math.log(SMALLEST)).flatten(1)  # -inf times 0 is no number
        return log_p @ patterns.double().flatten(1).T + evidence(cells, patterns, alpha)


def words_head(model: Denoiser) -> Denoiser:
    """The same factorised network, sharing its weights, as one that draws words: p(w) ~ the product of its cells.

    With it `denoise(..., reveal="joint")` always ends on words.
    """
    words = copy.copy(model)
    words._modules = dict(model._modules)  # a shallow copy shares this dict with the original
    words.head = WordsOfCells(model.head)
    words.config = replace(model.config, head="codebook")
    return words


@dataclass(frozen=True)
class TextReport:
    """Of a text: `tokens`; what an autoregressive model needs in nats a token, None without one; entropy in bits.

    `distinct_2` is the share of different pairs among all pairs (Li et al. 2016), `repeated_4` the share of 4-grams
    that their line had before. Entropy and distinct_2 depend on how long a text is: compare equal numbers of tokens.
    """

    tokens: int
    nats_per_token: float | None
    unigram_entropy: float
    distinct_2: float
    repeated_4: float


def text_report(lines: Sequence[Sequence[int]], judge: Judge | None = None) -> TextReport:
    """Of lines `<s>` to `</s>`; these two are not counted.

    A text of no tokens, as when no grid decoded, has no entropy and the like: they are NaN.
    """
    texts = [list(ids[1:-1]) for ids in lines]
    counts = Counter(token for text in texts for token in text)
    if not (tokens := counts.total()):
        return TextReport(0, None if judge is None else math.nan, math.nan, math.nan, math.nan)
    nats = None
    if judge is not None:
        nats = -float(torch.cat(token_logprobs(judge.model, [ids[:-1] for ids in lines])).sum()) / tokens
    pairs = [pair for text in texts for pair in n_grams(text, 2)]
    fours = [n_grams(text, 4) for text in texts]
    return TextReport(
        tokens,
        nats,
        unigram_entropy=sum(n / tokens * math.log2(tokens / n) for n in counts.values()),
        distinct_2=len(set(pairs)) / max(1, len(pairs)),
        repeated_4=sum(len(grams) - len(set(grams)) for grams in fours) / max(1, sum(map(len, fours))),
    )


def compare(
    models: Mapping[str, Denoiser],
    prompts: Sequence[Tensor],
    reward: Reward,
    *,
    steps: Sequence[int] = (4, 8, 16, 32, 64),
    ways: Sequence[str] = WAYS,
    data: Sequence[Sequence[int]] = (),
    seed: int = 0,
) -> list[dict]:
    """A row for each model, way and number of steps, for `pandas.DataFrame`: what was written, and what it cost.

    `passes`: how often the network read a line for it. With `data`, lines `<s>` to `</s>`, a first row reports on as
    many of them as make up the tokens to be written. Prompts as in `write`; they begin with `<s>` and end with `</s>`.
    """
    rows = []
    if data:
        needed, some = sum(int((board == BLANK).sum()) for board in prompts), []
        for ids in data:
            if sum(len(line) - 2 for line in some) >= needed:
                break
            some.append(ids)
        rows.append(
            {"model": "data", "way": "", "steps": 0, "passes": 0} | asdict(text_report(some, reward.judge))
        )
    for (name, model), way, count in product(models.items(), ways, steps):
        generator = torch.Generator().manual_seed(seed)
        done = write(model, prompts, way, steps=count, reward=reward, generator=generator)
        passes = count * (CANDIDATES if way == "best of 8" else 1)
        row = {"model": name, "way": way, "steps": count, "passes": passes}
        row |= {"hit_rate": done.hit_rate, "distance": done.distance, "reward": done.reward}
        rows.append(row | asdict(text_report(done.lines, reward.judge)))
    return rows
