"""Paint a grid cell by cell, damage it, and see which word it is read as, and how narrowly."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from traitlets import Int, List, Unicode

from lab.diffusion import Codebook
from lab.show.attention import label
from lab.show.token_grids import TokenLine, cell_colours, cells_text
from lab.show.widgets.base import Widget

MOST_CELLS = 144


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


def compared(cells: Tensor, codebook: Codebook, tokenizer) -> TokenLine:
    """The grid, the nearest word's and the runner-up's side by side; the cells in which they differ have dots."""
    ids = list(find(cells, codebook).ids[:2])
    grids = torch.stack([cells, *codebook.encode(torch.tensor(ids)).to(cells.device)])
    differ = (grids != cells) & (cells != codebook.blank)
    words = ["this grid", *(label(name) for name in tokenizer.tokens(ids))]
    return TokenLine(grids, words, marked=differ)


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


class GridEditor(Widget):
    """A grid to paint: a click on a cell goes on to the next colour, and after the last one the cell is blank.

    Load a word's own grid, recolour some cells at random or erase them, and see when it is read as another word.

    >>> GridEditor(Codebook.linear(tokenizer.vocab_size), tokenizer, " the")  # doctest: +SKIP

    `word` is what is loaded first, by default the last of the vocabulary. Raises ValueError for a tokenizer of another
    vocabulary, a word that is no token, and a grid of more cells, or more colours, than can be shown.
    """

    painted = List(Int(), help="the colour of each cell, line by line; blank is the colour K").tag(sync=True)
    word = Unicode(help="to load").tag(sync=True)
    count = Int(3, min=1, help="how many cells are recoloured or erased at once").tag(sync=True)
    drawn_from = ("painted",)

    def __init__(self, codebook: Codebook, tokenizer, word: str | None = None, *, seed: int = 0):
        codebook.require_vocab_size(tokenizer.vocab_size)
        cell_colours(codebook.num_colours)  # which refuses more than can be told apart
        if codebook.num_cells > MOST_CELLS:
            raise ValueError(f"{MOST_CELLS} cells can be shown to click at, got {codebook.num_cells}")
        self.codebook, self.tokenizer = codebook.to("cpu"), tokenizer
        self._generator = torch.Generator().manual_seed(seed)
        first = codebook.vocab_size - 1 if word is None else find_word(tokenizer, word)
        super().__init__(
            painted=self.codebook.patterns[first].tolist(),
            word=tokenizer.tokens([first])[0],
            count=min(3, codebook.num_cells),
        )

    @property
    def cells(self) -> Tensor:
        """What is painted, int64 `(n,)`; blank is the colour K."""
        return torch.tensor(self.painted)

    def paint(self, cells: Tensor | Sequence[int]) -> None:
        """Paint all cells at once. Raises ValueError for cells that the codebook cannot read."""
        self.painted = self._checked(torch.as_tensor(cells)).tolist()

    def draw(self) -> dict:
        """What the grid is read as, with the nearest words' grids beside it and the cells in which these differ."""
        cells = self._checked(self.cells)
        beside = compared(cells, self.codebook, self.tokenizer)
        return {
            "columns": self.codebook.grid[1],
            "blank": self.codebook.blank,
            "told": told(cells, self.codebook, self.tokenizer),
            "beside": {
                "cells": cells_text(beside.cells, self.codebook),
                "words": beside.words,
                "marked": [dots.nonzero().flatten().tolist() for dots in beside.marked],
            },
        }

    def load(self) -> None:
        """Paint the grid of the word that was typed."""
        self.paint(self.codebook.patterns[find_word(self.tokenizer, self.word)])

    def recolour(self) -> None:
        """Give some cells another colour each."""
        cells, places = self.cells, self._places()
        K = self.codebook.num_colours
        by = torch.randint(1, K, (len(places),), generator=self._generator)
        was = cells[places]
        cells[places] = torch.where(was == K, by, (was + by) % K)
        self.paint(cells)

    def erase(self) -> None:
        """Make some cells blank."""
        cells = self.cells
        cells[self._places()] = self.codebook.blank
        self.paint(cells)

    answering = (load, recolour, erase)

    def _places(self) -> Tensor:
        """As many cells as the slider says, drawn anew."""
        return torch.randperm(self.codebook.num_cells, generator=self._generator)[: self.count]

    def _checked(self, cells: Tensor) -> Tensor:
        if cells.dim() != 1:
            raise ValueError(
                f"expected the cells of one grid, ({self.codebook.num_cells},), got {tuple(cells.shape)}"
            )
        self.codebook.nearest(cells)  # which refuses what is no colour
        return cells


def _named(tokenizer, ids: Sequence[int]) -> list[tuple[int, str]]:
    return list(zip(ids, tokenizer.tokens(ids), strict=True))


def _differs(distance: int, visible: int) -> str:
    if not distance:
        return f"which fits all {visible} visible cells" if visible > 1 else "which fits the one visible cell"
    return f"which differs in {distance} of {visible} visible {'cell' if visible == 1 else 'cells'}"
