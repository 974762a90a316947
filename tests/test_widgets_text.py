"""The merge stepper: what Python says of a text, without a browser, and what is seen of it on a plain page."""

from itertools import pairwise

import pytest
from plain_page import HOSTILE, PlainPage, plain_page
from widget_toys import LINES, tokenizer

from lab.notebooks.stills import HOW, find_chromium
from lab.show.widgets import MergeStepper
from lab.show.widgets.merge_stepper import merge_steps, places_joined
from lab.text import BPETokenizer

NASTY = [HOSTILE, "שלום עולם", "天地玄黄", "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}🙂", "x" * 3000, ""]


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

    @pytest.mark.parametrize("text", NASTY, ids=["hostile", "rtl", "chinese", "emoji", "long", "empty"])
    @pytest.mark.parametrize(("width", "dark"), [(880, False), (400, True)])
    def test_any_text_is_text_and_fits(self, page, text, width, dark):
        stepper = MergeStepper(BPETokenizer.train([text or "a"] * 2, vocab_size=275), text)
        page.show(stepper, width, dark)
        page.find(".lab-step input").press("End")
        assert "".join(tokens_on(page)).replace("\\x", "") or not text
        assert page.too_wide() == [] and page.unlabelled() == [] and page.find("img").count() == 0
