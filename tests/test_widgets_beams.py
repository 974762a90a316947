"""The beam viewer and its tree, without a browser: what is drawn is what the search did."""

import html

import pytest
import torch
from widget_toys import characters as tokenizer
from widget_toys import text_of, tiny

from lab.decode.beam import beam_search
from lab.decode.strategies import BeamSearch
from lab.show.beams import FATES, LOOKS, beam_svg, beam_tree, told
from lab.show.widgets import BeamViewer

model = tiny(tokenizer.vocab_size)


@pytest.fixture
def viewer() -> BeamViewer:
    return BeamViewer(model, tokenizer, "the ", beams=3, length=5)


def by_hand(ids: torch.Tensor) -> torch.Tensor:
    """From 0 the token 1 is likelier than 2, but 2 leads to a sure thing, and 3 ends the text."""
    rows = {0: [0, 0.6, 0.4, 0], 1: [0.3, 0.3, 0.3, 0.1], 2: [0, 0, 0.9, 0.1]}
    return torch.tensor([rows[i] for i in ids[:, -1].tolist()]).log()


def test_the_tree_by_hand():
    steps = [step for (step,) in beam_search(by_hand, [[0]], BeamSearch(2), max_new_tokens=2, stop_id=3)]
    first, after = ({n.candidate.tokens: n.fate for n in beam_tree(steps, k)} for k in (1, 2))
    assert first == {(1,): "leading", (2,): "alive"}
    assert after[2,] == "leading" and after[2, 2] == "leading"
    assert after[1,] == "finished", "one of its children is the second line"
    assert sorted(after.values()).count("pruned") == 2 and len(after) == 6


def test_every_candidate_is_drawn_and_can_be_reached_and_no_fate_differs_by_colour_alone(viewer):
    nodes = beam_tree(viewer.steps)
    assert len(nodes) == sum(len(step.candidates) for step in viewer.steps)
    svg = beam_svg(nodes, tokenizer)
    assert svg.count("tabindex='0'") == svg.count("<title>") == len(nodes)
    for node in nodes:
        assert html.escape(told(node, tokenizer), quote=True) in svg
        assert f">{node.candidate.total:.2f}<" in svg
    assert set(LOOKS) == set(FATES)
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


def test_what_cannot_be_searched_is_told_in_place(viewer):
    viewer.model = lambda ids: torch.full((len(ids), 5), float("nan"))
    viewer.prompt.value = "x"
    assert "role='alert'" in viewer.view.value
    viewer.step.value = 1
    assert "role='alert'" in viewer.view.value, "the slider hides no message"
    with pytest.raises(ValueError, match="nothing was searched"):
        viewer.figure()
