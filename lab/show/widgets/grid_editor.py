"""Paint a grid cell by cell, damage it, and see which word it is read as, and how narrowly."""

from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import torch
from IPython.display import SVG
from torch import Tensor

from lab.diffusion import Codebook
from lab.show.attention import label
from lab.show.clusters import escaped
from lab.show.colours import GREY, INK, PAPER
from lab.show.diagrams.palette import contrast
from lab.show.token_grids import TokenLine, cell_colours, lines_figure, lines_svg
from lab.show.widgets.parts import Explorer, in_row, page

MOST_CELLS = 144
CELL = 40  # pixels, of a cell to click at


@dataclass(frozen=True)
class Found:
    """The words nearest to a grid, the nearest first and equals by their ids, and in how many cells they differ."""

    ids: tuple[int, ...]
    distances: tuple[int, ...]
    visible: int

    @property
    def as_near(self) -> int:
        """How many words are as near as the nearest."""
        return self.distances.count(self.distances[0])


def find(cells: Tensor, codebook: Codebook) -> Found:
    """All words by their distance to the grid `cells` `(n,)`, in which blank ones do not count."""
    distances, ids = codebook.distances(cells).sort(stable=True)
    return Found(tuple(ids.tolist()), tuple(distances.tolist()), int((cells != codebook.blank).sum()))


def find_word(tokenizer, text: str) -> int:
    """The id of the token that is written `text`, or else `text` with a space before it.

    Raises ValueError for a text that is no token, and says of which it consists.
    """
    names = tokenizer.tokens(range(tokenizer.vocab_size))
    if not text:
        raise ValueError("there is no word to load: type one")
    for wanted in (text, f" {text}"):
        if wanted in names:
            return names.index(wanted)
    parts = tokenizer.tokens(tokenizer.encode(text))
    said = ", ".join(f"“{label(part)}”" for part in parts[:8])
    raise ValueError(f"“{text}” is no single token; the tokenizer writes it as {said}: load one of these")


def compared(cells: Tensor, codebook: Codebook, tokenizer) -> list[TokenLine]:
    """The grid, the nearest word's and the runner-up's side by side; the cells in which they differ have dots."""
    ids = list(find(cells, codebook).ids[:2])
    grids = torch.stack([cells, *codebook.encode(torch.tensor(ids)).to(cells.device)])
    differ = (grids != cells) & (cells != codebook.blank)
    words = ["this grid", *(label(name) for name in tokenizer.tokens(ids))]
    return [TokenLine(grids, words, marked=differ)]


def told(cells: Tensor, codebook: Codebook, tokenizer) -> list[str]:
    """What the grid is read as, in sentences."""
    found = find(cells, codebook)
    names = [f"“{label(name)}” (id {i})" for i, name in _named(tokenizer, found.ids[:2])]
    if not found.visible:
        return ["Every cell is blank: this grid says nothing, and all words fit alike."]
    lines = [f"Nearest word: {names[0]}, {_differs(found.distances[0], found.visible)}."]
    if found.as_near > 1:
        lines.append(
            f"{found.as_near:,} words are as near: of these the one with the lowest id is read, but the grid does "
            "not tell them apart."
        )
    elif len(names) > 1:
        # A cell that turns to the runner-up's colour takes from the one and gives to the other.
        worst = (found.distances[1] - found.distances[0] + 1) // 2
        lines.append(
            f"Runner-up: {names[1]}, {_differs(found.distances[1], found.visible)}. After another {worst} wrong "
            f"{'cell' if worst == 1 else 'cells'}, in the worst places, it would be as near, or nearer."
        )
    return lines


def render(cells: Tensor, codebook: Codebook, tokenizer) -> str:
    """HTML of what the grid is read as, with the words beside it. Pure."""
    words = "<br>".join(escaped(line) for line in told(cells, codebook, tokenizer))
    return page(
        lines_svg(compared(cells, codebook, tokenizer), codebook),
        f"<div role='status' style='padding:0 12px'>{words}</div>",
        f"<div style='padding:0 12px;color:{GREY}'>Dots: cells in which a word differs from the grid.</div>",
    )


