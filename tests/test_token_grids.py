"""Token grids as pictures: every cell where it belongs in its colour, the words true, the colours told apart."""

import html
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.diffusion.codebook import Codebook
from lab.show.colours import GREY, PAPER
from lab.show.token_grids import TokenLine, cell_colours, lines_svg, read_words, stages

SVG = "{http://www.w3.org/2000/svg}"


class Names:
    """A tokenizer that is all display: id 7 is `w7`."""

    def tokens(self, ids):
        return [f"w{i}" for i in ids]


@pytest.fixture
def book() -> Codebook:
    return Codebook.linear(40)


def squares(svg: str) -> list[tuple[float, float, str]]:
    """Left, top and colour of every cell."""
    found = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        if path.get("fill") != "none" and path.get("fill"):
            corners = re.findall(r"M([\d.]+) ([\d.]+)h", path.get("d"))
            found += [(float(x), float(y), path.get("fill")) for x, y in corners]
    return found


@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 8), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_picture_can_be_read_back(rows, columns, num_colours, T, seed):
    """From the squares alone, by their places and colours, the cells come back."""
    columns += rows == columns == 1
    patterns = torch.zeros(1, rows * columns, dtype=torch.int64)
    book = Codebook(patterns, num_colours, grid=(rows, columns))
    chance = torch.Generator().manual_seed(seed)
    cells = torch.randint(num_colours + 1, (T, rows * columns), generator=chance)
    drawn = squares(lines_svg([TokenLine(cells, ["w"] * T)], book))
    colour_of = {colour: i for i, colour in enumerate((*cell_colours(num_colours), PAPER))}
    assert len(drawn) == T * rows * columns
    lefts = sorted({x for x, _, _ in drawn})
    tops = sorted({y for _, y, _ in drawn})
    assert (len(lefts), len(tops)) == (T * columns, rows)
    read = torch.full((T, rows * columns), -1)
    for x, y, colour in drawn:
        t, column = divmod(lefts.index(x), columns)
        read[t, tops.index(y) * columns + column] = colour_of[colour]
    assert torch.equal(read, cells)


def test_words_say_how_far_a_grid_can_be_read(book):
    grids = book.encode(torch.tensor([5, 5, 5, 5, 5, 5]))
    grids[1, :3] = book.blank  # unfinished
    grids[2, 0] = (grids[2, 0] + 1) % 3  # wrong
    grids[3, :] = book.blank
    grids[4, 1:] = book.blank  # one cell is visible
    fitting = int((book.patterns[:, 0] == grids[4, 0]).sum())
    assert fitting > 1
    said = read_words(grids[:5], book, Names())
    assert said == ["w5", "w5?", "w5?", "_", f"{fitting}\N{NO-BREAK SPACE}fit"]
    two = Codebook(torch.tensor([[0, 0, 0], [1, 1, 0]]), 2)
    assert read_words(torch.tensor([[0, 1, 1]]), two, Names()) == ["2\N{NO-BREAK SPACE}near"]


def test_words_are_escaped_and_heard_given_ones_underlined_and_marked_cells_dotted(book):
    cells = book.encode(torch.tensor([1, 2]))
    marked = torch.zeros(2, 25, dtype=torch.bool)
    marked[1, 4] = True
    svg = lines_svg([TokenLine(cells, ["<s>", "a&'\""], "<label>", given=[True, False], marked=marked)], book)
    root = ElementTree.fromstring(svg)
    assert [text.text for text in root.iter(f"{SVG}text")] == ["<label>", "<s>", "a&'\""]
    assert root.get("aria-label") == "<label>: <s> a&'\""
    assert "<s>" not in svg and html.escape("<s>") in svg and " id=" not in svg
    assert sum(path.get("stroke") == GREY for path in root.iter(f"{SVG}path")) == 1
    assert len(list(root.iter(f"{SVG}circle"))) == 1


def test_stages_are_chosen_and_named(book):
    cells = book.encode(torch.arange(6)).expand(9, 6, 25).clone()
    cells[0] = book.blank
    times = tuple(np.linspace(1, 0, 9))
    lines = stages(cells, book, Names(), times=times)
    later = [f"after step {k} of 8, t = {1 - k / 8:.2f}" for k in (2, 4, 6, 8)]
    assert [line.label for line in lines] == ["at the start, t = 1.00", *later]
    assert list(lines[0].words) == ["_"] * 6 and list(lines[1].words) == [f"w{i}" for i in range(6)]
    assert [line.label for line in stages(cells, book, Names(), at=[3])] == ["after step 3 of 8"]
    assert len(stages(cells[:2], book, Names())) == 2, "one step has two stages, each shown once"
    for at in ([9], [-1], []):
        with pytest.raises(ValueError, match=r"there are the steps 0 .. 8, got"):
            stages(cells, book, Names(), at=at)
