"""Connectionist temporal classification: the probability of a transcript when nobody says which frame is which letter.

Each frame names a token or the blank; a path of names stands for the transcript that is left when repeats are merged
and blanks dropped. The probability of a transcript is the sum over all its paths (Graves et al. 2006).

Letters: B rows, T frames, U tokens of a transcript, V tokens there are, L = 2U + 1 states: the tokens of the
transcript with a blank before, between and after them.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.data import IGNORE

BLANK = 0  # `<pad>`, which no transcript holds
NEVER = -1e30  # log 0 with which one can calculate: of -inf logsumexp has no gradient


class Infeasible(NamedTuple):
    """A row that CTC cannot align: it has `frames` frames, and its transcript needs `needed`."""

    row: int
    frames: int
    needed: int


def collapse(path: Sequence[int], blank: int = BLANK) -> list[int]:
    """The transcript that a path stands for: repeats merged, blanks dropped.

    >>> collapse([5, 5, 0, 5, 7, 7, 0])
    [5, 5, 7]
    """
    kept = [token for token, before in zip(path, [None, *path], strict=False) if token != before]
    return [token for token in kept if token != blank]


def alignments(target: Sequence[int], T: int, blank: int = BLANK) -> Iterator[tuple[int, ...]]:
    """Every path of T frames that stands for `target`: by trying all, so for small cases only.

    >>> list(alignments([5, 7], T=3))
    [(0, 5, 7), (5, 0, 7), (5, 5, 7), (5, 7, 0), (5, 7, 7)]
    """
    names, target = sorted({blank, *target}), list(target)
    return (path for path in product(names, repeat=T) if collapse(path, blank) == target)


def frames_needed(target: Sequence[int]) -> int:
    """The fewest frames that can stand for `target`: one a token, and a blank between two that are equal.

    >>> frames_needed([5, 7, 7])
    4
    """
    return len(target) + sum(a == b for a, b in pairwise(target))


def infeasible(
    lengths: Sequence[int] | Tensor, targets: Sequence[Sequence[int]] | Tensor
) -> list[Infeasible]:
    """The rows with fewer frames than their transcript needs; `targets` as lists, or `(B, U)` padded with -100.

    Their probability is 0 whatever the model says. A loss with `zero_infinity` counts them as learned and says
    nothing, so find them first.

    >>> infeasible([3, 3], [[5, 7, 8], [5, 7, 7]])
    [Infeasible(row=1, frames=3, needed=4)]
    """
    lengths, targets = (x.tolist() if isinstance(x, Tensor) else x for x in (lengths, targets))
    needed = [frames_needed([token for token in target if token != IGNORE]) for target in targets]
    rows = enumerate(zip(lengths, needed, strict=True))
    return [Infeasible(n, frames, least) for n, (frames, least) in rows if least > frames]


def forward_lattice(log_probs: Tensor, target: Sequence[int], blank: int = BLANK) -> Tensor:
    """log alpha `(T, L)`: the probability of all beginnings of paths that are in state s after frame t.

    `log_probs` `(T, V)` are logarithms of probabilities. From one frame to the next a path stays, goes on by one
    state, or by two past a blank that stands between different tokens (Graves et al. 2006, eq. 6 and 7). What is
    out of reach is `NEVER`.

    Raises ValueError for other shapes, no frames, and targets that are no tokens, or the blank.
    """
    log_probs, names, may_skip = _states(log_probs, target, blank)
    emitted = log_probs.clamp(min=NEVER)[:, names]  # (T, L)
    begins = torch.arange(len(names), device=log_probs.device) < 2
    alpha = [torch.where(begins, emitted[0], NEVER)]
    for t in range(1, len(emitted)):
        ways = [alpha[-1], _shifted(alpha[-1], 1), torch.where(may_skip, _shifted(alpha[-1], 2), NEVER)]
        alpha.append(torch.stack(ways).logsumexp(0) + emitted[t])
    return torch.stack(alpha)


def ctc_nats(log_probs: Tensor, target: Sequence[int], blank: int = BLANK) -> Tensor:
    """-log P(target) of one utterance, `log_probs` `(T, V)` -> `()`; infinite where no path is long enough.

    The sum over all paths in T * L additions; autograd goes through it. Errors as in `forward_lattice`.

    >>> uniform = torch.full((3, 10), 0.1, dtype=torch.float64).log()
    >>> round(ctc_nats(uniform, [5, 7]).neg().exp().item(), 6)  # five paths, each of probability 0.1 ** 3
    0.005
    """
    last = forward_lattice(log_probs, target, blank)[-1, -2:]  # ends in the last token, or the blank after it
    nats = -last.logsumexp(0)
    return torch.where(nats > -NEVER / 2, torch.inf, nats)


def occupancy(log_probs: Tensor, target: Sequence[int], blank: int = BLANK) -> Tensor:
    """P(state s at frame t | target) `(T, L)`: each row sums to one.

    Summed over the states of a token it is minus the gradient of `ctc_nats` by that token's log probability.
    The second half of the product is the same recursion from the other end (Graves et al. 2006, eq. 9 and 10).

    Raises ValueError when no path fits, and as `forward_lattice`.
    """
    log_probs, names, _ = _states(log_probs, target, blank)
    alpha = forward_lattice(log_probs, target, blank)
    beta = forward_lattice(log_probs.flip(0), list(target)[::-1], blank).flip(0, 1)
    together = alpha + beta - log_probs.clamp(min=NEVER)[:, names]  # both halves hold frame t
    if together[-1].max() < NEVER / 2:
        T, needed = len(log_probs), frames_needed(target)
        raise ValueError(f"no path of {T} frames stands for these {len(target)} tokens: {needed} are needed")
    return together.softmax(-1)


def ctc_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, blank: int = BLANK) -> Tensor:
    """-log P(target) of every row `(B,)`, as `ctc_nats` says it, by torch's fast version of the same recursion.

    log_probs `(B, T, V)`, of which row b has `lengths[b]` frames; targets `(B, U)`, padded on the right with -100.
    They must come from a log_softmax: the gradient that torch gives is then that of the logits. Half precision is
    summed in float32.

    Raises ValueError for other shapes and types, for lengths outside 1 .. T, for targets that are no tokens, or the
    blank (torch would read memory beyond the tensor), and for rows that cannot be aligned, naming a row.
    """
    log_probs = summable(log_probs, "BTV", blank)
    B, T, V = log_probs.shape
    if not B:
        return log_probs.sum((1, 2))
    real = targets != IGNORE
    tokens = (targets >= 0) & (targets < V) & (targets != blank) & real.cummin(-1).values  # none after a gap
    what = f"targets must be (B, U), {_tokens(V, blank)}, and -100 after the last"
    _expect(what, targets, (B, *targets.shape[-1:]), tokens | ~real)
    _expect(f"lengths must be whole numbers (B,) in 1 .. {T}", lengths, (B,), (lengths >= 1) & (lengths <= T))
    if bad := infeasible(lengths, targets):
        row = bad[0]
        raise ValueError(
            f"{len(bad)} of {B} rows cannot be aligned; first row {row.row}: {row.frames} frames, its transcript needs "
            f"{row.needed}. Leave them out (lab.speech.ctc.infeasible finds them), or reduce time by less"
        )
    rows = targets.where(real, blank).long(), lengths.long(), real.sum(1)
    return F.ctc_loss(log_probs.transpose(0, 1), *rows, blank=blank, reduction="none")


def greedy(log_probs: Tensor, blank: int = BLANK) -> list[int]:
    """The transcript of the likeliest path, `log_probs` `(T, V)`: not always the likeliest transcript.

    >>> greedy(torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log())  # P([]) is 0.36, P([1]) is 0.64
    []
    """
    return collapse(log_probs.argmax(-1).tolist(), blank)


def summable(log_probs: Tensor, letters: str, blank: int) -> Tensor:
    """Checked; half precision as float32, for it has too few digits to add up paths in."""
    shape, floats = tuple(log_probs.shape), log_probs.is_floating_point()
    if not floats or len(shape) != len(letters) or 0 in shape[-2:]:
        expected = f"floats ({', '.join(letters)}) with T and V above 0"
        raise ValueError(f"log_probs must be {expected}; got {log_probs.dtype} {shape}")
    if not 0 <= blank < shape[-1]:
        raise ValueError(f"the blank must be one of the {shape[-1]} tokens; got {blank}")
    return log_probs if log_probs.dtype.itemsize > 2 else log_probs.float()


def _states(log_probs: Tensor, target: Sequence[int], blank: int) -> tuple[Tensor, list[int], Tensor]:
    """The token of each state, and which may be entered from two before: tokens that differ from the last one."""
    log_probs = summable(log_probs, "TV", blank)
    target = target.tolist() if isinstance(target, Tensor) else target
    V = log_probs.shape[1]
    if wrong := [token for token in target if token == blank or token not in range(V)]:
        raise ValueError(f"a target holds {_tokens(V, blank)}; got {wrong[0]}")
    names = [blank]
    for token in target:
        names += [int(token), blank]
    skips = [s >= 2 and names[s] != blank and names[s] != names[s - 2] for s in range(len(names))]
    return log_probs, names, torch.tensor(skips, device=log_probs.device)


def _tokens(V: int, blank: int) -> str:
    return f"tokens in 0 .. {V - 1} but not the blank {blank}"


def _expect(what: str, given: Tensor, shape: tuple[int, ...], fits: Tensor) -> None:
    if given.is_floating_point() or given.shape != shape:
        raise ValueError(f"{what}; got {given.dtype} {tuple(given.shape)}")
    if not fits.all():
        row, *_ = (~fits).nonzero()[0].tolist()
        raise ValueError(f"{what}; got {given[~fits][0].item()} in row {row}")


def _shifted(x: Tensor, by: int) -> Tensor:
    """`(L,)` moved on by some states."""
    return F.pad(x, (by, 0), value=NEVER)[: len(x)]
