"""A check of the loss of connectionist temporal classification."""

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch

from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.numbers import differing, noise, one_number
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
        nats = one_number(answer)
        return np.where(nats > IMPOSSIBLE, np.inf, nats)

    def right(case: Case) -> np.ndarray:
        tried = len(case["log_probs"]) <= ENUMERATED
        return np.array([(enumerated if tried else ctc_nats)(*case)])

    def likeliest(case: Case) -> Iterator[tuple[str, float]]:
        if len(case["log_probs"]) <= ENUMERATED and (every := list(_paths(*case))):
            yield "that is the likeliest path alone: add up all of them", min(every)

    def shared(case: Case, _) -> Examples:
        T, V = case["log_probs"].shape
        texts = sorted({tuple(collapse(path)) for path in product(range(V), repeat=T)})
        total = sum(np.exp(-check.ask(case.but(target=list(text)))) for text in texts)
        yield differing(f"sum of exp(-fn) over all {len(texts)} transcripts of {T} frames", [1.0], total)

    def expect(name: str, *cases: Case) -> None:
        check.expect(name, cases, mistakes=likeliest)

    small = [_case([1], 1), _case([1], 2), _case([1, 2], 3)]
    check = Check("ctc", fn, "a real number", read, small, right=right, given=given)
    expect("one frame, one token", _case([1], 1), _case([2], 1))
    expect("a path may begin and end with blanks, or without", _case([1], 2), _case([1], 3))
    expect("two tokens that differ may follow each other at once", _case([1, 2], 2), _case([1, 2], 3))
    expect("two that are equal need a blank between them", _case([1, 1], 3), _case([1, 1], 4))
    expect("nothing said: blanks alone", _case([], 1), _case([], 3))
    expect("too few frames: no path, so infinitely many nats", _case([1, 2], 1), _case([1, 1], 2))
    expect("the sum over all paths, of any target", *(_case(y, 5) for y in ([2, 1, 2], [2, 2, 1], [1, 2])))
    nothing_said = [_case([], 2), _case([], 3)]
    check.judge("over all transcripts the probabilities sum to one", shared, nothing_said)
    expect("hundreds of frames neither overflow nor underflow", _case([1, 2, 2, 3] * 6, 900, 5))
    return check.report


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
