"""A check of the loss of connectionist temporal classification."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import torch

from lab.checks.numbers import Asked, differing, noise, real_numbers
from lab.checks.report import Case, CheckReport, Example, Property, Unreadable, as_array
from lab.speech.ctc import collapse, ctc_nats

ENUMERATED = 5  # frames of which all paths are tried; of more the recursion of lab.speech is believed
IMPOSSIBLE = 1e6  # nats: an answer that is larger says that there is no such path


def ctc(fn: Callable, given: str = "torch") -> CheckReport:
    """Is `fn(log_probs, target)` -log P(target), the nats that CTC asks of one utterance?

    `log_probs` `(T, V)` float64 are the logarithms of each frame's probabilities, as tensor or array (`given`); the
    blank is token 0; `target` is a list of tokens above 0. The answer is one number, the sum over all paths that
    stand for the target; infinite (or above a million) where there is none. Source: Graves et al. 2006.

    >>> def blank_between_all(log_probs, target):  # may not go from one token straight to the next
    ...     names = [0]
    ...     for token in target:
    ...         names += [token, 0]
    ...     alpha = [log_probs[0, k] if s < 2 else log_probs.new_tensor(-1e30) for s, k in enumerate(names)]
    ...     for frame in log_probs[1:]:
    ...         before = [alpha[0].new_tensor(-1e30), *alpha]
    ...         alpha = [torch.logaddexp(before[s + 1], before[s]) + frame[k] for s, k in enumerate(names)]
    ...     return -torch.logaddexp(alpha[-1], alpha[-2]) if target else -alpha[-1]
    >>> [p.name for p in ctc(blank_between_all).properties if not p.passed][0]
    'two tokens that differ may follow each other at once'
    """

    def read(case: Case, answer: object) -> np.ndarray:
        array = as_array(answer)
        if array.size != 1:
            raise Unreadable(f"{array.shape}; expected one number")
        answer = real_numbers(array.reshape(1), (1,))
        return np.where(answer > IMPOSSIBLE, np.inf, answer)

    first = [_case([1], 1), _case([1], 2), _case([1, 2], 3)]
    asked = Asked(fn, given, "a real number", read, first)

    def right(case: Case) -> np.ndarray:
        log_probs, target = case.arguments.values()
        return np.array(
            [enumerated(log_probs, target) if len(log_probs) <= ENUMERATED else ctc_nats(log_probs, target)]
        )

    def likeliest(case: Case, answer: np.ndarray) -> str:
        log_probs, target = case.arguments.values()
        best = min(_paths(log_probs, target), default=math.nan) if len(log_probs) <= ENUMERATED else math.nan
        return "that is the likeliest path alone: add up all of them" if np.isclose(answer, best) else ""

    def shared(case: Case) -> Example | None:
        log_probs = case["log_probs"]
        T, V = log_probs.shape
        texts = sorted({tuple(collapse(path)) for path in product(range(V), repeat=T)})
        total = sum(np.exp(-asked(Case(log_probs=log_probs, target=list(text)))) for text in texts)
        return differing(f"sum of exp(-fn) over all {len(texts)} transcripts of {T} frames", [1.0], total)

    def expect(name: str, *cases: Case) -> Property:
        return asked.expect(name, cases, right, likeliest)

    return CheckReport(
        "ctc",
        (
            asked.answered,
            expect("one frame, one token", _case([1], 1), _case([2], 1)),
            expect("a path may begin and end with blanks, or without", _case([1], 2), _case([1], 3)),
            expect(
                "two tokens that differ may follow each other at once", _case([1, 2], 2), _case([1, 2], 3)
            ),
            expect("two that are equal need a blank between them", _case([1, 1], 3), _case([1, 1], 4)),
            expect("nothing said: blanks alone", _case([], 1), _case([], 3)),
            expect("too few frames: no path, so infinitely many nats", _case([1, 2], 1), _case([1, 1], 2)),
            expect(
                "the sum over all paths, of any target",
                *(_case(y, 5) for y in ([2, 1, 2], [2, 2, 1], [1, 2])),
            ),
            asked.judge(
                "over all transcripts the probabilities sum to one", [_case([], 2), _case([], 3)], shared
            ),
            expect("hundreds of frames neither overflow nor underflow", _case([1, 2, 2, 3] * 6, 900, 5)),
        ),
    )


def enumerated(log_probs: torch.Tensor, target: list[int]) -> float:
    """-log of the sum over all paths, tried one by one."""
    total = math.fsum(math.exp(-nats) for nats in _paths(log_probs, target))
    return -math.log(total) if total else math.inf


def _paths(log_probs: torch.Tensor, target: list[int]):
    T, V = log_probs.shape
    for path in product(range(V), repeat=T):
        if collapse(path) == target:
            yield -sum(log_probs[t, token].item() for t, token in enumerate(path))


def _case(target: list[int], T: int, V: int = 3) -> Case:
    return Case(log_probs=noise(T, V, seed=T).log_softmax(-1), target=target)
