"""A line of text as coloured grids, with the words beneath: as SVG for a widget, as a figure where nothing runs.

Letters: S lines (such as the steps of a trajectory), T tokens a line, V words, n cells a token, K colours.
"""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from torch import Tensor

from lab.diffusion import Codebook
from lab.show.attention import label
from lab.show.colours import BLUE, GREEN, GREY, INK, ORANGE, PAPER, PINK, SKY, VERMILION, YELLOW
from lab.show.plots import figure

# In this order the first few are as far apart as they can be, whatever a person's colour vision.
CELLS = (BLUE, ORANGE, INK, SKY, VERMILION, PINK, YELLOW, GREEN)
BLANK_EDGE = "#AEB4BF"  # a blank cell is paper with an edge
SIDE, PITCH = 8.0, 9.0  # pixels: of a cell, and from one cell to the next
LETTER, TEXT = 6.7, 11.0  # pixels: the advance and the size of the words beneath
BETWEEN, LEADING = 9.0, 12.0  # pixels: between two grids, and below the words
DOTS_AN_INCH = 100.0  # of the pixels above, in a figure


@dataclass(frozen=True)
class TokenLine:
    """One line to draw: cells int64 `(T, n)`, what stands beneath each grid, and what stands above the line.

    Words are drawn as they are: `read_words` and `written` make white space visible.
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


def read_words(cells: Tensor, codebook: Codebook, tokenizer) -> list[str]:
    """What each of the grids `(T, n)` says.

    A word itself stands as it is. "word?" is the nearest to a grid that is unfinished or wrong, "12 fit" says that
    twelve words agree with all that is visible, "2 near" that two are equally near, and "_" that nothing is visible.
    """
    distances = codebook.distances(cells)
    least, ids = distances.min(dim=-1)
    equals = (distances == least[:, None]).sum(-1)
    names = [written(name) for name in tokenizer.tokens(ids.tolist())]
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


def written(name: str) -> str:
    """A token's text as it stands beneath a grid: short, white space and what cannot be printed made visible."""
    return label(name)


def token_lines(
    cells: Tensor,
    codebook: Codebook,
    tokenizer,
    labels: Sequence[str],
    *,
    given: Sequence[bool] | None = None,
) -> list[TokenLine]:
    """Lines to draw from cells int64 `(S, T, n)`: a label each, words read from the grids, the same tokens given."""
    if cells.dim() != 3 or cells.shape[-1] != codebook.num_cells or len(labels) != len(cells):
        raise ValueError(
            f"expected cells (S, T, {codebook.num_cells}) and S labels, got {tuple(cells.shape)} and {len(labels)}"
        )
    return [
        TokenLine(line, read_words(line, codebook, tokenizer), words, given)
        for line, words in zip(cells, labels, strict=True)
    ]


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


def lines_svg(lines: Sequence[TokenLine], codebook: Codebook, *, width: float = 900) -> str:
    """The lines as one SVG on paper of its own, at most `width` pixels wide: longer lines go on below.

    The same token stands in the same column of every line. A screen reader hears the labels and the words.
    """
    drawing = _Drawing(lines, codebook, width)
    parts = []
    for colour, squares in drawing.by_colour().items():
        d = "".join(f"M{x:g} {y:g}h{SIDE:g}v{SIDE:g}h-{SIDE:g}z" for x, y in squares)
        edge = f" stroke='{BLANK_EDGE}' stroke-width='1'" if colour == PAPER else ""
        parts.append(f"<path d='{d}' fill='{colour}'{edge}/>")
    for x, y in drawing.dots:
        parts.append(
            f"<circle cx='{x:g}' cy='{y:g}' r='2.2' fill='{PAPER}' stroke='{INK}' stroke-width='0.8'/>"
        )
    for x, y, length in drawing.underlines:
        parts.append(f"<path d='M{x - length / 2:g} {y:g}h{length:g}' stroke='{GREY}' stroke-width='1.5'/>")
    for x, y, words, is_label in drawing.texts:
        look = (
            "font-weight='bold'" if is_label else "text-anchor='middle' font-family='ui-monospace,monospace'"
        )
        parts.append(f"<text x='{x:g}' y='{y:g}' {look} xml:space='preserve'>{html.escape(words)}</text>")
    told = "; ".join(f"{line.label}: {' '.join(line.words)}" for line in lines)
    wide, high = drawing.width, drawing.height
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' class='lab-grids' width='{wide:.0f}' height='{high:.0f}' "
        f"viewBox='0 0 {wide:.0f} {high:.0f}' style='max-width:100%;height:auto;background:{PAPER}' role='img' "
        f"aria-label='{html.escape(told, quote=True)}' font-family='system-ui,sans-serif' font-size='{TEXT:g}' "
        f"fill='{INK}'><rect width='100%' height='100%' fill='{PAPER}'/>{''.join(parts)}</svg>"
    )


