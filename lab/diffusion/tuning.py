"""Tuning by reinforcement: a denoiser whose cells are drawn one by one learns to land on words, and on likely ones.

Only cells that are drawn independently can miss: a joint reveal draws words, so it always decodes. To draw is then the
policy and a noised line its state; what a finished line is worth moves the weights (REINFORCE, Williams 1992).

Letters: B lines, T tokens, n cells a token, K colours, P prompts, S samples of each; t goes down to s.
"""

import copy
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor, nn

from lab.data.batch import Batch
from lab.diffusion.codebook import Codebook
from lab.diffusion.denoiser import Denoiser
from lab.diffusion.lines import LineLengths
from lab.diffusion.losses import diffusion_loss
from lab.diffusion.noise import Absorbing
from lab.diffusion.rewards import Judge, Reward, Rewards
from lab.diffusion.sampler import BLANK, Trajectory, canvas, denoise


@dataclass(frozen=True)
class TuningConfig:
    """`steps` of the optimizer, each with `samples` lines a prompt, written in `denoising_steps`.

    What is made large: hit rate - `distance` * distance / d_min + `fluency` * clipped mean log-probability
    - `repetition` * share of repeated pairs - `kl` * KL to the frozen model - `anchor` * bound on data, the last three
    sums in nats a token. See `Reward` for the parts.

    Raises ValueError for what cannot be; the message names the field.
    """

    steps: int = 60
    denoising_steps: int = 8
    samples: int = 8
    learning_rate: float = 3e-4
    kl: float = 0.05
    anchor: float = 0.1
    distance: float = 0.5
    fluency: float = 1.0
    repetition: float = 1.0
    clip_norm: float = 1.0

    def __post_init__(self):
        for name, least in {"steps": 1, "denoising_steps": 1, "samples": 2}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                why = ", as each is compared with the others of its prompt" if name == "samples" else ""
                raise ValueError(f"{name} must be a whole number of at least {least}{why}; got {value!r}")
        for field in fields(self)[3:]:
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            positive = field.name in ("learning_rate", "clip_norm")
            if not number or value < 0 or (positive and value == 0):
                least_allowed = "a positive number" if positive else "0 or a positive number"
                raise ValueError(f"{field.name} must be {least_allowed}, got {value!r}")


def line_prompts(
    lengths: LineLengths, rows: int, context: int, generator: torch.Generator, start: int = 2, stop: int = 3
) -> Iterator[Tensor]:
    """Canvases `(rows, T)` without end: `<s>`, a drawn number of places to write at (one at least), `</s>`."""
    while True:
        if length := lengths.draw(generator, longest=min(context - 2, len(lengths.counts) - 1)):
            yield canvas(length + 2, prefix=[start], suffix=[stop]).expand(rows, -1)


def cell_log_probabilities(
    model: Denoiser, noise: Absorbing, cells: Tensor, t: Tensor, given: Tensor
) -> Tensor:
    """log p(x_j | z_t) of each cell of the lines z_t `(B, T, n)` at time t: float64 `(B, T, n, K)`."""
    alpha = noise.alpha(t).to(cells.device, next(model.parameters()).dtype).expand(len(cells))
    return model.cell_log_marginals(model(cells, alpha=alpha, given=given).double())


def revealed_log_probability(log_p: Tensor, before: Tensor, after: Tensor, blank: int) -> Tensor:
    """log pi(z_s | z_t) but for a constant: the sum of log p(x_j | z_t) over the cells just revealed, `(B,)`.

    log_p `(B, T, n, K)`; before and after `(B, T, n)`. The constant is the chance that just these cells were revealed,
    in which no weight has a part.

    >>> log_p = torch.tensor([0.25, 0.75]).log().expand(1, 1, 3, 2)
    >>> before, after = torch.tensor([[[1, 2, 2]]]), torch.tensor([[[1, 0, 2]]])  # 2 is blank, one cell is revealed
    >>> revealed_log_probability(log_p, before, after, blank=2).exp()
    tensor([0.2500])
    """
    new = (before == blank) & (after != blank)
    chosen = log_p.gather(-1, after.where(new, 0)[..., None])[..., 0]
    return chosen.where(new, 0).flatten(1).sum(-1)


def blank_kl(
    log_p: Tensor, log_reference: Tensor, before: Tensor, blank: int, share: Tensor | float
) -> Tensor:
    """KL(pi(z_s | z_t) || pi_ref(z_s | z_t)), exact: both log-probabilities `(B, T, n, K)` -> nats `(B,)`.

    A blank cell is revealed with chance `share` = (alpha_s - alpha_t) / (1 - alpha_t); only then can the two differ.
    """
    hidden = (before == blank)[..., None]  # what is visible has -inf for the colours that it is not
    log_p, log_reference = log_p.where(hidden, 0), log_reference.where(hidden, 0)
    return share * (log_p.exp() * (log_p - log_reference)).flatten(1).sum(-1)


def advantages(rewards: Tensor) -> Tensor:
    """Rewards `(P, S)` less the mean of the other samples of the same prompt (Kool et al. 2019): unbiased.

    >>> advantages(torch.tensor([[1.0, 0.0, 2.0]])).tolist()
    [[0.0, -1.5, 1.5]]
    """
    S = rewards.shape[1]
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / (S - 1)


@dataclass(frozen=True)
class TuningStep:
    """One step: means over its lines, before the weights moved. `seconds` since tuning began.

    `kl` to the frozen model and `bound` on data are in nats a token; `reward` is without these two.
    """

    step: int
    reward: float
    hit_rate: float
    distance: float
    fluency: float
    repetition: float
    kl: float
    bound: float
    grad_norm: float
    seconds: float


