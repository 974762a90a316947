"""How many bits a denoiser needs for a text, at most: bounds on -log P(text), whose parts are pure functions.

An injective code makes a text and its grids the same event, so a bound on -log P(grids) bounds -log P(text).

Letters: W windows, T tokens, N tokens asked about, n cells a token, K colours; x is clean, z is noised.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lab.data import IGNORE, Batch, by_length
from lab.diffusion.denoiser import Denoiser
from lab.diffusion.heads import SMALLEST, evidence, leave_one_out
from lab.diffusion.lines import LineLengths, asking_windows, pad_windows
from lab.diffusion.noise import Uniform
from lab.nn import evaluating
from lab.score import Score, hidden_nats
from lab.text.protocol import as_lines

POINTS = 4  # times of one set, a quarter apart: antithetic, so that a set varies little
# Where the integrand is large: 90 % of the times go there, the rest anywhere, weighed back in.
CROWDED = {"token": (0.0, 1.0), "cell": (0.6, 1.0), "uniform": (0.05, 0.75)}


def udlm_nats(log_guess: Tensor, x: Tensor, z: Tensor, alpha: Tensor) -> Tensor:
    """The uniform bound's integrand over alpha, of each cell (Schiff et al. 2024, UDLM, eq. 18): never below 0.

    log_guess `(..., K)`: log p(x | all cells but this one); x, z `(...)` colours; alpha broadcastable to `(...)`.
    Over time the weight is -alpha'.
    """
    K = log_guess.shape[-1]
    a = alpha.to(log_guess.dtype)[..., None]
    true = K * a * torch.nn.functional.one_hot(x, K) + 1 - a
    guess = K * a * log_guess.exp() + 1 - a
    at = lambda b: b.gather(-1, z[..., None])  # noqa: E731
    ratio = (at(guess) / guess * (true / at(true))).log()
    inner = K / at(guess) - K / at(true) + (true / at(true) * ratio).sum(-1, keepdim=True)
    return (inner / (K * a))[..., 0]


def d3pm_nats(log_guess: Tensor, x: Tensor, z: Tensor, noise: Uniform, s: Tensor, t: Tensor) -> Tensor:
    """KL(q(z_s | z, x) || q(z_s | z, guess)) of each cell: one step of the bound in discrete time (D3PM, eq. 1).

    Arguments as in `udlm_nats`; the network's guess stands in the place of x. At s = 0 it is -log p(x | z).
    """
    K = log_guess.shape[-1]
    right = noise.posterior(z, torch.nn.functional.one_hot(x, K).to(log_guess), s, t)
    guess = noise.posterior(z, log_guess.exp(), s, t)
    return (torch.xlogy(right, right) - torch.xlogy(right, guess.clamp_min(SMALLEST))).sum(-1)


def revealed_nats(logits: Tensor, fits: Tensor) -> Tensor:
    """-log p(the cells revealed in one step): logits of words `(..., V)`, and which still fit after it, `(..., V)`.

    The joint form: valid for a finite number of steps, each with the cells that it reveals, and equal to -log p(word)
    where it reveals all of them. It is not to be weighed by 1/t: that can fall below the entropy.
    """
    return logits.logsumexp(-1) - logits.masked_fill(~fits, -torch.inf).logsumexp(-1)


@torch.inference_mode()
def score_bound(
    model: Denoiser,
    tokenizer,
    lines: Sequence[str],
    lengths: LineLengths,
    *,
    steps: int | None = None,
    draws: int = 16,
    generator: torch.Generator | None = None,
    batch_size: int = 64,
) -> Score:
    """At most how many bits a character: of exactly the tokens of `lab.score.score_lines`, each line alone.

    What `<unk>` hides is paid for as there, a line's length by `lengths`, then `<s>` and `</s>` are given (see
    `lab.diffusion.lines`); longer lines are read in overlapping windows, each token predicted once. `steps` None:
    continuous time. `steps` T: the bound of the sampler in T steps; under absorbing noise it draws all revealed cells
    of a token together, which costs less than single cells. Each line has `draws` noisings in sets of 4 times a quarter
    apart; the standard error is that of the noise alone, from the differences between the sets. The model is left in
    the mode it was in.

    Raises ValueError for no lines, and for fewer than 16 draws or not a multiple of 4.
    """
    if not as_lines("lines", lines):
        raise ValueError("no lines to score: pass at least one")
    if draws < 16 or draws % POINTS:
        raise ValueError(f"draws must be at least 16 and a multiple of {POINTS}, got {draws!r}")
    encoded = tokenizer.encode_lines(lines)
    nats, variance, sets = hidden_nats(tokenizer, lines, encoded), 0.0, draws // POINTS
    for ids in encoded:
        nats += lengths.nats(len(ids) - 2)
    windows = asking_windows(encoded, model.config.context)
    device = next(model.parameters()).device
    with evaluating(model):
        for group in by_length([len(ids) for ids, _ in windows], rows=batch_size):
            batch = pad_windows([windows[n] for n in group], tokenizer.pad_id or 0).to(device)
            found = torch.zeros(len(batch.ids), sets, dtype=torch.float64)
            for drawn in range(sets):
                first = torch.rand(len(batch.ids), generator=generator, dtype=torch.float64) / POINTS
                for point in range(POINTS):
                    quantile = first + point / POINTS
                    nats_now = noised_nats(model, batch, quantile, steps, generator)
                    found[:, drawn] += nats_now.cpu() / POINTS
            nats += float(found.mean(1).sum())
            variance += float(found.var(1).sum()) / sets
    chars, tokens = sum(len(line) + 1 for line in lines), sum(len(ids) - 1 for ids in encoded)
    return Score(nats, chars, tokens, math.sqrt(variance) / (math.log(2) * chars), is_bound=True)


def noised_nats(
    model: Denoiser,
    batch: Batch,
    quantile: Tensor,
    steps: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One noising of each line: float64 `(W,)`, whose mean over `quantile` `(W,)`, even in [0, 1), is the bound.

    Targets that are IGNORE are given, as everywhere.
    """
    noise, granularity = model.noise, model.config.granularity
    asked = batch.targets != IGNORE  # (W, T)
    clean, quantile = model.cells(batch.ids), quantile.to(batch.ids.device)
    if steps is not None:
        s, t = ((quantile * steps).floor() + after for after in (0, 1))
        return steps * _step_nats(model, batch, asked, clean, s / steps, t / steps, generator)
    if noise.kind == "uniform":
        alpha, density = _crowded(quantile, *CROWDED["uniform"])
        shown = noise.corrupt(clean, noise.time(alpha), generator, keep=~asked)
        guess, each = _guess_without_itself(model, batch, shown, asked, alpha)
        nats = udlm_nats(guess, clean[asked], shown[asked], each[:, None]).sum(-1)
        return _by_line(nats, asked) / density
    share, density = _crowded(quantile, *CROWDED[granularity])
    shown, share = _blank_share(clean, asked, share, noise.blank, granularity, generator)
    where = (shown == noise.blank).any(-1)
    logits = _answers(model, batch, shown, where, asked, 1 - share)
    if granularity == "token" and model.config.head == "codebook":
        nats = -logits.log_softmax(-1).gather(-1, batch.ids[where][:, None])[:, 0]
    else:
        nats = _nats_of_cells(model, logits, clean[where], shown[where] == noise.blank)
    return _by_line(nats, where) / share / density


