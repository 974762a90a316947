"""The sampler on a plain page in a browser: every control, by mouse and by keyboard, any text, narrow and dark."""

from collections.abc import Iterator
from time import sleep

import pytest
from plain_page import HOSTILE, NAMES, NASTY, PlainPage, plain_page
from test_widgets_sampler import new_sampler
from widget_toys import model, tiny, tokenizer

from lab.notebooks.stills import HOW, find_chromium
from lab.runs import Run
from lab.show.widgets import Sampler
from lab.show.widgets.voices import GIVEN
from lab.text import CharTokenizer

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_chromium() is None, reason=HOW)]


@pytest.fixture(scope="module")
def browser() -> Iterator[PlainPage]:
    with plain_page() as opened:
        yield opened


@pytest.fixture
def page(browser) -> Iterator[PlainPage]:
    yield browser
    errors, browser.errors[:] = list(browser.errors), []
    assert errors == []


def written(page: PlainPage) -> list[str]:
    """The tokens on the page behind the prompt."""
    return page.find(".lab-strip .lab-written").all_text_contents()


def idle(page: PlainPage) -> bool:
    return page.find(".lab-stop").is_disabled() and not page.widget.busy


def test_each_control_reaches_its_setting_and_those_without_effect_are_off(page):
    sampler = Sampler(
        model, tokenizer, filters={"one": lambda logits, ids: logits, "two": lambda logits, ids: logits}
    )
    page.show(sampler)
    moves = {"temperature": 2.0, "top_k": 100, "top_p": 1.0, "min_p": 0.5, "penalty": 2.0, "length": 500}
    for name, most in moves.items():
        page.find(f".lab-{name.replace('_', '-')} input").press("End")
        assert page.until(lambda name=name, most=most: getattr(sampler, name) == most), name
    page.find(".lab-seed input").fill("77")
    page.find(".lab-filters input").nth(1).press("Space")
    page.find(".lab-prompt input").fill("earth")
    assert page.until(lambda: (sampler.seed, sampler.filters, sampler.prompt) == (77, ["two"], "earth"))
    page.find(".lab-seed input").fill("")
    page.find(".lab-strategy select").select_option("beam")
    assert page.until(
        lambda: sampler.strategy == "beam" and page.find(".lab-temperature input").is_disabled()
    )
    for name, most in {"beams": 16, "length_penalty": 3.0}.items():
        page.find(f".lab-{name.replace('_', '-')} input").press("End")
        assert page.until(lambda name=name, most=most: getattr(sampler, name) == most), name
    assert sampler.seed == 77, "an empty field is no number"
    assert page.unlabelled() == []


def test_a_text_is_written_stopped_gone_on_with_and_changed_by_keyboard(page):
    sampler = new_sampler()
    page.show(sampler)
    page.find(".lab-prompt input").fill("the earth")
    page.find(".lab-generate").press("Enter")  # at once: what was typed goes with it
    assert page.until(lambda: len(written(page)) == 25 and idle(page)), "written as the settings say"
    assert sampler.drafts[GIVEN].settings.prompt == "the earth"
    first = written(page)
    page.find(".lab-continue").press("Enter")
    assert page.until(lambda: len(written(page)) == 50 and idle(page)) and written(page)[:25] == first
    page.find(".lab-control.lab-token input").press("End")
    assert page.until(lambda: "Token 50:" in page.text(".lab-choosing [role=status]"))
    page.find(".lab-written").nth(3).click()
    assert page.until(lambda: "Token 4:" in page.text(".lab-choosing [role=status]"))
    page.find(".lab-attention select").select_option("layer 1, head 0")
    assert page.until(lambda: page.find(".lab-looked").count() > 0)
    assert page.find(".lab-chosen").count() == 1
    page.find(".lab-take").first.press("Enter")
    assert page.until(lambda: page.find(".lab-by-hand").count() == 1 and idle(page))
    assert written(page)[:3] == first[:3] and written(page)[3] != first[3]
    page.find(".lab-copy").press("Enter")
    assert page.page.evaluate("document.activeElement.classList.contains('lab-copy')")


def test_stop_stops_and_a_page_opened_anew_goes_on(page, monkeypatch):
    def slowly(logits, ids):
        sleep(0.02)
        return logits

    sampler = Sampler(model, tokenizer, prompt="the", filters={"slow": slowly}, length=200)
    sampler.strategy, sampler.filters = "greedy", ["slow"]
    page.show(sampler)
    page.find(".lab-generate").click()
    assert page.until(lambda: 3 < len(written(page)) < 150), "it streams"
    page.show(sampler)
    seen = len(written(page))
    assert page.until(lambda: len(written(page)) > seen)
    page.find(".lab-stop").click()
    assert page.until(lambda: idle(page))
    stopped = written(page)
    page.page.wait_for_timeout(300)
    assert written(page) == stopped and 3 < len(stopped) < 200


def test_sessions_and_what_cannot_be_read(page, tmp_path):
    sampler = new_sampler()
    sampler.path = str(tmp_path / "s.json")
    sampler.generate()
    page.show(sampler)
    page.find(".lab-save").click()
    assert page.until(lambda: "saved as" in page.text(".lab-buttons:has(.lab-save)"))
    page.find(".lab-path input").fill(str(tmp_path / "none.json"))
    page.find(".lab-load").click()
    assert page.until(lambda: "none.json cannot be read" in page.text(".lab-problem"))
    page.find(".lab-path input").fill(str(tmp_path / "s.json"))
    page.find(".lab-load").click()
    assert page.until(lambda: page.find(".lab-problem").first.is_hidden() and len(written(page)) == 25)


@pytest.mark.parametrize("text", NASTY, ids=NAMES)
@pytest.mark.parametrize(("width", "dark"), [(880, False), (400, True)])
def test_any_text_is_text_and_fits(page, text, width, dark):
    known = CharTokenizer.train([text or "a"] * 2)
    writer = tiny(known.vocab_size)
    sampler = Sampler(writer, known, text, runs={text or "none": RUN, HOSTILE * 8: RUN}, length=20)
    sampler.generate()
    sampler.token, sampler.attention = 3, "mean of all heads"
    page.show(sampler, width, dark)
    assert page.find(".lab-models input").count() == 3
    assert len(written(page)) >= 20 or sampler.drafts[GIVEN].ended
    assert page.too_wide() == [] and page.unlabelled() == [] and page.find("img").count() == 0


RUN = object.__new__(Run)  # which is never chosen, so that its name alone is seen
