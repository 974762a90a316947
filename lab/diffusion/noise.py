"""How colours are lost: two kinds of noise, each with its transitions and its posterior in closed form.

alpha(t) is the chance that a cell has kept its colour until time t: 1 at t = 0, 0 at t = 1. From s to t a cell keeps
what it shows with probability alpha(t) / alpha(s). Everything is exact in float64.

Letters: K colours, S states of a cell (K, or K and a blank), B lines, T tokens, n cells a token; s < t are times.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from lab.config import AtLeast, validate

Schedule = Literal["linear", "cosine", "log-linear"]
Granularity = Literal["token", "cell"]  # what is lost at once
FALL = 4.0  # the log-linear schedule loses a factor e^FALL before its last stretch brings it to 0


@dataclass(frozen=True)
class Noise:
    """What both kinds share: the schedule, and how the cells of lines are noised.

    linear      alpha = 1 - t; what Sahoo et al. 2024 (MDLM) call log-linear
    cosine      alpha = cos(pi t / 2)^2 (Nichol and Dhariwal 2021)
    log-linear  log alpha falls almost in a line (alpha = e^(-4 t), shifted and stretched to end at 0)

    Raises ValueError for fewer than 2 colours or an unknown schedule.
    """

    num_colours: Annotated[int, AtLeast(2)] = 3
    schedule: Schedule = "linear"

    __post_init__ = validate

    def alpha(self, t: Tensor | float) -> Tensor:
        """The chance that a cell has kept its colour until t, `(...)` -> float64 `(...)`.

        >>> Absorbing(schedule="cosine").alpha(torch.tensor([0.0, 0.5, 1.0])).tolist()
        [1.0, 0.5, 0.0]
        """
        t = _checked_time(t)
        if self.schedule == "linear":
            return 1 - t
        if self.schedule == "cosine":
            return (1 + torch.cos(math.pi * t)) / 2  # cos^2(pi t / 2), and exactly 0 at t = 1
        return torch.expm1(FALL * (1 - t)) / math.expm1(FALL)

    def slope(self, t: Tensor | float) -> Tensor:
        """d alpha / dt at t, never above 0."""
        t = _checked_time(t)
        if self.schedule == "linear":
            return -torch.ones_like(t)
        if self.schedule == "cosine":
            return -math.pi / 2 * torch.sin(math.pi * t)
        return -FALL * torch.exp(FALL * (1 - t)) / math.expm1(FALL)

    def time(self, alpha: Tensor | float) -> Tensor:
        """The time at which `alpha` is left: the inverse of `alpha(t)`."""
        alpha = torch.as_tensor(alpha, dtype=torch.float64)
        if self.schedule == "linear":
            return 1 - alpha
        if self.schedule == "cosine":
            return torch.acos(2 * alpha - 1) / math.pi
        return 1 - torch.log1p(alpha * math.expm1(FALL)) / FALL

    def cumulative(self, t: Tensor | float) -> Tensor:
        """From the clean cell to time t: `(...)` -> `(..., S, S)`, a row for each state before."""
        return self.transition(0.0, t)

    def _kept(self, s: Tensor | float, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """alpha(s), alpha(t) and alpha(t) / alpha(s), for s at most t and s below 1."""
        s, t = torch.broadcast_tensors(_checked_time(s), _checked_time(t))
        if (s > t).any() or (s == 1).any():
            raise ValueError(
                f"noise goes from s below 1 to a later t, got times {s.tolist()} and {t.tolist()}"
            )
        before, after = self.alpha(s), self.alpha(t)
        return before, after, after / before

    def _lost(self, cells: Tensor, t, generator, granularity: Granularity, keep: Tensor | None) -> Tensor:
        """Which cells `(B, T, n)` lose their colour."""
        if self.kind == "uniform" and granularity == "token":
            raise ValueError("uniform noise changes single cells: granularity must be 'cell', got 'token'")
        shape = (*cells.shape[:2], 1 if granularity == "token" else cells.shape[2])
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64).to(cells.device)
        alpha = self.alpha(t).to(cells.device)
        lost = drawn >= (alpha[:, None, None] if alpha.dim() else alpha)
        return lost if keep is None else lost & ~keep[..., None]


@dataclass(frozen=True)
class Uniform(Noise):
    """A lost colour is replaced by any of the K, its own among them (Austin et al. 2021, D3PM, appendix A.2.1).

    The own colour must be among them: a kernel that draws from the *other* colours does not forget monotonously, and
    two such steps are not one longer step.
    """

    kind: ClassVar[str] = "uniform"

    @property
    def num_states(self) -> int:
        return self.num_colours

    def transition(self, s: Tensor | float, t: Tensor | float) -> Tensor:
        """q(z_t | z_s) = a I + (1 - a) 11'/K with a = alpha(t) / alpha(s): `(..., K, K)`, rows sum to 1."""
        kept = self._kept(s, t)[2][..., None, None]
        return kept * torch.eye(self.num_colours, dtype=torch.float64) + (1 - kept) / self.num_colours

    def posterior(self, z: Tensor, x: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        """q(z_s | z_t = z, x): z colours `(...)`, x probabilities of the clean colour `(..., K)` -> `(..., K)`.

        Linear in x above and below the line (Schiff et al. 2024, UDLM, eq. 13). With a network's guess for x, Bayes'
        rule wants p(x | all cells but this one): what z says of x is in the formula already.
        """
        K, (before, after, kept) = self.num_colours, self._kept(s, t)
        before, after, kept = (a.to(x.device)[..., None] for a in (before, after, kept))
        x, shown = x.double(), torch.nn.functional.one_hot(z, K).double()
        agree = (shown * x).sum(-1, keepdim=True)
        spread = (before - after) * (1 - before) / (K * before)
        above = K * after * shown * x + (kept - after) * shown + (before - after) * x + spread
        return above / (K * after * agree + 1 - after)

    def corrupt(self, cells: Tensor, t, generator=None, *, granularity="cell", keep=None) -> Tensor:
        """Cells `(B, T, n)` as they look at time t, `(B,)` or one number; tokens in `keep` `(B, T)` stay."""
        lost = self._lost(cells, t, generator, granularity, keep)
        other = torch.randint(self.num_colours, cells.shape, generator=generator).to(cells.device)
        return torch.where(lost, other, cells)


@dataclass(frozen=True)
class Absorbing(Noise):
    """A lost colour becomes blank and stays so (Austin et al. 2021, D3PM, appendix A.2.2; masked diffusion)."""

    kind: ClassVar[str] = "absorbing"

    @property
    def num_states(self) -> int:
        return self.num_colours + 1

    @property
    def blank(self) -> int:
        """The state after the last colour."""
        return self.num_colours

    def transition(self, s: Tensor | float, t: Tensor | float) -> Tensor:
        """q(z_t | z_s), `(..., K + 1, K + 1)`: a colour stays with alpha(t) / alpha(s), else it turns blank."""
        kept = self._kept(s, t)[2][..., None, None]
        to_blank = torch.zeros(self.num_states, self.num_states, dtype=torch.float64)
        to_blank[:, self.blank] = 1
        return kept * torch.eye(self.num_states, dtype=torch.float64) + (1 - kept) * to_blank

    def posterior(self, z: Tensor, x: Tensor, s: Tensor | float, t: Tensor | float) -> Tensor:
        """q(z_s | z_t = z, x): z states `(...)`, x probabilities of the clean colour `(..., K)` -> `(..., K + 1)`.

        A visible cell was visible before. A blank one was blank with (1 - alpha(s)) / (1 - alpha(t)), else it showed
        a colour from x (Sahoo et al. 2024, MDLM, eq. 7).
        """
        before, after, _ = (a.to(x.device)[..., None] for a in self._kept(s, t))
        hidden = (z == self.blank)[..., None]
        if (hidden & (after == 1)).any():
            raise ValueError("a cell cannot be blank at time 0, where alpha is 1")
        left = 1 - after.where(after < 1, 0.5)  # where nothing is blank its value does not matter
        were = torch.cat(
            ((before - after) / left * x.double(), ((1 - before) / left).expand(*z.shape, 1)), dim=-1
        )
        return torch.where(hidden, were, torch.nn.functional.one_hot(z, self.num_states).double())

    def corrupt(self, cells: Tensor, t, generator=None, *, granularity="cell", keep=None) -> Tensor:
        """Cells `(B, T, n)` as they look at time t, `(B,)` or one number: single cells blank, or whole tokens.

        Tokens in `keep` `(B, T)` stay as they are.
        """
        return cells.masked_fill(self._lost(cells, t, generator, granularity, keep), self.blank)


def _checked_time(t: Tensor | float) -> Tensor:
    t = torch.as_tensor(t, dtype=torch.float64)
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"a time is between 0 and 1, got {t.tolist()}")
    return t
