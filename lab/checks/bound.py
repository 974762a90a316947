"""A check of the diffusion bound: its integrand by hand, and its integral on a world that can be counted out.

Letters: K colours, n cells, X lines, Z noised lines.
"""

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch

from lab.checks.check import Case, Check, CheckReport, Examples, one_of
from lab.checks.diffusion import KINDS, kernel, states
from lab.checks.numbers import differing, reals


def bound(fn: Callable, kind: str = "absorbing", given: str = "torch") -> CheckReport:
    """Is `fn(p, x, z, alpha, slope)` the integrand over time of the bound on -log P(x), in nats, of one noised line?

    x `(n,)` the clean colours, z `(n,)` the noised ones, alpha the chance that a cell has kept its colour and slope its
    derivative, below 0. p `(n, K)` float64: the network's probabilities of each cell's colour; with `kind` "absorbing"
    given what is visible (a blank is the state K), with "uniform" given all cells but this one. The answer is one
    number, the sum over cells. Sources: Sahoo et al. 2024 (MDLM), eq. 10; Schiff et al. 2024 (UDLM), eq. 18.

    >>> def mean_of_cells(p, x, z, alpha, slope):
    ...     nats = -p[range(len(x)), x].log() * (z == p.shape[1])
    ...     return -slope / (1 - alpha) * nats.mean()
    >>> [p.name for p in bound(mean_of_cells).properties if not p.passed][0]
    'every cell counts: a sum, not a mean'
    """
    hidden = one_of("kind", kind, KINDS) == "absorbing"

    def right(case: Case) -> np.ndarray:
        p, x, z = (case[name].numpy() for name in "pxz")
        return np.array([(_masked if hidden else _uniform)(p, x, z, case["alpha"]) * -case["slope"]])

    def mistakes(case: Case) -> Iterator[tuple[str, np.ndarray]]:
        exact, alpha = right(case), case["alpha"]
        factors = {
            "it has the wrong sign": -1,
            "it is in bits, not in nats": 1 / math.log(2),
            "the slope was left out": -1 / case["slope"],
            "the weight were 1 / alpha, not 1 / (1 - alpha)": (1 - alpha) / alpha,
            "the weight 1 / (1 - alpha) was left out": 1 - alpha,
        }
        for said, factor in factors.items():
            if factor != 1:
                yield f"as if {said}", exact * factor

    first = _case([[0.25, 0.75]], [1], [2 if hidden else 0], 0.5)
    check = Check("bound", fn, "one number", reals(lambda case: ()), [first], right=right, given=given)
    world = World(2, 2)

    def integral(schedule: Callable, knows: bool) -> float:
        """The bound of the whole world: over all lines, all noise and all times."""
        total = 0.0
        for t, weight in times():
            alpha, slope = schedule(t)
            for z, chances, guess in world.noised(kind, alpha):
                p = guess if knows else np.full_like(guess, 1 / world.K)
                for x, chance in zip(world.lines, chances, strict=True):
                    if chance > 0:
                        total += weight * chance * check.ask(_case(p, x, z, alpha, slope))
        return total

    def integrated(knows: bool, schedules: dict[str, Callable]) -> Callable:
        def find(*_) -> Examples:
            n = world.lines.shape[1]
            expected = world.entropy if knows else n * math.log(world.K)
            found = [integral(schedule, knows) for schedule in schedules.values()]
            wrong = ~np.isclose(found, expected, rtol=1e-3)
            said = f"the integral over time, all lines of {n} cells of {world.K} colours, alpha = "
            yield differing(said + ", ".join(schedules), np.full(len(found), expected), found, wrong=wrong)

        return find

    blank = 3 if hidden else 1
    one = _case([[0.2, 0.3, 0.5]], [2], [blank], 0.25)
    sure = _case([[0.0, 0.0, 1.0]] if hidden else [[1e-12, 1e-12, 1 - 2e-12]], [2], [blank], 0.25)
    two = _case([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], [2, 0], [blank, blank], 0.25)
    weights = [one.but(alpha=0.5, slope=-2.0), one.but(alpha=0.9, slope=-0.5)]
    free = "a visible cell costs nothing"
    seen = free if hidden else "a cell that shows its own colour costs what is left to doubt"
    straight, bent = {"1 - t": line}, {"cos(pi t / 2)^2": curve}
    check.expect("one cell, by hand", [first, one], mistakes=mistakes)
    check.expect("a sure and right answer costs nothing", [sure])
    check.expect(seen, [one.but(z=torch.tensor([2]))], mistakes=mistakes)
    check.expect("every cell counts: a sum, not a mean", [two], mistakes=mistakes)
    check.expect("the weight follows alpha and its slope", weights, mistakes=mistakes)
    check.judge("knowing nothing costs ln K a cell", integrated(False, straight))
    check.judge("knowing all costs the entropy", integrated(True, straight))
    check.judge("whatever the schedule", integrated(True, straight | bent))
    return check.report


