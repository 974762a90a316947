"""Merge stepper, tokenizer playground, window and mask explorer: what Python says, and what is seen on a plain page."""

from itertools import pairwise

import pytest
import torch
from plain_page import HOSTILE, NAMES, NASTY, PlainPage, plain_page
from widget_toys import LINES, characters, tokenizer

from lab.notebooks.stills import HOW, find_chromium
from lab.show.widgets import MaskExplorer, MergeStepper, TokenizerPlayground, WindowExplorer
from lab.show.widgets.mask_explorer import MaskState, build, document_ids
from lab.show.widgets.merge_stepper import merge_steps, places_joined
from lab.text import BPETokenizer

pytestmark = pytest.mark.filterwarnings("ignore:the tokenizer has")


def test_the_places_of_each_merge_lead_from_the_bytes_to_what_encode_gives():
    trained = BPETokenizer.train([*LINES, *NASTY[:3]], vocab_size=300)
    for text in [*LINES[:3], "aaaaa", *NASTY]:
        steps = merge_steps(trained, text)
        ids = list(steps[0].ids)
        for before, after in pairwise(steps):
            for place in places_joined(before.ids, after.ids):
                assert ids[place : place + 2] == list(trained.merges[after.merges - 1])
                ids[place : place + 2] = [after.ids[place]]
            assert ids == after.ids
        assert ids == trained.encode(text)


def test_a_text_that_cannot_be_encoded_is_told():
    stepper = MergeStepper(tokenizer, "the heaven")
    drawn = stepper.drawing
    stepper.text = "\ud800"
    assert "surrogate" in stepper.problem and stepper.drawing == drawn
    stepper.text = "form"
    assert not stepper.problem and stepper.drawing["start"] == list("form")


def test_the_playground_shows_how_each_tokenizer_cuts_a_text():
    playground = TokenizerPlayground({"characters": characters, "<BPE>": tokenizer}, "the heaven Q")
    letters, pairs = playground.drawing["cuts"]
    assert letters["ids"] == characters.encode("the heaven Q") and letters["unknown"] == 1
    assert pairs["tokens"] == tokenizer.tokens(pairs["ids"]) and pairs["name"] == "<BPE>"
    playground.text = "\ud800"
    letters, pairs = playground.drawing["cuts"]
    assert letters["tokens"] and "surrogate" in pairs["problem"], (
        "one that cannot cut it leaves the other alone"
    )


def test_the_window_explorer_draws_the_window_that_is_asked_for():
    explorer = WindowExplorer(tokenizer.encode_lines(["the heaven", "form"]), tokenizer, context=4)
    assert explorer.policy == "slide"
    slots = explorer.drawing["slots"]
    assert [read for read, _ in slots] == [None, None, None, "<s>"] and slots[3][1] == "the"
    explorer.index = 10_000
    assert (
        explorer.drawing["index"] == len(explorer.windows) - 1 and explorer.drawing["slots"][-1][1] == "</s>"
    )
    before = explorer.drawing["count"]
    explorer.policy = "continuous"
    assert explorer.drawing["count"] == len(explorer.windows) != before
    explorer.context = 2
    assert len(explorer.drawing["slots"]) == explorer.windows.context == 2
    assert WindowExplorer([], tokenizer).problem, "no line, no window"


def test_the_mask_explorer_builds_what_its_controls_say():
    state = MaskState(lengths=(2, 1), T=4)
    expected = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert torch.equal(build(state), expected)
    assert document_ids(state).tolist() == [[0, 0, 1, -1]]
    assert build(MaskState(lengths=(3,), T=3, causal=False, documents=False)).all()
    moved = {"lengths": "2, 2", "T": 12, "documents": False, "sliding": 2}
    for name, value in moved.items():
        explorer = MaskExplorer()
        before = explorer.drawing
        setattr(explorer, name, value)
        assert explorer.drawing != before and explorer.drawing["allowed"] == build(explorer.state).tolist()
    for name, value in {"prefix": 3, "padding": True, "causal": False}.items():
        explorer = MaskExplorer(documents=False)
        before = explorer.drawing
        setattr(explorer, name, value)
        assert explorer.drawing != before, name


@pytest.mark.parametrize(
    ("typed", "said"),
    [*[(typed, "whole numbers") for typed in ("", "two", "3, -1", "0")], ("20, 20", "need 40 slots")],
)
def test_lengths_that_are_none_are_told_until_they_are_right(typed, said):
    explorer = MaskExplorer(lengths=typed)
    assert said in explorer.problem and explorer.drawing == {}
    explorer.lengths = "3"
    assert not explorer.problem and explorer.drawing["labels"][:4] == ["a1", "a2", "a3", "·"]


# In a browser

needs_browser = [pytest.mark.slow, pytest.mark.skipif(find_chromium() is None, reason=HOW)]


@pytest.fixture(scope="module")
def browser():
    with plain_page() as opened:
        yield opened


@pytest.fixture
def page(browser) -> PlainPage:
    yield browser
    errors, browser.errors[:] = list(browser.errors), []
    assert errors == []


def tokens_on(page: PlainPage) -> list[str]:
    return page.find(".lab-tokens .lab-token").all_text_contents()


