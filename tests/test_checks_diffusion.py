"""The checks of diffusion pass ours and independent ones, and catch every planted bug."""

import math

import numpy as np
import pytest
import torch
from test_checks import blamed

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
    def fn(before, after, K):
        right = np.array(loops(kind)(before, after, K))
        a, S = after / before, len(right)
        if bug == "others":
            return a * np.eye(S) + (1 - a) / (S - 1) * (1 - np.eye(S))
        if bug == "cumulative":
            return np.array(loops(kind)(1.0, after, K))
        if bug == "difference":
            return np.array(loops(kind)(1.0, 1 - (before - after), K))
        if bug == "columns":
            return right.T
        if bug == "kept":
            return a * np.eye(S) + (0 if kind == "absorbing" else 1 / K)
        if bug == "lost":
            return np.array(loops(kind)(1.0, 1 - a, K))
        blank = np.array(right)  # what is blank comes back
        blank[-1] = 1 / S
        return blank

    return fn


@pytest.mark.parametrize("kind, bug, name", [
        ("uniform", "others", COMPOSE), ("uniform", "others", FORGET), ("uniform", "others", HAND),
        ("uniform", "cumulative", COMPOSE), ("uniform", "cumulative", SAME), ("uniform", "difference", COMPOSE),
        ("uniform", "kept", ROWS), ("uniform", "lost", SAME), ("absorbing", "others", COMPOSE),
        ("absorbing", "cumulative", COMPOSE), ("absorbing", "difference", COMPOSE), ("absorbing", "columns", ROWS),
        ("absorbing", "kept", ROWS), ("absorbing", "lost", SAME), ("absorbing", "blank", FORGET),
        ("absorbing", "blank", ALL),
    ])  # fmt: skip
def test_wrong_transitions_are_caught(kind, bug, name):
    said = "as if from the clean cell" if bug == "cumulative" else ""
    blamed(checks.transition(broken_transition(kind, bug), kind), [name], said, only=False)


def broken_posterior(kind, bug):
    right = two_factors(kind)

    def fn(z, x, before, after):
        K = len(x)
        if bug == "averaged":  # over the colours, as if z said nothing of them
            reach = [c for c in range(K) if kind == "uniform" or z in (c, K)]
            return sum(x[c] * right(z, np.eye(K)[c], before, after) for c in reach)
        if bug == "unnormalised":
            return right(z, x, before, after) * 0.9
        if bug == "swapped":
            a = after / before
            return right(z, x, max(a, after + 1e-9), after)
        if bug == "direct":  # noises x anew, whatever z shows
            S = K + (kind == "absorbing")
            lost = np.full(S, 1 / K) if kind == "uniform" else np.eye(S)[K]
            return before * np.pad(x, (0, S - K)) + (1 - before) * lost
        if bug == "likeliest":
            return (
                right(z, np.eye(K)[np.argmax(x)], before, after)
                if kind == "uniform" or z == K
                else np.eye(K + 1)[z]
            )
        if bug == "revealed":  # each blank shows its colour with alpha_s
            return np.append(before * x, 1 - before) if z == K else right(z, x, before, after)
        return np.append(x, 0.0) if z != K else right(z, x, before, after)  # a visible cell is drawn anew

    return fn


RULE, GUESS, SUM = "with a known colour", "with a guess", "the chances sum to one"


@pytest.mark.parametrize("kind, bug, name", [
        ("uniform", "averaged", GUESS), ("uniform", "unnormalised", SUM), ("uniform", "swapped", RULE),
        ("uniform", "direct", RULE), ("uniform", "likeliest", GUESS), ("absorbing", "unnormalised", SUM),
        ("absorbing", "swapped", RULE), ("absorbing", "direct", RULE), ("absorbing", "likeliest", GUESS),
        ("absorbing", "revealed", RULE), ("absorbing", "redrawn", "what is visible was visible"),
    ])  # fmt: skip
def test_wrong_posteriors_are_caught(kind, bug, name):
    said = "as if the posteriors of the colours were averaged" if bug == "averaged" else ""
    blamed(checks.posterior(broken_posterior(kind, bug), kind, given="numpy"), [name], said, only=False)


def broken_bound(kind, bug):
    right = per_cell(kind)

    def fn(p, x, z, alpha, slope):
        K, nats = p.shape[1], right(p, x, z, alpha, slope)
        if bug == "sign":
            return -nats
        if bug == "bits":
            return nats / math.log(2)
        if bug == "mean":
            return nats / len(x)
        if bug == "slope":
            return -nats / slope
        if bug == "weight":
            return nats * (1 - alpha)
        if bug == "alpha":
            return nats * (1 - alpha) / alpha
        if bug == "visible":
            return sum(-math.log(max(p[j, x[j]], 1e-12)) for j in range(len(x))) * -slope / (1 - alpha)
        if bug == "first":
            return right(p[:1], x[:1], z[:1], alpha, slope)
        if bug == "cross":  # the cross-entropy of every cell, under uniform noise
            return sum(-math.log(p[j, x[j]]) for j in range(len(x))) * -slope
        if bug == "rates":  # the log-ratio alone
            b = K * alpha * np.eye(K)[x] + 1 - alpha
            c = K * alpha * p + 1 - alpha
            k = np.arange(len(x)), z
            return float(
                ((b / b[k][:, None] * np.log(c[k][:, None] * b / (c * b[k][:, None]))).sum())
                * -slope
                / (K * alpha)
            )
        full = p * (alpha * np.eye(K)[z] + (1 - alpha) / K)  # "full": what the cell shows is counted twice
        return right(full / full.sum(1, keepdims=True), x, z, alpha, slope)

    return fn


CELL, CELLS, WEIGHT = "one cell", "every cell counts", "the weight follows"
NOTHING, ENTROPY = "knowing nothing", "knowing all"
SAID = {
    "sign": "as if it has the wrong sign",
    "bits": "as if it is in bits",
    "slope": "as if the slope was left out",
    "weight": "as if the weight 1 / (1 - alpha) was left out",
    "alpha": "as if the weight were 1 / alpha",
}


@pytest.mark.parametrize("kind, bug, name", [
        ("absorbing", "sign", CELL), ("absorbing", "bits", NOTHING), ("absorbing", "mean", CELLS),
        ("absorbing", "slope", WEIGHT), ("absorbing", "weight", ENTROPY), ("absorbing", "alpha", CELL),
        ("absorbing", "visible", "a visible cell costs nothing"), ("absorbing", "first", CELLS),
        ("uniform", "sign", CELL), ("uniform", "bits", ENTROPY), ("uniform", "mean", CELLS),
        ("uniform", "slope", WEIGHT), ("uniform", "cross", CELL), ("uniform", "rates", CELL),
        ("uniform", "full", ENTROPY), ("uniform", "first", CELLS),
    ])  # fmt: skip
def test_wrong_bounds_are_caught(kind, bug, name):
    blamed(checks.bound(broken_bound(kind, bug), kind, given="numpy"), [name], SAID.get(bug, ""), only=False)