def lines_figure(lines: Sequence[TokenLine], codebook: Codebook, title: str, *, width: float = 900) -> Figure:
    """The same picture as `lines_svg`, as a figure with a title."""
    drawing = _Drawing(lines, codebook, width)
    wide, high = max(drawing.width, 24 + 10.5 * len(title)), drawing.height
    made, ax = figure(title, "", "", size=(wide / DOTS_AN_INCH, high / DOTS_AN_INCH + 0.35))
    for colour, squares in drawing.by_colour().items():
        corners = [[(x, y), (x + SIDE, y), (x + SIDE, y + SIDE), (x, y + SIDE)] for x, y in squares]
        edge = {"edgecolors": BLANK_EDGE, "linewidths": 0.7} if colour == PAPER else {"linewidths": 0}
        ax.add_collection(PolyCollection(corners, facecolors=colour, **edge))
    points = 72 / DOTS_AN_INCH  # a pixel
    for x, y in drawing.dots:
        ax.plot(x, y, "o", color=PAPER, markeredgecolor=INK, markersize=4 * points, markeredgewidth=0.6)
    for x, y, length in drawing.underlines:
        ax.plot([x - length / 2, x + length / 2], [y, y], color=GREY, linewidth=1.2 * points)
    for x, y, words, is_label in drawing.texts:
        look = {"weight": "bold"} if is_label else {"ha": "center", "family": "DejaVu Sans Mono"}
        ax.text(x, y, words, size=TEXT * points * (1 if is_label else 0.95), parse_math=False, **look)
    ax.set(xlim=(0, wide), ylim=(high, 0), aspect="equal")
    ax.axis("off")
    return made


class _Drawing:
    """Where everything stands, in pixels from the upper left corner."""

    def __init__(self, lines: Sequence[TokenLine], codebook: Codebook, width: float):
        self.colours = (*cell_colours(codebook.num_colours), PAPER)
        if not lines:
            raise ValueError("there is no line to draw: give one at least")
        for line in lines:
            _check(line, codebook)
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
        longest = [max(len(line.words[i]) for line in lines if i < len(line.words)) for i in range(T)]
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
                self.underlines.append((middle, baseline + 5, LETTER * len(words)))
        return top + grid_height + TEXT + LEADING + 6

    def _places(self, line: TokenLine, slots: list[float]) -> Iterator[tuple[int, float, int]]:
        """For each token the row of grids that it is in, where its column begins, and its place in the line."""
        row, x = 0, 12.0
        for place in range(len(line.words)):
            if x > 12.0 and x + slots[place] > self.width - 12:
                row, x = row + 1, 12.0
            yield row, x, place
            x += slots[place]


def _check(line: TokenLine, codebook: Codebook) -> None:
    T, n, K = len(line.words), codebook.num_cells, codebook.num_colours
    if not T or tuple(line.cells.shape) != (T, n):
        raise ValueError(
            f"{T} words need cells ({T}, {n}), one token at least; got {tuple(line.cells.shape)}"
        )
    if line.cells.min() < 0 or line.cells.max() > K:
        raise ValueError(
            f"cells hold the colours 0 .. {K - 1}, or {K} for blank; got "
            f"{int(line.cells.min())} to {int(line.cells.max())}"
        )
    if line.given is not None and len(line.given) != T:
        raise ValueError(f"given needs a bool for each of the {T} tokens, got {len(line.given)}")
