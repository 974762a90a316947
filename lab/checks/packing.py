"""A check of packing: documents side by side in rows of one length."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lab.checks.check import Case, Check, CheckReport, Example, Examples
from lab.checks.drawing import tables
from lab.checks.numbers import parts, unequal, whole_numbers
from lab.data.batch import IGNORE

PAD, BOS, EOS, NO_DOCUMENT = 0, 2, 3, -1
FIELDS = ("ids", "targets", "document_ids", "positions")


def packing(fn: Callable) -> CheckReport:
    """Does `fn(lines, row_length)` pack every document once and whole, each apart from the others?

    `lines` are lists of ids `[<s>, t1, ..., </s>]` with `<s>` 2 and `</s>` 3, none longer than a row. `fn`
    returns four arrays of whole numbers `(rows, row_length)`, as a tuple or as attributes of these names:

        ids            2  5  3  2  6  7  3     0
        targets        5  3 -100  6  7  3 -100 -100
        document_ids   0  0  0  1  1  1  1    -1     any numbers from 0 up, different ones in a row
        positions      0  1  2  0  1  2  3           those of padding are not judged

    Which document stands in which row is not judged, so every strategy may pass.

    >>> def one_a_row(lines, row_length):
    ...     fill = lambda ids, value: [*ids, *[value] * (row_length - len(ids))]
    ...     return ([fill(ids, 0) for ids in lines], [fill(ids[1:], -100) for ids in lines],
    ...             [fill([0] * len(ids), -1) for ids in lines], [list(range(row_length)) for _ in lines])
    >>> bool(packing(one_a_row))
    True
    """
    cases = [Case(lines=lines, row_length=row_length) for lines, row_length in QUESTIONS]
    check = Check("packing", fn, "four arrays of whole numbers (rows, row_length)", _read, cases)
    check.judge("every document is there once and whole", _documents)
    check.judge(
        "every target is the next token of its document, -100 at its end",
        _field("targets", lambda ids: [*ids[1:], IGNORE]),
    )
    check.judge("each document has its own number in its row", _numbers)
    check.judge("positions count from 0 in each document", _field("positions", lambda ids: range(len(ids))))
    check.judge("padding is id 0, target -100, document -1", _padding)
    return check.report


QUESTIONS = (
    ([[2, 3]], 2),
    ([[2, 3]], 3),
    ([[2, 5, 3]], 3),
    ([[2, 5, 3], [2, 6, 3]], 3),
    ([[2, 5, 3], [2, 6, 3]], 6),
    ([[2, 5, 3], [2, 6, 3]], 8),
    ([[2, 5, 3], [2, 5, 3]], 7),
    ([[2, 5, 3], [2, 6, 7, 8, 3], [2, 9, 3]], 6),
    ([[2, 5, 3], [2, 6, 7, 8, 3], [2, 3], [2, 9, 10, 11, 12, 13, 14, 3], [2, 15, 16, 3]], 8),
)


@dataclass(frozen=True)
class Rows:
    """A packed answer; each field is `(rows, row_length)`."""

    ids: np.ndarray
    targets: np.ndarray
    document_ids: np.ndarray
    positions: np.ndarray

    def spans(self) -> Iterator[tuple[int, slice]]:
        """Where documents stand, by their ids alone: from `<s>` up to `</s>`, to padding, or to the next."""
        for row, ids in enumerate(self.ids.tolist()):
            for start in (i for i, token in enumerate(ids) if token == BOS):
                end = start + 1
                while end < len(ids) and ids[end] not in (PAD, BOS) and ids[end - 1] != EOS:
                    end += 1
                yield row, slice(start, end)

    @property
    def taken(self) -> np.ndarray:
        """bool: where a document stands."""
        return self.filled(0, lambda ids: 1) == 1

    def filled(self, value: int, in_span: Callable[[np.ndarray], object]) -> np.ndarray:
        """A field as it should be: `in_span(ids)` where a document stands, `value` elsewhere."""
        right = np.full_like(self.ids, value)
        for row, span in self.spans():
            right[row, span] = in_span(self.ids[row, span])
        return right


def _documents(case: Case, rows: Rows) -> Examples:
    found = Counter(tuple(rows.ids[row, span].tolist()) for row, span in rows.spans())
    asked = Counter(map(tuple, case["lines"]))
    if found != asked:
        drawn = tables(sorted((asked - found).elements()), sorted((found - asked).elements()))
        yield Example(str(case), *drawn, "on the left what is missing, on the right what is there instead")


def _field(name: str, in_document: Callable) -> Callable:
    """Finds where a field is not, in a document of these ids, what it should be."""

    def find(case: Case, rows: Rows) -> Examples:
        yield _first_wrong_row(case, rows, name, rows.filled(0, in_document), rows.taken)

    return find


def _numbers(case: Case, rows: Rows) -> Examples:
    right, taken = np.full_like(rows.ids, NO_DOCUMENT), {}
    for row, span in rows.spans():
        used = taken.setdefault(row, set())
        number = int(rows.document_ids[row, span.start])
        if number < 0 or number in used:  # not a number to keep: show the next free one
            number = max(used, default=-1) + 1
        used.add(number)
        right[row, span] = number
    yield _first_wrong_row(case, rows, "document_ids", right, right >= 0)


def _padding(case: Case, rows: Rows) -> Examples:
    for field, mark in (("ids", PAD), ("targets", IGNORE), ("document_ids", NO_DOCUMENT)):
        yield _first_wrong_row(case, rows, field, np.full_like(rows.ids, mark), ~rows.taken)


def _first_wrong_row(
    case: Case, rows: Rows, field: str, right: np.ndarray, judged: np.ndarray
) -> Example | None:
    """The first row whose `field` is not `right`, under its ids."""
    actual = getattr(rows, field)
    right = np.where(judged, right, actual)
    if (actual == right).all():
        return None
    row = int((actual != right).any(axis=1).argmax())
    above = [] if field == "ids" else [["ids", *rows.ids[row].tolist()]]
    expected, found = ([*above, [field, *values[row].tolist()]] for values in (right, actual))
    return unequal(f"{case}, row {row}", expected, found)


def _read(case: Case, answer: object) -> Rows:
    arrays = parts(answer, FIELDS)
    ids = whole_numbers(arrays[0], (None, case["row_length"]), "ids")
    return Rows(
        ids, *(whole_numbers(a, ids.shape, name) for a, name in zip(arrays[1:], FIELDS[1:], strict=True))
    )
