"""The checks of diffusion pass ours and independent ones, and catch every planted bug."""

import math

import numpy as np
import pytest
import torch
from test_checks import failing

from lab import checks
from lab.diffusion.bound import udlm_nats
from lab.diffusion.noise import Absorbing, Uniform

KINDS = {"uniform": Uniform, "absorbing": Absorbing}


def our_transition(kind):
    return lambda before, after, K: KINDS[kind](K).transition(1 - before, 1 - after)


def our_posterior(kind):
    return lambda z, x, before, after: KINDS[kind](len(x)).posterior(
        torch.tensor(z), x, 1 - before, 1 - after
    )


def our_bound(kind):
    if kind == "uniform":
        return lambda p, x, z, alpha, slope: (
            -slope * udlm_nats(p.log(), x, z, torch.tensor(alpha, dtype=torch.float64)).sum()
        )
    return lambda p, x, z, alpha, slope: -slope / (1 - alpha) * masked_cells(p, x, z).sum()


def masked_cells(p, x, z):
    blank = z == p.shape[1]
    return -p[blank, x[blank]].log()


@pytest.mark.parametrize("kind", KINDS)
def test_ours_passes(kind):
    checks.transition(our_transition(kind), kind).raise_if_failed()
    checks.posterior(our_posterior(kind), kind).raise_if_failed()
    checks.bound(our_bound(kind), kind).raise_if_failed()


def loops(kind):
    """Transitions cell by cell, in plain numbers."""

    def fn(before, after, K):
        a, S = after / before, K + (kind == "absorbing")
        rows = [[0.0] * S for _ in range(S)]
        for one in range(S):
            for two in range(S):
                lost = 1 / K if kind == "uniform" else float(two == K)
                rows[one][two] = a * (one == two) + (1 - a) * lost
        return rows

    return fn


def two_factors(kind):
    """The posterior as two likelihoods multiplied and shared out, in NumPy."""

    def fn(z, x, before, after):
        K = len(x)
        S, a = K + (kind == "absorbing"), after / before
        out = np.zeros(S)
        for s in range(S):
            if kind == "uniform":
                from_x = before * x[s] + (1 - before) / K
                to_z = a * (s == z) + (1 - a) / K
            else:
                from_x = before * x[s] if s < K else 1 - before
                to_z = a * (s == z) + (1 - a) * (z == K)
            out[s] = from_x * to_z
        return out / out.sum()

    return fn


def per_cell(kind):
    """The integrand as it stands in the papers, one cell after the other, in NumPy."""

    def fn(p, x, z, alpha, slope):
        K, total = p.shape[1], 0.0
        for guess, clean, shown in zip(p, x, z, strict=True):
            if kind == "absorbing":
                total += -math.log(guess[clean]) / (1 - alpha) if shown == K else 0.0
                continue
            b = K * alpha * np.eye(K)[clean] + 1 - alpha
            c = K * alpha * guess + 1 - alpha
            total += K / c[shown] - K / b[shown]
            total += sum(b[j] / b[shown] * math.log(c[shown] * b[j] / (c[j] * b[shown])) for j in range(K))
        return total * -slope / (1 if kind == "absorbing" else K * alpha)

    return fn


@pytest.mark.parametrize("kind", KINDS)
def test_independent_ones_pass(kind):
    checks.transition(loops(kind), kind).raise_if_failed()
    checks.posterior(two_factors(kind), kind, given="numpy").raise_if_failed()
    checks.bound(per_cell(kind), kind, given="numpy").raise_if_failed()


HAND, FORGET, COMPOSE, ROWS = "by hand", "all is forgotten", "two steps", "each row sum to one"
SAME, ALL = "nothing is lost", "all together"


def broken_transition(kind, bug):
    def right(*step):
        return np.array(loops(kind)(*step))

    def others(before, after, K):  # a lost colour never comes back
        S, a = K + (kind == "absorbing"), after / before
        return a * np.eye(S) + (1 - a) / (S - 1) * (1 - np.eye(S))

    def blank(before, after, K):  # what is blank comes back
        return np.vstack([right(before, after, K)[:-1], np.full(K + 1, 1 / (K + 1))])

    def kept(before, after, K):
        return after / before * np.eye(K + (kind == "absorbing")) + (0 if kind == "absorbing" else 1 / K)

    return {
        "others": others, "blank": blank, "kept": kept,
        "cumulative": lambda before, after, K: right(1.0, after, K),
        "difference": lambda before, after, K: right(1.0, 1 - (before - after), K),
        "columns": lambda *step: right(*step).T,
        "lost": lambda before, after, K: right(1.0, 1 - after / before, K),
    }[bug]  # fmt: skip


test_wrong_transitions_are_caught = failing(
    lambda bug: checks.transition(broken_transition(*bug), bug[0]),
    (("uniform", "others"), [HAND, FORGET, COMPOSE]), (("uniform", "difference"), [COMPOSE]),
    (("uniform", "cumulative"), [COMPOSE, SAME], "as if from the clean cell"),
    (("uniform", "kept"), [ROWS]), (("uniform", "lost"), [SAME]), (("absorbing", "others"), [COMPOSE]),
    (("absorbing", "cumulative"), [COMPOSE], "as if from the clean cell"),
    (("absorbing", "difference"), [COMPOSE]), (("absorbing", "columns"), [ROWS]), (("absorbing", "kept"), [ROWS]),
    (("absorbing", "lost"), [SAME]), (("absorbing", "blank"), [FORGET, ALL]),
    only=False,
)  # fmt: skip


