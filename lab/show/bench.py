"""Pictures of measured times: against the batch size, under the machine's limits, and by the parts of a step."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from lab.bench import STEP_PARTS, LinearFit, Operation, Row, Timing
from lab.show.colours import BLUE, CYCLE, GREEN, GREY, INK, ORANGE, PAPER, PINK, SKY
from lab.show.plots import figure, legend, legend_below
from lab.show.runs import LINES, MARKERS

PART_COLOURS = dict(zip(STEP_PARTS, (PINK, GREY, SKY, BLUE, ORANGE), strict=True))
WRITTEN_FROM = 0.07  # the share of a bar in which a number finds room


def cost(
    measured: Mapping[str, Sequence[Row]],
    fits: Mapping[str, LinearFit],
    *,
    title: str = "Time of a step against its batch size",
) -> Figure:
    """Milliseconds a step over the batch size, each device with its law a + b * batch, and what the law leaves over.

    A line is faint where nothing was measured.

    `measured` has rows with "batch" in their case, those without seconds are left out; `fits` are `fit_cost`s of the
    same names, where there is one. Bars reach from quartile to quartile. A ring marks the batch size at which the
    samples cost as much as the iteration. Raises ValueError where nothing was measured.
    """
    measured = _timed(measured)
    made, (left, right) = figure(title, "batch size, rows", "milliseconds a step", size=(10.5, 5.0), panels=2)
    everywhere = sorted({row.case["batch"] for rows in measured.values() for row in rows})
    for name, colour, line, marker in _looks(measured):
        rows = measured[name]
        batches = np.array([row.case["batch"] for row in rows], dtype=float)
        medians, bars = _quartiles([row.timing for row in rows])
        look = {"fmt": marker, "color": colour, "markeredgecolor": PAPER, "markersize": 8, "capsize": 3}
        label, fit = name, fits.get(name)
        if fit is not None:
            a, b = (1e3 * fit.coefficients[column] for column in ("iteration", "sample"))
            label = f"{name}: {a:.3g} ms + {b:.3g} ms × batch"
            xs = np.geomspace(everywhere[0], everywhere[-1], 100)
            ys = 1e3 * fit.predict(iteration=1, sample=xs)
            inside = (batches.min() <= xs) & (xs <= batches.max())
            left.plot(xs, ys, linestyle=line, color=colour, alpha=0.35, linewidth=1, zorder=1)
            left.plot(xs[inside], ys[inside], linestyle=line, color=colour, zorder=1)
            if everywhere[0] <= fit.balance <= everywhere[-1]:
                at = 1e3 * fit.predict(iteration=1, sample=fit.balance)
                left.plot(fit.balance, at, "o", markersize=14, markerfacecolor="none", markeredgecolor=colour)
            fitted = fit.predict(iteration=1, sample=batches)
            right.errorbar(batches, 100 * (medians / fitted - 1), 100 * bars / fitted, **look)
        left.errorbar(batches, 1e3 * medians, 1e3 * bars, label=label, **look)
    on_log_scales(left)
    on_log_scales(right, "x")
    right.set_ylabel("measured over fitted, less 1, %")
    right.axhline(0, color=INK, linewidth=1)
    legend_below(made)
    return made


def roofline(
    points: Mapping[str, tuple[Operation, Timing]],
    flops_per_second: float,
    bytes_per_second: float,
    *,
    title: str = "What each operation attains, under the machine's limits",
) -> Figure:
    """The roofline (Williams et al. 2009): GFLOP/s over operations a byte, and no point can be above the roof.

    Left of the ridge an operation waits for memory, right of it for arithmetic. A point above the roof did not move
    its bytes through memory: they were still in a cache. Raises ValueError for what is not above 0.
    """
    counts = [n for one, timing in points.values() for n in (one.flops, one.bytes, *timing.seconds)]
    if not all(0 < n < math.inf for n in (flops_per_second, bytes_per_second, *counts)):
        raise ValueError("expected limits, operations, bytes and seconds above 0: these axes are logarithms")
    made, ax = figure(title, "floating-point operations a byte", "GFLOP/s", size=(9.0, 4.6))
    intensities = [operation.intensity for operation, _ in points.values()]
    ridge = flops_per_second / bytes_per_second
    xs = np.geomspace(min([*intensities, ridge]) / 3, max([*intensities, ridge]) * 3, 200)
    label = f"limit: {flops_per_second / 1e9:,.0f} GFLOP/s and {bytes_per_second / 1e9:,.0f} GB/s"
    roof = np.minimum(flops_per_second, bytes_per_second * xs)
    ax.plot(xs, roof / 1e9, color=INK, linewidth=2, label=label)
    ax.axvline(ridge, color=GREY, linestyle=":", linewidth=1.3, label=f"ridge: {ridge:.1f} a byte")
    for name, colour, _, marker in _looks(points):
        operation, timing = points[name]
        low, high = (operation.flops / seconds for seconds in reversed(timing.spread))
        rate = operation.flops / timing.median
        bars = [[(rate - low) / 1e9], [(high - rate) / 1e9]]
        limit = min(flops_per_second, bytes_per_second * operation.intensity)
        look = {"fmt": marker, "color": colour, "markeredgecolor": PAPER, "markersize": 10, "capsize": 3}
        told = f"{name}: {rate / limit:.0%} of its limit"
        ax.errorbar(operation.intensity, rate / 1e9, bars, label=told, **look)
    on_log_scales(ax)
    legend(ax)
    return made


def step_parts(
    measured: Mapping[str, Sequence[Row]], *, title: str = "Where the time of a step goes"
) -> Figure:
    """A bar a device and batch size: the shares of data, transfer, forward, backward and optimizer.

    The rows have "batch" and "part" in their case, the part one of `STEP_PARTS`. Raises ValueError where nothing was
    measured.
    """
    bars = {}
    for name, rows in _timed(measured).items():
        for row in rows:
            bars.setdefault((name, row.case["batch"]), {})[row.case["part"]] = row.timing.median
    made, ax = figure(title, "share of the parts together, %", "", size=(10.5, 1.5 + 0.42 * len(bars)))
    for place, times in enumerate(bars.values()):
        start, total = 0.0, sum(times.values())
        for part in STEP_PARTS:
            share = times.get(part, 0.0) / total
            ax.barh(place, 100 * share, left=100 * start, color=PART_COLOURS[part], edgecolor=PAPER)
            if share > WRITTEN_FROM:
                ink = PAPER if part in ("backward", "transfer") else INK
                ax.text(100 * (start + share / 2), place, f"{share:.0%}", ha="center", va="center", color=ink)
            start += share
        ax.text(101, place, f"{1e3 * total:.3g} ms", va="center")
    ax.set_yticks(range(len(bars)), [f"{name}, batch {B}" for name, B in bars])
    ax.invert_yaxis()
    ax.set_xlim(0, 112)
    ax.set_xticks(range(0, 101, 20))
    ax.grid(axis="y", visible=False)
    for part, colour in PART_COLOURS.items():
        ax.bar(0, 0, color=colour, label=part)
    legend_below(made, ncols=len(STEP_PARTS))
    return made


def predicted(
    measured: Mapping[str, Sequence[Row]],
    laws: Mapping[str, LinearFit],
    *,
    title: str = "A step's time by a law of operations and bytes, against the clock",
) -> Figure:
    """Each measured row over what the law of its device says; on the line they agree.

    Raises ValueError where nothing was measured.
    """
    measured = _timed(measured)
    unit = "milliseconds a step"
    made, ax = figure(title, f"predicted, {unit}", f"measured, {unit}", size=(8.5, 4.6))
    ends = []
    for name, colour, _, marker in _looks(measured):
        medians, bars = _quartiles([row.timing for row in measured[name]])
        fitted = laws[name].fitted
        off = f"{name}: off by up to {np.abs(laws[name].residuals).max():.0%}"
        look = {"fmt": marker, "color": colour, "markeredgecolor": PAPER, "markersize": 8, "capsize": 2}
        ax.errorbar(1e3 * fitted, 1e3 * medians, 1e3 * bars, label=off, **look)
        ends += [*(1e3 * fitted), *(1e3 * medians)]
    ends = [min(ends) / 1.3, max(ends) * 1.3]
    ax.plot(ends, ends, color=INK, linewidth=1, zorder=1, label="as predicted")
    ax.fill_between(ends, [e / 1.25 for e in ends], [e * 1.25 for e in ends], color=GREEN, alpha=0.12)
    ax.fill_between([], [], [], color=GREEN, alpha=0.12, label="within a quarter")
    on_log_scales(ax)
    legend_below(made)
    return made


def on_log_scales(ax: Axes, which: str = "xy") -> None:
    """Logarithmic axes with plain numbers at 1, 10, 100, and at 2 and 5 between where they find room.

    An axis with nothing above 0 stays as it is.
    """
    for letter in which:
        axis = {"x": ax.xaxis, "y": ax.yaxis}[letter]
        if not axis.get_minpos() < math.inf:  # nothing above 0 that has a logarithm
            continue
        ax.set(**{f"{letter}scale": "log"})
        low, high = axis.get_view_interval()
        between = (1, 2, 5) if high < 2000 * low else (1,)
        axis.set_major_locator(LogLocator(subs=between))
        plain = FuncFormatter(lambda value, _: f"{value:,.0f}" if 1 <= value < 1e12 else f"{value:g}")
        axis.set_major_formatter(plain)
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())


def _timed(measured: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """The rows that were measured, of the devices that have any. Raises ValueError for none, and for no times."""
    found = {
        name: timed for name, rows in measured.items() if (timed := [row for row in rows if row.seconds])
    }
    if not found:
        raise ValueError(f"nothing was measured on {', '.join(measured) or 'any device'}: no times to draw")
    for row in (row for rows in found.values() for row in rows):
        if not all(0 < seconds < math.inf for seconds in row.seconds):
            raise ValueError(f"{row.case}: its times are {row.seconds[:4]}, expected seconds above 0")
    return found


def _looks(names: Iterable[str]) -> Iterator[tuple[str, str, object, str]]:
    """Each name with a colour, a line and a marker: none differs by colour alone."""
    return zip(names, cycle(CYCLE), cycle(LINES), cycle(MARKERS), strict=False)


def _quartiles(timings: Sequence[Timing]) -> tuple[np.ndarray, np.ndarray]:
    """Medians `(n,)`, and how far the quartiles lie below and above them `(2, n)`."""
    medians = np.array([timing.median for timing in timings])
    low, high = np.array([timing.spread for timing in timings]).T
    return medians, np.stack([medians - low, high - medians])