def tune(
    model: Denoiser,
    noise: Absorbing,
    prompts: Iterable[Tensor],
    batches: Iterable[Batch],
    config: TuningConfig,
    *,
    generator: torch.Generator,
    judge: Judge | None = None,
    reference: Denoiser | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Iterator[TuningStep]:
    """Tune `model` in place, one `TuningStep` at a time; stop any time by leaving the loop.

    Each step takes one of `prompts`, canvases `(P, T)` or `(T,)` with -1 where to write, and one of `batches`, clean
    text (not asked for when `config.anchor` is 0). The gradient of the KL is that in the states visited. `reference` is
    by default the model as it is now. Dropout stays off, so that the policy is the one that wrote.

    >>> for step in tune(model, noise, prompts, batches, TuningConfig(), generator=generator):  # doctest: +SKIP
    ...     print(step.step, step.hit_rate)

    Raises ValueError for a codebook head, noise other than absorbing, prompts with nothing to write, and prompts or
    batches that run out; FloatingPointError when a gradient is no longer finite, the weights being those before.
    """
    check_policy(model, noise)
    reference = copy.deepcopy(reference or model).eval()
    codebook = Codebook(model.patterns, model.config.num_colours)
    reward = Reward(codebook, judge, config.distance, config.fluency, config.repetition)
    nelbo = diffusion_loss(noise, generator, granularity="cell", weights="bound", times="informative")
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizer or torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
    prompts, batches, start, was_training = iter(prompts), iter(batches), time.perf_counter(), model.training
    try:
        for step in range(config.steps):
            model.eval()
            optimizer.zero_grad()
            board = _next(prompts, "prompts", step, config).to(model.patterns.device)
            board = (board[None] if board.dim() == 1 else board).repeat_interleave(config.samples, dim=0)
            given = board != BLANK
            path = write_apart(model, noise, board, steps=config.denoising_steps, generator=generator)
            rewards = reward(path.cells[-1], given)
            better = advantages(rewards.total.view(-1, config.samples)).flatten()
            kl = policy_gradient(model, reference, noise, path, given, better, config.kl)
            bound = 0.0
            if config.anchor:
                nats, count = nelbo(model, _next(batches, "batches", step, config).to(board.device))
                (config.anchor * nats / count).backward()
                bound = nats.item() / count
            grad_norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm).item()
            if not math.isfinite(grad_norm):
                raise FloatingPointError(
                    f"the norm of the gradient is {grad_norm} at step {step}: the learning_rate of "
                    f"{config.learning_rate} is too high, or the model was broken before"
                )
            optimizer.step()
            parts = {field.name: float(getattr(rewards, field.name).mean()) for field in fields(Rewards)}
            seconds = time.perf_counter() - start
            yield TuningStep(
                step, parts.pop("total"), **parts, kl=kl, bound=bound, grad_norm=grad_norm, seconds=seconds
            )
    finally:
        optimizer.zero_grad()
        model.train(was_training)


def write_apart(model: Denoiser, noise: Absorbing, board: Tensor, *, steps: int, generator) -> Trajectory:
    """Lines on the canvas `board` `(B, T)`, each cell drawn by itself: the policy that is tuned."""
    path = denoise(
        model, noise, board, steps=steps, granularity="cell", reveal="independent", generator=generator
    )
    return Trajectory(path.cells.clone(), path.ids.clone(), path.times)  # of which gradients may be taken


def policy_gradient(
    model: Denoiser,
    reference: Denoiser,
    noise: Absorbing,
    path: Trajectory,
    given: Tensor,
    better: Tensor,
    kl_weight: float,
) -> float:
    """Add to the gradients those of -mean(better * log pi(path)) + `kl_weight` * KL; gives the KL, in nats a token.

    `better` `(B,)`: the advantage of each line. One step of the path at a time is held in memory.
    """
    tokens, total = float((~given).sum()), 0.0
    for (t, s), (before, after) in zip(pairwise(path.times), pairwise(path.cells), strict=True):
        t, s = (torch.tensor(time, dtype=torch.float64) for time in (t, s))
        log_p = cell_log_probabilities(model, noise, before, t, given)
        with torch.no_grad():
            log_reference = cell_log_probabilities(reference, noise, before, t, given)
        share = float((noise.alpha(s) - noise.alpha(t)) / (1 - noise.alpha(t)))
        kl = blank_kl(log_p, log_reference, before, noise.blank, share).sum() / tokens
        gain = (better * revealed_log_probability(log_p, before, after, noise.blank)).mean()
        if log_p.requires_grad:
            (kl_weight * kl - gain).backward()
        total += kl.item()
    return total


def check_policy(model: Denoiser, noise) -> None:
    """ValueError unless cells are drawn independently from blanks, as tuning needs it."""
    if model.config.head != "factorised":
        raise ValueError(
            f"there is nothing to tune with head={model.config.head!r}: it draws whole words, and this joint reveal "
            "always decodes; tuning is for head='factorised', whose cells are drawn independently"
        )
    if noise.kind != "absorbing" or model.config.noise != "absorbing":
        raise ValueError(
            f"tuning counts the cells that a step reveals, so noise must be absorbing; the model was made for "
            f"{model.config.noise} noise and is given {noise.kind} noise"
        )


def _next(items: Iterator, name: str, step: int, config: TuningConfig):
    item = next(items, None)
    if item is None:
        raise ValueError(
            f"the {name} ran out after {step} of {config.steps} steps: give more, or fewer steps"
        )
    return item
