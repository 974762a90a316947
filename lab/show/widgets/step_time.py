"""Choose batch size, width and context: see what a step should take by a fitted law, and what was measured nearby."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from lab.bench import Row, StepTimes
from lab.bench.step_times import SIZES, SMALL
from lab.nn.transformer import TransformerConfig
from lab.show.bench import on_log_scales, predicted
from lab.show.clusters import escaped
from lab.show.colours import BLUE, GREY, INK, PAPER, VERMILION
from lab.show.plots import figure, legend
from lab.show.widgets.parts import Explorer, embedded, in_row, page

WIDTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768)


@dataclass(frozen=True)
class StepState:
    """What the controls hold: the device by name, rows a batch, channels, tokens a row."""

    device: str
    batch: int = 8
    width: int = 192
    context: int = 64


def told(times: StepTimes, state: StepState) -> list[str]:
    """What the law says, what the nearest measurement says, and how far the law can be trusted there."""
    sizes = {name: getattr(state, name) for name in SIZES}
    seconds, (low, high) = times.predict(**sizes)
    row = times.nearest(**sizes)
    found, (first, third) = row.timing.median, row.timing.spread
    there, _ = times.predict(**{name: row.case[name] for name in SIZES})
    where = ", ".join(f"{name} {row.case[name]}" for name in SIZES)
    lines = [
        f"Predicted: {_ms(seconds)} a step ({_ms(low)} to {_ms(high)}), {state.batch / seconds:,.0f} rows a second.",
        f"Nearest measured, {where}: {_ms(found)} ({_ms(first)} to {_ms(third)}). The law says {_ms(there)} there.",
    ]
    measured = {name: times.measured(name) for name in SIZES}
    beyond = [
        f"{name} {sizes[name]} (measured: {least} to {most})"
        for name, (least, most) in measured.items()
        if not least <= sizes[name] <= most
    ]
    if beyond:
        lines.append(f"Nothing was measured out here, the law only goes on in a line: {'; '.join(beyond)}.")
    return lines


def time_figure(times: StepTimes, state: StepState) -> Figure:
    """The predicted time over the batch size, with what was measured at the chosen width and context."""
    title = f"{state.device}: width {state.width}, context {state.context}"
    made, ax = figure(title, "batch size, rows", "milliseconds a step", size=(8.0, 3.6))
    batches = np.geomspace(1, max(1024, state.batch), 60)
    found = [times.predict(B, state.width, state.context) for B in batches]
    low, high = (1e3 * np.array([interval[end] for _, interval in found]) for end in (0, 1))
    ax.plot(batches, [1e3 * seconds for seconds, _ in found], color=BLUE, linewidth=2, label="predicted")
    ax.fill_between(batches, low, high, color=BLUE, alpha=0.18, label="95% interval of the law")
    at, _ = times.predict(state.batch, state.width, state.context)
    star = {"color": VERMILION, "markersize": 15, "markeredgecolor": PAPER}
    ax.plot(state.batch, 1e3 * at, "*", label="chosen here", **star)
    same = [r for r in times.rows if (r.case["width"], r.case["context"]) == (state.width, state.context)]
    label = "measured" if same else "measured: none at this width and context"
    xs, ys = [r.case["batch"] for r in same], [1e3 * r.timing.median for r in same]
    ax.plot(xs, ys, "o", color=INK, markersize=7, markeredgecolor=PAPER, label=label)
    row = times.nearest(state.batch, state.width, state.context)
    nearest = {"markerfacecolor": "none", "markeredgecolor": GREY, "markersize": 13, "linestyle": "none"}
    ax.plot(row.case["batch"], 1e3 * row.timing.median, "o", **nearest, label="nearest measured")
    on_log_scales(ax)
    legend(ax)
    return made


def render(times: StepTimes, state: StepState) -> str:
    """HTML of the prediction in words and as a picture. Pure."""
    lines = told(times, state)
    words = "<br>".join(escaped(line) for line in lines)
    return page(f"<div role='status'>{words}</div>", embedded(time_figure(times, state), lines[0]))


class StepTimeExplorer(Explorer):
    """Sliders over batch size, width and context: the predicted time of a training step beside the measured one.

    `measured` has rows of `lab.bench` for each device, such as `load_result(path).select("grid")`.

    >>> StepTimeExplorer({"this CPU": rows})  # doctest: +SKIP

    Raises ValueError without rows, and as `StepTimes.fit` does.
    """

    def __init__(self, measured: Mapping[str, Sequence[Row]], config: TransformerConfig = SMALL):
        if not measured:
            raise ValueError("there is nothing to predict from: give the measured rows of a device")
        self.times = {name: StepTimes.fit(rows, config) for name, rows in measured.items()}
        self.device = widgets.Dropdown(options=list(self.times), description="device")
        powers = [2**n for n in range(11)]
        slider = widgets.SelectionSlider
        self.batch = slider(options=powers, value=StepState.batch, description="batch size")
        self.width = slider(options=WIDTHS, value=StepState.width, description="width")
        self.context = slider(options=powers[2:], value=StepState.context, description="context")
        self.view = widgets.HTML()
        self.view.add_class("lab-step-time")
        self.named("device", *SIZES, "view")
        self.watch(("device", *SIZES), self.redraw)
        self.redraw()
        super().__init__([self.device, in_row(self.batch, self.width, self.context), self.view])

    @property
    def state(self) -> StepState:
        return self.held(StepState)

    def drawn(self) -> str:
        return render(self.times[self.device.value], self.state)

    def still(self) -> Figure:
        """Measured against predicted for all rows and devices: the picture where nothing can be moved."""
        rows = {name: times.rows for name, times in self.times.items()}
        return predicted(rows, {name: times.law for name, times in self.times.items()})


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
