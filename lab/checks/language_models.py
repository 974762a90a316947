"""Checks of a model that reads a text from left to right, by its logits: is it one, and does nothing leak to it?

Letters: B rows, T tokens or characters, V the vocabulary.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from lab.checks.check import Case, Check, CheckReport, Example, Examples, one_of
from lab.checks.drawing import masks
from lab.checks.numbers import Unreadable, differing, real_numbers, told

PREDICTS = {"next": 0, "own": 1}  # how many characters before its own place the logits' knowledge ends
SAME, CHANGED, REACHED = 1e-4, 1e-5, 1e-6  # relative to the largest, for a model in float32
SPECIAL = 5  # ids below are those of special tokens, which a model may treat in its own way
LENGTHS = (2, 3, 6)
MANY = 16


class _Logits(Check):
    """What both checks ask for, logits `(B, T, vocab_size)`, and what must hold before any can be compared.

    Texts are ids that count up, `[[5, 6, 7], [6, 7, 8]]`, and begin again where the vocabulary ends.
    """

    def __init__(self, name: str, fn: Callable, vocab_size: int, sizes: Iterable[tuple], given: str):
        self.start = SPECIAL if vocab_size >= SPECIAL + 2 else 0
        self.num_ids = vocab_size - self.start

        def read(case: Case, answer: object) -> np.ndarray:
            if isinstance(answer, tuple):
                raise Unreadable(
                    f"a tuple of {len(answer)}; give the logits alone: lambda ids: model(ids)[0]"
                )
            return real_numbers(answer, (*case["ids"].shape, vocab_size))

        self.cases = [self.text(B, T) for B, T in sizes]
        wanted = "real numbers (B, T, vocab_size)"
        super().__init__(name, _without_gradients(fn), wanted, read, self.cases, given=given)

    def text(self, B: int, T: int) -> Case:
        return Case(ids=self.start + (torch.arange(B)[:, None] + torch.arange(T)) % self.num_ids)

    def changed(self, case: Case, *places: int) -> Case:
        """The same text with other ids at these places, not that of a neighbour where there is a third."""
        ids, places = case["ids"].clone(), list(places)
        shift = max(1, self.num_ids // 2)
        ids[:, places] = self.start + (ids[:, places] - self.start + shift) % self.num_ids
        return Case(ids=ids)

    def sound(self, note: str) -> bool:
        """Whether logits are finite and the same again; else no comparison says anything."""

        def finite(case: Case, logits: np.ndarray) -> Examples:
            yield differing(case, np.nan_to_num(logits), logits, wrong=~np.isfinite(logits))

        def again(case: Case, logits: np.ndarray) -> Examples:
            yield _moved(case, logits, self.ask(case), f"two calls: {note}", logits)

        held = self.judge("all logits are finite", finite, self.cases)
        return self.judge("the same ids give the same again", again, self.cases) and held

    def shorter(self, case: Case, logits: np.ndarray) -> Examples:
        """Where the beginning of a text alone gives something else."""
        for T in _some(case["ids"].shape[1])[1:]:
            part = Case(ids=case["ids"][:, :T])
            note = f"the shorter text, and the first {T} of the longer"
            yield _moved(f"{part} and {case}", self.ask(part), logits[:, :T], note, logits)


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
    _enough(vocab_size, context, places=3)
    check = _Logits("decoder", fn, vocab_size, ((1, 1), (1, 2), (2, 3), (1, context)), given)

    def future(case: Case, logits: np.ndarray) -> Examples:
        for later in _some(case["ids"].shape[1])[1:]:
            other = check.changed(case, later)
            after = check.ask(other)
            for t in range(later):
                note = f"logits of position {t}; position {later}, which it may not see, changed"
                yield _moved(f"{case} and {other}", logits[0, t], after[0, t], note, logits)

    def past(case: Case, logits: np.ndarray) -> Examples:
        T = case["ids"].shape[1]
        others = [check.changed(case, seen) for seen in range(T)]
        after = [check.ask(other) for other in others]
        for t in range(T):
            for seen in range(t, -1, -1):
                yield _stayed(case, others[seen], logits, after[seen], t, f"position {seen} changed")

    def order(case: Case, logits: np.ndarray) -> Examples:
        swapped = case["ids"].clone()
        swapped[:, [0, 1]] = case["ids"][:, [1, 0]]
        other = Case(ids=swapped)
        yield _stayed(case, other, logits, check.ask(other), 2, "positions 0 and 1 changed places")

    def rows(case: Case, logits: np.ndarray) -> Examples:
        for b, ids in enumerate(case["ids"].split(1)):
            note = f"row {b} asked alone, and beside the other"
            yield _moved(case, check.ask(Case(ids=ids)), logits[[b]], note, logits)

    sound = check.sound("is dropout on? model.eval() turns it off")

    def texts(B: int, *lengths: int) -> list[Case]:
        return [check.text(B, T) for T in lengths if context >= T and sound]

    check.judge("no position sees the future", future, texts(1, *LENGTHS, context))
    check.judge("every position sees itself and its past", past, texts(1, 1, *LENGTHS))
    check.judge("the order of earlier tokens matters", order, texts(1, *LENGTHS[1:]))
    check.judge("each row of the batch works by itself", rows, texts(2, 1, *LENGTHS))
    name = "a text gives what it gives as the start of a longer one"
    check.judge(name, check.shorter, texts(1, *LENGTHS, context))
    return check.report


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
    behind = PREDICTS[one_of("predicts", predicts, tuple(PREDICTS))]
    _enough(vocab_size, context, places=2)
    if embedding is not None and given != "torch":
        raise ValueError(
            f'with an embedding given must be "torch", whose gradients are judged, not {given!r}'
        )
    lengths = sorted({min(T, context) for T in (*LENGTHS, context)})
    check = _Logits("leak", fn, vocab_size, [(1, T) for T in lengths], given)

    def moved_by(case: Case, before: np.ndarray, place: int, least: float) -> np.ndarray:
        """bool `(T,)`: which logits move when the character at `place` changes."""
        after = check.ask(check.changed(case, place))
        return np.abs(before - after).max(axis=(0, 2)) > least * np.abs(before).max()

    def later(case: Case, logits: np.ndarray) -> Examples:
        T = case["ids"].shape[1]
        places = _some(T)
        moved, judged = np.zeros((T, T), dtype=bool), np.zeros((T, T), dtype=bool)
        moved[:, places] = np.stack([moved_by(case, logits, place, SAME) for place in places], axis=1)
        judged[:, places] = _forbidden(T, behind)[:, places]
        yield _reaching(case, moved, judged, "row: logits at that place; column: the character that changed")

    def all_later(case: Case, logits: np.ndarray) -> Examples:
        T = case["ids"].shape[1]
        for t in _some(T):
            other = check.changed(case, *range(t + 1 - behind, T))
            note = f"logits at place {t}; what changed comes later"
            yield _moved(f"{case} and {other}", logits[0, t], check.ask(other)[0, t], note, logits)

    def gradient(case: Case, logits: np.ndarray) -> Examples:
        reached = _reached(fn, embedding, case["ids"])
        note = "row: logits at that place; column: the character whose embedding has a gradient from them"
        yield _reaching(case, reached, _forbidden(case["ids"].shape[1], behind), note)

    def nearest(case: Case, logits: np.ndarray) -> Examples:
        for place in _some(case["ids"].shape[1])[: -behind or None]:
            if not moved_by(case, logits, place, CHANGED)[place + behind]:
                note = f"character {place} changed; in a fresh model weights of zero may silence everything"
                yield told(case, f"other logits at place {place + behind}", "the same", note)

    note = "is dropout on, or are masked characters drawn anew? Turn it off, or fix the seed"
    cases = check.cases if check.sound(note) else []
    check.judge("no later character moves the logits", later, cases)
    check.judge("all later characters together do not move them", all_later, cases)
    check.judge("nor does it matter that there are more", check.shorter, cases)
    if embedding is not None:
        few = [case for case in cases if case["ids"].shape[1] <= min(check.num_ids, MANY)]  # no id twice
        check.judge("no gradient reaches a later character", gradient, few)
    check.judge("the nearest character that may be seen moves them", nearest, cases)
    return check.report


def _enough(vocab_size: int, context: int, places: int) -> None:
    if vocab_size < 2 or context < places:
        least = f"at least 2 ids and {places} places are needed"
        raise ValueError(f"vocab_size {vocab_size} and context {context}; {least}")


def _without_gradients(fn: Callable) -> Callable:
    where = next(fn.parameters(), None) if isinstance(fn, nn.Module) else None

    def quiet(ids: object) -> object:
        with torch.no_grad():
            return fn(ids if where is None else torch.as_tensor(ids, device=where.device))

    return quiet


def _some(T: int) -> list[int]:
    """All of a few places; of many the first, some between and the last."""
    return list(range(T)) if T < 9 else sorted({0, 1, T // 2 - 1, T // 2, T - 2, T - 1})


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
    weights = torch.linspace(1, 2, logits.shape[2], dtype=logits.dtype, device=logits.device)
    for t in range(T):
        wanted = [watched for _, watched in read]
        gradients = torch.autograd.grad(logits[0, t] @ weights, wanted, retain_graph=True, allow_unused=True)
        for (embedded, _), found in zip(read, gradients, strict=True):
            if found is not None:
                sizes[t] += [found[embedded == id_].abs().sum().item() for id_ in ids[0]]
    return sizes > REACHED * sizes.max()


def _reaching(case: Case, reached: np.ndarray, judged: np.ndarray, note: str) -> Example | None:
    """The example in which something reaches where nothing should; of many places those around the first."""
    wrong = reached & judged
    if not wrong.any():
        return None
    T = len(reached)
    corner = [max(0, min(place - 2, T - MANY)) for place in np.argwhere(wrong)[0]]
    part = tuple(slice(at, at + MANY) for at in corner)
    if T > MANY:
        note += f"; rows from {corner[0]}, columns from {corner[1]}"
    return Example(str(case), *masks(np.zeros_like(wrong[part]), reached[part], judged[part]), note)


def _moved(
    call: object, expected: np.ndarray, actual: np.ndarray, note: str, logits: np.ndarray
) -> Example | None:
    """The example in which logits that should be the same are not; all `logits` say what is little."""
    return differing(call, expected, actual, note, np.abs(expected - actual) > SAME * np.abs(logits).max())


def _stayed(
    case: Case, other: Case, before: np.ndarray, after: np.ndarray, t: int, change: str
) -> Example | None:
    """The example in which the logits of position `t` are the same, and should not be."""
    if np.abs(before[0, t] - after[0, t]).max() > CHANGED * np.abs(before).max():
        return None
    if np.ptp(before) == 0 == np.ptp(after):
        change += "; all logits are equal: give random output weights or train it a little"
    elif t > 0:
        change += "; in a fresh model weights of zero may silence attention: train it a little"
    same = ", ".join(f"{value:.4g}" for value in before[0, t, :4]) + (", ..." if before.shape[2] > 4 else "")
    return told(f"{case} and {other}", f"other logits at position {t}", f"the same, {same}", change)