def _step_nats(model: Denoiser, batch, asked, clean, s, t, generator) -> Tensor:
    """What the step from t back to s costs each line, all its cells together: `(W,)`."""
    noise, granularity = model.noise, model.config.granularity
    shown = noise.corrupt(clean, t, generator, granularity=granularity, keep=~asked)
    if noise.kind == "uniform":
        guess, _ = _guess_without_itself(model, batch, shown, asked, noise.alpha(t))
        before, after = (time[:, None].expand(asked.shape)[asked][:, None] for time in (s, t))
        return _by_line(d3pm_nats(guess, clean[asked], shown[asked], noise, before, after).sum(-1), asked)
    stay = (1 - noise.alpha(s)) / (1 - noise.alpha(t))
    units = (*asked.shape, 1 if granularity == "token" else clean.shape[2])
    drawn = torch.rand(units, generator=generator, dtype=torch.float64).to(clean.device)
    revealed = (shown == noise.blank) & (drawn >= stay[:, None, None])
    where = revealed.any(-1)
    logits = _answers(model, batch, shown, where, asked, noise.alpha(t))
    after = torch.where(revealed, clean, shown)[where]
    if model.config.head == "codebook":
        return _by_line(revealed_nats(logits, evidence(after, model.one_hot, None) == 0), where)
    return _by_line(_nats_of_cells(model, logits, clean[where], revealed[where]), where)


