"""A check of masking for masked language modelling: what may be chosen, what comes instead, and how often."""

from collections.abc import Callable, Sequence
from functools import cache
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch

from lab.checks.drawing import sentence
from lab.checks.numbers import Asked, differing
from lab.checks.report import Case, CheckReport, Example, Unreadable, as_array
from lab.data.batch import IGNORE

NAMES = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
PAD, UNK, BOS, EOS, MASK, SPACE, LETTER = range(7)  # LETTER is the first of them
HIDDEN, DRAWN = 0.8, 0.1  # of the chosen
SIGMAS = 5  # right code is that far off once in two million counts


def mlm_masking(fn: Callable, given: str = "torch") -> CheckReport:
    """Does `fn(ids, rate, space_rate, vocab_size, seed)` choose and hide characters as BERT does tokens?

    ids int64 `(B, T)` -> (corrupted ids, targets), two arrays of whole numbers `(B, T)`, as a pair or as attributes
    `ids` and `targets`. Ids 0 to 4 are `<pad>`, `<unk>`, `<s>`, `</s>`, `<mask>`; 5 is the space; letters go from 6 to
    `vocab_size - 1`. A letter is chosen with probability `rate`, a space with `space_rate`, each by itself; a special
    token never. Of the chosen 80 % become `<mask>`, 10 % a random letter or space (perhaps the one that stood there, or
    surely another: both pass), 10 % stay. Targets are what the chosen were, -100 elsewhere. `seed` is a whole number,
    for whatever generator you use; `given` is what `fn` gets, "torch" or "numpy". Counts are judged within 5 standard
    deviations. Source: Devlin et al. 2019, BERT, section 3.1.

    >>> def without_care(ids, rate, space_rate, vocab_size, seed):
    ...     chosen = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)) < rate
    ...     return ids.masked_fill(chosen, 4), ids.masked_fill(~chosen, -100)
    >>> report = mlm_masking(without_care)
    >>> for p in report.properties:
    ...     if not p.passed:
    ...         print(f"{p.name}: {p.example.actual}")
    padding is never chosen: [4][4][4]
    no other special token is chosen: [4][4][4]
    spaces have a rate of their own: [0.1891]
    80 % of the chosen become <mask>: [1]
    10 % are drawn at random, 10 % stay: [0]
    every character is drawn alike: [0][0][0][0][0][0][0][0]
    """
    small = [_case([[LETTER]]), _case([[BOS, LETTER, SPACE, EOS], [BOS, LETTER, EOS, PAD]])]
    asking = Asked(fn, given, "two arrays of whole numbers (B, T), ids and targets", _read, small)
    asked = cache(asking)  # many properties are read from one answer

    def untouched(case: Case) -> Example | None:
        seen = asked(case)
        return differing(str(case), seen.given, seen.ids, "ids") or differing(
            str(case), np.full_like(seen.given, IGNORE), seen.targets, "targets"
        )

    def all_asked(case: Case) -> Example | None:
        return differing(str(case), case["ids"].numpy(), asked(case).targets, "targets")

    def original(case: Case) -> Example | None:
        seen = asked(case)
        return _first_row(case, np.where(seen.chosen, seen.given, IGNORE), seen.targets, "targets")

    def unchosen(case: Case) -> Example | None:
        seen = asked(case)
        return _first_row(
            case, np.where(seen.chosen, seen.ids, seen.given), seen.ids, "ids, of which some are chosen"
        )

    def ordinary(case: Case) -> Example | None:
        seen, V = asked(case), case["vocab_size"]
        shown = np.unique(seen.ids[seen.chosen & (seen.given >= SPACE) & (seen.ids != MASK)]).tolist()
        if wrong := [NAMES[i] if i in range(PAD, SPACE) else str(i) for i in shown if not SPACE <= i < V]:
            said = f"<mask>, or an id from {SPACE} to {V - 1}", ", ".join(wrong)
            return Example(str(case), *map(sentence, said), "shown where a letter or a space was chosen")

    def alike(case: Case) -> Example | None:
        seen, V = asked(case), case["vocab_size"]
        new = seen.ids[seen.changed & (seen.ids >= SPACE) & (seen.ids < V)]
        counts = np.bincount(new, minlength=V)[SPACE:]
        # All characters are equally common here, so those that were drawn where they stood are missed alike.
        right = DRAWN * seen.given.size / len(counts)
        wrong = abs(counts - right) > SIGMAS * sqrt(right) + right / len(counts)
        return differing(str(case), np.full(len(counts), right), counts, "how often each was drawn", wrong)

    def share(said: str, of: Callable, p: Callable, slack: float = 0.0) -> Callable:
        """`of(answer)` has a bool for each that counts; the share of `True` is to be `p(case)`."""

        def find(case: Case) -> Example | None:
            marks, right = of(asked(case)), p(case)
            found = marks.mean() if marks.size else 0.0
            wrong = abs(found - right) > SIGMAS * sqrt(right * (1 - right) / max(1, marks.size)) + slack
            return differing(str(case), [right], [found], f"{said}, of {marks.size:,}", np.array([wrong]))

        return find

    def own_way(case: Case) -> Example | None:
        chosen = asked(case).chosen
        if same := [row for row in range(1, len(chosen)) if (chosen[row] == chosen[0]).all()]:
            said = "other places in each row", f"the same places in rows 0 and {same[0]}"
            return Example(str(case), *map(sentence, said), "what is chosen")

    def seeded(case: Case) -> Example | None:
        first, again = asked(case), asking(case)
        if differing("", first.ids, again.ids) or differing("", first.targets, again.targets):
            return Example(str(case), *map(sentence, ("the same as before", "another answer")), "asked twice")
        other = _Text(**(case.arguments | {"seed": case["seed"] + 1}))
        if (asked(other).chosen == first.chosen).all():
            said = "other places than with the seed before", "the same places"
            return Example(str(other), *map(sentence, said), "what is chosen")

    specials, mixed = (
        [_case([[i] * 3], 1.0, 1.0) for i in (UNK, BOS, EOS, MASK)],
        [[LETTER, SPACE, LETTER + 1]],
    )
    lines, letters = [_lines(0.2, 0.05), _lines(0.4, 0.6)], [_uniform(LETTER, 26, 0.3)]
    few, many = [_uniform(SPACE, LETTER + 1, 1.0)], [_uniform(SPACE, 26, 1.0)]
    own = 1 / (26 - SPACE)  # of the characters drawn, how many may be what stood there
    return CheckReport(
        "mlm_masking",
        (
            asking.answered,
            asking.judge("padding is never chosen", [_case([[PAD] * 3], 1.0, 1.0)], untouched),
            asking.judge("no other special token is chosen", specials, untouched),
            asking.judge("at rate 0 nothing is chosen", [_case(mixed, 0.0, 0.0)], untouched),
            asking.judge("at rate 1 everything is", [_case(mixed, 1.0, 1.0)], all_asked),
            asking.judge("targets are what the chosen were", lines, original),
            asking.judge("what is not chosen stays as it is", lines, unchosen),
            asking.judge(
                "letters are chosen at the rate",
                lines,
                share(
                    "letters chosen",
                    lambda seen: seen.chosen[seen.given >= LETTER],
                    lambda case: case["rate"],
                ),
            ),
            asking.judge(
                "spaces have a rate of their own",
                lines,
                share(
                    "spaces chosen",
                    lambda seen: seen.chosen[seen.given == SPACE],
                    lambda case: case["space_rate"],
                ),
            ),
            asking.judge(
                "each is chosen by itself",
                letters,
                share(
                    "two neighbours chosen",
                    lambda seen: seen.chosen[:, ::2] & seen.chosen[:, 1::2],
                    lambda case: case["rate"] ** 2,
                ),
            ),
            asking.judge("each row is chosen from anew", letters, own_way),
            asking.judge(
                "80 % of the chosen become <mask>",
                [*many, *few],  # of few characters to draw from, a <mask> among them shows
                share("<mask>", lambda seen: (seen.ids == MASK)[seen.chosen], lambda _: HIDDEN),
            ),
            asking.judge(
                "10 % are drawn at random, 10 % stay",
                many,
                share("others", lambda seen: seen.changed[seen.chosen], lambda _: DRAWN, slack=DRAWN * own),
            ),
            asking.judge("no special token is drawn", [*lines, *few], ordinary),
            asking.judge("every character is drawn alike", many, alike),
            asking.judge("the same seed gives the same, another another", letters, seeded),
        ),
    )


