"""A check of the diffusion bound: its integrand by hand, and its integral on a world that can be counted out."""

import math
from collections.abc import Callable

import numpy as np
import torch

from lab.checks.diffusion_cases import World, checked, curve, line, times
from lab.checks.numbers import Asked, differing, real_numbers
from lab.checks.report import Case, CheckReport, Example


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
    checked(kind)
    hidden = kind == "absorbing"

    def read(case: Case, answer: object) -> np.ndarray:
        return np.atleast_1d(real_numbers(answer, ()))

    def right(case: Case) -> np.ndarray:
        p, x, z, alpha, slope = (
            a.numpy() if isinstance(a, torch.Tensor) else a for a in case.arguments.values()
        )
        return np.array([(_masked if hidden else _uniform)(p, x, z, alpha) * -slope])

    def as_if(case: Case, answer: np.ndarray) -> str:
        exact, alpha = float(right(case)[0]), case["alpha"]
        mistakes = {
            "it has the wrong sign": -1,
            "it is in bits, not in nats": 1 / math.log(2),
            "the slope was left out": -1 / case["slope"],
            "the weight were 1 / alpha, not 1 / (1 - alpha)": (1 - alpha) / alpha,
            "the weight 1 / (1 - alpha) was left out": 1 - alpha,
        }
        scaled = {said: exact * factor for said, factor in mistakes.items() if factor != 1}
        return next((f"as if {said}" for said, nats in scaled.items() if np.isclose(answer[0], nats)), "")

    first = _case([[0.25, 0.75]], [1], [2 if hidden else 0], 0.5)
    asked = Asked(fn, given, "one number", read, [first])

    def integral(world: World, schedule: Callable, knows: bool) -> float:
        """The bound of a whole world: over all lines, all noise and all times."""
        total = 0.0
        for t, weight in times():
            alpha, slope = schedule(t)
            for z, chances, guess in world.noised(kind, alpha):
                p = guess if knows else np.full_like(guess, 1 / world.K)
                for x, chance in zip(world.lines, chances, strict=True):
                    if chance > 0:
                        total += weight * chance * asked(_case(p, x, z, alpha, slope))[0]
        return total

    def integrated(knows: bool, *schedules: Callable) -> Callable:
        def find(case: Case) -> Example | None:
            world = case["world"]
            n = world.lines.shape[1]
            expected = world.entropy if knows else n * math.log(world.K)
            found = [integral(world, schedule, knows) for schedule in schedules]
            wrong = ~np.isclose(found, expected, rtol=1e-3)
            names = ", ".join("1 - t" if schedule is line else "cos(pi t / 2)^2" for schedule in schedules)
            said = f"the integral over time, all lines of {n} cells of {world.K} colours, alpha = {names}"
            return differing(said, np.full(len(found), expected), np.array(found), wrong=wrong)

        return find

    small = [Case(world=World(2, 2))]
    blank = 3 if hidden else 1
    one = _case([[0.2, 0.3, 0.5]], [2], [blank], 0.25)
    sure = _case([[0.0, 0.0, 1.0]] if hidden else [[1e-12, 1e-12, 1 - 2e-12]], [2], [blank], 0.25)
    shows = _case([[0.2, 0.3, 0.5]], [2], [2], 0.25)
    two = _case([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], [2, 0], [blank, blank], 0.25)
    weights = [
        _case([[0.2, 0.3, 0.5]], [2], [blank], alpha, slope) for alpha, slope in ((0.5, -2.0), (0.9, -0.5))
    ]
    seen = (
        "a visible cell costs nothing"
        if hidden
        else "a cell that shows its own colour costs what is left to doubt"
    )
    return CheckReport(
        "bound",
        (
            asked.answered,
            asked.expect("one cell, by hand", [first, one], right, as_if),
            asked.expect("a sure and right answer costs nothing", [sure], right),
            asked.expect(seen, [shows], right, as_if),
            asked.expect("every cell counts: a sum, not a mean", [two], right, as_if),
            asked.expect("the weight follows alpha and its slope", weights, right, as_if),
            asked.judge("knowing nothing costs ln K a cell", small, integrated(False, line)),
            asked.judge("knowing all costs the entropy", small, integrated(True, line)),
            asked.judge("whatever the schedule", small, integrated(True, line, curve)),
        ),
    )


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
