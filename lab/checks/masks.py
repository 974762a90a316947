"""Checks of attention masks, in either convention."""

from collections.abc import Callable

import numpy as np
import torch

from lab.checks.check import Case, Check, one_of
from lab.checks.drawing import masks
from lab.checks.numbers import Unreadable, as_array
from lab.checks.report import CheckReport, Example

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

    def shapes(case: Case) -> list[tuple]:
        return [(case["T"], case["T"])]

    def regions(case: Case) -> list[np.ndarray]:
        query, key = np.indices((1, case["T"], case["T"]))[1:]
        return [key == query, key < query, key > query]

    properties = {
        "each position sees itself": True,
        "each position sees all that came before it": True,
        "no position sees what comes after it": False,
    }
    cases = [Case(T=T) for T in range(1, 9)]
    return _judged("causal_mask", fn, convention, "(T, T)", shapes, cases, properties, regions)


def padding_mask(fn: Callable, convention: str = "may_attend") -> CheckReport:
    """Does `fn(lengths, T)` allow the real tokens of right-padded rows as keys, and not the padding?

    `lengths` is an int64 tensor `(B,)`, each in 0 .. T. `fn` returns `(B, T)` booleans, or `(B, 1, T)` or
    `(B, 1, 1, T)`, in the `convention` "may_attend" or "blocked".

    >>> bool(padding_mask(lambda lengths, T: torch.arange(T) < lengths[:, None]))
    True
    """
    rows = [([1], 1), ([0], 1), ([1], 2), ([2], 2), ([1, 2], 2), ([2, 1], 3), ([0, 3, 1], 3), ([5, 2], 6)]

    def shapes(case: Case) -> list[tuple]:
        B, T = len(case["lengths"]), case["T"]
        return [(B, T), (B, 1, T), (B, 1, 1, T)]

    def regions(case: Case) -> list[np.ndarray]:
        real = (np.arange(case["T"]) < case["lengths"].numpy()[:, None])[None]
        return [real, ~real]

    properties = {"every real token may be attended": True, "no padding may be attended": False}
    cases = [Case(lengths=torch.tensor(lengths), T=T) for lengths, T in rows]
    wanted = "(B, T), (B, 1, T) or (B, 1, 1, T)"
    return _judged("padding_mask", fn, convention, wanted, shapes, cases, properties, regions)


def document_mask(fn: Callable, convention: str = "may_attend") -> CheckReport:
    """Does `fn(document_ids)` give the sawtooth of packed rows: causal, and inside each document only?

    `document_ids` is an int64 tensor `(B, T)`; equal ids are one document, -1 is padding. `fn` returns
    `(B, T, T)` or `(B, 1, T, T)` booleans in the `convention` "may_attend" or "blocked". What padding
    itself looks at is not judged: nothing of it is ever read, and libraries differ.

    >>> bool(document_mask(lambda ids: ((ids[:, :, None] == ids[:, None, :]) & (ids >= 0)[:, None]).tril()))
    True
    """
    batches = [
        [[0]], [[0, 0]], [[0, 1]], [[0, -1]], [[0, 0, 1]], [[-1, 0, 0]], [[1, 1, 0]], [[0, 0, 0, 0]],
        [[0, 1, 1, -1]], [[0, 0], [0, 1]], [[7, 7, 3, 3, 3, -1], [0, 1, 2, 3, 4, 5], [0, 0, 0, -1, -1, -1]],
    ]  # fmt: skip

    def shapes(case: Case) -> list[tuple]:
        B, T = case["document_ids"].shape
        return [(B, T, T), (B, 1, T, T)]

    def regions(case: Case) -> list[np.ndarray]:
        from_, to = case["document_ids"].numpy()[:, :, None], case["document_ids"].numpy()[:, None, :]
        same, real = from_ == to, (from_ >= 0) & (to == to)
        query, key = np.indices(real.shape)[1:]
        return [
            real & (key == query),
            real & same & (key < query),
            real & same & (key > query),
            real & ~same & (to >= 0),
            real & (to < 0),
        ]

    properties = {
        "each token sees itself": True,
        "each token sees all that came before it in its document": True,
        "no token sees what comes after it": False,
        "no token sees another document": False,
        "no token sees padding": False,
    }
    cases = [Case(document_ids=torch.tensor(ids)) for ids in batches]
    wanted = "(B, T, T) or (B, 1, T, T)"
    return _judged("document_mask", fn, convention, wanted, shapes, cases, properties, regions, ", row {}")


def _judged(
    name: str, fn: Callable, convention: str, wanted: str, shapes: Callable, cases: list, properties: dict,
    regions: Callable, row: str = "",
) -> CheckReport:  # fmt: skip
    """Each property has a region `(N, queries, keys)`, and says whether it may be attended; the rest is not judged."""
    one_of("convention", convention, CONVENTIONS)

    def read(case: Case, answer: object) -> np.ndarray:
        """`(N, queries, keys)`, `True` = may attend."""
        mask = as_array(answer)
        if mask.shape not in shapes(case):
            raise Unreadable(f"shape {mask.shape}; expected {' or '.join(map(str, shapes(case)))}")
        if mask.dtype != bool:
            raise Unreadable(f"{mask.dtype} values such as {mask.flat[0]}; expected booleans")
        return (mask == (convention == "may_attend")).reshape(regions(case)[0].shape)

    def wrong_in(region: int) -> Callable:
        def find(case: Case, mask: np.ndarray) -> Example | None:
            every = np.array(regions(case))
            right, judged = every[list(properties.values())].any(axis=0), every.any(axis=0)
            for n in np.flatnonzero(((mask != right) & every[region]).any(axis=(1, 2))):
                opposite = judged[n].sum() > 1 and (mask != right)[n][judged[n]].all()
                note = f"{LEGEND}. All of it is the opposite: is the other convention meant?"
                drawn = masks(right[n], mask[n], judged[n])
                return Example(f"{case}{row.format(n)}", *drawn, note if opposite else LEGEND)

        return find

    check = Check(name, fn, f"{wanted} booleans", read, cases)
    for region, said in enumerate(properties):
        check.judge(said, wrong_in(region))
    return check.report
