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


def our_bound(p, x, z, alpha, slope):
    return -slope * udlm_nats(p.log(), x, z, torch.tensor(alpha, dtype=torch.float64)).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_ours_passes(kind):
    noise = KINDS[kind]
    step = lambda s, t, K: noise(K).transition(1 - s, 1 - t)  # noqa: E731
    back = lambda z, x, s, t: noise(len(x)).posterior(torch.tensor(z), x, 1 - s, 1 - t)  # noqa: E731
    checks.transition(step, kind).raise_if_failed()
    checks.posterior(back, kind).raise_if_failed()
    checks.bound(our_bound, "uniform").raise_if_failed()


def loops(kind):
    """Transitions cell by cell, in plain numbers."""

    def fn(before, after, K):
        a, S = after / before, K + (kind == "absorbing")
        lost = [1 / K if kind == "uniform" else float(two == K) for two in range(S)]
        return [[a * (one == two) + (1 - a) * lost[two] for two in range(S)] for one in range(S)]

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
        a = after / before
        return a * np.eye(K) + (1 - a) / (K - 1) * (1 - np.eye(K))

    def blank(before, after, K):  # what is blank comes back
        return np.vstack([right(before, after, K)[:-1], np.full(K + 1, 1 / (K + 1))])

    return {
        "others": others, "blank": blank,
        "cumulative": lambda before, after, K: right(1.0, after, K),
        "columns": lambda *step: right(*step).T,
        "lost": lambda before, after, K: right(1.0, 1 - after / before, K),
    }[bug]  # fmt: skip


test_wrong_transitions_are_caught = failing(
    lambda bug: checks.transition(broken_transition(*bug), bug[0]),
    (("uniform", "others"), [HAND, FORGET, COMPOSE]), (("absorbing", "lost"), [SAME]),
    (("uniform", "cumulative"), [COMPOSE, SAME], "as if from the clean cell"),
    (("absorbing", "columns"), [ROWS]), (("absorbing", "blank"), [FORGET, ALL]),
    only=False,
)  # fmt: skip


def broken_posterior(kind, bug):
    right = two_factors(kind)

    def averaged(z, x, before, after):  # over the colours, as if z said nothing of them
        return sum(p * right(z, clean, before, after) for p, clean in zip(x, np.eye(len(x)), strict=True))

    def direct(z, x, before, after):  # noises x anew, whatever z shows
        return before * x + (1 - before) / len(x)

    def revealed(z, x, before, after):  # each blank shows its colour with alpha_s
        return np.append(before * x, 1 - before) if z == len(x) else right(z, x, before, after)

    def redrawn(z, x, before, after):  # a visible cell is drawn anew
        return np.append(x, 0.0) if z != len(x) else right(z, x, before, after)

    return {
        "averaged": averaged, "direct": direct, "revealed": revealed, "redrawn": redrawn,
        "unnormalised": lambda *cell: right(*cell) * 0.9,
    }[bug]  # fmt: skip


RULE, GUESS, SUM = "with a known colour", "with a guess", "the chances sum to one"
test_wrong_posteriors_are_caught = failing(
    lambda bug: checks.posterior(broken_posterior(*bug), bug[0], given="numpy"),
    (("uniform", "averaged"), [GUESS], "as if the posteriors of the colours were averaged"),
    (("uniform", "unnormalised"), [SUM]), (("uniform", "direct"), [RULE]), (("absorbing", "revealed"), [RULE]),
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
        return slope / (1 - alpha) * sum(math.log(max(p[j, x[j]], 1e-12)) for j in range(len(x)))

    return {
        "rates": rates, "full": full, "visible": every_cell,
        "sign": scaled(lambda n, alpha, slope: -1),
        "bits": scaled(lambda n, alpha, slope: 1 / math.log(2)),
        "mean": scaled(lambda n, alpha, slope: 1 / n),
        "slope": scaled(lambda n, alpha, slope: -1 / slope),
        "weight": scaled(lambda n, alpha, slope: 1 - alpha),
        "alpha": scaled(lambda n, alpha, slope: (1 - alpha) / alpha),
    }[bug]  # fmt: skip


CELL, CELLS, WEIGHT = "one cell", "every cell counts", "follows"
NOTHING, ENTROPY = "knowing nothing", "knowing all"
test_wrong_bounds_are_caught = failing(
    lambda bug: checks.bound(broken_bound(*bug), bug[0], given="numpy"),
    (("absorbing", "sign"), [CELL], "as if it has the wrong sign"),
    (("absorbing", "bits"), [NOTHING], "as if it is in bits"),
    (("absorbing", "slope"), [WEIGHT], "as if the slope was left out"),
    (("absorbing", "weight"), [ENTROPY], "as if the weight 1 / (1 - alpha) was left out"),
    (("absorbing", "alpha"), [CELL], "as if the weight were 1 / alpha"),
    (("absorbing", "mean"), [CELLS]), (("absorbing", "visible"), ["a visible cell"]),
    (("uniform", "slope"), [WEIGHT]), (("uniform", "rates"), [CELL]), (("uniform", "full"), [ENTROPY]),
    only=False,
)  # fmt: skip