class TestInABrowser:
    pytestmark = needs_browser

    def test_the_slider_shows_each_state_by_keyboard_alone(self, page):
        stepper = MergeStepper(tokenizer, "the heaven")
        page.show(stepper)
        assert tokens_on(page) == list("the heaven")
        for key in ("Tab", "Tab", "ArrowRight"):
            page.page.keyboard.press(key)
        states = merge_steps(tokenizer, "the heaven")
        assert tokens_on(page) == tokenizer.tokens(states[1].ids)
        assert page.until(lambda: stepper.step == 1), "Python knows"
        page.page.keyboard.press("End")
        assert tokens_on(page) == tokenizer.tokens(states[-1].ids)
        assert f"step {len(states) - 1} of {len(states) - 1}" in page.text("[role=status]")
        stepper.step = 0
        page.update()
        assert tokens_on(page) == list("the heaven"), "Python moves it too"
        page.find(".lab-text input").fill("the earth")
        assert page.until(lambda: tokens_on(page) == list("the earth"))
        page.find(".lab-play").press("Enter")
        assert page.until(lambda: tokens_on(page) == tokenizer.tokens(tokenizer.encode("the earth")), 9000)
        assert page.until(lambda: page.text(".lab-play") == "Play")

    @pytest.mark.parametrize("text", NASTY, ids=NAMES)
    @pytest.mark.parametrize(("width", "dark"), [(880, False), (400, True)])
    def test_any_text_is_text_and_fits(self, page, text, width, dark):
        stepper = MergeStepper(BPETokenizer.train([text or "a"] * 2, vocab_size=275), text)
        page.show(stepper, width, dark)
        page.find(".lab-step input").press("End")
        assert "".join(tokens_on(page)).replace("\\x", "") or not text
        assert page.too_wide() == [] and page.unlabelled() == [] and page.find("img").count() == 0

    def test_what_the_notebook_says_of_its_theme_counts_for_more_than_the_computer(self, page):
        paper = "() => getComputedStyle(document.querySelector('.lab-widget')).backgroundColor"
        light, dark = "rgb(255, 255, 255)", "rgb(27, 30, 36)"
        for system_is_dark, said, expected in [
            (False, None, light), (True, None, dark), (False, "false", dark), (True, "true", light),
        ]:  # fmt: skip
            page.show(MaskExplorer(), dark=system_is_dark)
            if said is not None:
                page.page.evaluate("(said) => document.body.setAttribute('data-jp-theme-light', said)", said)
            assert page.page.evaluate(paper) == expected, (system_is_dark, said)

    @pytest.mark.parametrize("text", NASTY, ids=NAMES)
    def test_the_playground_takes_any_text_and_any_name(self, page, text):
        known = BPETokenizer.train([text or "a"] * 2, vocab_size=275)
        playground = TokenizerPlayground({text: known, HOSTILE * 9: characters}, "the")
        page.show(playground, 400)
        page.find("textarea").fill(text)
        whole = len(known.encode(text)) + len(characters.encode(text))
        assert page.until(lambda: len(tokens_on(page)) == min(whole, 6000) or len(text) > 2000)
        page.find(".lab-ids input").press("Space")
        assert page.until(lambda: page.find(".lab-slot").count() == min(whole, 6000) or len(text) > 2000)
        assert page.too_wide() == [] and page.unlabelled() == [] and page.find("img").count() == 0

    def test_the_window_explorer(self, page):
        explorer = WindowExplorer(tokenizer.encode_lines([*LINES[:2], HOSTILE]), tokenizer, context=8)
        page.show(explorer, 400, dark=True)
        page.find(".lab-policy select").select_option("continuous")
        assert page.until(lambda: explorer.policy == "continuous")
        page.find(".lab-index input").press("End")
        assert page.until(lambda: f"window {len(explorer.windows) - 1} of" in page.text(".lab-status"))
        page.find(".lab-context input").press("End")
        assert page.until(lambda: page.find(".lab-slot").count() == 33)
        assert page.too_wide() == [] and page.unlabelled() == []

    def test_the_mask_explorer_by_keyboard_and_by_mouse(self, page):
        page.show(MaskExplorer(), 400)
        may = page.find("td.may")
        assert may.count() == 19, "causal, and 4, 3 and 2 apart"
        page.find(".lab-documents input").press("Space")
        assert page.until(lambda: may.count() == 55)
        page.find("tbody tr").nth(2).click()
        assert page.text(".lab-status") == "“a3” may attend to “a1”, “a2”, “a3”"
        page.find(".lab-row input").press("ArrowRight")
        assert "“a4” may" in page.text(".lab-status")
        page.find(".lab-causal input").press("Space")
        assert page.until(lambda: may.count() == 100 and page.find(".lab-prefix input").is_disabled())
        page.find(".lab-lengths input").fill("1")
        page.find(".lab-padding input").press("Space")
        assert page.until(lambda: may.count() == 10)
        page.find(".lab-lengths input").fill(HOSTILE)
        assert page.until(lambda: "whole numbers" in page.text("[role=alert]"))
        page.find(".lab-lengths input").fill("24")
        page.find(".lab-t input").press("End")
        assert page.until(
            lambda: page.find("tbody tr").count() == 24 and page.find("[role=alert]").is_hidden()
        )
        assert page.too_wide() == [] and page.unlabelled() == [] and page.find("img").count() == 0
