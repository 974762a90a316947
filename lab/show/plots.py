"""Figures in one manner: a title that says what is shown, axes with units, colours that all can tell apart."""

import math
import re
import time
from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from lab.show.colours import BLUE, CYCLE, FAINT, GREY, INK, PAPER
from lab.show.lettering import Lettered

THOUSANDS = StrMethodFormatter("{x:,.10g}")
DASHES = ("--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))

# An opaque page: the same figure reads on white and in a dark theme.
MANNER = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 10,
    "figure.dpi": 110,
}


def figure(
    title: str, xlabel: str, ylabel: str, *, size: tuple[float, float] = (7.5, 4.0), panels: int = 0
) -> tuple[Figure, Axes]:
    """A figure and its axes (an array of axes when `panels` is more than 1) in the manner of the house.

    The title of panels stands above them all, so that each may have its own; without any it is that of the axes.

    The caller returns or displays the figure; pyplot keeps no copy that would be shown twice.
    """
    with plt.rc_context(MANNER):
        made, axes = plt.subplots(1, panels or 1, figsize=size, layout="constrained", FigureClass=Lettered)
        for ax in [axes] if panels < 2 else axes:
            ax.set(xlabel=xlabel, ylabel=ylabel)
            ax.xaxis.set_major_formatter(THOUSANDS)
        if not panels:
            axes.set_title(title)
        else:
            made.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=12)
        plt.close(made)
    return made, axes


def levels(ax: Axes, values: Mapping[str, float]) -> None:
    """Horizontal lines at known levels (baselines, floors), named and valued in the legend."""
    for (name, value), dash in zip(values.items(), cycle(DASHES), strict=False):
        label = f"{name}: {value:.2f}" if abs(value) < 1e6 else f"{name}: {value:.3g}"
        ax.axhline(value, color=GREY, linestyle=dash, linewidth=1.3, label=label)


def legend(ax: Axes) -> None:
    """A legend to the right of the axes, where it covers nothing."""
    ax.legend(*_named(ax), loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def legend_below(made: Figure, ncols: int = 1) -> None:
    """A legend of all axes at the foot of the figure."""
    made.legend(*_named(*made.axes), loc="outside lower left", ncols=ncols, frameon=False, fontsize=9)


def _named(*axes: Axes) -> tuple[list, list[str]]:
    """What has a name, and the names: those too that begin with `_`, which matplotlib takes for its own."""
    handles, names = [], []
    for ax in axes:
        for artist in [*ax.get_children(), *ax.containers]:
            if re.match(r"_(?!(child|container)\d+$|nolegend_$)", name := str(artist.get_label())):
                artist.set_label(f"\N{WORD JOINER}{name}")
        found = ax.get_legend_handles_labels()
        handles += found[0]
        names += [name.removeprefix("\N{WORD JOINER}") for name in found[1]]
    return handles, names


class LiveCurve:
    """A curve that grows while a model trains; the last picture stays in the notebook.

    >>> curve = LiveCurve("Training", "tokens read", "bits per character", {"unigram": 4.4})  # doctest: +SKIP
    >>> for step in train(...): curve.add(step.step, step.loss)  # doctest: +SKIP
    >>> curve.finish()  # doctest: +SKIP

    Points are averaged over `window` neighbours for the strong line; the faint line is every point. What is no number,
    as the loss of a model that diverged, is left out and counted in the legend.
    """

    def __init__(
        self,
        title: str,
        xlabel: str,
        ylabel: str,
        baselines: Mapping[str, float] | None = None,
        *,
        window: int = 20,
        seconds_between: float = 2.0,
    ):
        self.title, self.xlabel, self.ylabel = title, xlabel, ylabel
        self.baselines, self.window, self.seconds_between = baselines or {}, window, seconds_between
        self.xs: list[float] = []
        self.ys: list[float] = []
        self.marks: list[tuple[float, float]] = []
        self._handle = display(self.figure(), display_id=True)
        self._drawn = time.monotonic()

    def add(self, x: float, y: float) -> None:
        """One more point; redrawn at most every `seconds_between` seconds, since drawing costs time."""
        self.xs.append(x)
        self.ys.append(y)
        if time.monotonic() - self._drawn > self.seconds_between:
            self.finish()

    def mark(self, x: float, y: float) -> None:
        """A held-out score, drawn as a dot."""
        self.marks.append((x, y))

    def finish(self) -> None:
        """Draw everything now."""
        if self._handle is not None:  # outside a notebook there is nowhere to draw
            self._handle.update(self.figure())
        self._drawn = time.monotonic()

    def figure(self) -> Figure:
        """The picture of what is known so far."""
        made, ax = figure(self.title, self.xlabel, self.ylabel)
        # Of two numbers that are larger still the distance may be none.
        ys = [y if abs(y) < 1e300 else math.nan for y in self.ys]
        ax.plot(self.xs, ys, color=BLUE, alpha=0.25, linewidth=0.8)
        smooth, lost = [], sum(map(math.isnan, ys))
        for i in range(len(ys)):
            part = [y for y in ys[max(0, i - self.window + 1) : i + 1] if not math.isnan(y)]
            smooth.append(sum(part) / len(part) if part else math.nan)
        told = f"training, mean of {self.window} steps" + (f"; {lost:,} are no numbers" if lost else "")
        ax.plot(self.xs, smooth, color=BLUE, linewidth=2, label=told)
        if self.marks:
            ax.plot(*zip(*self.marks, strict=True), "o", color=CYCLE[5], markersize=7, label="held-out lines")
        levels(ax, self.baselines)
        legend(ax)
        ax.set_ylim(bottom=0)
        return made