def broken_posterior(kind, bug):
    right, uniform = two_factors(kind), kind == "uniform"

    def averaged(z, x, before, after):  # over the colours, as if z said nothing of them
        K = len(x)
        reach = [c for c in range(K) if uniform or z in (c, K)]
        return sum(x[c] * right(z, np.eye(K)[c], before, after) for c in reach)

    def direct(z, x, before, after):  # noises x anew, whatever z shows
        K, S = len(x), len(x) + (not uniform)
        return before * np.pad(x, (0, S - K)) + (1 - before) * (
            np.full(S, 1 / K) if uniform else np.eye(S)[K]
        )

    def likeliest(z, x, before, after):
        K = len(x)
        return right(z, np.eye(K)[np.argmax(x)], before, after) if uniform or z == K else np.eye(K + 1)[z]

    def revealed(z, x, before, after):  # each blank shows its colour with alpha_s
        return np.append(before * x, 1 - before) if z == len(x) else right(z, x, before, after)

    def redrawn(z, x, before, after):  # a visible cell is drawn anew
        return np.append(x, 0.0) if z != len(x) else right(z, x, before, after)

    return {
        "averaged": averaged, "direct": direct, "likeliest": likeliest, "revealed": revealed, "redrawn": redrawn,
        "unnormalised": lambda *cell: right(*cell) * 0.9,
        "swapped": lambda z, x, before, after: right(z, x, max(after / before, after + 1e-9), after),
    }[bug]  # fmt: skip


RULE, GUESS, SUM = "with a known colour", "with a guess", "the chances sum to one"
test_wrong_posteriors_are_caught = failing(
    lambda bug: checks.posterior(broken_posterior(*bug), bug[0], given="numpy"),
    (("uniform", "averaged"), [GUESS], "as if the posteriors of the colours were averaged"),
    (("uniform", "unnormalised"), [SUM]), (("uniform", "swapped"), [RULE]), (("uniform", "direct"), [RULE]),
    (("uniform", "likeliest"), [GUESS]), (("absorbing", "unnormalised"), [SUM]), (("absorbing", "swapped"), [RULE]),
    (("absorbing", "direct"), [RULE]), (("absorbing", "likeliest"), [GUESS]), (("absorbing", "revealed"), [RULE]),
    (("absorbing", "redrawn"), ["what is visible was visible"]),
    only=False,
)  # fmt: skip


def broken_bound(kind, bug):
    right = per_cell(kind)

    def scaled(by):
        return lambda p, x, z, alpha, slope: right(p, x, z, alpha, slope) * by(len(x), alpha, slope)

    def rates(p, x, z, alpha, slope):  # the log-ratio alone
        K, k = p.shape[1], (np.arange(len(x)), z)
        b, c = K * alpha * np.eye(K)[x] + 1 - alpha, K * alpha * p + 1 - alpha
        ratios = b / b[k][:, None] * np.log(c[k][:, None] * b / (c * b[k][:, None]))
        return float(ratios.sum() * -slope / (K * alpha))

    def full(p, x, z, alpha, slope):  # what the cell shows is counted twice
        K = p.shape[1]
        both = p * (alpha * np.eye(K)[z] + (1 - alpha) / K)
        return right(both / both.sum(1, keepdims=True), x, z, alpha, slope)

    def every_cell(p, x, z, alpha, slope):
        return sum(-math.log(max(p[j, x[j]], 1e-12)) for j in range(len(x))) * -slope

    return {
        "rates": rates, "full": full, "cross": every_cell,
        "sign": scaled(lambda n, alpha, slope: -1),
        "bits": scaled(lambda n, alpha, slope: 1 / math.log(2)),
        "mean": scaled(lambda n, alpha, slope: 1 / n),
        "slope": scaled(lambda n, alpha, slope: -1 / slope),
        "weight": scaled(lambda n, alpha, slope: 1 - alpha),
        "alpha": scaled(lambda n, alpha, slope: (1 - alpha) / alpha),
        "visible": lambda p, x, z, alpha, slope: every_cell(p, x, z, alpha, slope) / (1 - alpha),
        "first": lambda p, x, z, alpha, slope: right(p[:1], x[:1], z[:1], alpha, slope),
    }[bug]  # fmt: skip


CELL, CELLS, WEIGHT, NOTHING, ENTROPY = (
    "one cell",
    "every cell counts",
    "follows",
    "knowing nothing",
    "knowing all",
)
test_wrong_bounds_are_caught = failing(
    lambda bug: checks.bound(broken_bound(*bug), bug[0], given="numpy"),
    (("absorbing", "sign"), [CELL], "as if it has the wrong sign"),
    (("absorbing", "bits"), [NOTHING], "as if it is in bits"),
    (("absorbing", "slope"), [WEIGHT], "as if the slope was left out"),
    (("absorbing", "weight"), [ENTROPY], "as if the weight 1 / (1 - alpha) was left out"),
    (("absorbing", "alpha"), [CELL], "as if the weight were 1 / alpha"),
    (("absorbing", "mean"), [CELLS]), (("absorbing", "visible"), ["a visible cell"]), (("absorbing", "first"), [CELLS]),
    (("uniform", "sign"), [CELL]), (("uniform", "bits"), [ENTROPY]), (("uniform", "mean"), [CELLS]),
    (("uniform", "slope"), [WEIGHT]), (("uniform", "cross"), [CELL]), (("uniform", "rates"), [CELL]),
    (("uniform", "full"), [ENTROPY]), (("uniform", "first"), [CELLS]),
    only=False,
)  # fmt: skip
