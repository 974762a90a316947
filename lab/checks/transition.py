"""A check of the transitions of discrete diffusion."""

from collections.abc import Callable, Iterator

import numpy as np

from lab.checks.check import Case, Check, CheckReport, Examples, one_of
from lab.checks.diffusion_cases import KINDS, kernel, states
from lab.checks.numbers import differing, reals


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

    small = [_case(1.0, 0.5, 2), _case(1.0, 0.5, 3)]
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
        first, longer = _case(1.0, before, K), case.but(alpha_s=1.0)
        note = f"{longer}, and that of two steps, multiplied"
        product = check.ask(first) @ answer
        yield differing(f"by way of {before}: {case}", check.ask(longer), product, note)

    some = [_case(1.0, 0.5, 2), _case(1.0, 0.25, 3), _case(0.8, 0.2, 3), _case(0.9, 0.0, 4)]
    all_lost, twice = [_case(1.0, 0.0, 3), _case(0.5, 0.0, 2)], [_case(0.8, 0.2, 3), _case(0.5, 0.25, 4)]
    name = "all together: any step, any number of colours"
    check.judge("the chances of each row sum to one", sums, some)
    check.judge("none is below zero", negative, some)
    check.expect("where nothing is lost, nothing changes", [_case(1.0, 1.0, 3), _case(0.5, 0.5, 2)])
    check.expect("of two colours, by hand", [_case(1.0, 0.5, 2)])
    check.judge("when nothing is left, all is forgotten", forgotten, all_lost)
    check.judge("two steps are one longer step", composed, twice)
    check.expect(name, [*some, _case(0.6, 0.3, 5)], mistakes=cumulative)
    return check.report


def _case(before: float, after: float, num_colours: int) -> Case:
    return Case(alpha_s=before, alpha_t=after, num_colours=num_colours)
