"""The step-time explorer without a browser."""

import pytest
from widget_toys import BYTE, FLOP, A, counted, planted

from lab.bench import Row, StepTimes
from lab.show.widgets import StepTimeExplorer
from lab.show.widgets.step_time import StepState, told


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


def test_what_is_told_is_what_the_law_and_the_clock_say():
    times = StepTimes.fit(planted())
    seconds, (low, high) = times.predict(16, 64, 16)
    predicted, nearest = told(times, StepState("d", batch=16, width=64, context=16))
    assert f"{1e3 * seconds:.3g} ms" in predicted and f"{16 / seconds:,.0f} rows a second" in predicted
    assert f"{1e3 * low:.3g} ms to {1e3 * high:.3g} ms" in predicted
    row = times.nearest(16, 64, 16)
    assert f"{1e3 * row.timing.median:.3g} ms" in nearest and f"batch {row.case['batch']}" in nearest
    *_, beyond = told(times, StepState("d", batch=256, width=64, context=16))
    assert "batch 256 (measured: 1 to 64)" in beyond and "width" not in beyond


def test_rows_that_were_not_measured_are_left_out_and_too_few_are_refused():
    missing = Row({"batch": 512, "width": 64, "context": 16}, problem="does not fit")
    assert len(StepTimes.fit([*planted(), missing]).rows) == len(planted())
    with pytest.raises(ValueError, match="need at least"):
        StepTimes.fit(planted()[:3])
    with pytest.raises(ValueError, match="context"):
        StepTimes.fit([Row({"batch": 1, "width": 8}, (1.0,))])
    with pytest.raises(ValueError, match="nothing to predict from"):
        StepTimeExplorer({})