class _Seen(NamedTuple):
    """An answer beside what was given, each `(B, T)`."""

    given: np.ndarray
    ids: np.ndarray
    targets: np.ndarray

    @property
    def chosen(self) -> np.ndarray:
        return self.targets != IGNORE

    @property
    def changed(self) -> np.ndarray:
        """Where another character shows, and no <mask>."""
        return self.chosen & (self.ids != self.given) & (self.ids != MASK)


def _read(case: Case, answer: object) -> _Seen:
    if hasattr(answer, "ids") and hasattr(answer, "targets"):
        answer = answer.ids, answer.targets
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Unreadable(f"{type(answer).__name__}; give (ids, targets)")
    given, arrays = case["ids"].numpy(), [as_array(part) for part in answer]
    for name, array in zip(("ids", "targets"), arrays, strict=True):
        if array.shape != given.shape:
            raise Unreadable(f"{name} of shape {array.shape}; expected {given.shape}")
        if array.dtype.kind not in "iu":
            raise Unreadable(f"{name} hold {array.dtype}; expected whole numbers")
    return _Seen(given, *(array.astype(np.int64) for array in arrays))


def _first_row(case: Case, expected: np.ndarray, actual: np.ndarray, name: str) -> Example | None:
    """The first row in which two arrays differ, of a text too long to be shown."""
    wrong = (expected != actual).any(axis=1)
    row = int(wrong.argmax())
    return (
        differing(str(case), expected[row], actual[row], f"row {row} of the {name}") if wrong.any() else None
    )


