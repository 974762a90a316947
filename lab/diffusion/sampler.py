"""Writing with a denoiser: from noise to a line, all of its places at once, in as many steps as one likes.

Letters: B lines, T tokens, N tokens that are still noised, V words, n cells a token, K colours; t goes down to s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from lab.decode import Sampling
from lab.diffusion.denoiser import Denoiser
from lab.diffusion.heads import leave_one_out
from lab.diffusion.noise import Absorbing
from lab.nn import evaluating

BLANK = -1  # in a canvas: a place to write at; in what comes out: a grid that is no word
Method, Reveal = Literal["ancestral", "confidence", "remasking"], Literal["joint", "independent"]
METHODS, REVEALS = get_args(Method), get_args(Reveal)


@dataclass(frozen=True)
class Trajectory:
    """How lines came about. `cells` int64 `(steps + 1, B, T, n)`: the grids before the first step and after each.

    `ids` int64 `(B, T)`: the words at the end, -1 for a grid that is none (the independent reveal only). `times`: when
    each stage stood, from 1 to 0.
    """

    cells: Tensor
    ids: Tensor
    times: tuple[float, ...]


def canvas(length: int, *, prefix: Sequence[int] = (), suffix: Sequence[int] = ()) -> Tensor:
    """A line of `length` places, int64 `(length,)`: what is given at both ends, and -1 where to write.

    >>> canvas(5, prefix=[2, 40], suffix=[3]).tolist()
    [2, 40, -1, -1, 3]

    Raises ValueError when the ids do not fit into the line.
    """
    free = length - len(prefix) - len(suffix)
    if free < 0:
        raise ValueError(f"{len(prefix)} and {len(suffix)} ids do not fit into a line of length {length}")
    return torch.tensor([*prefix, *[BLANK] * free, *suffix], dtype=torch.int64)


@torch.inference_mode()
def denoise(
    model: Denoiser,
    canvas: Tensor,
    *,
    steps: int,
    method: Method = "ancestral",
    reveal: Reveal | None = None,
    sampling: Sampling | None = None,
    remask: float = 0.5,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """Write at the places of `canvas` `(T,)` or `(B, T)` that are -1; all others are given and never change.

    method       "ancestral": each blank is filled by chance, as the noise says (MDLM, eq. 7; D3PM for uniform noise);
                 "confidence": the surest tokens first, as many a step as ancestral would (MaskGIT, Chang et al. 2022);
                 "remasking": ancestral, but whole tokens turn blank again with `remask` times the largest chance that
                 leaves the marginals as they are, min(1, (1 - alpha_s) / alpha_t) (ReMDM, Wang et al. 2025)
    reveal       "joint", wherever the head knows words: a word is drawn for each token and its cells revealed, so at
                 the end each grid is a word; "independent": each cell is drawn by itself, and a grid may be none
    sampling     temperature, top-k, top-p, of words (of colours, where the reveal is independent)

    Draws are made in float64: in low precision the rare ones never come, which flatters samples and starves text.

    Raises ValueError for steps below 1, a canvas that the model cannot read, or a method that the noise does not know.
    """
    noise, reveal = model.noise, reveal or ("joint" if model.config.head == "codebook" else "independent")
    given, cells = _start(model, canvas, steps, method, reveal, remask, generator)
    choose = _Choice(model, reveal, sampling or Sampling(), generator)
    times, stages = torch.linspace(1, 0, steps + 1, dtype=torch.float64), [cells]
    with evaluating(model):
        for t, s in pairwise(times):
            if noise.kind == "uniform":
                cells = _step_back(choose, cells, given, s, t)
            elif method == "confidence":
                cells = _show_surest(choose, cells, given, s, t)
            else:
                again = remask * float(_most_remasked(noise, s, t)) if method == "remasking" else 0.0
                cells = _show_by_chance(choose, cells, given, s, t, again)
            stages.append(cells)
    return Trajectory(torch.stack(stages), model.ids(cells), tuple(times.tolist()))


def draw(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One choice from each row of float64 logits `(..., V)`, by the largest of logit plus Gumbel noise."""
    uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64).to(logits.device)
    return (logits.double() - uniform.clamp_min_(1e-300).log_().neg_().log_()).argmax(-1)


