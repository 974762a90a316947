"""A check of a decoder-only language model, by its logits alone."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lab.checks.drawing import sentence
from lab.checks.numbers import Asked, differing, real_numbers
from lab.checks.report import Case, CheckReport, Example, Unreadable

SAME, CHANGED = 1e-4, 1e-5  # relative to the largest logit, for a model in float32
SPECIAL = 5  # ids below are those of special tokens, which a model may treat in its own way
LENGTHS = (2, 3, 6)


def decoder(fn: Callable, vocab_size: int, context: int, given: str = "torch") -> CheckReport:
    """Is `fn(ids)` a causal language model: logits `(B, T, vocab_size)` for int64 ids `(B, T)`, T <= context?

    `fn` may be an `nn.Module`: it is called without gradients, on its own device and in its own mode, so call
    `model.eval()` before where it has dropout. `given` says what `fn` gets, "torch" or "numpy". Rows have no
    padding, and no ids below 5 where there are others. What fails too: a window narrower than 6 tokens; a
    single causal layer that is not told positions (several do tell order without); and a fresh model in which
    weights of zero silence the output or attention: give it random ones, or train it a little.

    Raises ValueError for a vocab_size below 2 or a context below 3.

    >>> def mean_of_past(ids):  # knows which tokens came, and not in what order
    ...     one_hot = torch.nn.functional.one_hot(ids, 9).double()
    ...     return one_hot.cumsum(1) / torch.arange(1, ids.shape[1] + 1)[:, None]
    >>> print(decoder(mean_of_past, vocab_size=9, context=8))
    decoder: failed, 7 of 8 properties hold
      ✓ the answer is real numbers (B, T, vocab_size)
      ✓ all logits are finite
      ✓ the same ids give the same again
      ✓ no position sees the future
      ✓ every position sees itself and its past
      ✗ the order of earlier tokens matters
          fn(ids=[[5, 6, 7]]) and fn(ids=[[6, 5, 7]])
          expected                       actual
           other logits at position 2     the same, 0, 0, 0, 0, ...
          positions 0 and 1 changed places; in a fresh model weights of zero may silence attention: train it a little
      ✓ each row of the batch works by itself
      ✓ a text gives what it gives as the start of a longer one
    """
    if vocab_size < 2 or context < 3:
        raise ValueError(
            f"vocab_size {vocab_size} and context {context}; a model with at least 2 ids and 3 positions is needed"
        )

    def read(case: Case, answer: object) -> np.ndarray:
        if isinstance(answer, tuple):
            raise Unreadable(f"a tuple of {len(answer)}; give the logits alone, as lambda ids: model(ids)[0]")
        return real_numbers(answer, (*case["ids"].shape, vocab_size))

    def text(*shape: int) -> Case:
        return Case(ids=_text(*shape, vocab_size))

    first = [text(1, 1), text(1, 2), text(2, 3), text(1, context)]
    asked = Asked(_without_gradients(fn), given, "real numbers (B, T, vocab_size)", read, first)

    def finite(case: Case) -> Example | None:
        logits = asked(case)
        return differing(str(case), np.nan_to_num(logits), logits, wrong=~np.isfinite(logits))

    def again(case: Case) -> Example | None:
        note = "two calls: is dropout on? model.eval() turns it off"
        return _moved(str(case), asked(case), asked(case), note)

    def future(case: Case) -> Example | None:
        ids, logits = case["ids"], asked(case)
        for later in _some(range(1, ids.shape[1])):
            other = Case(ids=_another(ids, later, vocab_size))
            after = asked(other)
            for t in range(later):
                note = f"logits of position {t}; position {later}, which it may not see, changed"
                if example := _moved(f"{case} and {other}", logits[0, t], after[0, t], note, _scale(logits)):
                    return example

    def past(case: Case) -> Example | None:
        ids, logits = case["ids"], asked(case)
        others = [Case(ids=_another(ids, seen, vocab_size)) for seen in range(ids.shape[1])]
        after = [asked(other) for other in others]
        for t in range(ids.shape[1]):
            for seen in range(t, -1, -1):
                said = f"position {seen} changed"
                if example := _stayed(case, others[seen], logits, after[seen], t, said):
                    return example

    def order(case: Case) -> Example | None:
        ids, swapped = case["ids"], case["ids"].clone()
        swapped[:, [0, 1]] = ids[:, [1, 0]]
        other = Case(ids=swapped)
        return _stayed(case, other, asked(case), asked(other), 2, "positions 0 and 1 changed places")

    def rows(case: Case) -> Example | None:
        logits = asked(case)
        for b, ids in enumerate(case["ids"].split(1)):
            note = f"row {b} asked alone, and beside the other"
            if example := _moved(str(case), asked(Case(ids=ids)), logits[[b]], note, _scale(logits)):
                return example

    def prefix(case: Case) -> Example | None:
        ids, logits = case["ids"], asked(case)
        for T in _some(range(1, ids.shape[1])):
            shorter = Case(ids=ids[:, :T])
            note = f"the shorter text, and the first {T} of the longer"
            if example := _moved(
                f"{shorter} and {case}", asked(shorter), logits[:, :T], note, _scale(logits)
            ):
                return example

    lengths = [length for length in LENGTHS if length <= context]
    short = [text(1, T) for T in lengths]
    sure = [
        asked.judge("all logits are finite", first, finite),
        asked.judge("the same ids give the same again", first, again),
    ]
    judged = {
        "no position sees the future": (future, [*short, text(1, context)]),
        "every position sees itself and its past": (past, [text(1, 1), *short]),
        "the order of earlier tokens matters": (order, [case for case in short if case["ids"].shape[1] > 2]),
        "each row of the batch works by itself": (rows, [text(2, T) for T in (1, *lengths)]),
        "a text gives what it gives as the start of a longer one": (prefix, [*short, text(1, context)]),
    }
    sound = all(p.passed for p in sure)  # else no comparison says anything
    others = [asked.judge(name, cases if sound else [], find) for name, (find, cases) in judged.items()]
    return CheckReport("decoder", (asked.answered, *sure, *others))


def _without_gradients(fn: Callable) -> Callable:
    where = next(fn.parameters(), None) if isinstance(fn, nn.Module) else None

    def quiet(ids: object) -> object:
        with torch.no_grad():
            return fn(ids if where is None else torch.as_tensor(ids, device=where.device))

    return quiet


def _text(B: int, T: int, vocab_size: int) -> Tensor:
    """Ids that count up, `[[5, 6, 7], [6, 7, 8]]`, and begin again where the vocabulary ends."""
    start = SPECIAL if vocab_size >= SPECIAL + 2 else 0
    return start + (torch.arange(B)[:, None] + torch.arange(T)) % (vocab_size - start)


def _another(ids: Tensor, place: int, vocab_size: int) -> Tensor:
    """The same with another id at one place, not the one of its neighbour where there is a third."""
    start = SPECIAL if vocab_size >= SPECIAL + 2 else 0
    n, new = vocab_size - start, ids.clone()
    new[:, place] = start + (ids[:, place] - start + max(1, n // 2)) % n
    return new


def _some(places: range) -> list[int]:
    """All of a few places; of many the first, the middle and the last."""
    return list(places) if len(places) < 8 else [places[0], places[len(places) // 2], places[-1]]


def _scale(logits: np.ndarray) -> float:
    return float(np.abs(logits).max())


def _moved(
    call: str, expected: np.ndarray, actual: np.ndarray, note: str, scale: float | None = None
) -> Example | None:
    """The example in which logits that should be the same are not."""
    wrong = np.abs(expected - actual) > SAME * (_scale(expected) if scale is None else scale)
    return differing(call, expected, actual, note, wrong)


def _stayed(
    case: Case, other: Case, before: np.ndarray, after: np.ndarray, t: int, change: str
) -> Example | None:
    """The example in which the logits of position `t` are the same, and should not be."""
    if np.abs(before[0, t] - after[0, t]).max() > CHANGED * _scale(before):
        return None
    if np.ptp(before) == 0 == np.ptp(after):
        change += "; all logits are equal: give random output weights or train it a little"
    elif t > 0:
        change += "; in a fresh model weights of zero may silence attention: train it a little"
    expected, same = sentence(f"other logits at position {t}"), sentence(f"the same, {_few(before[0, t])}")
    return Example(f"{case} and {other}", expected, same, change)


def _few(logits: np.ndarray) -> str:
    shown = ", ".join(f"{value:.4g}" for value in logits[:4])
    return shown if len(logits) < 5 else f"{shown}, ..."
