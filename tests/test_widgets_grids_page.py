"""Denoising viewer, grid editor, fill-in and speech explorer on a plain page: what a person does with them is seen."""

import pytest
from plain_page import HOSTILE, NAMES, NASTY, PlainPage, plain_page
from test_widgets_denoising import TEXT, small
from widget_toys import LINES, tokenizer

from lab.notebooks.stills import HOW, find_chromium
from lab.show.widgets import DenoisingViewer
from lab.text import BPETokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason=HOW),
    pytest.mark.filterwarnings("ignore:the tokenizer has"),
]


@pytest.fixture(scope="module")
def browser():
    with plain_page() as opened:
        yield opened


@pytest.fixture
def page(browser) -> PlainPage:
    yield browser
    errors, browser.errors[:] = list(browser.errors), []
    assert errors == []


def fits(page: PlainPage) -> bool:
    return page.too_wide() == [] and page.unlabelled() == [] and page.find("img[src=x]").count() == 0


def test_the_denoising_viewer_by_keyboard_alone(page):
    viewer = DenoisingViewer(small(), tokenizer, TEXT, gap=3, steps=6)
    page.show(viewer, 400)
    words = page.find(".lab-word")
    assert words.all_text_contents() == viewer.drawing["stages"][6]["words"]
    page.find(".lab-stage input").press("Home")
    assert words.all_text_contents() == viewer.drawing["stages"][0]["words"]
    assert page.find(".lab-cell-blank").count() == 4 and "at the start" in page.text("[role=status]")
    assert page.until(lambda: viewer.stage == 0)
    page.find(".lab-play").press("Enter")
    assert page.until(lambda: page.text(".lab-stage output") == "6 of 6")
    page.find(".lab-text input").fill(f"{HOSTILE} _")
    page.find(".lab-write").press("Enter")
    assert page.until(lambda: "24 fit in the context" in page.text("[role=alert]"))
    assert words.all_text_contents() == viewer.drawing["stages"][6]["words"], "the old line stays"
    page.find(".lab-gap input").fill("5")
    page.find(".lab-steps input").press("ArrowRight")
    page.find(".lab-method select").select_option("confidence")
    page.find(".lab-temperature input").press("Home")
    page.find(".lab-seed input").fill("8")
    page.find(".lab-text input").fill("<b> *")
    page.find(".lab-write").press("Enter")
    assert page.until(lambda: page.find(".lab-word").count() == viewer.drawing["given"].__len__() == 10)
    assert (viewer.gap, viewer.steps, viewer.method, viewer.temperature, viewer.seed) == (
        5, 7, "confidence", 0, 8,
    )  # fmt: skip
    assert page.find("[role=alert]").is_hidden() and page.text("[role=status]").count("<b>") == 1
    assert fits(page) and not page.find(".lab-write").is_disabled()


@pytest.mark.parametrize("text", NASTY, ids=NAMES)
def test_the_denoising_viewer_takes_any_text(page, text):
    known = BPETokenizer.train([*LINES, text or "a"], vocab_size=280)
    viewer = DenoisingViewer(small(), known, f"{text[:6]} _", steps=2)
    page.show(viewer, 400, dark=True)
    assert page.find(".lab-word").count() == len(viewer.drawing["given"])
    assert fits(page)
