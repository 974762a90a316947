"""Checks of attention masks, in either convention."""

from collections.abc import Callable

import numpy as np
import torch

from lab.checks.check import Case, Check, CheckReport, Example, Examples, one_of
from lab.checks.drawing import masks
from lab.checks.numbers import Unreadable, as_array

CONVENTIONS = ("may_attend", "blocked")
Regions = dict[str, np.ndarray]
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

    def regions(case: Case) -> Regions:
        query, key = np.indices((1, case["T"], case["T"]))[1:]
        return {
            "each position sees itself": key == query,
            "each position sees all that came before it": key < query,
            "no position sees what comes after it": key > query,
        }

    cases = [Case(T=T) for T in range(1, 9)]
    return _judged("causal_mask", fn, convention, "(T, T)", cases, regions)


def padding_mask(fn: Callable, convention: str = "may_attend") -> CheckReport:
    """Does `fn(lengths, T)` allow the real tokens of right-padded rows as keys, and not the padding?

    `lengths` is an int64 tensor `(B,)`, each in 0 .. T. `fn` returns `(B, T)` booleans, or `(B, 1, T)` or
    `(B, 1, 1, T)`, in the `convention` "may_attend" or "blocked".

    >>> bool(padding_mask(lambda lengths, T: torch.arange(T) < lengths[:, None]))
    True
    """
    rows = [([1], 1), ([0], 1), ([1], 2), ([2], 2), ([1, 2], 2), ([2, 1], 3), ([0, 3, 1], 3), ([5, 2], 6)]

    def regions(case: Case) -> Regions:
        real = (np.arange(case["T"]) < case["lengths"].numpy()[:, None])[None]
        return {"every real token may be attended": real, "no padding may be attended": ~real}

    cases = [Case(lengths=torch.tensor(lengths), T=T) for lengths, T in rows]
    wanted = "(B, T), (B, 1, T) or (B, 1, 1, T)"
    return _judged("padding_mask", fn, convention, wanted, cases, regions, ones=2)


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

    def regions(case: Case) -> Regions:
        from_, to = case["document_ids"].numpy()[:, :, None], case["document_ids"].numpy()[:, None, :]
        query, key = np.indices((len(from_), from_.shape[1], from_.shape[1]))[1:]
        same, real = from_ == to, from_ >= 0
        return {
            "each token sees itself": real & (key == query),
            "each token sees all that came before it in its document": real & same & (key < query),
            "no token sees what comes after it": real & same & (key > query),
            "no token sees another document": real & ~same & (to >= 0),
            "no token sees padding": real & (to < 0),
        }

    cases = [Case(document_ids=torch.tensor(ids)) for ids in batches]
    wanted = "(B, T, T) or (B, 1, T, T)"
    return _judged("document_mask", fn, convention, wanted, cases, regions, ones=1, row=", row {}")


def _judged(
    name: str, fn: Callable, convention: str, wanted: str, cases: list, regions: Callable, ones=0, row=""
) -> CheckReport:
    """Each property has a region `(N, queries, keys)`, which may be attended unless it says "no"; no more is judged.

    Of an answer's dimensions up to `ones` may be one, after the first.
    """
    one_of("convention", convention, CONVENTIONS)

    def read(case: Case, answer: object) -> np.ndarray:
        """`(N, queries, keys)`, `True` = may attend."""
        mask, shape = as_array(answer), next(iter(regions(case).values())).shape
        whole = shape if row else shape[1:]
        shapes = [whole[:1] + (1,) * n + whole[1:] for n in range(ones + 1)]
        if mask.shape not in shapes:
            raise Unreadable(f"shape {mask.shape}; expected {' or '.join(map(str, shapes))}")
        if mask.dtype != bool:
            raise Unreadable(f"{mask.dtype} values such as {mask.flat[0]}; expected booleans")
        return (mask == (convention == "may_attend")).reshape(shape)

    def wrong_in(region: str) -> Callable:
        def find(case: Case, mask: np.ndarray) -> Examples:
            every = regions(case)
            right = np.any([cells for said, cells in every.items() if not said.startswith("no ")], axis=0)
            judged, wrong = np.any(list(every.values()), axis=0), mask != right
            for n in np.flatnonzero((wrong & every[region]).any(axis=(1, 2))):
                opposite = judged[n].sum() > 1 and wrong[n][judged[n]].all()
                note = f"{LEGEND}. All of it is the opposite: is the other convention meant?"
                drawn = masks(right[n], mask[n], judged[n])
                yield Example(f"{case}{row.format(n)}", *drawn, note if opposite else LEGEND)

        return find

    check = Check(name, fn, f"{wanted} booleans", read, cases)
    for region in regions(cases[0]):
        check.judge(region, wrong_in(region))
    return check.report