class _Text(Case):
    """A case too long to be written out."""

    def __str__(self) -> str:
        B, T = self["ids"].shape
        more = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items() if name != "ids")
        return f"fn(ids of {B} lines, {T} characters each, {more})"


def _case(rows: Sequence, rate: float = 0.5, space_rate: float = 0.5) -> Case:
    return Case(ids=torch.tensor(rows), rate=rate, space_rate=space_rate, vocab_size=26, seed=0)


def _uniform(low: int, vocab_size: int, rate: float) -> Case:
    """Characters from `low` up, all equally common; one rate for all."""
    ids = np.random.default_rng(0).integers(low, vocab_size, size=(100, 150))
    return _Text(ids=torch.tensor(ids), rate=rate, space_rate=rate, vocab_size=vocab_size, seed=1)


def _lines(rate: float, space_rate: float) -> Case:
    """Lines as they come: `<s>`, letters and spaces with an unknown one here and there, `</s>`, padding."""
    rng = np.random.default_rng(0)
    ids = rng.integers(LETTER, 26, size=(100, 150))
    ids[rng.random(ids.shape) < 0.2] = SPACE
    ids[rng.random(ids.shape) < 0.02] = UNK
    ids[:, 0] = BOS
    for row, length in zip(ids, rng.integers(75, 150, size=len(ids)), strict=True):
        row[length:] = PAD
        row[length - 1] = EOS
    return _Text(ids=torch.tensor(ids), rate=rate, space_rate=space_rate, vocab_size=26, seed=0)
