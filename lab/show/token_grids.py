"""A line of text as coloured grids, with the words beneath.

Letters: S lines (such as the steps of a trajectory), T tokens a line, V words, n cells a token, K colours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from IPython.display import SVG
from torch import Tensor

from lab.diffusion import Codebook
from lab.show.attention import label
from lab.show.clusters import advance, escaped, one_line, shortened
from lab.show.colours import BLUE, GREEN, GREY, INK, ORANGE, PAPER, PINK, SKY, VERMILION, YELLOW

# In this order the first few are as far apart as they can be, whatever a person's colour vision.
CELLS = (BLUE, ORANGE, INK, SKY, VERMILION, PINK, YELLOW, GREEN)
BLANK_EDGE = "#AEB4BF"  # a blank cell is paper with an edge
SIDE, PITCH = 8.0, 9.0  # pixels: of a cell, and from one cell to the next
LETTER, TEXT = 6.7, 11.0  # pixels: the advance and the size of the words beneath
BETWEEN, LEADING = 9.0, 12.0  # pixels: between two grids, and below the words


@dataclass(frozen=True)
class TokenLine:
    """One line to draw: cells int64 `(T, n)`, what stands beneath each grid, and what stands above the line.

    Words are drawn as they are: `read_words` makes white space visible.
    `given`, one bool a token: the words are underlined. `marked`, bool `(T, n)`: these cells get a dot.
    """

    cells: Tensor
    words: Sequence[str]
    label: str = ""
    given: Sequence[bool] | None = None
    marked: Tensor | None = None


def cell_colours(num_colours: int) -> tuple[str, ...]:
    """The colours 0 .. K - 1 as `#rrggbb`. Raises ValueError for more than eyes can tell apart."""
    if not 1 <= num_colours <= len(CELLS):
        raise ValueError(
            f"{len(CELLS)} colours can be told apart on a page, got num_colours {num_colours}: "
            "show the cells as numbers"
        )
    return CELLS[:num_colours]


def cells_text(cells: Tensor, codebook: Codebook) -> list[str]:
    """Each of the grids `(T, n)` as a text, a letter a cell: a digit is its colour, "." is blank.

    >>> book = Codebook.linear(40, num_colours=3)
    >>> cells_text(book.patterns[:1], book)
    ['0000000000000000000000000']

    Raises ValueError for more colours than can be told apart.
    """
    letters = "".join(map(str, range(len(cell_colours(codebook.num_colours))))) + "."
    return ["".join(letters[colour] for colour in grid) for grid in cells.tolist()]


def read_words(cells: Tensor, codebook: Codebook, tokenizer) -> list[str]:
    """What each of the grids `(T, n)` says.

    A word itself stands as it is. "word?" is the nearest to a grid that is unfinished or wrong, "12 fit" says that
    twelve words agree with all that is visible, "2 near" that two are equally near, and "_" that nothing is visible.
    """
    distances = codebook.distances(cells)
    least, ids = distances.min(dim=-1)
    equals = (distances == least[:, None]).sum(-1)
    names = [label(name) for name in tokenizer.tokens(ids.tolist())]
    visible = (cells != codebook.blank).sum(-1)
    said = []
    for name, off, as_near, seen in zip(
        names, least.tolist(), equals.tolist(), visible.tolist(), strict=True
    ):
        if not seen:
            said.append("_")
        elif as_near > 1:
            said.append(f"{as_near:,}\N{NO-BREAK SPACE}{'near' if off else 'fit'}")
        else:
            said.append(name if seen == cells.shape[-1] and not off else f"{name}?")
    return said


def token_lines(
    cells: Tensor,
    codebook: Codebook,
    tokenizer,
    labels: Sequence[str],
    *,
    given: Sequence[bool] | None = None,
) -> list[TokenLine]:
    """Lines to draw from cells int64 `(S, T, n)`: a label each, words read from the grids, the same tokens given."""
    both = zip(cells, labels, strict=True)
    return [TokenLine(line, read_words(line, codebook, tokenizer), words, given) for line, words in both]


def stages(
    cells: Tensor,
    codebook: Codebook,
    tokenizer,
    *,
    at: Sequence[int] | None = None,
    times: Sequence[float] | None = None,
    given: Sequence[bool] | None = None,
) -> list[TokenLine]:
    """Some steps of one trajectory, `cells` int64 `(steps + 1, T, n)`, as lines to draw one above the other.

    `at` chooses them, by default the first, the last and three between; `times` are those of the trajectory.
    Raises ValueError for a step that was not made.
    """
    steps = len(cells) - 1
    at = sorted({round(steps * part / 4) for part in range(5)}) if at is None else list(at)
    if not at or not all(0 <= step <= steps for step in at):
        raise ValueError(f"there are the steps 0 .. {steps}, got {at}")
    labels = [
        (f"after step {step} of {steps}" if step else "at the start")
        + (f", t = {times[step]:.2f}" if times is not None else "")
        for step in at
    ]
    return token_lines(cells[at], codebook, tokenizer, labels, given=given)


def lines_svg(lines: Sequence[TokenLine], codebook: Codebook, *, width: float = 900, title: str = "") -> str:
    """The lines as one SVG on paper of its own, at most `width` pixels wide: longer lines go on below.

    The same token stands in the same column of every line. A screen reader hears the labels and the words.
    """
    title = shortened(one_line(title, " "), int(width / 8.5) - 3)
    drawing, head = _Drawing(lines, codebook, width), 28 if title else 0
    heading = f"<text x='12' y='20' font-size='15' font-weight='bold'>{escaped(title)}</text>"
    parts = [heading] if title else []
    parts.append(f"<g transform='translate(0 {head})'>")
    for colour, squares in drawing.by_colour().items():
        d = "".join(f"M{x:g} {y:g}h{SIDE:g}v{SIDE:g}h-{SIDE:g}z" for x, y in squares)
        edge = f" stroke='{BLANK_EDGE}' stroke-width='1'" if colour == PAPER else ""
        parts.append(f"<path d='{d}' fill='{colour}'{edge}/>")
    look = f"r='2.2' fill='{PAPER}' stroke='{INK}' stroke-width='0.8'"
    parts += [f"<circle cx='{x:g}' cy='{y:g}' {look}/>" for x, y in drawing.dots]
    for x, y, length in drawing.underlines:
        parts.append(f"<path d='M{x - length / 2:g} {y:g}h{length:g}' stroke='{GREY}' stroke-width='1.5'/>")
    looks = {True: "font-weight='bold'", False: "text-anchor='middle' font-family='ui-monospace,monospace'"}
    for x, y, words, is_label in drawing.texts:
        text = escaped(words)
        parts.append(f"<text x='{x:g}' y='{y:g}' {looks[is_label]} xml:space='preserve'>{text}</text>")
    told = escaped("; ".join(f"{line.label}: {' '.join(line.words)}" for line in lines))
    wide, high = max(drawing.width, 24 + 8.5 * advance(title)), drawing.height + head
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' class='lab-grids' width='{wide:.0f}' height='{high:.0f}' "
        f"viewBox='0 0 {wide:.0f} {high:.0f}' style='max-width:100%;height:auto;background:{PAPER}' role='img' "
        f"aria-label='{told}' font-family='system-ui,sans-serif' font-size='{TEXT:g}' fill='{INK}'>"
        f"<rect width='100%' height='100%' fill='{PAPER}'/>{''.join(parts)}</g></svg>"
    )


def lines_figure(lines: Sequence[TokenLine], codebook: Codebook, title: str, *, width: float = 900) -> SVG:
    """The same with a title, as a picture for a notebook."""
    return SVG(lines_svg(lines, codebook, width=width, title=title))


class _Drawing:
    """Where everything stands, in pixels from the upper left corner."""

    def __init__(self, lines: Sequence[TokenLine], codebook: Codebook, width: float):
        if not lines or not all(line.words for line in lines):
            raise ValueError("there is nothing to draw: every line needs a token, and there must be a line")
        self.colours = (*cell_colours(codebook.num_colours), PAPER)
        self.rows, self.columns = codebook.grid
        self.squares: list[tuple[float, float, int]] = []  # left, top, colour
        self.dots: list[tuple[float, float]] = []
        self.underlines: list[tuple[float, float, float]] = []  # middle, y, length
        self.texts: list[tuple[float, float, str, bool]] = []  # x, baseline, words, whether a label
        slots = self._slots(lines)
        self.width, y = min(width, max(160.0, 24 + sum(slots))), 10.0
        for line in lines:
            y = self._line(line, slots, y)
        self.height = y

    def by_colour(self) -> dict[str, list[tuple[float, float]]]:
        """The upper left corners of the cells of each colour; blank ones are of the colour of the paper."""
        found: dict[str, list[tuple[float, float]]] = {}
        for x, y, colour in self.squares:
            found.setdefault(self.colours[colour], []).append((x, y))
        return found

    def _slots(self, lines: Sequence[TokenLine]) -> list[float]:
        """How wide each token's column is: its grid, or the longest of its words."""
        T = max(len(line.words) for line in lines)
        longest = [max(advance(line.words[i]) for line in lines if i < len(line.words)) for i in range(T)]
        return [BETWEEN + max(self.columns * PITCH, LETTER * letters) for letters in longest]

    def _line(self, line: TokenLine, slots: list[float], y: float) -> float:
        """Place a line from `y` down; returns where the next begins."""
        if line.label:
            self.texts.append((12.0, y + TEXT, line.label, True))
            y += TEXT + 8
        grid_height = self.rows * PITCH
        for start, x, place in self._places(line, slots):
            top = y + start * (grid_height + TEXT + 2 * LEADING - 4)
            middle, left = x + slots[place] / 2, x + (slots[place] - self.columns * PITCH + 1) / 2
            for i, colour in enumerate(line.cells[place].tolist()):
                row, column = divmod(i, self.columns)
                corner = (left + column * PITCH, top + row * PITCH)
                self.squares.append((*corner, colour))
                if line.marked is not None and line.marked[place, i]:
                    self.dots.append((corner[0] + SIDE / 2, corner[1] + SIDE / 2))
            words, baseline = line.words[place], top + grid_height + TEXT + 1
            self.texts.append((middle, baseline, words, False))
            if line.given is not None and line.given[place]:
                self.underlines.append((middle, baseline + 5, LETTER * advance(words)))
        return top + grid_height + TEXT + LEADING + 6

    def _places(self, line: TokenLine, slots: list[float]) -> Iterator[tuple[int, float, int]]:
        """For each token the row of grids that it is in, where its column begins, and its place in the line."""
        row, x = 0, 12.0
        for place in range(len(line.words)):
            if x > 12.0 and x + slots[place] > self.width - 12:
                row, x = row + 1, 12.0
            yield row, x, place
            x += slots[place]
