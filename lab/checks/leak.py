"""A check that a next-character model knows nothing of what it is to predict, by whatever path.

Letters: B rows, T characters, V the vocabulary.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lab.checks.drawing import masks, sentence
from lab.checks.numbers import Asked, differing, real_numbers
from lab.checks.report import Case, CheckReport, Example, Unreadable

PREDICTS = {"next": 0, "own": 1}  # how many characters before its own place the logits' knowledge ends
SAME, CHANGED, REACHED = 1e-4, 1e-5, 1e-6  # relative to the largest, for a model in float32
SPECIAL = 5  # ids below are those of special tokens, which a model may treat in its own way
LENGTHS = (2, 3, 6)
MANY = 16


def leak(
    fn: Callable,
    vocab_size: int,
    context: int,
    *,
    predicts: str = "next",
    given: str = "torch",
    embedding: nn.Module | None = None,
) -> CheckReport:
    """Does `fn(ids)`, ids `(B, T)` -> next-character logits `(B, T, vocab_size)`, keep what comes later out of them?

    Wrap a model of several parts so that all of them get the ids, as they would in training:
    `lambda ids: model(ids).clm`. With `predicts` "next" the logits at t are for character t + 1 and may know the
    characters 0 to t; with "own" they are for character t itself, as where `fn` puts `<s>` in front, and may know
    0 to t - 1. `given` says what `fn` gets, "torch" or "numpy".

    With the `embedding`, the module that turns ids into vectors for all parts, the gradient is judged too: it finds
    leaks too small to move a logit. Call `model.eval()` before, and give a fresh model random weights: those of zero
    silence attention, and with it the leak.

    Raises ValueError for an unknown `predicts`, fewer than 2 ids or 2 places, and an embedding with NumPy.

    >>> def with_mean(ids):  # each character, and the mean of the whole text, which knows the next one
    ...     one_hot = torch.nn.functional.one_hot(ids, 9).double()
    ...     return one_hot + one_hot.mean(1, keepdim=True)
    >>> report = leak(with_mean, vocab_size=9, context=3)
    >>> [p.name for p in report.properties if not p.passed][:2]
    ['no later character moves the logits', 'all later characters together do not move them']
    >>> print(report.properties[3].example.call, report.properties[3].example.actual.lines()[0].strip())
    fn(ids=[[5, 6]]) [■]
    """
    if predicts not in PREDICTS:
        raise ValueError(f"unknown predicts {predicts!r}; expected one of {tuple(PREDICTS)}")
    if vocab_size < 2 or context < 2:
        raise ValueError(
            f"vocab_size {vocab_size} and context {context}; at least 2 ids and 2 places are needed"
        )
    if embedding is not None and given != "torch":
        raise ValueError(
            f'gradients are those of torch: with an embedding, given must be "torch", not {given!r}'
        )
    behind = PREDICTS[predicts]

    def read(case: Case, answer: object) -> np.ndarray:
        return real_numbers(answer, (*case["ids"].shape, vocab_size))

    cases = [_text(T, vocab_size) for T in sorted({min(T, context) for T in (*LENGTHS, context)})]
    asked = Asked(_without_gradients(fn), given, "real numbers (B, T, vocab_size)", read, cases)

    def finite(case: Case) -> Example | None:
        logits = asked(case)
        return differing(str(case), np.nan_to_num(logits), logits, wrong=~np.isfinite(logits))

    def again(case: Case) -> Example | None:
        note = "two calls: is dropout on, or are masked characters drawn anew? Turn it off, or fix the seed"
        return _moved(str(case), asked(case), asked(case), note)

    def moved_by(case: Case, place: int, least: float) -> np.ndarray:
        """bool `(T,)`: which logits move when the character at `place` changes."""
        before, after = asked(case), asked(_changed(case, [place], vocab_size))
        return np.abs(before - after).max(axis=(0, 2)) > least * np.abs(before).max()

    def later(case: Case) -> Example | None:
        T = case["ids"].shape[1]
        forbidden = _forbidden(T, behind)
        moved, judged = np.zeros((T, T), dtype=bool), np.zeros((T, T), dtype=bool)
        for place in _some(T):
            moved[:, place], judged[:, place] = moved_by(case, place, SAME), forbidden[:, place]
        note = "row: logits at that place; column: the character that changed"
        return _reaching(case, moved, judged, note)

    def all_later(case: Case) -> Example | None:
        ids, logits = case["ids"], asked(case)
        for t in _some(ids.shape[1]):
            first = t + 1 - behind
            other = _changed(case, range(first, ids.shape[1]), vocab_size)
            note = f"logits at place {t}; what changed comes later"
            call, after = f"{case} and {other}", asked(other)
            if example := _moved(call, logits[0, t], after[0, t], note, np.abs(logits).max()):
                return example

    def shorter(case: Case) -> Example | None:
        ids, logits = case["ids"], asked(case)
        for T in _some(ids.shape[1])[1:]:
            part = Case(ids=ids[:, :T])
            note = f"the shorter text, and the first {T} of the longer"
            call, alone = f"{part} and {case}", asked(part)
            if example := _moved(call, alone, logits[:, :T], note, np.abs(logits).max()):
                return example

    def gradient(case: Case) -> Example | None:
        reached = _reached(fn, embedding, case["ids"])
        note = "row: logits at that place; column: the character whose embedding has a gradient from them"
        return _reaching(case, reached, _forbidden(case["ids"].shape[1], behind), note)

    def nearest(case: Case) -> Example | None:
        for place in _some(case["ids"].shape[1])[: -behind or None]:
            if not moved_by(case, place, CHANGED)[place + behind]:
                said = (f"other logits at place {place + behind}", "the same")
                note = f"character {place} changed; in a fresh model weights of zero may silence everything"
                return Example(str(case), *map(sentence, said), note)

    sure = [
        asked.judge("all logits are finite", cases, finite),
        asked.judge("the same ids give the same again", cases, again),
    ]
    judged = {
        "no later character moves the logits": later,
        "all later characters together do not move them": all_later,
        "nor does it matter that there are more": shorter,
        "no gradient reaches a later character": gradient,
        "the nearest character that may be seen moves them": nearest,
    }
    if embedding is None:
        del judged["no gradient reaches a later character"]
    sound = all(p.passed for p in sure)  # else no comparison says anything
    # A gradient is found by the id of its character, and asked for place by place.
    few = [case for case in cases if case["ids"].shape[1] <= min(vocab_size - _start(vocab_size), MANY)]
    others = [
        asked.judge(name, [] if not sound else few if find is gradient else cases, find)
        for name, find in judged.items()
    ]
    return CheckReport("leak", (asked.answered, *sure, *others))


def _without_gradients(fn: Callable) -> Callable:
    def quiet(ids: object) -> object:
        with torch.no_grad():
            return fn(ids)

    return quiet


def _start(vocab_size: int) -> int:
    return SPECIAL if vocab_size >= SPECIAL + 2 else 0


def _text(T: int, vocab_size: int) -> Case:
    """Ids that count up, and begin again where the vocabulary ends."""
    start = _start(vocab_size)
    return Case(ids=start + torch.arange(T)[None] % (vocab_size - start))


def _changed(case: Case, places, vocab_size: int) -> Case:
    """The same text with other characters at these places."""
    start, ids = _start(vocab_size), case["ids"].clone()
    n, places = vocab_size - start, list(places)
    ids[:, places] = start + (ids[:, places] - start + max(1, n // 2)) % n
    return Case(ids=ids)


def _some(T: int) -> list[int]:
    """All of a few places; of many the first, some between and the last."""
    return list(range(T)) if T < 8 else sorted({0, 1, T // 2 - 1, T // 2, T - 2, T - 1})


def _forbidden(T: int, behind: int) -> np.ndarray:
    """bool `(T, T)`: the characters (columns) that the logits (rows) must not know."""
    return ~np.tri(T, k=-behind, dtype=bool)


def _reached(fn: Callable, embedding: nn.Module, ids: Tensor) -> np.ndarray:
    """bool `(T, T)`: from which logits (rows) a gradient reaches the embedding of which characters (columns).

    A character is known by its id, wherever the model puts it: no id may occur twice.
    """
    read: list[tuple[Tensor, Tensor]] = []

    def watch(_, arguments: tuple, output: Tensor) -> Tensor:
        watched = output.detach().requires_grad_()
        read.append((arguments[0], watched))
        return watched

    handle = embedding.register_forward_hook(watch)
    try:
        with torch.enable_grad():
            logits = fn(ids.clone())
    finally:
        handle.remove()
    if not read:
        raise Unreadable("logits made without the embedding that was given")
    if not isinstance(logits, Tensor) or not logits.requires_grad:
        raise Unreadable("logits without a gradient: does the function detach them, or work under no_grad?")
    T = ids.shape[1]
    sizes = np.zeros((T, T))
    for t in range(T):
        weights = torch.linspace(1, 2, logits.shape[2], dtype=logits.dtype, device=logits.device)
        wanted = [watched for _, watched in read]
        gradients = torch.autograd.grad(logits[0, t] @ weights, wanted, retain_graph=True, allow_unused=True)
        for (embedded, _), found in zip(read, gradients, strict=True):
            if found is not None:
                for place in range(T):
                    sizes[t, place] += found[embedded == ids[0, place]].abs().sum().item()
    return sizes > REACHED * sizes.max()


def _reaching(case: Case, reached: np.ndarray, judged: np.ndarray, note: str) -> Example | None:
    """The example in which something reaches where nothing should; of many places those around the first."""
    wrong = reached & judged
    if not wrong.any():
        return None
    T = len(reached)
    corner = [max(0, min(place - 2, T - MANY)) for place in np.argwhere(wrong)[0]]
    part = tuple(slice(first, first + MANY) for first in corner)
    if T > MANY:
        note += f"; rows from {corner[0]}, columns from {corner[1]}"
    return Example(str(case), *masks(np.zeros_like(wrong[part]), reached[part], judged[part]), note)


def _moved(
    call: str, expected: np.ndarray, actual: np.ndarray, note: str, scale: float | None = None
) -> Example | None:
    """The example in which logits that should be the same are not."""
    scale = np.abs(expected).max() if scale is None else scale
    return differing(call, expected, actual, note, np.abs(expected - actual) > SAME * scale)
