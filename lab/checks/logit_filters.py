"""Checks of what reshapes a distribution before a token is drawn: top-k, top-p, the repetition penalty."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from lab.checks.numbers import Asked, differing, real_numbers
from lab.checks.report import Case, CheckReport, Example

SHAPE = "real numbers or -inf in the shape of the logits"


def top_k(fn: Callable, given: str = "torch") -> CheckReport:
    """Does `fn(logits, k)` keep the `k` likeliest tokens of `(..., V)` and set all other logits to -inf?

    Logits have one to three dimensions. `given` says what `fn` gets, "torch" or "numpy", float64 either way. Which of
    equally likely tokens stays is not judged. Source: Fan et al. 2018, section 5.1.

    >>> def too_much(logits, k):  # keeps those above the k-th, not it
    ...     return logits.masked_fill(logits <= logits.sort(descending=True).values[..., k - 1 : k], -torch.inf)
    >>> [p.name for p in top_k(too_much).properties if not p.passed][:2]
    ['k tokens are left', 'they are the k likeliest']
    """
    asked = Asked(fn, given, SHAPE, _read, [_logits([0.5, 0.25, 0.25], k=1), _logits([0.5, 0.25], k=2)])

    def right(case: Case) -> np.ndarray:
        return plain_top_k(case["logits"].numpy(), case["k"])

    some = [_logits(p, k=k) for p in _UNLIKE for k in range(1, len(p))]
    return CheckReport(
        "top_k",
        (
            asked.answered,
            asked.judge("k tokens are left", some, lambda case: _count(asked, case, right)),
            asked.judge("they are the k likeliest", some, lambda case: _same_kept(asked, case, right)),
            asked.judge("what is kept stays as it is", some, lambda case: _unchanged(asked, case)),
            asked.judge("what is removed becomes -inf", some, lambda case: _removed(asked, case, right)),
            asked.expect(
                "k of V, or more, removes nothing", [_logits(p, k=k) for p in _UNLIKE for k in (4, 9)], right
            ),
            asked.expect(
                "what has no probability may be there", [_logits([0.75, 0.0, 0.25, 0.0], k=1)], right
            ),
            asked.expect("each row is filtered by itself", _rows(k=2), right),
        ),
    )


def top_p(fn: Callable, given: str = "torch") -> CheckReport:
    """Does `fn(logits, p)` keep the fewest likeliest tokens whose probabilities reach `p`, and set the others to -inf?

    Logits `(..., V)` have one to three dimensions; the token with which the sum reaches `p` stays. `given` says what
    `fn` gets, "torch" or "numpy", float64 either way. Sums that are just `p`, and ties, are not judged.
    Source: Holtzman et al. 2020, section 3.1.

    >>> def stops_too_soon(logits, p):  # loses the token that reaches p
    ...     probs, order = logits.softmax(-1).sort(descending=True)
    ...     remove = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, probs.cumsum(-1) >= p)
    ...     return logits.masked_fill(remove, -torch.inf)
    >>> [p.name for p in top_p(stops_too_soon).properties if not p.passed][0]
    'the fewest likeliest that reach p are left'
    """
    asked = Asked(
        fn, given, SHAPE, _read, [_logits([0.75, 0.25], p=0.5), _logits([0.5, 0.375, 0.125], p=0.75)]
    )

    def right(case: Case) -> np.ndarray:
        return plain_top_p(case["logits"].numpy(), case["p"])

    def shifted(case: Case) -> Example | None:
        more = Case(logits=case["logits"] + 5, p=case["p"])
        return differing(f"{case}, and the same with logits + 5", asked(case) + 5, asked(more))

    some = [_logits(q, p=p) for q in _UNLIKE for p in (0.3, 0.6, 0.85, 0.97)]
    return CheckReport(
        "top_p",
        (
            asked.answered,
            asked.judge(
                "the fewest likeliest that reach p are left", some, lambda c: _same_kept(asked, c, right)
            ),
            asked.judge("what is kept stays as it is", some, lambda case: _unchanged(asked, case)),
            asked.judge("what is removed becomes -inf", some, lambda case: _removed(asked, case, right)),
            asked.expect(
                "the likeliest stays, however small p",
                [_logits(q, p=p) for q in _UNLIKE for p in (0.1, 1e-9)],
                right,
            ),
            asked.expect("p = 1 removes nothing", [_logits(q, p=1.0) for q in _UNLIKE], right),
            asked.expect(
                "what has no probability may be there", [_logits([0.5, 0.0, 0.375, 0.125], p=0.6)], right
            ),
            asked.judge("a constant added to all logits changes nothing", some, shifted),
            asked.expect("each row is filtered by itself", _rows(p=0.78), right),
        ),
    )


def repetition_penalty(fn: Callable, given: str = "torch") -> CheckReport:
    """Does `fn(logits, ids, penalty)` divide the positive logits of the tokens in `ids`, and multiply the others?

    logits `(V,)` with ids `(T,)`, or `(B, V)` with `(B, T)`, int64; a token that stands in `ids` twice is penalised
    once. `given` says what `fn` gets, "torch" or "numpy". Source: Keskar et al. 2019, CTRL, section 4.1, as the field's
    libraries have mended it for negative logits.

    >>> def as_published(logits, ids, penalty):
    ...     return logits.scatter(-1, ids, logits.gather(-1, ids) / penalty)
    >>> print(repetition_penalty(as_published).properties[2].example.note)
    divided, a negative logit becomes likelier
    """

    def case(logits: Sequence, ids: Sequence, penalty: float) -> Case:
        return Case(logits=torch.tensor(logits, dtype=torch.float64), ids=torch.tensor(ids), penalty=penalty)

    def right(case: Case) -> np.ndarray:
        logits, ids = (case[name].reshape(-1, case[name].shape[-1]).tolist() for name in ("logits", "ids"))
        penalty = case["penalty"]
        rows = [
            [v if i not in text else (v / penalty if v > 0 else v * penalty) for i, v in enumerate(row)]
            for row, text in zip(logits, ids, strict=True)
        ]
        return np.array(rows).reshape(case["logits"].shape)

    def why(case: Case, answer: np.ndarray) -> str:
        divided = answer > right(case)
        return "divided, a negative logit becomes likelier" if divided.any() else ""

    asked = Asked(fn, given, SHAPE, _read, [case([0.0, 0.0], [0], 2.0), case([[0.0, 0.0]], [[1]], 1.0)])
    logits = [3.0, -1.0, 0.5, -4.0, 0.0]
    return CheckReport(
        "repetition_penalty",
        (
            asked.answered,
            asked.expect(
                "a positive logit is divided", [case([3.0, 1.0], [0], 2.0), case(logits, [2], 1.5)], right
            ),
            asked.expect(
                "a negative one is multiplied",
                [case([1.0, -1.0], [1], 2.0), case(logits, [3], 1.5)],
                right,
                why,
            ),
            asked.expect("tokens that are not in the text are left alone", [case(logits, [4], 3.0)], right),
            asked.expect(
                "a token is penalised once, however often it stands there",
                [case(logits, [0, 0, 1, 1, 0], 2.0)],
                right,
            ),
            asked.expect("a penalty of 1 changes nothing", [case(logits, [0, 1, 2], 1.0)], right),
            asked.expect("below 1 it makes repetition likelier", [case(logits, [0, 1, 2], 0.5)], right),
            asked.expect(
                "each row has a text of its own",
                [case([logits, logits, logits[::-1]], [[0, 1], [3, 3], [1, 4]], 2.0)],
                right,
            ),
        ),
    )


def plain_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """By rank; of equals the smaller id is likelier."""
    rank = np.argsort(np.argsort(-logits, axis=-1, kind="stable"), axis=-1, kind="stable")
    return np.where(rank < k, logits, -np.inf)


def plain_top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """A token stays while those likelier than it have less than `p` together."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = powers / powers.sum(axis=-1, keepdims=True)
    likelier = (
        logits[..., None, :] > logits[..., :, None]
    )  # (..., V, V): is the second likelier than the first?
    before = (likelier * probabilities[..., None, :]).sum(axis=-1)
    return np.where((before < p) | (p == 1), logits, -np.inf)


