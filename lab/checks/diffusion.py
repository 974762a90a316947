"""Checks of the steps of discrete diffusion: the transition forwards, and the posterior back.

Letters: K colours, S states of a cell (K, or K and a blank as the last).
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from lab.checks.check import Case, Check, CheckReport, Examples, one_of
from lab.checks.numbers import differing, reals

KINDS = ("uniform", "absorbing")


def states(kind: str, num_colours: int) -> int:
    """How many states a cell has."""
    return num_colours + (kind == "absorbing")


def kernel(kind: str, before: float, after: float, num_colours: int) -> np.ndarray:
    """q(z_t | z_s) `(S, S)` by definition, a row for each state before."""
    kept, S = after / before, states(kind, num_colours)
    lost = np.full((S, S), 1 / S) if kind == "uniform" else np.eye(S)[np.full(S, S - 1)]
    return kept * np.eye(S) + (1 - kept) * lost


def bayes(kind: str, z: int, x: np.ndarray, before: float, after: float) -> np.ndarray:
    """q(z_s | z_t = z) `(S,)` for a clean colour that is as likely as x `(K,)` says, by Bayes' rule, state by state."""
    K = len(x)
    start = x @ kernel(kind, 1.0, before, K)[:K]
    joint = start * kernel(kind, before, after, K)[:, z]
    return joint / joint.sum()


def transition(fn: Callable, kind: str = "uniform") -> CheckReport:
    """Is `fn(alpha_s, alpha_t, num_colours)` the matrix q(z_t | z_s), a row for each state before?

    alpha_s and alpha_t are the chances, 1 >= alpha_s >= alpha_t >= 0 and alpha_s > 0, that a cell has kept its colour
    until time s and until t. `kind` "uniform": a lost colour is replaced by any of the K, its own among them; the
    answer is `(K, K)`. "absorbing": it becomes blank, the last of K + 1 states; `(K + 1, K + 1)`. Source: Austin et
    al. 2021, appendix A.2.

    >>> def never_the_own(alpha_s, alpha_t, num_colours):
    ...     kept = alpha_t / alpha_s
    ...     return kept * np.eye(num_colours) + (1 - kept) / (num_colours - 1) * (1 - np.eye(num_colours))
    >>> report = transition(never_the_own)
    >>> [p.name for p in report.properties if not p.passed][:3]
    ['of two colours, by hand', 'when nothing is left, all is forgotten', 'two steps are one longer step']
    """
    one_of("kind", kind, KINDS)

    def right(case: Case) -> np.ndarray:
        return kernel(kind, *case)

    def cumulative(case: Case) -> Iterator[tuple[str, np.ndarray]]:
        if case["alpha_s"] != 1:
            clean = right(case.but(alpha_s=1.0))
            yield "as if from the clean cell: a step keeps with alpha_t / alpha_s", clean

    small = [_step(1.0, 0.5, 2), _step(1.0, 0.5, 3)]
    read = reals(lambda case: (states(kind, case["num_colours"]),) * 2)
    check = Check("transition", fn, "real numbers (S, S)", read, small, right=right)

    def sums(case: Case, answer: np.ndarray) -> Examples:
        yield differing(f"row sums of {case}", np.ones(len(answer)), answer.sum(1))

    def negative(case: Case, answer: np.ndarray) -> Examples:
        yield differing(case, np.maximum(answer, 0), answer)

    def forgotten(case: Case, answer: np.ndarray) -> Examples:
        same = np.broadcast_to(right(case)[:1], answer.shape)
        yield differing(case, same, answer, "every row alike: what was there does not matter")

    def composed(case: Case, answer: np.ndarray) -> Examples:
        before, _, K = case
        first, longer = _step(1.0, before, K), case.but(alpha_s=1.0)
        note = f"{longer}, and that of two steps, multiplied"
        product = check.ask(first) @ answer
        yield differing(f"by way of {before}: {case}", check.ask(longer), product, note)

    some = [_step(1.0, 0.5, 2), _step(1.0, 0.25, 3), _step(0.8, 0.2, 3), _step(0.9, 0.0, 4)]
    all_lost, twice = [_step(1.0, 0.0, 3), _step(0.5, 0.0, 2)], [_step(0.8, 0.2, 3), _step(0.5, 0.25, 4)]
    name = "all together: any step, any number of colours"
    check.judge("the chances of each row sum to one", sums, some)
    check.judge("none is below zero", negative, some)
    check.expect("where nothing is lost, nothing changes", [_step(1.0, 1.0, 3), _step(0.5, 0.5, 2)])
    check.expect("of two colours, by hand", [_step(1.0, 0.5, 2)])
    check.judge("when nothing is left, all is forgotten", forgotten, all_lost)
    check.judge("two steps are one longer step", composed, twice)
    check.expect(name, [*some, _step(0.6, 0.3, 5)], mistakes=cumulative)
    return check.report


