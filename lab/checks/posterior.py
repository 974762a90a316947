"""A check of the posterior of discrete diffusion: the step back, when the clean colour is known or guessed."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from lab.checks.check import Case, Check, CheckReport, Examples, one_of
from lab.checks.diffusion_cases import KINDS, bayes, kernel, states
from lab.checks.numbers import differing, reals


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

    by_hand = [_case(2 if blank else 1, [1.0, 0.0], 0.75, 0.25)]
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
        _case(z, list(np.eye(K)[x]), 0.7, 0.3)
        for K in (2, 3)
        for x in range(K)
        for z in ((K, x) if blank else range(K))
    ]
    guessed = [_case(z, [0.5, 0.3, 0.2], 0.7, 0.3) for z in ((3, 0, 2) if blank else range(3))]
    start = [_case(3 if blank else 0, [0.0, 1.0, 0.0], 1.0, 0.4)]
    end = [_case(3 if blank else 1, [0.6, 0.3, 0.1], 0.5, 0.0)]
    seen = "what is visible was visible" if blank else "what the cell shows is likelier than without it"
    shown = guessed[1:2] if blank else [_case(1, [0.5, 0.5], 0.6, 0.2)]
    check.judge("the chances sum to one", sums, known[:4] + guessed)
    check.expect("of two colours, one known, by hand", by_hand)
    check.expect(seen, shown)
    check.expect("at time 0 it is the known colour itself", start)
    check.expect("from where all is forgotten, z says nothing", end)
    check.expect("with a known colour: Bayes' rule, state by state", known)
    check.expect("with a guess for it: Bayes' rule too", guessed, mistakes=averaged)
    check.judge("over all z, it is what the noise makes of x", marginal, [guessed[0], known[0]])
    return check.report


def _case(z: int, x: list[float], before: float, after: float) -> Case:
    return Case(z=z, x=torch.tensor(x, dtype=torch.float64), alpha_s=before, alpha_t=after)
