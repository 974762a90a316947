"""A check of masking for masked language modelling: what may be chosen, what comes instead, and how often."""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch

from lab.checks.check import Case, Check, CheckReport, Example, Examples
from lab.checks.numbers import differing, parts, told, whole_numbers
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

    def read(case: Case, answer: object) -> _Seen:
        B, T = case["ids"].shape
        both = zip(parts(answer, ("ids", "targets")), ("ids", "targets"), strict=True)
        return _Seen(case["ids"].numpy(), *(whole_numbers(part, (B, T), name) for part, name in both))

    small = [_case([[LETTER]]), _case([[BOS, LETTER, SPACE, EOS], [BOS, LETTER, EOS, PAD]])]
    padding, specials = [[_case([[i] * 3], 1.0, 1.0) for i in ids] for ids in ([PAD], [UNK, BOS, EOS, MASK])]
    never, always = ([_case([[LETTER, SPACE, LETTER + 1]], rate, rate)] for rate in (0.0, 1.0))
    lines, letters = [_lines(0.2, 0.05), _lines(0.4, 0.6)], [_uniform(LETTER, 26, 0.3)]
    few, many = [_uniform(SPACE, LETTER + 1, 1.0)], [_uniform(SPACE, 26, 1.0)]
    wanted = "two arrays of whole numbers (B, T), ids and targets"
    cases = [*small, *padding, *specials, *never, *always, *lines, *letters, *many, *few]
    check = Check("mlm_masking", fn, wanted, read, cases, given=given)  # many properties of one answer

    def untouched(case: Case, seen: _Seen) -> Examples:
        yield differing(case, seen.given, seen.ids, "ids") or differing(
            case, np.full_like(seen.given, IGNORE), seen.targets, "targets"
        )

    def all_asked(case: Case, seen: _Seen) -> Examples:
        yield differing(case, seen.given, seen.targets, "targets")

    def original(case: Case, seen: _Seen) -> Examples:
        expected = np.where(seen.chosen, seen.given, IGNORE)
        yield _first_row(case, expected, seen.targets, "targets")

    def unchosen(case: Case, seen: _Seen) -> Examples:
        expected = np.where(seen.chosen, seen.ids, seen.given)
        yield _first_row(case, expected, seen.ids, "ids, of which some are chosen")

    def ordinary(case: Case, seen: _Seen) -> Examples:
        V = case["vocab_size"]
        shown = np.unique(seen.ids[seen.chosen & (seen.given >= SPACE) & (seen.ids != MASK)]).tolist()
        if wrong := [NAMES[i] if i in range(PAD, SPACE) else str(i) for i in shown if not SPACE <= i < V]:
            note = "shown where a letter or a space was chosen"
            yield told(case, f"<mask>, or an id from {SPACE} to {V - 1}", ", ".join(wrong), note)

    def alike(case: Case, seen: _Seen) -> Examples:
        V = case["vocab_size"]
        new = seen.ids[seen.changed & (seen.ids >= SPACE) & (seen.ids < V)]
        counts = np.bincount(new, minlength=V)[SPACE:]
        # All characters are equally common here, so those that were drawn where they stood are missed alike.
        right = DRAWN * seen.given.size / len(counts)
        wrong = abs(counts - right) > SIGMAS * sqrt(right) + right / len(counts)
        yield differing(case, np.full(len(counts), right), counts, "how often each was drawn", wrong)

    def share(
        name: str, cases: list[Case], said: str, of: Callable, p: float | str, slack: float = 0.0
    ) -> None:
        """Judge a property: `of(answer)` has a bool for each that counts, and the share of `True` is to be `p`."""

        def find(case: Case, seen: _Seen) -> Examples:
            marks, right = of(seen), case[p] if isinstance(p, str) else p
            found = marks.mean() if marks.size else 0.0
            wrong = abs(found - right) > SIGMAS * sqrt(right * (1 - right) / max(1, marks.size)) + slack
            yield differing(case, [right], [found], f"{said}, of {marks.size:,}", np.array([wrong]))

        check.judge(name, find, of=cases)

    def own_way(case: Case, seen: _Seen) -> Examples:
        chosen = seen.chosen
        if same := [row for row in range(1, len(chosen)) if (chosen[row] == chosen[0]).all()]:
            places = f"the same places in rows 0 and {same[0]}"
            yield told(case, "other places in each row", places, "what is chosen")

    def seeded(case: Case, seen: _Seen) -> Examples:
        again, other = check.ask(case), case.but(seed=case["seed"] + 1)
        if (seen.ids != again.ids).any() or (seen.targets != again.targets).any():
            yield told(case, "the same as before", "another answer", "asked twice")
        if (check.ask(other).chosen == seen.chosen).all():
            yield told(other, "other places than with the seed before", "the same places", "what is chosen")

    def neighbours(seen: _Seen) -> np.ndarray:
        return seen.chosen[:, ::2] & seen.chosen[:, 1::2]

    check.judge("padding is never chosen", untouched, of=padding)
    check.judge("no other special token is chosen", untouched, of=specials)
    check.judge("at rate 0 nothing is chosen", untouched, of=never)
    check.judge("at rate 1 everything is", all_asked, of=always)
    check.judge("targets are what the chosen were", original, of=lines)
    check.judge("what is not chosen stays as it is", unchosen, of=lines)
    name = "letters are chosen at the rate"
    share(name, lines, "letters chosen", lambda seen: seen.chosen[seen.given >= LETTER], "rate")
    name = "spaces have a rate of their own"
    share(name, lines, "spaces chosen", lambda seen: seen.chosen[seen.given == SPACE], "space_rate")
    share("each is chosen by itself", letters, "two neighbours chosen", neighbours, letters[0]["rate"] ** 2)
    check.judge("each row is chosen from anew", own_way, of=letters)
    # Of few characters to draw from, a <mask> among them shows.
    name, some = "80 % of the chosen become <mask>", [*many, *few]
    share(name, some, "<mask>", lambda seen: (seen.ids == MASK)[seen.chosen], HIDDEN)
    # Of those that are drawn, some may be what stood there.
    name, own = "10 % are drawn at random, 10 % stay", DRAWN / (26 - SPACE)
    share(name, many, "others", lambda seen: seen.changed[seen.chosen], DRAWN, slack=own)
    check.judge("no special token is drawn", ordinary, of=[*lines, *few])
    check.judge("every character is drawn alike", alike, of=many)
    check.judge("the same seed gives the same, another another", seeded, of=letters)
    return check.report


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


def _first_row(case: Case, expected: np.ndarray, actual: np.ndarray, name: str) -> Example | None:
    """The first row in which two arrays differ, of a text too long to be shown."""
    if (expected == actual).all():
        return None
    row = int((expected != actual).any(axis=1).argmax())
    return differing(case, expected[row], actual[row], f"row {row} of the {name}")


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
