"""A check of scaled dot-product attention, one fact at a time."""

import math
from collections.abc import Callable

import numpy as np

from lab.checks.attention_cases import Questions, changed, part, plain_attention
from lab.checks.drawing import sentence
from lab.checks.numbers import Asked, close, differing, real_numbers
from lab.checks.report import Case, CheckReport, Example


def attention(fn: Callable, convention: str = "may_attend", given: str = "torch") -> CheckReport:
    """Is `fn(q, k, v, mask)` scaled dot-product attention, softmax(q k' / sqrt(E)) v?

    q `(B, H, T, E)`, k `(B, H, S, E)`, v `(B, H, S, Ev)`, mask bool `(B, 1, T, S)` or `(1, 1, T, S)` or None
    for no mask -> `(B, H, T, Ev)`. B rows, H heads, T queries, S keys, E channels. `convention` says what
    a mask's `True` means, "may_attend" or "blocked"; `given` what `fn` gets, "torch" or "numpy", float64
    either way. Source: Vaswani et al. 2017, section 3.2.1.

    >>> def unscaled(q, k, v, mask):
    ...     scores = q @ k.mT
    ...     scores = scores if mask is None else scores.masked_fill(~mask, -float("inf"))
    ...     return scores.softmax(-1).nan_to_num() @ v
    >>> report = attention(unscaled)
    >>> [p.name for p in report.properties if not p.passed]
    ['the scores are divided by sqrt(E)', 'all together: the formula, on random numbers']
    >>> print(report.properties[4].example.actual, report.properties[4].example.note, sep="\\n")
    [0.4768]
    [ 3.523]
    as with no scale
    """
    questions = Questions(convention)

    def read(case: Case, answer: object) -> np.ndarray:
        return real_numbers(answer, (*case["q"].shape[:3], case["v"].shape[-1]))

    first = [
        questions.random(*shape) for shape in ((1, 1, 1, 1, 1, 1), (1, 1, 2, 2, 1, 1), (2, 3, 4, 4, 2, 5))
    ]
    asked = Asked(fn, given, "real numbers (B, H, T, Ev)", read, first)

    def plain(case: Case, scale: float | None = None) -> np.ndarray:
        return plain_attention(case["q"], case["k"], case["v"], questions.may_attend(case), scale)

    def sums(case: Case) -> Example | None:
        answer = asked(case)
        return differing(str(case), np.ones_like(answer), answer, "every value is 1: what comes is the sum")

    def which_scale(case: Case, answer: np.ndarray) -> str:
        E = case["q"].shape[-1]
        scales = {"no scale": 1.0, "a division by E": 1 / E, "a multiplication by sqrt(E)": math.sqrt(E)}
        return next(
            (f"as with {said}" for said, s in scales.items() if close(plain(case, s), answer).all()), ""
        )

    def leaks(case: Case) -> Example | None:
        before = asked(case)
        for s, sees in enumerate(questions.may_attend(case)[0, 0].T.numpy()):
            if not sees.all():
                after = asked(changed(case, s, k=3.0, v=5.0))
                note = f"queries for which key {s} is blocked, before and after that key and its value change"
                if example := differing(str(case), before[:, :, ~sees], after[:, :, ~sees], note):
                    return example

    def deaf(case: Case) -> Example | None:
        before = asked(case)
        for t, s in questions.may_attend(case)[0, 0].nonzero().tolist():
            after = asked(changed(case, s, v=5.0))
            for head in range(before.shape[1]):
                if close(before[:, head, t], after[:, head, t]).all():
                    said = (f"another answer to query {t}", f"it stays {before[0, head, t].round(4)}")
                    return Example(
                        str(case), *map(sentence, said), f"value {s}, which it may see, changes by 5"
                    )

    def seeing_nothing(case: Case) -> Example | None:
        blind = ~questions.may_attend(case)[0, 0].any(dim=-1).numpy()
        answer = asked(case)[:, :, blind]
        return differing(str(case), np.zeros_like(answer), answer, "the queries that may attend nothing")

    def apart(axis: int) -> Callable:
        def find(case: Case) -> Example | None:
            whole, name = asked(case), ("row", "head")[axis]
            for i in range(whole.shape[axis]):
                alone = asked(part(case, axis, i))
                note = f"{name} {i} asked alone, and among the others"
                if example := differing(str(case), alone, whole.take([i], axis), note):
                    return example

        return find

    return CheckReport(
        "attention",
        (
            asked.answered,
            asked.expect("equal keys: the plain average of the values", questions.equal_keys(), plain),
            asked.judge("the weights of a query sum to one over the keys", questions.unlike_keys(), sums),
            asked.expect("two queries and two keys, by hand", questions.by_hand(), plain),
            asked.expect("the scores are divided by sqrt(E)", questions.wide(), plain, which_scale),
            asked.judge("a blocked key has no influence", questions.masked(), leaks),
            asked.judge("every other key has influence", questions.masked(), deaf),
            asked.expect("there may be more keys than queries, or fewer", questions.unequal_lengths(), plain),
            asked.judge("a query that may attend nothing gets zeros", questions.nothing(), seeing_nothing),
            asked.judge("each head works by itself", questions.two_heads(), apart(1)),
            asked.judge("each row of the batch works by itself", questions.two_rows(), apart(0)),
            asked.expect("all together: the formula, on random numbers", questions.together(), plain),
        ),
    )