# Probabilities without ties, in an order that is none: the largest is first, last, or between.
_UNLIKE = ([0.5, 0.3, 0.15, 0.05], [0.05, 0.2, 0.35, 0.4], [0.02, 0.9, 0.05, 0.03], [0.3, 0.1, 0.2, 0.4])


def _logits(probabilities: Sequence[float], **setting) -> Case:
    """Logits that sum to nothing in particular: no filter may take them for log-probabilities."""
    return Case(logits=torch.tensor(probabilities, dtype=torch.float64).log() + 2, **setting)


def _rows(**setting) -> list[Case]:
    rows = torch.tensor(_UNLIKE, dtype=torch.float64).log()
    return [Case(logits=logits, **setting) for logits in (rows[:2], rows, rows.view(2, 2, 4), rows[:, None])]


def _read(case: Case, answer: object) -> np.ndarray:
    return real_numbers(answer, tuple(case["logits"].shape))


def _kept(logits: np.ndarray) -> np.ndarray:
    """Which tokens have some probability beside the likeliest."""
    return logits > logits.max(axis=-1, keepdims=True) - 50


def _count(asked: Asked, case: Case, right: Callable) -> Example | None:
    expected, found = (_kept(x).sum(axis=-1, keepdims=True) for x in (right(case), asked(case)))
    return differing(f"how many tokens {case} leaves", expected, found)


def _same_kept(asked: Asked, case: Case, right: Callable) -> Example | None:
    return differing(f"which tokens {case} leaves (1: kept)", _kept(right(case)), _kept(asked(case)))


def _unchanged(asked: Asked, case: Case) -> Example | None:
    before, after = case["logits"].numpy(), asked(case)
    return differing(
        str(case), np.where(_kept(after), before, after), after, "the kept tokens' own logits, unscaled"
    )


def _removed(asked: Asked, case: Case, right: Callable) -> Example | None:
    expected, answer = right(case), asked(case)
    return differing(str(case), expected, answer, wrong=np.isneginf(expected) & ~np.isneginf(answer))
