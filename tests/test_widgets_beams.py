"""The beam viewer and its tree: what is drawn is what the search did."""

from itertools import pairwise

import pytest
import torch
from plain_page import NAMES, NASTY, PlainPage, plain_page
from widget_toys import characters as tokenizer
from widget_toys import tiny

from lab.decode.beam import beam_search
from lab.decode.strategies import BeamSearch
from lab.notebooks.stills import HOW, find_chromium
from lab.show.beams import beam_tree
from lab.show.widgets import BeamViewer
from lab.text import CharTokenizer

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


def test_the_page_gets_every_candidate_its_fate_at_each_step_and_the_lines_that_have_ended(viewer):
    steps, drawn = viewer.search(), viewer.drawing
    assert len(drawn["nodes"]) == sum(len(step.candidates) for step in steps) == len(drawn["fates"][-1])
    for number, fates in enumerate(drawn["fates"], start=1):
        assert fates == [node.fate for node in beam_tree(steps, number)]
        assert all(node["step"] <= number for node in drawn["nodes"][: len(fates)])
    for node, own in zip(beam_tree(steps), drawn["nodes"], strict=True):
        assert (own["parent"], own["row"], own["total"]) == (node.parent, node.row, node.candidate.total)
    last = steps[-1].hypotheses
    assert len(last) == 3 and drawn["over"] == [False] * (len(steps) - 1) + [True]
    texts = ["".join(tokenizer.tokens(list(line.tokens))) for line in last]
    assert [(text, score) for text, *_, score in drawn["lines"][-1]] == [
        (text, line.score) for text, line in zip(texts, last, strict=True)
    ]


@pytest.mark.parametrize(
    ("control", "value"), {"prompt": "and ", "beams": 5, "length": 3, "length_penalty": -1.0}.items()
)
def test_every_control_changes_the_search(viewer, control, value):
    before = viewer.drawing
    setattr(viewer, control, value)
    assert viewer.drawing != before and not viewer.problem


def test_what_cannot_be_searched_is_told(viewer):
    viewer.model = lambda ids: torch.full((len(ids), 5), float("nan"))
    drawn = viewer.drawing
    viewer.prompt = "x"
    assert viewer.problem and viewer.drawing == drawn
    with pytest.raises(ValueError, match="numbered from 1"):
        beam_tree(BeamViewer(model, tokenizer, "the ", length=2).search(), 9)


# In a browser


@pytest.fixture(scope="module")
def browser():
    with plain_page() as opened:
        yield opened


@pytest.fixture
def page(browser) -> PlainPage:
    yield browser
    errors, browser.errors[:] = list(browser.errors), []
    assert errors == []


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason=HOW)
class TestInABrowser:
    def test_the_tree_grows_step_by_step_by_keyboard_alone(self, page, viewer):
        page.show(viewer)
        nodes, last = page.find(".lab-tree .lab-node"), len(viewer.drawing["fates"])
        assert nodes.count() == len(viewer.drawing["nodes"]) and "The search is over" in page.text(
            "[role=status]"
        )
        slider = page.find(".lab-step input")
        slider.press("Home")
        assert nodes.count() == 0 and "No line has ended yet" in page.text("[role=status]")
        counts = [0]
        for step in range(1, last + 1):
            slider.press("ArrowRight")
            assert page.until(lambda step=step: viewer.step == step)
            counts.append(nodes.count())
        assert counts == [0, *(len(fates) for fates in viewer.drawing["fates"])]
        assert all(a < b for a, b in pairwise(counts))
        assert page.find(".lab-lines tbody tr").count() == 3
        assert f"{viewer.drawing['lines'][-1][0][3]:.3f}" in page.text(".lab-lines")
        page.page.keyboard.press("Tab")  # the Play button
        page.page.keyboard.press("Tab")
        told = nodes.first.get_attribute("aria-label")
        assert page.text(".lab-pointed") == told and f"{viewer.drawing['nodes'][0]['total']:.2f}" in told
        nodes.last.hover()
        assert page.text(".lab-pointed") == nodes.last.get_attribute("aria-label")

    def test_every_control_and_the_player(self, page, viewer):
        page.show(viewer, 400, dark=True)
        for name, key, value in [("beams", "End", 6), ("length", "Home", 1), ("length-penalty", "End", 3.0)]:
            page.find(f".lab-{name} input").press(key)
            trait = name.replace("-", "_")
            assert page.until(lambda trait=trait, value=value: getattr(viewer, trait) == value)
        assert page.until(
            lambda: page.find(".lab-tree .lab-node").count() == len(viewer.drawing["nodes"]) == 12
        )
        page.find(".lab-step input").press("Home")
        page.find(".lab-play").press("Enter")
        assert page.until(lambda: viewer.step == 1 and page.text(".lab-play") == "Play")
        assert page.too_wide() == [] and page.unlabelled() == []

    @pytest.mark.parametrize("text", NASTY, ids=NAMES)
    def test_any_text_is_text_and_fits(self, page, text):
        known = CharTokenizer.train([text or "a"])
        page.show(BeamViewer(tiny(known.vocab_size), known, text, length=2), 400)
        assert page.find(".lab-tree .lab-node").count() > 0
        page.find(".lab-prompt input").fill(text * 2)
        assert page.until(lambda: page.widget.prompt == text * 2)
        assert page.too_wide() == [] and page.unlabelled() == [] and page.find("img").count() == 0
