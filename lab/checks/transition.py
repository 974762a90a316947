"""A check of the transitions of discrete diffusion."""

from collections.abc import Callable

import numpy as np

from lab.checks.diffusion_cases import checked, kernel, states
from lab.checks.numbers import Asked, differing, real_numbers
from lab.checks.report import Case, CheckReport, Example


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
    checked(kind)

    def read(case: Case, answer: object) -> np.ndarray:
        return real_numbers(answer, (states(kind, case["num_colours"]),) * 2)

    asked = Asked(fn, "torch", "real numbers (S, S)", read, [_case(1.0, 0.5, 2), _case(1.0, 0.5, 3)])

    def right(case: Case) -> np.ndarray:
        return kernel(kind, *case.arguments.values())

    def sums(case: Case) -> Example | None:
        answer = asked(case)
        return differing(f"row sums of {case}", np.ones(len(answer)), answer.sum(1))

    def negative(case: Case) -> Example | None:
        answer = asked(case)
        return differing(str(case), np.maximum(answer, 0), answer)

    def forgotten(case: Case) -> Example | None:
        answer = asked(case)
        same = np.broadcast_to(right(case)[:1], answer.shape)
        return differing(str(case), same, answer, "every row alike: what was there does not matter")

    def composed(case: Case) -> Example | None:
        first = asked(_case(1.0, case["alpha_s"], case["num_colours"]))
        longer = asked(_case(1.0, case["alpha_t"], case["num_colours"]))
        note = f"{_case(1.0, case['alpha_t'], case['num_colours'])}, and that of two steps, multiplied"
        return differing(f"by way of {case['alpha_s']}: {case}", longer, first @ asked(case), note)

    def as_if(case: Case, answer: np.ndarray) -> str:
        before, after, K = case.arguments.values()
        same = np.allclose(answer, kernel(kind, 1.0, after, K), atol=1e-5) and before != 1
        return "as if from the clean cell: a step keeps with alpha_t / alpha_s" if same else ""

    some = [_case(1.0, 0.5, 2), _case(1.0, 0.25, 3), _case(0.8, 0.2, 3), _case(0.9, 0.0, 4)]
    return CheckReport(
        "transition",
        (
            asked.answered,
            asked.judge("the chances of each row sum to one", some, sums),
            asked.judge("none is below zero", some, negative),
            asked.expect(
                "where nothing is lost, nothing changes", [_case(1.0, 1.0, 3), _case(0.5, 0.5, 2)], right
            ),
            asked.expect("of two colours, by hand", [_case(1.0, 0.5, 2)], right),
            asked.judge(
                "when nothing is left, all is forgotten", [_case(1.0, 0.0, 3), _case(0.5, 0.0, 2)], forgotten
            ),
            asked.judge("two steps are one longer step", [_case(0.8, 0.2, 3), _case(0.5, 0.25, 4)], composed),
            asked.expect(
                "all together: any step, any number of colours", [*some, _case(0.6, 0.3, 5)], right, as_if
            ),
        ),
    )


def _case(before: float, after: float, num_colours: int) -> Case:
    return Case(alpha_s=before, alpha_t=after, num_colours=num_colours)
