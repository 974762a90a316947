"""Token grids as pictures: every cell where it belongs in its colour, the words true, the colours told apart."""

import html
import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.diffusion.codebook import Codebook
from lab.show.colours import GREY, PAPER
from lab.show.token_grids import (
    CELLS,
    TokenLine,
    cell_colours,
    lines_svg,
    read_words,
    stages,
)

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


def texts(svg: str) -> list[str]:
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@given(
    st.integers(1, 4), st.integers(1, 5), st.integers(2, 8), st.integers(1, 6), st.integers(0, 99)
)  # fmt: skip
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


def test_given_words_are_underlined_and_marked_cells_dotted(book):
    cells = book.encode(torch.tensor([1, 2, 3]))
    marked = torch.zeros(3, 25, dtype=torch.bool)
    marked[1, 4] = marked[2, 0] = True
    svg = lines_svg([TokenLine(cells, ["a", "b", "c"], given=[True, False, True], marked=marked)], book)
    root = ElementTree.fromstring(svg)
    assert sum(path.get("stroke") == GREY for path in root.iter(f"{SVG}path")) == 2
    assert len(list(root.iter(f"{SVG}circle"))) == 2


def test_words_are_escaped_and_heard(book):
    cells = book.encode(torch.tensor([1, 2]))
    svg = lines_svg([TokenLine(cells, ["<s>", "a&'\""], "<label>")], book)
    assert texts(svg) == ["<label>", "<s>", "a&'\""]
    assert ElementTree.fromstring(svg).get("aria-label") == "<label>: <s> a&'\""
    assert "<s>" not in svg and html.escape("<s>") in svg and " id=" not in svg


def test_stages_are_chosen_and_named(book):
    cells = book.encode(torch.arange(6)).expand(9, 6, 25).clone()
    cells[0] = book.blank
    times = tuple(np.linspace(1, 0, 9))
    lines = stages(cells, book, Names(), times=times)
    assert [line.label for line in lines] == [
        "at the start, t = 1.00", "after step 2 of 8, t = 0.75", "after step 4 of 8, t = 0.50",
        "after step 6 of 8, t = 0.25", "after step 8 of 8, t = 0.00",
    ]  # fmt: skip
    assert list(lines[0].words) == ["_"] * 6 and list(lines[1].words) == [f"w{i}" for i in range(6)]
    assert [line.label for line in stages(cells, book, Names(), at=[3])] == ["after step 3 of 8"]
    assert len(stages(cells[:2], book, Names())) == 2, "one step has two stages, each shown once"
    for at in ([9], [-1], []):
        with pytest.raises(ValueError, match=r"there are the steps 0 .. 8, got"):
            stages(cells, book, Names(), at=at)


def test_more_colours_than_can_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="num_colours 9"):
        cell_colours(9)


# Machado, Oliveira and Fernandes (2009): what dichromats see, as maps of linear RGB.
SEEN = {
    "all three cones": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    "no long ones": [0.1523, 1.0526, -0.2049, 0.1145, 0.7863, 0.0992, -0.0039, -0.0481, 1.0520],
    "no middle ones": [0.3673, 0.8606, -0.2280, 0.2801, 0.6725, 0.0474, -0.0118, 0.0429, 0.9689],
    "no short ones": [1.2555, -0.0767, -0.1788, -0.0784, 0.9308, 0.1476, 0.0047, 0.6914, 0.3039],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab_colour(colour: str, seen) -> np.ndarray:
    """CIE L*a*b* of `#rrggbb` as seen."""
    channels = np.array(list(bytes.fromhex(colour[1:]))) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.reshape(seen, (3, 3)) @ linear, 0, 1) / TO_XYZ.sum(1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen", SEEN)
def test_colours_are_told_apart_with_every_colour_vision(seen):
    """A difference of 2.3 is just noticed (Mahy et al. 1994); neighbouring cells need several times that."""
    places = [lab_colour(colour, SEEN[seen]) for colour in (*CELLS, PAPER)]
    apart = {pair: np.linalg.norm(places[pair[0]] - places[pair[1]]) for pair in combinations(range(9), 2)}
    assert min(apart.values()) > 15
    assert min(d for pair, d in apart.items() if max(pair) < 3 or pair in ((0, 8), (1, 8), (2, 8))) > 40