class GridEditor(Explorer):
    """A grid to paint: a click on a cell goes on to the next colour, and after the last one the cell is blank.

    Load a word's own grid, recolour some cells at random or erase them, and see when it is read as another word.

    >>> editor = GridEditor(Codebook.linear(tokenizer.vocab_size), tokenizer, " the")  # doctest: +SKIP
    >>> display(editor, editor.figure())  # doctest: +SKIP

    `word` is what is loaded first, by default the last of the vocabulary. Raises ValueError for a tokenizer of another
    vocabulary, a word that is no token, and a grid of more cells, or more colours, than can be shown.
    """

    def __init__(self, codebook: Codebook, tokenizer, word: str | None = None, *, seed: int = 0):
        codebook.require_vocab_size(tokenizer.vocab_size)
        if codebook.num_cells > MOST_CELLS:
            raise ValueError(f"{MOST_CELLS} cells can be shown to click at, got {codebook.num_cells}")
        self.codebook, self.tokenizer = codebook, tokenizer
        self._colours = (*cell_colours(codebook.num_colours), PAPER)
        self._generator = torch.Generator().manual_seed(seed)
        first = codebook.vocab_size - 1 if word is None else find_word(tokenizer, word)
        self._cells = codebook.patterns[first].cpu().clone()
        self.buttons = [self._button(i) for i in range(codebook.num_cells)]
        self.word = widgets.Text(tokenizer.tokens([first])[0], description="word", continuous_update=False)
        most = codebook.num_cells
        self.count = widgets.IntSlider(min(3, most), min=1, max=most, description="cells")
        self.load = widgets.Button(description="Load word", icon="download")
        self.recolour = widgets.Button(description="Recolour", icon="random")
        self.erase = widgets.Button(description="Erase", icon="eraser")
        for name, action in (("load", self._load), ("recolour", self._recolour), ("erase", self._erase)):
            getattr(self, name).on_click(lambda _, action=action: action())
            getattr(self, name).layout.width = "8rem"
        self.named("word", "count", "load", "recolour", "erase", label_width="4rem")
        self.view = widgets.HTML()
        self.view.add_class("lab-nearest")
        grid = widgets.GridBox(
            self.buttons,
            layout=widgets.Layout(
                grid_template_columns=f"repeat({codebook.grid[1]}, {CELL}px)", grid_gap="3px", padding="8px"
            ),
        )
        grid.add_class("lab-grid")
        style = widgets.HTML(
            f"<style>.lab-grid {{ background:{PAPER}; border-radius:6px; }} .lab-grid .lab-cell {{ padding:0; "
            f"font-weight:bold; }} .lab-grid .lab-blank {{ border:1px dashed {GREY}; }}</style>"
        )
        controls = widgets.VBox([in_row(self.word, self.load), in_row(self.count, self.recolour, self.erase)])
        self.paint(self._cells)
        super().__init__([style, in_row(grid, controls), self.view])

    @property
    def cells(self) -> Tensor:
        """What is painted, int64 `(n,)`; blank is the colour K."""
        return self._cells.clone()

    def paint(self, cells: Tensor | Sequence[int]) -> None:
        """Paint all cells at once. Raises ValueError for cells that the codebook cannot read."""
        cells = torch.as_tensor(cells)
        if cells.dim() != 1:
            raise ValueError(
                f"expected the cells of one grid, ({self.codebook.num_cells},), got {tuple(cells.shape)}"
            )
        self.codebook.nearest(cells)
        self._cells = cells.clone()
        for i, colour in enumerate(cells.tolist()):
            self._dress(i, colour)
        self.problem = ""
        self.redraw()

    def figure(self) -> SVG:
        """What is painted beside the nearest word and the runner-up: the picture where nothing can be clicked."""
        lines = compared(self._cells, self.codebook, self.tokenizer)
        return lines_figure(lines, self.codebook, "A grid, and the nearest words")

    def _button(self, i: int) -> widgets.Button:
        row, column = divmod(i, self.codebook.grid[1])
        button = widgets.Button(layout=widgets.Layout(width=f"{CELL}px", height=f"{CELL}px", margin="0"))
        button.add_class("lab-cell")
        button.add_class(f"lab-cell-{row}-{column}")
        button.on_click(lambda _: self._next_colour(i))
        return button

    def _dress(self, i: int, colour: int) -> None:
        """Show the colour, and its number for eyes that see no colours."""
        row, column = divmod(i, self.codebook.grid[1])
        blank, button, fill = colour == self.codebook.blank, self.buttons[i], self._colours[colour]
        button.style.button_color = fill
        button.style.text_color = max((PAPER, INK), key=lambda ink: contrast(ink, fill))
        button.description = "·" if blank else str(colour)  # with "" the browser would show the old one
        button.tooltip = f"row {row + 1}, column {column + 1}: {'blank' if blank else f'colour {colour}'}"
        (button.add_class if blank else button.remove_class)("lab-blank")

    def _next_colour(self, i: int) -> None:
        cells = self.cells
        cells[i] = (cells[i] + 1) % (self.codebook.num_colours + 1)
        self.paint(cells)

    def _load(self) -> None:
        word = self.word.value
        self.redraw(lambda: self.paint(self.codebook.patterns[find_word(self.tokenizer, word)].cpu()))

    def _recolour(self) -> None:
        """Give some cells another colour each."""
        cells, places = self.cells, self._places()
        K = self.codebook.num_colours
        by = torch.randint(1, K, (len(places),), generator=self._generator)
        was = cells[places]
        cells[places] = torch.where(was == K, by, (was + by) % K)
        self.paint(cells)

    def _erase(self) -> None:
        cells = self.cells
        cells[self._places()] = self.codebook.blank
        self.paint(cells)

    def _places(self) -> Tensor:
        """As many cells as the slider says, drawn anew."""
        return torch.randperm(self.codebook.num_cells, generator=self._generator)[: self.count.value]

    def drawn(self) -> str:
        return render(self._cells, self.codebook, self.tokenizer)


def _named(tokenizer, ids: Sequence[int]) -> list[tuple[int, str]]:
    return list(zip(ids, tokenizer.tokens(ids), strict=True))


def _differs(distance: int, visible: int) -> str:
    if not distance:
        return f"which fits all {visible} visible cells" if visible > 1 else "which fits the one visible cell"
    return f"which differs in {distance} of {visible} visible {'cell' if visible == 1 else 'cells'}"