@dataclass(frozen=True)
class _Choice:
    """What noised tokens would be, drawn from the model's answers."""

    model: Denoiser
    reveal: Reveal
    sampling: Sampling
    generator: torch.Generator | None

    def logits(self, cells: Tensor, given: Tensor, where: Tensor, alpha: Tensor) -> Tensor:
        """What the model says of the tokens `where` `(B, T)`, float64 `(N, ...)`."""
        each = alpha.to(cells.device, self.model.from_cells.weight.dtype).expand(len(cells))
        return self.model(cells, alpha=each, given=given, where=where).double()

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Cells `(N, n)` for each token, and their log-probability under the model itself `(N,)`."""
        if self.reveal == "joint":
            words = draw(self.sampling.logits(logits), self.generator)
            return self.model.cells(words), logits.log_softmax(-1).gather(-1, words[:, None])[:, 0]
        marginals = self.model.cell_log_marginals(logits)
        colours = draw(self.sampling.logits(marginals), self.generator)
        return colours, marginals.gather(-1, colours[..., None])[..., 0].sum(-1)

    def chance(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=torch.float64).to(self.model.patterns.device)


def _show_by_chance(choose: _Choice, cells, given, s, t, again: float) -> Tensor:
    """Reveal blank cells as the noise says; what a token showed before turns blank with the chance `again`.

    The model is asked only for the tokens that this step reveals: others would be drawn for nothing.
    """
    B, T, n = cells.shape
    noise, units = choose.model.noise, 1 if choose.model.config.granularity == "token" else n
    before, after = noise.alpha(s), noise.alpha(t)
    share = float((before - (1 - again) * after) / (1 - after))
    blank = cells == noise.blank
    revealed = blank & (choose.chance(B, T, units) < share)
    where, stage = revealed.any(-1), cells.clone()
    if where.any():
        target, _ = choose(choose.logits(cells, given, where, after))
        stage[where] = torch.where(revealed[where], target, cells[where])
    if again:
        undone = ~given & (choose.chance(B, T) < again)
        stage = stage.masked_fill(undone[..., None] & ~blank, noise.blank)  # all that it showed until now
    return stage


def _show_surest(choose: _Choice, cells, given, s, t) -> Tensor:
    """Reveal whole tokens, the surest first, until no more are blank than the schedule has at s."""
    noise = choose.model.noise
    blank = (cells == noise.blank).any(-1)  # (B, T)
    at_most = ((~given).sum(-1) * float(1 - noise.alpha(s)) + 1e-9).floor()
    if not (blank.sum(-1) > at_most).any():
        return cells
    target, log_p = choose(choose.logits(cells, given, blank, noise.alpha(t)))
    surest = torch.full(given.shape, -torch.inf, dtype=torch.float64, device=given.device)
    surest[blank] = log_p
    rank = surest.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    shows = rank < (blank.sum(-1) - at_most)[:, None]
    stage = cells.clone()
    stage[blank & shows] = torch.where(cells[blank] == noise.blank, target, cells[blank])[shows[blank]]
    return stage


def _most_remasked(noise: Absorbing, s: Tensor, t: Tensor) -> Tensor:
    """The largest chance that a visible token turns blank again between t and s, all else staying right."""
    return ((1 - noise.alpha(s)) / noise.alpha(t).clamp_min(1e-12)).clamp_max(1.0)


def _step_back(choose: _Choice, cells, given, s, t) -> Tensor:
    """Uniform noise from t back to s."""
    if given.all():
        return cells
    noise = choose.model.noise
    logits, shown = choose.logits(cells, given, ~given, noise.alpha(t)), cells[~given]  # (N, ...), (N, n)
    if choose.reveal == "joint":
        words = draw(choose.sampling.logits(logits), choose.generator)
        clean = choose.model.one_hot[words].double()  # (N, n, K)
    else:
        each = noise.alpha(t).to(shown.device).expand(len(shown))
        guess = leave_one_out(choose.model.cell_log_marginals(logits), shown, each)
        clean = choose.sampling.logits(guess).softmax(-1)
    back = noise.posterior(shown, clean, s.to(shown.device), t.to(shown.device))
    stage = cells.clone()
    stage[~given] = draw(back.log(), choose.generator)
    return stage


def _start(model: Denoiser, canvas, steps, method, reveal, remask, generator) -> tuple[Tensor, Tensor]:
    """Which tokens are given, `(B, T)`, and the cells at time 1, all others being noise."""
    noise = model.noise
    for name, value, choices in (("method", method, METHODS), ("reveal", reveal, REVEALS)):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    if steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
    if not 0 <= remask <= 1:
        raise ValueError(f"remask is a share of the largest chance, between 0 and 1; got {remask!r}")
    if noise.kind == "uniform" and method != "ancestral":
        raise ValueError(f"uniform noise has no blanks: method must be 'ancestral', got {method!r}")
    if reveal == "joint" and model.config.head == "factorised":
        raise ValueError("a factorised head knows no words to draw: use reveal='independent'")
    ids = canvas[None] if canvas.dim() == 1 else canvas
    if ids.min() < BLANK or ids.max() >= model.config.vocab_size:
        raise ValueError(
            f"a canvas holds ids below {model.config.vocab_size} and -1 where to write; got "
            f"{int(ids.min())} to {int(ids.max())}"
        )
    ids = ids.to(model.patterns.device)
    given = ids != BLANK
    cells = model.cells(ids.clamp_min(0))
    if noise.kind == "uniform":
        other = torch.randint(noise.num_colours, cells.shape, generator=generator).to(cells.device)
        return given, torch.where(given[..., None], cells, other)
    return given, cells.masked_fill(~given[..., None], noise.blank)
