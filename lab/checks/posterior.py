"""A check of the posterior of discrete diffusion: the step back, when the clean colour is known or guessed."""

from collections.abc import Callable

import numpy as np
import torch

from lab.checks.diffusion_cases import bayes, checked, kernel, states
from lab.checks.numbers import Asked, differing, real_numbers
from lab.checks.report import Case, CheckReport, Example


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
    checked(kind)

    def read(case: Case, answer: object) -> np.ndarray:
        return real_numbers(answer, (states(kind, len(case["x"])),))

    def right(case: Case) -> np.ndarray:
        z, x, before, after = case.arguments.values()
        return bayes(kind, z, x.numpy(), before, after)

    blank = kind == "absorbing"
    by_hand = [_case(2 if blank else 1, [1.0, 0.0], 0.75, 0.25)]
    asked = Asked(fn, given, "real numbers (S,), one a state", read, by_hand)

    def sums(case: Case) -> Example | None:
        answer = asked(case)
        return differing(f"sum of {case}", [1.0], answer.sum(keepdims=True))

    def marginal(case: Case) -> Example | None:
        _, x, before, after = case.arguments.values()
        K = len(x)
        total = np.zeros(states(kind, K))
        for z, chance in enumerate(x.numpy() @ kernel(kind, 1.0, after, K)[:K]):
            if chance > 0:
                total += chance * asked(Case(z=z, x=x, alpha_s=before, alpha_t=after))
        note = "averaged over z, as likely as each is: what the noise makes of x until s"
        return differing(
            f"the mean over z of {case}", x.numpy() @ kernel(kind, 1.0, before, K)[:K], total, note
        )

    def mixed(case: Case, answer: np.ndarray) -> str:
        z, x, before, after = case.arguments.values()
        reachable = [c for c in range(len(x)) if kernel(kind, 1.0, after, len(x))[c, z] > 0]
        mean = sum(x[c].item() * bayes(kind, z, np.eye(len(x))[c], before, after) for c in reachable)
        same = np.allclose(answer, mean, atol=1e-5)
        return (
            "as if the posteriors of the colours were averaged by p(x): z says how likely each is"
            if same
            else ""
        )

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
    return CheckReport(
        "posterior",
        (
            asked.answered,
            asked.judge("the chances sum to one", known[:4] + guessed, sums),
            asked.expect("of two colours, one known, by hand", by_hand, right),
            asked.expect(seen, guessed[1:2] if blank else [_case(1, [0.5, 0.5], 0.6, 0.2)], right),
            asked.expect("at time 0 it is the known colour itself", start, right),
            asked.expect("from where all is forgotten, z says nothing", end, right),
            asked.expect("with a known colour: Bayes' rule, state by state", known, right),
            asked.expect("with a guess for it: Bayes' rule too", guessed, right, mixed),
            asked.judge("over all z, it is what the noise makes of x", [guessed[0], known[0]], marginal),
        ),
    )


def _case(z: int, x: list[float], before: float, after: float) -> Case:
    return Case(z=z, x=torch.tensor(x, dtype=torch.float64), alpha_s=before, alpha_t=after)