def _blank_share(clean, asked, share, blank, granularity, generator) -> tuple[Tensor, Tensor]:
    """Blank about a `share` of what is asked for, at least one: the cells, and the share that it came to, `(W,)`.

    Not each by chance, but just k of N at random: weighed by N / k, the average over k = 1..N is the integral over time
    of what chance would give (that of m^(k-1) (1-m)^(N-k) is 1 / (k C(N, k))), and its variance stays finite.
    """
    W, T, n = clean.shape
    units = n if granularity == "cell" else 1
    order = torch.rand(W, T, units, generator=generator).to(clean.device)
    order = order.masked_fill(~asked[..., None], 2.0).flatten(1).argsort(-1).argsort(-1).view(W, T, units)
    total = asked.sum(-1) * units
    k = (share * total).floor().long().add(1).minimum(total)
    lost = order < k[:, None, None]
    return clean.masked_fill(lost, blank), k / total.clamp_min(1).double()


def _answers(model, batch, shown, where, asked, alpha) -> Tensor:
    """The model's logits for the tokens `where`, float64."""
    alpha = alpha.to(next(model.parameters()).dtype)
    return model(shown, alpha=alpha, given=~asked, document_ids=batch.document_ids, where=where).double()


def _guess_without_itself(model, batch, shown, asked, alpha) -> tuple[Tensor, Tensor]:
    """log p(x_j | all cells but j) `(N, n, K)` of what is asked, and alpha at each token `(N,)`."""
    marginals = model.cell_log_marginals(_answers(model, batch, shown, asked, asked, alpha))
    each = alpha[:, None].expand(asked.shape)[asked]
    return leave_one_out(marginals, shown[asked], each), each


def _nats_of_cells(model, logits: Tensor, clean: Tensor, which: Tensor) -> Tensor:
    """-log p of the right colours of the cells `which` `(N, n)`, each by itself: `(N,)`."""
    log_p = model.cell_log_marginals(logits).gather(-1, clean[..., None])[..., 0]
    return -(log_p * which).sum(-1)


def _by_line(nats: Tensor, where: Tensor) -> Tensor:
    """The nats of the tokens `where` `(W, T)`, summed over each line: `(W,)`."""
    lines = torch.arange(len(where), device=where.device)[:, None].expand(where.shape)[where]
    return nats.new_zeros(len(where)).index_add(0, lines, nats)


def _crowded(quantile: Tensor, low: float, high: float, share: float = 0.9) -> tuple[Tensor, Tensor]:
    """From quantiles to values in (0, 1), `share` of them in low..high and the rest anywhere; and their density."""
    rest = 1 - share
    inside = share / (high - low) + rest
    before, upto = rest * low, rest * low + inside * (high - low)  # quantiles of low and of high
    value = torch.where(quantile < before, quantile / rest, low + (quantile - before) / inside)
    value = torch.where(quantile >= upto, high + (quantile - upto) / rest, value)
    density = torch.where((quantile < before) | (quantile >= upto), rest, inside)
    return value.clamp(1e-6, 1 - 1e-6), density