def _case(p, x, z, alpha: float, slope: float = -1.0) -> Case:
    return Case(
        p=torch.tensor(np.array(p), dtype=torch.float64), x=torch.tensor(np.array(x)), z=torch.tensor(np.array(z)),
        alpha=alpha, slope=slope,
    )  # fmt: skip


def _masked(p: np.ndarray, x: np.ndarray, z: np.ndarray, alpha: float) -> float:
    hidden = z == p.shape[1]
    return float(-np.log(p[hidden, x[hidden]]).sum() / (1 - alpha))


def _uniform(p: np.ndarray, x: np.ndarray, z: np.ndarray, alpha: float) -> float:
    """The rates of the true and the guessed way back, compared: sum over jumps of r log(r / r^) - r + r^.

    At time t a cell jumps back from z to c at the rate -alpha' / (K alpha) b_c / b_z, where b = K alpha x + 1 - alpha.
    """
    K, total = p.shape[1], 0.0
    for guess, clean, shown in zip(p, x, z, strict=True):
        true_b, guess_b = (K * alpha * a + 1 - alpha for a in (np.eye(K)[clean], guess))
        for c in range(K):
            if c != shown:
                r, hat = true_b[c] / true_b[shown], guess_b[c] / guess_b[shown]
                total += (r * math.log(r / hat) - r + hat) / (K * alpha)
    return total


class World:
    """Every line of n cells and its probability, drawn once: what is asked of it is counted out."""

    def __init__(self, num_cells: int, num_colours: int, seed: int = 0):
        self.K = num_colours
        self.lines = np.array(list(product(range(num_colours), repeat=num_cells)))  # (X, n)
        self.p = np.random.default_rng(seed).dirichlet(np.full(len(self.lines), 0.7))

    @property
    def entropy(self) -> float:
        return float(-(self.p * np.log(self.p)).sum())

    def noised(self, kind: str, alpha: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Every noised line z `(n,)`, the chance of each line and it together `(X,)`, and what to say of the cells.

        That is p `(n, K)`: of each cell given all the others; of a blank one that is given all that is visible.
        """
        step = kernel(kind, 1.0, alpha, self.K)
        for z in product(range(states(kind, self.K)), repeat=self.lines.shape[1]):
            each = step[self.lines, z]  # (X, n)
            guess = np.zeros((len(z), self.K))
            for j in range(len(z)):
                weights = self.p * np.delete(each, j, axis=1).prod(1)
                np.add.at(guess[j], self.lines[:, j], weights)
            total = guess.sum(1, keepdims=True)
            yield np.array(z), self.p * each.prod(1), guess / np.where(total > 0, total, 1)


def times(count: int = 24) -> list[tuple[float, float]]:
    """Times in (0, 1) and their weights, dense at both ends: an integral is a sum over them."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    u, w = (nodes + 1) / 2, weights / 2
    return list(zip(u**3 * (10 - 15 * u + 6 * u**2), w * 30 * u**2 * (1 - u) ** 2, strict=True))


def line(t: float) -> tuple[float, float]:
    """alpha and its slope, with alpha = 1 - t."""
    return 1 - t, -1.0


def curve(t: float) -> tuple[float, float]:
    """The same with alpha = cos(pi t / 2)^2."""
    return float(np.cos(np.pi * t / 2) ** 2), float(-np.pi / 2 * np.sin(np.pi * t))
