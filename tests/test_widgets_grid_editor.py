"""The grid editor, without a browser: cells are clicked, words loaded and damaged, and what is read is true."""

import html

import pytest
import torch
from widget_toys import text_of, tokenizer

from lab.diffusion.codebook import Codebook
from lab.show.diagrams.palette import contrast
from lab.show.widgets import GridEditor
from lab.show.widgets.grid_editor import find

book = Codebook.linear(tokenizer.vocab_size)


@pytest.fixture
def editor() -> GridEditor:
    return GridEditor(book, tokenizer, " the", seed=1)


def said(editor) -> str:
    return html.unescape(text_of(editor.view.value))


def test_a_click_goes_on_to_the_next_colour_and_after_the_last_to_blank(editor):
    before = editor.cells
    seen = []
    for _ in range(4):
        editor.buttons[7].click()
        seen.append(int(editor.cells[7]))
    start = int(before[7])
    assert seen == [(start + k) % 4 for k in (1, 2, 3, 4)] and book.blank in seen
    assert torch.equal(editor.cells, before), "once round, and all others as they were"


def test_cells_look_like_what_they_hold_and_say_it(editor):
    cells = torch.arange(25) % 4
    editor.paint(cells)
    for i, (colour, button) in enumerate(zip(cells.tolist(), editor.buttons, strict=True)):
        (row, column), blank = divmod(i, 5), colour == book.blank
        named = "blank" if blank else f"colour {colour}"
        assert button.description == ("·" if blank else str(colour)), "not by colour alone"
        assert button.tooltip == f"row {row + 1}, column {column + 1}: {named}"
        assert f"lab-cell-{row}-{column}" in button._dom_classes
        assert ("lab-blank" in button._dom_classes) == blank
        assert contrast(button.style.text_color, button.style.button_color) > 4


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
    editor.count.value = 6
    editor.recolour.click()
    changed = editor.cells != start
    assert changed.sum() == 6 and (editor.cells != book.blank).all()
    assert "␣the" in said(editor), "a code with distance 13 mends six wrong cells"
    again = GridEditor(book, tokenizer, " the", seed=1)
    again.count.value = 6
    again.recolour.click()
    assert torch.equal(again.cells, editor.cells)
    editor.paint(start)
    editor.count.value = 11
    editor.erase.click()
    assert (editor.cells == book.blank).sum() == 11
    assert (editor.cells[editor.cells != book.blank] == start[editor.cells != book.blank]).all()
    assert "which fits all 14 visible cells" in said(editor)
    editor.count.value = 25
    editor.erase.click()
    assert "Every cell is blank" in said(editor)


def test_a_text_that_is_no_token_is_told_in_place(editor):
    before = editor.cells
    bad_ones = {"withheaven": "is no single token", "": "there is no word to load", "\ud800": "surrogate"}
    for bad, message in bad_ones.items():
        editor.word.value = bad
        editor.load.click()
        assert "role='alert'" in editor.view.value and message in html.unescape(editor.view.value)
        assert torch.equal(editor.cells, before)
    editor.buttons[0].click()
    assert "role='alert'" not in editor.view.value


def test_what_cannot_be_edited_is_refused(editor):
    for call, named in {
        lambda: GridEditor(Codebook.linear(30), tokenizer): "vocabulary of 30",
        lambda: GridEditor(Codebook.random(280, grid=(13, 13)), tokenizer): "169",
        lambda: GridEditor(Codebook.random(280, num_colours=9), tokenizer): "8 colours",
        lambda: editor.paint([4] * 25): "cells hold the colours",
        lambda: editor.paint(torch.zeros(2, 25, dtype=torch.int64)): "the cells of one grid",
    }.items():
        with pytest.raises(ValueError, match=named):
            call()
