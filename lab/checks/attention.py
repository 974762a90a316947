"""A check of scaled dot-product attention, one fact at a time."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from lab.checks.attention_cases import Questions, changed, pairs, part, plain_attention
from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.numbers import apart, close, differing, reals, tokens, told


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
    ask = Questions(convention)

    def plain(case: Case, scale: float | None = None) -> np.ndarray:
        return plain_attention(case["q"], case["k"], case["v"], ask.may_attend(case), scale)

    def other_scales(case: Case) -> Iterator[tuple[str, np.ndarray]]:
        E = case["q"].shape[-1]
        yield "as with no scale", plain(case, 1.0)
        yield "as with a division by E", plain(case, 1 / E)
        yield "as with a multiplication by sqrt(E)", plain(case, math.sqrt(E))

    small = [ask.random(*size) for size in ((1, 1, 1, 1, 1, 1), (1, 1, 2, 2, 1, 1), (2, 3, 4, 4, 2, 5))]
    read = reals(lambda case: (*case["q"].shape[:3], case["v"].shape[-1]))
    check = Check("attention", fn, "real numbers (B, H, T, Ev)", read, small, right=plain, given=given)

    def sums(case: Case, answer: np.ndarray) -> Examples:
        yield differing(case, np.ones_like(answer), answer, "every value is 1: what comes is the sum")

    def leaks(case: Case, before: np.ndarray) -> Examples:
        for s, sees in enumerate(ask.visible(case).T):
            if not sees.all():
                after = check.ask(changed(case, s, k=3.0, v=5.0))
                note = f"queries for which key {s} is blocked, before and after that key and its value change"
                yield differing(case, before[:, :, ~sees], after[:, :, ~sees], note)

    def deaf(case: Case, before: np.ndarray) -> Examples:
        for t, s in pairs(ask.visible(case)):
            after = check.ask(changed(case, s, v=5.0))
            for head in range(before.shape[1]):
                if close(before[:, head, t], after[:, head, t]).all():
                    stays = f"it stays {before[0, head, t].round(4)}"
                    note = f"value {s}, which it may see, changes by 5"
                    yield told(case, f"another answer to query {t}", stays, note)

    def seeing_nothing(case: Case, answer: np.ndarray) -> Examples:
        answer = answer[:, :, ~ask.visible(case).any(axis=-1)]
        yield differing(case, np.zeros_like(answer), answer, "the queries that may attend nothing")

    one, ones = tokens([1], [1]), tokens([1], [1], [1])
    # As many queries as keys, all alike: which axis is normalised makes no difference.
    equal = [ask.case(one, one, tokens([0], [4])), ask.case(ones, ones, tokens([0, 1], [3, 1], [6, 4]))]
    unlike = [ask.case(tokens([0], [1]), tokens([0], [2]), one)]
    # Scores ((c, -c), (-c, c)) with exp(2c) = 3: weights of 3/4 and 1/4. With E = 1 nothing is scaled.
    c = math.log(3) / 2
    by_hand = [ask.case(tokens([1], [-1]), tokens([c], [-c]), tokens([0], [4]))]
    unequal = [ask.random(1, 1, T, S, 1, 1) for T, S in ((1, 2), (2, 1), (3, 5))]
    unlike_masks = torch.tensor([[[[True, False]] * 2], [[[False, True]] * 2]])
    rows = [ask.random(2, 1, 2, 2, 1, 1, mask) for mask in (None, unlike_masks)]
    row, head = (lambda case, i, axis=axis: part(case, axis, i) for axis in (0, 1))

    check.expect("equal keys: the plain average of the values", equal)
    check.judge("the weights of a query sum to one over the keys", sums, unlike)
    check.expect("two queries and two keys, by hand", by_hand)
    check.expect("the scores are divided by sqrt(E)", ask.wide(), mistakes=other_scales)
    check.judge("a blocked key has no influence", leaks, ask.masked())
    check.judge("every other key has influence", deaf, ask.masked())
    check.expect("there may be more keys than queries, or fewer", unequal)
    check.judge("a query that may attend nothing gets zeros", seeing_nothing, ask.nothing())
    check.judge(
        "each head works by itself", apart(check.ask, head, 1, "head"), [ask.random(1, 2, 2, 2, 1, 1)]
    )
    check.judge("each row of the batch works by itself", apart(check.ask, row), rows)
    check.expect("all together: the formula, on random numbers", ask.together())
    return check.report
