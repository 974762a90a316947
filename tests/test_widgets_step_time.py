"""The step-time explorer: the page is told what the law and the clock say, and says it."""

import pytest
from plain_page import HOSTILE, PlainPage, plain_page
from widget_toys import BYTE, FLOP, A, counted, planted

from lab.bench import Row, StepTimes
from lab.notebooks.stills import HOW, find_chromium
from lab.show.widgets import StepTimeExplorer
from lab.show.widgets.step_time import BATCHES, CONTEXTS, WIDTHS, law_json


def test_the_law_that_was_planted_is_found_and_predicts_where_nothing_was_measured():
    times = StepTimes.fit(planted())
    assert times.law.coefficients == pytest.approx({"iteration": A, "FLOP": FLOP, "byte": BYTE}, rel=1e-6)
    total = counted(32, 128, 32)
    seconds, (low, high) = times.predict(32, 128, 32)
    assert seconds == pytest.approx(A + FLOP * total.flops + BYTE * total.bytes, rel=1e-6)
    assert 0 <= low <= seconds * (1 + 1e-9) and seconds * (1 - 1e-9) <= high


def test_a_cost_below_zero_is_left_out_of_the_law():
    times = StepTimes.fit(planted(byte=-2e-11))
    assert "byte" not in times.law.coefficients
    assert all(value >= 0 for value in times.law.coefficients.values())
    assert times.predict(1, 64, 16)[0] > 0


def test_the_page_gets_what_the_law_and_the_clock_say_at_every_size():
    times = StepTimes.fit(planted())
    told = law_json(times)
    for sizes in [(16, 64, 16), (1, 16, 4), (1024, 768, 1024), (64, 192, 64)]:
        batch, width, context = sizes
        said = told["law"][WIDTHS.index(width)][CONTEXTS.index(context)][BATCHES.index(batch)]
        seconds, interval = times.predict(*sizes)
        assert said[:3] == [seconds, *interval]
        *case, found, first, third, there = told["rows"][said[3]]
        row = times.nearest(*sizes)
        assert dict(zip(("batch", "width", "context"), case, strict=True)) == row.case
        assert (found, first, third) == (row.timing.median, *row.timing.spread)
        assert there == times.predict(*case)[0]
    assert told["measured"] == [(1, 64), (64, 192), (16, 64)]


def test_rows_that_were_not_measured_are_left_out_and_too_few_are_refused():
    missing = Row({"batch": 512, "width": 64, "context": 16}, problem="does not fit")
    assert len(StepTimes.fit([*planted(), missing]).rows) == len(planted())
    with pytest.raises(ValueError, match="need at least"):
        StepTimes.fit(planted()[:3])
    with pytest.raises(ValueError, match="context"):
        StepTimes.fit([Row({"batch": 1, "width": 8}, (1.0,))])
    with pytest.raises(ValueError, match="nothing to predict from"):
        StepTimeExplorer({})
    with pytest.raises(ValueError, match="no device 'b'; there are: a"):
        StepTimeExplorer({"a": planted()}, device="b")


# In a browser


@pytest.fixture
def page() -> PlainPage:
    with plain_page() as opened:
        yield opened
    assert opened.errors == []


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason=HOW)
def test_the_explorer_on_a_page_says_what_is_chosen_by_keyboard_alone(page):
    explorer = StepTimeExplorer(
        {"a fast one": planted(), HOSTILE: planted(0.01, 5e-10, 5e-9)}, width=64, context=16
    )
    page.show(explorer, 400, dark=True)

    def says(*parts: str) -> bool:
        return page.until(lambda: all(part in page.text("[role=status]") for part in parts))

    times = explorer.times["a fast one"]
    seconds, _ = times.predict(8, 64, 16)
    row = times.nearest(8, 64, 16)
    assert says(f"{1e3 * seconds:.3g} ms a step", f"{8 / seconds:,.0f} rows a second")
    assert says("batch 8, width 64, context 16", f"{1e3 * row.timing.median:.3g} ms")
    assert "Nothing was measured" not in page.text("[role=status]")
    for key in ("Tab", "Tab", "ArrowRight"):
        page.page.keyboard.press(key)
    assert page.until(lambda: explorer.batch == 16)
    seconds, _ = times.predict(16, 64, 16)
    assert says(f"{1e3 * seconds:.3g} ms a step")
    page.page.keyboard.press("End")
    assert page.until(lambda: explorer.batch == 1024) and says("batch 1024 (measured: 1 to 64)")
    page.find(".lab-width input").press("Home")
    assert page.until(lambda: explorer.width == 16) and says("width 16 (measured: 64 to 192)")
    assert page.find(".lab-keys li").all_inner_texts()[2].startswith("measured: none at")
    page.find(".lab-context input").press("End")
    assert page.until(lambda: explorer.context == 1024) and says("context 1024 (measured: 16 to 64)")
    page.find(".lab-device select").select_option(index=1)
    assert page.until(lambda: explorer.device == HOSTILE) and HOSTILE in page.text(".lab-heading")
    assert page.too_wide() == [] and page.unlabelled() == [] and page.find("main img").count() == 0
