"""The beam viewer and its tree, without a browser: what is drawn is what the search did."""

import html
import re

import pytest
import torch
from widget_toys import characters as tokenizer
from widget_toys import text_of, tiny

from lab.decode.beam import beam_search
from lab.decode.strategies import BeamSearch
from lab.show.beams import FATES, LOOKS, beam_svg, beam_tree, told
from lab.show.colours import PAPER
from lab.show.diagrams.palette import contrast
from lab.show.widgets import BeamViewer
from lab.show.widgets.beam_viewer import BeamSettings, search

model = tiny(tokenizer.vocab_size)


@pytest.fixture
def viewer() -> BeamViewer:
    return BeamViewer(model, tokenizer, "the ", beams=3, length=5)


def by_hand(ids: torch.Tensor) -> torch.Tensor:
    """From 0 the token 1 is likelier than 2, but 2 leads to a sure thing, and 3 ends the text."""
    rows = {0: [0, 0.6, 0.4, 0], 1: [0.3, 0.3, 0.3, 0.1], 2: [0, 0, 0.9, 0.1]}
    return torch.tensor([rows[i] for i in ids[:, -1].tolist()]).log()


def steps_by_hand(length: int = 2, model=by_hand, begin: int = 0) -> list:
    search = beam_search(model, [[begin]], BeamSearch(2), max_new_tokens=length, stop_id=3)
    return [step for (step,) in search]


def fates(nodes) -> dict[tuple, str]:
    return {node.candidate.tokens: node.fate for node in nodes}


def test_the_tree_by_hand():
    steps = steps_by_hand()
    assert fates(beam_tree(steps, 1)) == {(1,): "leading", (2,): "alive"}
    after = fates(beam_tree(steps, 2))
    assert after[2,] == "leading" and after[2, 2] == "leading"
    assert after[1,] == "finished", "one of its children is the second line"
    assert sorted(after.values()).count("pruned") == 2 and len(after) == 6


def test_every_candidate_is_drawn_and_can_be_reached():
    steps = search(model, tokenizer, BeamSettings("the ", 3, 4))
    nodes = beam_tree(steps)
    assert len(nodes) == sum(len(step.candidates) for step in steps)
    svg = beam_svg(nodes, tokenizer)
    assert svg.count("tabindex='0'") == svg.count("<title>") == len(nodes)
    for node in nodes:
        assert (
            html.escape(told(node, tokenizer), quote=True) in svg and f">{node.candidate.total:.2f}<" in svg
        )
    assert svg.count("stroke-dasharray") == 2 * sum(node.fate == "pruned" for node in nodes)


def test_no_fate_differs_by_colour_alone_and_all_can_be_read():
    assert set(LOOKS) == set(FATES)
    for fill, edge, _, _, ink in LOOKS.values():
        assert contrast(ink, fill) > 4.5 and contrast(edge, PAPER) > 2
    assert len({(width, dashes) for _, _, width, dashes, _ in LOOKS.values()}) == len(LOOKS)


def test_the_lines_at_the_end_are_those_of_the_search(viewer):
    assert viewer.step.value == viewer.step.max == viewer.play.max == len(viewer.steps)
    shown = html.unescape(text_of(viewer.view.value))
    last = viewer.steps[-1]
    assert len(last.hypotheses) == 3 and "The search is over" in shown
    for line in last.hypotheses:
        assert "".join(tokenizer.tokens(list(line.tokens))) in shown and f"{line.score:.3f}" in shown
    viewer.play.value = 1
    assert viewer.step.value == 1 and "The search is over" not in text_of(viewer.view.value)


def test_the_still_picture_is_the_same_tree_with_a_title_and_a_key(viewer):
    still, nodes = viewer.figure().data, beam_tree(viewer.steps)
    assert still.count('tabindex="0"') == len(nodes) > viewer.figure(1).data.count('tabindex="0"')
    assert "3 beams after “the ”" in still and all(f">{fate}<" in still for fate in FATES)


def test_what_cannot_be_searched_is_told_in_place(viewer):
    good = viewer.view.value
    viewer.prompt.value = "\ud800"
    # A character that is unknown is read as such; this model reads it, so another way to fail is needed.
    if "role='alert'" not in viewer.view.value:
        viewer.model = lambda ids: torch.full((len(ids), 5), float("nan"))
        viewer.prompt.value = "x"
    assert "role='alert'" in viewer.view.value
    viewer.step.value = 1
    assert "role='alert'" in viewer.view.value, "the slider hides no message"
    with pytest.raises(ValueError, match="nothing was searched"):
        viewer.figure()
    assert re.search("<svg", good)
