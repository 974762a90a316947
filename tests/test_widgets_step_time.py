"""The step-time explorer and the pictures of measured times, without a browser."""

import numpy as np
import pytest

from lab.bench import (
    STEP_PARTS,
    Operation,
    Row,
    StepTimes,
    Timing,
    fit_cost,
    operations,
    step_total,
)
from lab.nn.transformer import TransformerConfig
from lab.show.bench import PART_COLOURS, cost, roofline, step_parts
from lab.show.widgets import StepTimeExplorer
from lab.show.widgets.step_time import SIZES, StepState, told

A, FLOP, BYTE = 2e-3, 1e-10, 1e-9  # seconds an iteration, an operation and a byte


def counted(batch: int, width: int, context: int) -> Operation:
    config = TransformerConfig(1000, width=width, context=context, feed_forward=4 * width)
    return step_total(operations(config, batch, context))


def planted(iteration: float = A, flop: float = FLOP, byte: float = BYTE, noise: float = 0.0) -> list[Row]:
    """Rows of a device that follows the law; a repeat a little below, one a little above."""
    chance, rows = np.random.default_rng(0), []
    for batch in (1, 8, 64):
        for width in (64, 192):
            for context in (16, 64):
                total = counted(batch, width, context)
                seconds = iteration + flop * total.flops + byte * total.bytes
                seconds *= 1 + noise * chance.standard_normal()
                case = {"batch": batch, "width": width, "context": context}
                rows.append(Row(case, (0.98 * seconds, seconds, 1.02 * seconds)))
    return rows


@pytest.fixture
def explorer() -> StepTimeExplorer:
    slow = planted(5 * A, 5 * FLOP, 5 * BYTE)
    return StepTimeExplorer({"a fast <device>": planted(), "a slow one": slow})


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
    predicted_line, nearest_line, *more = told(times, StepState("d", batch=16, width=64, context=16))
    assert (
        f"{1e3 * seconds:.3g} ms" in predicted_line and f"{16 / seconds:,.0f} rows a second" in predicted_line
    )
    assert f"{1e3 * low:.3g} ms to {1e3 * high:.3g} ms" in predicted_line
    row = times.nearest(16, 64, 16)
    assert (
        f"{1e3 * row.timing.median:.3g} ms" in nearest_line and f"batch {row.case['batch']}" in nearest_line
    )
    assert not more


def test_going_beyond_what_was_measured_is_said():
    lines = told(StepTimes.fit(planted()), StepState("d", batch=256, width=64, context=16))
    assert "batch 256 (measured: 1 to 64)" in lines[-1] and "width" not in lines[-1]


def test_rows_that_were_not_measured_are_left_out_and_too_few_are_refused():
    missing = Row({"batch": 512, "width": 64, "context": 16}, problem="does not fit")
    assert len(StepTimes.fit([*planted(), missing]).rows) == len(planted())
    with pytest.raises(ValueError, match="need at least"):
        StepTimes.fit(planted()[:3])
    with pytest.raises(ValueError, match="context"):
        StepTimes.fit([Row({"batch": 1, "width": 8}, (1.0,))])
    with pytest.raises(ValueError, match="nothing to predict from"):
        StepTimeExplorer({})


# ------------------------------------------------------------------ the pictures of lab.show.bench


def legend_of(made) -> list[str]:
    found = made.legends or [made.axes[0].get_legend()]
    return [text.get_text() for text in found[0].get_texts()]


def test_the_cost_picture_draws_the_law_and_what_it_leaves_over():
    batches = [1, 2, 4, 8, 16]
    rows = [Row({"batch": B}, (1e-3 * (4 + B),)) for B in batches] + [Row({"batch": 32}, problem="no room")]
    fit = fit_cost(batches, [1e-3 * (4 + B) for B in batches])
    made = cost({"a device": rows, "without a law": rows[:2]}, {"a device": fit})
    assert legend_of(made) == ["a device: 4 ms + 1 ms × batch", "without a law"]
    left, right = made.axes
    ring = next(line for line in left.get_lines() if line.get_markersize() == 14)
    assert ring.get_xdata()[0] == pytest.approx(4) and ring.get_ydata()[0] == pytest.approx(8)
    drawn = [line for line in right.get_lines() if len(line.get_xdata()) == 5 and line.get_marker() == "o"]
    assert list(drawn[0].get_ydata()) == pytest.approx([0] * 5, abs=1e-9)
    assert left.get_xscale() == left.get_yscale() == "log"


def test_the_roofline_says_what_share_of_its_limit_each_operation_attains():
    waits = Operation(
        "add", "forward", 10, 0, 100
    )  # 0.1 operations a byte, so 10 a second of 100 bytes a second
    works = Operation("product", "forward", 5000, 5000, 100)
    points = {"add": (waits, Timing((2.0,))), "product": (works, Timing((10.0,)))}
    made = roofline(points, flops_per_second=1000, bytes_per_second=100)
    assert legend_of(made)[1:] == [
        "ridge: 10.0 a byte",
        "add: 50% of its limit",
        "product: 50% of its limit",
    ]


def test_the_bars_of_a_step_are_its_shares():
    seconds = dict(zip(STEP_PARTS, (1.0, 1.0, 2.0, 4.0, 2.0), strict=True))
    rows = [Row({"batch": 8, "part": part}, (s,)) for part, s in seconds.items()]
    made = step_parts({"a device": [*rows, Row({"batch": 512, "part": "all"}, problem="no room")]})
    (ax,) = made.axes
    bars = [patch for patch in ax.patches if patch.get_width() > 1]
    assert [bar.get_width() for bar in bars] == pytest.approx([10, 10, 20, 40, 20])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a device, batch 8"]
    assert legend_of(made) == list(STEP_PARTS) and len(set(PART_COLOURS.values())) == len(STEP_PARTS)


def test_the_still_picture_has_all_devices(explorer):
    labels = legend_of(explorer.still())
    assert any(label.startswith("a fast <device>") for label in labels)
    assert any(label.startswith("a slow one") for label in labels)
    assert set(SIZES) <= set(vars(StepState("d")))
