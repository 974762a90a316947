"""What a denoiser is trained on: lines are noised, and it says what was there.

Letters: B lines, T tokens, N tokens asked about, V words, n cells a token, K colours.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.data import IGNORE, Batch
from lab.diffusion.bound import udlm_nats
from lab.diffusion.denoiser import Denoiser
from lab.diffusion.heads import leave_one_out
from lab.train import Loss

Weights, Times = Literal["mean", "bound"], Literal["uniform", "informative"]
# Where a token is neither certain nor hopeless, in alpha; 90 % of informative times lie there.
INFORMATIVE = {"absorbing": (0.0, 0.4), "uniform": (0.05, 0.75)}
SHARE = 0.9


def diffusion_loss(
    model: Denoiser,
    batch: Batch,
    generator: torch.Generator,
    *,
    weights: Weights = "mean",
    times: Times = "uniform",
    least: float = 0.05,
    clamp: float = 0.5,
) -> Loss:
    """What it costs the denoiser to say what was there, once the ids of the batch are noised with this generator.

    Ids are the clean text; where the target is IGNORE they are given, so never noised. `clamp` of the lines have a
    random span given as well, as a prompt would be.

    weights      "mean": the cross-entropy of what was there, summed over the tokens that were noised, counting these:
                 it varies least, so it learns fastest. "bound": the integrand of the bound, whose expectation over
                 `times` is the bound in nats (save what lies below `least`), counting all tokens that are not given
    times        "uniform" from `least` to 1, one time a line, spread evenly over the lines; "informative": 90 % of
                 them where a token is neither certain nor hopeless, weighed back in under "bound"
    """
    noise, granularity = model.noise, model.config.granularity
    asked = batch.targets != IGNORE  # (B, T)
    if clamp:
        left = asked & ~random_spans(*batch.ids.shape, clamp, generator).to(asked.device)
        asked = torch.where(left.any(-1, keepdim=True), left, asked)  # something is asked of each line
    t, density = _times(len(batch.ids), noise, times, least, generator)
    t, density = t.to(batch.ids.device), density.to(batch.ids.device)
    clean = model.cells(batch.ids)  # (B, T, n)
    shown = noise.corrupt(clean, t, generator, granularity=granularity, keep=~asked)
    where = asked if noise.kind == "uniform" else (shown == noise.blank).any(-1)
    alpha = noise.alpha(t).to(torch.get_default_dtype())  # (B,)
    if not where.any():  # a small batch that chance left whole: certain answers, but a count
        where = asked
    logits = model(shown, alpha=alpha, given=~asked, document_ids=batch.document_ids, where=where)  # (N, ...)
    if weights == "mean":
        return Loss(_cross_entropy(model, logits, batch.ids[where], clean[where]), int(where.sum()))
    weight = (-noise.slope(t) / density).to(logits.dtype)[:, None].expand(asked.shape)[where]  # (N,)
    each = alpha[:, None].expand(asked.shape)[where]
    if noise.kind == "uniform":
        marginals = leave_one_out(model.cell_log_marginals(logits), shown[where], each)
        nats = udlm_nats(marginals, clean[where], shown[where], each[:, None]).sum(-1)
    elif granularity == "token" and model.config.head == "codebook":
        nats = F.cross_entropy(logits, batch.ids[where], reduction="none") / (1 - each)
    else:  # per cell: the cross-entropy of a whole token under these weights would be no bound
        marginals = model.cell_log_marginals(logits).gather(-1, clean[where][..., None])[..., 0]
        nats = -(marginals * (shown[where] == noise.blank)).sum(-1) / (1 - each)
    return Loss((nats * weight).sum(), int(asked.sum()))


def random_spans(B: int, T: int, share: float, generator: torch.Generator | None = None) -> Tensor:
    """One span between two random places in about `share` of the lines, bool `(B, T)`; none in the others."""
    ends = torch.rand(B, 2, generator=generator).mul(T + 1).long().sort(dim=-1).values
    has = torch.rand(B, generator=generator) < share
    place = torch.arange(T)
    return (place >= ends[:, :1]) & (place < ends[:, 1:]) & has[:, None]


def _times(B: int, noise, times: Times, least: float, generator) -> tuple[Tensor, Tensor]:
    """A time for each line and the density it was drawn with, float64 `(B,)`."""
    even = (
        torch.randperm(B, generator=generator) + torch.rand(1, generator=generator, dtype=torch.float64)
    ) / B
    if times == "uniform":
        return least + (1 - least) * even, torch.full((B,), 1 / (1 - least), dtype=torch.float64)
    low, high = INFORMATIVE[noise.kind]
    highest = float(noise.alpha(least))
    inside = torch.rand(B, generator=generator) < SHARE
    alpha = torch.where(inside, low + (min(high, highest) - low) * even, highest * even)
    t = noise.time(alpha)
    by_alpha = SHARE / (min(high, highest) - low) * ((alpha >= low) & (alpha <= high)) + (1 - SHARE) / highest
    return t, by_alpha * -noise.slope(t)


def _cross_entropy(model: Denoiser, logits: Tensor, ids: Tensor, clean: Tensor) -> Tensor:
    """Of the words, or of the colours of all cells (what is visible costs nothing)."""
    if model.config.head == "codebook":
        return F.cross_entropy(logits, ids, reduction="sum")
    return F.cross_entropy(logits.flatten(0, 1), clean.flatten(), reduction="sum")
