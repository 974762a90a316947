"""Checks of what reshapes a distribution before a token is drawn: top-k, top-p, the repetition penalty."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.numbers import differing, reals

WANTED, READ = "real numbers or -inf in the shape of the logits", reals(lambda case: case["logits"].shape)


class _Filter(Check):
    """What top-k and top-p have in common: some logits stay as they are, the others become -inf."""

    def __init__(self, name: str, fn: Callable, plain: Callable, cases: Sequence[Case], given: str):
        def right(case: Case) -> np.ndarray:
            return plain(case["logits"].numpy(), *list(case)[1:])

        super().__init__(name, fn, WANTED, READ, cases, right=right, given=given)

    def count(self, case: Case, answer: np.ndarray) -> Examples:
        expected, found = (_kept(x).sum(axis=-1, keepdims=True) for x in (self.right(case), answer))
        yield differing(f"how many tokens {case} leaves", expected, found)

    def likeliest(self, case: Case, answer: np.ndarray) -> Examples:
        yield differing(f"which tokens {case} leaves (1: kept)", _kept(self.right(case)), _kept(answer))

    def unchanged(self, case: Case, answer: np.ndarray) -> Examples:
        expected = np.where(_kept(answer), case["logits"].numpy(), answer)
        yield differing(case, expected, answer, "the kept tokens' own logits, unscaled")

    def removed(self, case: Case, answer: np.ndarray) -> Examples:
        expected = self.right(case)
        yield differing(case, expected, answer, wrong=np.isneginf(expected) & ~np.isneginf(answer))


def top_k(fn: Callable, given: str = "torch") -> CheckReport:
    """Does `fn(logits, k)` keep the `k` likeliest tokens of `(..., V)` and set all other logits to -inf?

    Logits have one to three dimensions. `given` says what `fn` gets, "torch" or "numpy", float64 either way. Which of
    equally likely tokens stays is not judged. Source: Fan et al. 2018, section 5.1.

    >>> def too_much(logits, k):  # keeps those above the k-th, not it
    ...     return logits.masked_fill(logits <= logits.sort(descending=True).values[..., k - 1 : k], -torch.inf)
    >>> [p.name for p in top_k(too_much).properties if not p.passed][:2]
    ['k tokens are left', 'they are the k likeliest']
    """
    first = [_logits([0.5, 0.25, 0.25], k=1), _logits([0.5, 0.25], k=2)]
    check = _Filter("top_k", fn, plain_top_k, first, given)
    some = [_logits(p, k=k) for p in _UNLIKE for k in range(1, len(p))]
    check.judge("k tokens are left", check.count, some)
    check.judge("they are the k likeliest", check.likeliest, some)
    check.judge("what is kept stays as it is", check.unchanged, some)
    check.judge("what is removed becomes -inf", check.removed, some)
    check.expect("k of V, or more, removes nothing", [_logits(p, k=k) for p in _UNLIKE for k in (4, 9)])
    check.expect("what has no probability may be there", [_logits([0.75, 0.0, 0.25, 0.0], k=1)])
    check.expect("each row is filtered by itself", _rows(k=2))
    return check.report


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
    first = [_logits([0.75, 0.25], p=0.5), _logits([0.5, 0.375, 0.125], p=0.75)]
    check = _Filter("top_p", fn, plain_top_p, first, given)

    def shifted(case: Case, answer: np.ndarray) -> Examples:
        more = check.ask(case.but(logits=case["logits"] + 5))
        yield differing(f"{case}, and the same with logits + 5", answer + 5, more)

    some = [_logits(q, p=p) for q in _UNLIKE for p in (0.3, 0.6, 0.85, 0.97)]
    check.judge("the fewest likeliest that reach p are left", check.likeliest, some)
    check.judge("what is kept stays as it is", check.unchanged, some)
    check.judge("what is removed becomes -inf", check.removed, some)
    check.expect(
        "the likeliest stays, however small p", [_logits(q, p=p) for q in _UNLIKE for p in (0.1, 1e-9)]
    )
    check.expect("p = 1 removes nothing", [_logits(q, p=1.0) for q in _UNLIKE])
    check.expect("what has no probability may be there", [_logits([0.5, 0.0, 0.375, 0.125], p=0.6)])
    check.judge("a constant added to all logits changes nothing", shifted, some)
    check.expect("each row is filtered by itself", _rows(p=0.78))
    return check.report


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
        logits, ids, penalty = case
        said = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, ids, True)
        penalised = torch.where(logits > 0, logits / penalty, logits * penalty)
        return torch.where(said, penalised, logits).numpy()

    def negative(case: Case, answer: np.ndarray) -> Examples:
        likelier = "divided, a negative logit becomes likelier" if (answer > right(case)).any() else ""
        yield differing(case, right(case), answer, likelier)

    first = [case([0.0, 0.0], [0], 2.0), case([[0.0, 0.0]], [[1]], 1.0)]
    check = Check("repetition_penalty", fn, WANTED, READ, first, right=right, given=given)
    logits = [3.0, -1.0, 0.5, -4.0, 0.0]
    rows = case([logits, logits, logits[::-1]], [[0, 1], [3, 3], [1, 4]], 2.0)
    check.expect("a positive logit is divided", [case([3.0, 1.0], [0], 2.0), case(logits, [2], 1.5)])
    multiplied = [case([1.0, -1.0], [1], 2.0), case(logits, [3], 1.5)]
    check.judge("a negative one is multiplied", negative, multiplied)
    check.expect("tokens that are not in the text are left alone", [case(logits, [4], 3.0)])
    check.expect(
        "a token is penalised once, however often it stands there", [case(logits, [0, 0, 1, 1, 0], 2.0)]
    )
    check.expect("a penalty of 1 changes nothing", [case(logits, [0, 1, 2], 1.0)])
    check.expect("below 1 it makes repetition likelier", [case(logits, [0, 1, 2], 0.5)])
    check.expect("each row has a text of its own", [rows])
    return check.report


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


def _kept(logits: np.ndarray) -> np.ndarray:
    """Which tokens have some probability beside the likeliest."""
    return logits > logits.max(axis=-1, keepdims=True) - 50


def _kept(logits: np.ndarray) -> np.ndarray:
    """Which tokens have some probability beside the likeliest."""
    return logits > logits.max(axis=-1, keepdims=True) - 50
