"""The grid editor, without a browser: cells are clicked, words loaded and damaged, and what is read is true."""

import pytest
import torch
from test_widgets_base import asked
from widget_toys import tokenizer

from lab.diffusion.codebook import Codebook
from lab.show.widgets import GridEditor
from lab.show.widgets.grid_editor import find

book = Codebook.linear(tokenizer.vocab_size)


@pytest.fixture
def editor() -> GridEditor:
    return GridEditor(book, tokenizer, " the", seed=1)


def said(editor) -> str:
    return " ".join(editor.drawing["told"])


def test_what_is_painted_stands_beside_the_two_nearest_words(editor):
    cells = editor.cells
    cells[7] = (cells[7] + 1) % 3
    cells[9] = book.blank
    editor.paint(cells)
    beside = editor.drawing["beside"]
    assert beside["cells"][0] == "".join("." if c == book.blank else str(c) for c in cells.tolist())
    assert beside["words"][:2] == ["this grid", "␣the"] and beside["marked"][:2] == [[], [7]]
    second = find(cells, book).ids[1]
    other = [i for i in range(25) if i != 9 and book.patterns[second, i] != cells[i]]
    assert beside["marked"][2] == other


def test_the_nearest_word_and_the_runner_up_are_those_of_brute_force(editor):
    chance = torch.Generator().manual_seed(5)
    for _ in range(10):
        cells = torch.randint(4, (25,), generator=chance)
        editor.paint(cells)
        visible = cells != book.blank
        distances = ((book.patterns != cells) & visible).sum(-1).tolist()
        order = sorted(range(len(distances)), key=lambda i: (distances[i], i))
        found = find(cells, book)
        assert (found.ids, found.distances) == (tuple(order), tuple(distances[i] for i in order))
        assert f"(id {order[0]}), which differs in {found.distances[0]} of {int(visible.sum())}" in said(
            editor
        )


def test_damage_is_random_seeded_and_as_much_as_asked_for(editor):
    start = editor.cells
    editor.count = 6
    editor.recolour()
    changed = editor.cells != start
    assert changed.sum() == 6 and (editor.cells != book.blank).all()
    assert "␣the" in said(editor), "a code with distance 13 mends six wrong cells"
    again = GridEditor(book, tokenizer, " the", seed=1)
    again.count = 6
    again.recolour()
    assert torch.equal(again.cells, editor.cells)
    editor.paint(start)
    editor.count = 11
    editor.erase()
    assert (editor.cells == book.blank).sum() == 11
    assert (editor.cells[editor.cells != book.blank] == start[editor.cells != book.blank]).all()
    assert "which fits all 14 visible cells" in said(editor)
    editor.count = 25
    editor.erase()
    assert "Every cell is blank" in said(editor)


def test_a_text_that_is_no_token_is_told_in_place(editor):
    before = editor.cells
    bad_ones = {"withheaven": "is no single token", "": "there is no word to load", "\ud800": "surrogate"}
    for bad, message in bad_ones.items():
        editor.word = bad
        assert asked(editor, "load") == [None] and message in editor.problem
        assert torch.equal(editor.cells, before)
    editor.word = "heaven"
    assert asked(editor, "load") and not editor.problem and "␣heaven" in said(editor)


def test_what_cannot_be_edited_is_refused(editor):
    for call, named in {
        lambda: GridEditor(Codebook.linear(30), tokenizer): "vocabulary of 30",
        lambda: GridEditor(Codebook.random(280, grid=(13, 13)), tokenizer): "169",
        lambda: GridEditor(Codebook.random(280, num_colours=9), tokenizer): "8 colours",
        lambda: editor.paint([4] * 25): "cells hold the colours",
        lambda: editor.paint([0] * 24): "25",
        lambda: editor.paint(torch.zeros(2, 25, dtype=torch.int64)): "the cells of one grid",
    }.items():
        with pytest.raises(ValueError, match=named):
            call()
