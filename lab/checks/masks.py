"""Checks of attention masks, in either convention."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from lab.checks.drawing import masks
from lab.checks.report import Case, CheckReport, Example, Property, Unreadable, as_array, ask, judge

CONVENTIONS = ("may_attend", "blocked")
LEGEND = "■ may attend, · may not, [ ] differs"


def causal_mask(fn: Callable, convention: str = "may_attend") -> CheckReport:
    """Does `fn(T)` give the causal mask: each position sees itself and what came before it?

    `fn(T)` returns `(T, T)` booleans, a row for each query: NumPy, torch or nested lists. `convention`
    says what its `True` means, "may_attend" or "blocked". In reports ■ always is "may attend".

    >>> print(causal_mask(lambda T: np.tri(T, k=1).astype(bool)))
    causal_mask: failed, 3 of 4 properties hold
      ✓ the answer is (T, T) booleans
      ✓ each position sees itself
      ✓ each position sees all that came before it
      ✗ no position sees what comes after it
          fn(T=2)
          expected    actual
           ■  ·        ■ [■]
           ■  ■        ■  ■
          ■ may attend, · may not, [ ] differs
    """
    _check_convention(convention)

    def read(case: Case, answer: object) -> list[Picture]:
        mask = _booleans(answer, [(case["T"], case["T"])], convention)
        query, key = np.indices(mask.shape)
        return [
            Picture(
                str(case),
                mask,
                key <= query,
                {"itself": key == query, "past": key < query, "future": key > query},
            )
        ]

    answered, answers = ask(fn, [Case(T=T) for T in range(1, 9)], "(T, T) booleans", read)
    return CheckReport(
        "causal_mask",
        (
            answered,
            *_judge_regions(
                answers,
                {
                    "itself": "each position sees itself",
                    "past": "each position sees all that came before it",
                    "future": "no position sees what comes after it",
                },
            ),
        ),
    )


def padding_mask(fn: Callable, convention: str = "may_attend") -> CheckReport:
    """Does `fn(lengths, T)` allow the real tokens of right-padded rows as keys, and not the padding?

    `lengths` is an int64 tensor `(B,)`, each in 0 .. T. `fn` returns `(B, T)` booleans, or `(B, 1, T)` or
    `(B, 1, 1, T)`, in the `convention` "may_attend" or "blocked".

    >>> bool(padding_mask(lambda lengths, T: torch.arange(T) < lengths[:, None]))
    True
    """
    _check_convention(convention)
    rows = [([1], 1), ([0], 1), ([1], 2), ([2], 2), ([1, 2], 2), ([2, 1], 3), ([0, 3, 1], 3), ([5, 2], 6)]

    def read(case: Case, answer: object) -> list[Picture]:
        lengths, T = case["lengths"].numpy(), case["T"]
        B = len(lengths)
        mask = _booleans(answer, [(B, T), (B, 1, T), (B, 1, 1, T)], convention).reshape(B, T)
        real = np.arange(T) < lengths[:, None]
        return [Picture(str(case), mask, real, {"real": real, "padding": ~real})]

    cases = [Case(lengths=torch.tensor(lengths), T=T) for lengths, T in rows]
    answered, answers = ask(fn, cases, "(B, T), (B, 1, T) or (B, 1, 1, T) booleans", read)
    regions = {"real": "every real token may be attended", "padding": "no padding may be attended"}
    return CheckReport("padding_mask", (answered, *_judge_regions(answers, regions)))


def document_mask(fn: Callable, convention: str = "may_attend") -> CheckReport:
    """Does `fn(document_ids)` give the sawtooth of packed rows: causal, and inside each document only?

    `document_ids` is an int64 tensor `(B, T)`; equal ids are one document, -1 is padding. `fn` returns
    `(B, T, T)` or `(B, 1, T, T)` booleans in the `convention` "may_attend" or "blocked". What padding
    itself looks at is not judged: nothing of it is ever read, and libraries differ.

    >>> bool(document_mask(lambda ids: ((ids[:, :, None] == ids[:, None, :]) & (ids >= 0)[:, None]).tril()))
    True
    """
    _check_convention(convention)
    batches = [
        [[0]], [[0, 0]], [[0, 1]], [[0, -1]], [[0, 0, 1]], [[-1, 0, 0]], [[1, 1, 0]], [[0, 0, 0, 0]],
        [[0, 1, 1, -1]], [[0, 0], [0, 1]], [[7, 7, 3, 3, 3, -1], [0, 1, 2, 3, 4, 5], [0, 0, 0, -1, -1, -1]],
    ]  # fmt: skip

    def read(case: Case, answer: object) -> list[Picture]:
        ids = case["document_ids"].numpy()
        B, T = ids.shape
        mask = _booleans(answer, [(B, T, T), (B, 1, T, T)], convention).reshape(B, T, T)
        return [_document_picture(f"{case}, row {b}", mask[b], ids[b]) for b in range(B)]

    cases = [Case(document_ids=torch.tensor(ids)) for ids in batches]
    answered, answers = ask(fn, cases, "(B, T, T) or (B, 1, T, T) booleans", read)
    regions = {
        "itself": "each token sees itself",
        "past": "each token sees all that came before it in its document",
        "future": "no token sees what comes after it",
        "others": "no token sees another document",
        "padding": "no token sees padding",
    }
    return CheckReport("document_mask", (answered, *_judge_regions(answers, regions)))


class Picture:
    """One mask that a function gave, the right one, and its regions, each of which is a property."""

    def __init__(self, call: str, actual: np.ndarray, expected: np.ndarray, regions: dict[str, np.ndarray]):
        self.call, self.actual, self.expected, self.regions = call, actual, expected, regions

    def wrong_in(self, region: str) -> Example | None:
        wrong = self.expected != self.actual
        judged = np.any(list(self.regions.values()), axis=0)
        if not (wrong & self.regions[region]).any():
            return None
        opposite = judged.sum() > 1 and wrong[judged].all()
        note = f"{LEGEND}. All of it is the opposite: is the other convention meant?" if opposite else LEGEND
        return Example(self.call, *masks(self.expected, self.actual, judged), note)


def _document_picture(call: str, mask: np.ndarray, ids: np.ndarray) -> Picture:
    query, key = np.indices(mask.shape)
    from_, to = ids[query], ids[key]
    same, real = (from_ == to), from_ >= 0
    regions = {
        "itself": real & (key == query),
        "past": real & same & (key < query),
        "future": real & same & (key > query),
        "others": real & ~same & (to >= 0),
        "padding": real & (to < 0),
    }
    return Picture(call, mask, real & same & (key <= query), regions)


def _judge_regions(answers: list, regions: dict[str, str]) -> Iterable[Property]:
    def first_wrong(region: str) -> Callable:
        return lambda _, pictures: next((e for p in pictures if (e := p.wrong_in(region))), None)

    return [judge(name, answers, first_wrong(region)) for region, name in regions.items()]


def _check_convention(convention: str) -> None:
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; expected one of {CONVENTIONS}")


def _booleans(answer: object, shapes: list[tuple[int, ...]], convention: str) -> np.ndarray:
    """The answer as `True` = may attend, or `Unreadable`."""
    mask = as_array(answer)
    if mask.shape not in shapes:
        raise Unreadable(f"shape {mask.shape}; expected {' or '.join(map(str, shapes))}")
    if mask.dtype != bool:
        raise Unreadable(f"{mask.dtype} values such as {mask.flat[0]}; expected booleans")
    return mask if convention == "may_attend" else ~mask
