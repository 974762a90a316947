"""Tuning by reinforcement: a denoiser that draws each cell by itself learns to land on words, and on likely ones.

Lines are written, each is worth something, and the policy's gradient makes the better ones likelier; an exact KL to the
frozen model, and the bound on data, hold it near where it began. One step on the policy that wrote, then write anew.

Letters: P prompts, S samples of each, B = P S lines, T tokens, n cells a token, K colours; t goes down to s.
"""

from itertools import pairwise

import torch
from torch import Tensor

from lab.diffusion.denoiser import Denoiser, DenoiserConfig
from lab.diffusion.lines import LineLengths
from lab.diffusion.sampler import Trajectory, canvas, denoise


def line_prompt(
    lengths: LineLengths, rows: int, context: int, generator: torch.Generator, start: int = 2, stop: int = 3
) -> Tensor:
    """A canvas `(rows, T)`: `<s>`, a drawn number of places to write at (one at least), `</s>`."""
    length = 0
    while not length:
        length = lengths.draw(generator, longest=min(context - 2, len(lengths.counts) - 1))
    return canvas(length + 2, prefix=[start], suffix=[stop]).expand(rows, -1)


def write_apart(model: Denoiser, board: Tensor, *, steps: int, generator) -> Trajectory:
    """Lines on the canvas `board` `(B, T)`, each cell drawn by itself: the policy that is tuned."""
    path = denoise(model, board, steps=steps, reveal="independent", generator=generator)
    return Trajectory(path.cells.clone(), path.ids.clone(), path.times)  # of which gradients may be taken


def advantages(rewards: Tensor) -> Tensor:
    """Rewards `(P, S)` less the mean of the other samples of the same prompt (Kool et al. 2019): unbiased.

    >>> advantages(torch.tensor([[1.0, 0.0, 2.0]])).tolist()
    [[0.0, -1.5, 1.5]]
    """
    S = rewards.shape[1]
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / (S - 1)


def cell_log_probabilities(model: Denoiser, cells: Tensor, t: Tensor, given: Tensor) -> Tensor:
    """log p(x_j | z_t) of each cell of the lines z_t `(B, T, n)` at time t: float64 `(B, T, n, K)`."""
    alpha = model.noise.alpha(t).to(cells.device, next(model.parameters()).dtype).expand(len(cells))
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


def policy_gradient(
    model: Denoiser, reference: Denoiser, path: Trajectory, given: Tensor, better: Tensor, kl_weight: float
) -> float:
    """Add to the gradients those of -mean(better * log pi(path)) + `kl_weight` * KL; gives the KL, in nats a token.

    `better` `(B,)`: the advantage of each line. One step of the path at a time is held in memory.
    """
    noise, tokens, total = model.noise, float((~given).sum()), 0.0
    for (t, s), (before, after) in zip(pairwise(path.times), pairwise(path.cells), strict=True):
        t, s = (torch.tensor(time, dtype=torch.float64) for time in (t, s))
        log_p = cell_log_probabilities(model, before, t, given)
        with torch.no_grad():
            log_reference = cell_log_probabilities(reference, before, t, given)
        share = float((noise.alpha(s) - noise.alpha(t)) / (1 - noise.alpha(t)))
        kl = blank_kl(log_p, log_reference, before, noise.blank, share).sum() / tokens
        gain = (better * revealed_log_probability(log_p, before, after, noise.blank)).mean()
        if log_p.requires_grad:
            (kl_weight * kl - gain).backward()
        total += kl.item()
    return total


def check_policy(config: DenoiserConfig) -> None:
    """ValueError unless cells are drawn independently from blanks, as tuning needs it."""
    if config.head != "factorised":
        raise ValueError(
            f"there is nothing to tune with head={config.head!r}: it draws whole words, and this joint reveal always "
            "decodes; tuning is for head='factorised', whose cells are drawn independently"
        )
    if config.noise != "absorbing":
        raise ValueError(f"tuning counts revealed cells: noise must be 'absorbing', got {config.noise!r}")
    if config.granularity != "cell":
        raise ValueError(f"tuning reveals cells: granularity must be 'cell', got {config.granularity!r}")
