"""Small drawings of masks, ids and text in which the cells that differ are marked."""

import html
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

MAY, MAY_NOT = "■", "·"
MAX_ROWS, MAX_COLUMNS, MAX_TEXT = 16, 32, 300

# Half transparent, so that the page's own ink reads on it whether the page is light or dark.
MARK = "background:rgba(213,94,0,.35);border-radius:3px;font-weight:bold"


@dataclass(frozen=True)
class Cell:
    """One value of a drawing; `differs` where it is not what it should be."""

    text: str
    differs: bool = False


@dataclass(frozen=True)
class Drawing:
    """Rows of cells, drawn in aligned columns; a cell that differs stands in brackets.

    >>> print(Drawing(((Cell("■"), Cell("■", differs=True)), (Cell("■"), Cell("■")))))
     ■ [■]
     ■  ■
    """

    rows: tuple[tuple[Cell, ...], ...]

    def lines(self, html_marks: bool = False) -> list[str]:
        """The drawing line by line, as text or, with `html_marks`, as escaped HTML."""
        columns = zip_longest(*self.rows, fillvalue=Cell(""))
        widths = [max(len(cell.text) for cell in column) for column in columns]
        return [
            "".join(_cell(cell, width, html_marks) for cell, width in zip(row, widths, strict=False)).rstrip()
            for row in self.rows
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _cell(cell: Cell, width: int, html_marks: bool) -> str:
    text = cell.text.rjust(width)
    left, right = "[]" if cell.differs else "  "
    if not html_marks:
        return left + text + right
    marked = f"{left}{html.escape(text)}{right}"
    return f"<span style='{MARK}'>{marked}</span>" if cell.differs else marked


def sentence(text: str) -> Drawing:
    """A few words instead of a picture."""
    return Drawing(((Cell(shorten(text)),),))


def masks(
    expected: np.ndarray, actual: np.ndarray, judged: np.ndarray | bool = True
) -> tuple[Drawing, Drawing]:
    """Two bool masks of one shape `(rows, columns)` beside each other: ■ may attend, · may not.

    Cells of the second that differ are marked; what is not `judged` is left blank in both.
    """
    judged = np.broadcast_to(judged, expected.shape)
    squares = np.where(judged, np.where([expected, actual], MAY, MAY_NOT), " ")
    differs = (expected != actual) & judged
    return _grid(squares[0], np.zeros_like(differs)), _grid(squares[1], differs)


def _grid(squares: np.ndarray, marks: np.ndarray) -> Drawing:
    rows = zip(squares[:MAX_ROWS].tolist(), marks[:MAX_ROWS].tolist(), strict=True)
    return Drawing(tuple(tuple(map(Cell, *row)) for row in rows))


def tables(expected: Sequence[Sequence], actual: Sequence[Sequence]) -> tuple[Drawing, Drawing]:
    """Two lists of rows beside each other; what is not the same at the same place is marked in both.

    Long ones are shown around the first difference.
    """
    places = [
        (i, j)
        for i, (left, right) in enumerate(zip_longest(expected, actual, fillvalue=()))
        for j, (a, b) in enumerate(zip_longest(left, right, fillvalue=_NOTHING))
        if a is _NOTHING or b is _NOTHING or a != b
    ]
    return marked(expected, actual, places)


def marked(
    expected: Sequence[Sequence], actual: Sequence[Sequence], places: Collection[tuple[int, int]]
) -> tuple[Drawing, Drawing]:
    """Two lists of rows beside each other, with these places `(row, column)` marked in both."""
    first = max(0, min(places)[0] - MAX_ROWS // 2) if places else 0
    differing = set(places)
    return tuple(_table(rows, first, differing) for rows in (expected, actual))


_NOTHING = object()


def _table(rows: Sequence[Sequence], first: int, differing: set) -> Drawing:
    if not rows:
        return sentence("(nothing)")
    drawn = [
        tuple(Cell(_text(value), (i, j) in differing) for j, value in enumerate(row[:MAX_COLUMNS]))
        for i, row in enumerate(rows[first : first + MAX_ROWS], start=first)
    ]
    if first:
        drawn.insert(0, (Cell("⋮"),))
    if len(rows) > first + MAX_ROWS:
        drawn.append((Cell("⋮"),))
    return Drawing(tuple(drawn))


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shorten(str(value), 40)


def shorten(text: str, most: int = MAX_TEXT) -> str:
    """`text`, cut in its middle when it is longer than `most` characters."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]}"