def _step(before: float, after: float, num_colours: int) -> Case:
    return Case(alpha_s=before, alpha_t=after, num_colours=num_colours)


def posterior(fn: Callable, kind: str = "uniform", given: str = "torch") -> CheckReport:
    """Is `fn(z, x, alpha_s, alpha_t)` the distribution q(z_s | z_t = z, x) of a cell one step back?

    z is a state; x `(K,)` float64 are the probabilities of the clean colour, before z is looked at; alpha_s > alpha_t
    are the chances that a cell has kept its colour until s and until t. The answer is `(K,)`, or with `kind`
    "absorbing" `(K + 1,)`, the blank last; `given` says whether x comes as "torch" or "numpy". Right is Bayes' rule:
    q(z_s | z) is proportional to q(z | z_s) sum_x p(x) q(z_s | x). Source: Austin et al. 2021, eq. 3.

    >>> def too_sure(z, x, alpha_s, alpha_t):  # forgets what z shows
    ...     return alpha_s * x + (1 - alpha_s) / len(x)
    >>> [p.name for p in posterior(too_sure).properties if not p.passed][0]
    'of two colours, one known, by hand'
    """
    blank = one_of("kind", kind, KINDS) == "absorbing"

    def right(case: Case) -> np.ndarray:
        z, x, before, after = case
        return bayes(kind, z, x.numpy(), before, after)

    by_hand = [_cell(2 if blank else 1, [1.0, 0.0], 0.75, 0.25)]
    wanted, read = "real numbers (S,), one a state", reals(lambda case: (states(kind, len(case["x"])),))
    check = Check("posterior", fn, wanted, read, by_hand, right=right, given=given)

    def sums(case: Case, answer: np.ndarray) -> Examples:
        yield differing(f"sum of {case}", [1.0], answer.sum(keepdims=True))

    def marginal(case: Case, _) -> Examples:
        x, before, after = case["x"].numpy(), case["alpha_s"], case["alpha_t"]
        until_s, until_t = ((x @ kernel(kind, 1.0, kept, len(x))[: len(x)]) for kept in (before, after))
        total = sum(chance * check.ask(case.but(z=z)) for z, chance in enumerate(until_t) if chance > 0)
        note = "averaged over z, as likely as each is: what the noise makes of x until s"
        yield differing(f"the mean over z of {case}", until_s, total, note)

    def averaged(case: Case) -> Iterator[tuple[str, np.ndarray]]:
        z, x, before, after = case
        K = len(x)
        reachable = [c for c in range(K) if kernel(kind, 1.0, after, K)[c, z] > 0]
        mean = sum(x[c].item() * bayes(kind, z, np.eye(K)[c], before, after) for c in reachable)
        yield "as if the posteriors of the colours were averaged by p(x): z says how likely each is", mean

    known = [
        _cell(z, list(np.eye(K)[x]), 0.7, 0.3)
        for K in (2, 3)
        for x in range(K)
        for z in ((K, x) if blank else range(K))
    ]
    guessed = [_cell(z, [0.5, 0.3, 0.2], 0.7, 0.3) for z in ((3, 0, 2) if blank else range(3))]
    start = [_cell(3 if blank else 0, [0.0, 1.0, 0.0], 1.0, 0.4)]
    end = [_cell(3 if blank else 1, [0.6, 0.3, 0.1], 0.5, 0.0)]
    seen = "what is visible was visible" if blank else "what the cell shows is likelier than without it"
    shown = guessed[1:2] if blank else [_cell(1, [0.5, 0.5], 0.6, 0.2)]
    check.judge("the chances sum to one", sums, known[:4] + guessed)
    check.expect("of two colours, one known, by hand", by_hand)
    check.expect(seen, shown)
    check.expect("at time 0 it is the known colour itself", start)
    check.expect("from where all is forgotten, z says nothing", end)
    check.expect("with a known colour: Bayes' rule, state by state", known)
    check.expect("with a guess for it: Bayes' rule too", guessed, mistakes=averaged)
    check.judge("over all z, it is what the noise makes of x", marginal, [guessed[0], known[0]])
    return check.report


def _cell(z: int, x: list[float], before: float, after: float) -> Case:
    return Case(z=z, x=torch.tensor(x, dtype=torch.float64), alpha_s=before, alpha_t=after)
