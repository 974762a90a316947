"""The curves of several runs on one axis, each named by what sets it apart."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, cycle
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lab.runs import Run, differing, open_runs, score, settings, steps
from lab.show.colours import CYCLE, PAPER
from lab.show.plots import figure, legend, levels

XLABELS = {"tokens": "tokens read", "seconds": "seconds of training", "steps": "steps"}
# Line and marker change with the colour, so that no two runs differ by colour alone.
LINES = ("-", (0, (6, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MOST_NAMED = 4  # settings in a label
PLAIN = ("objective.name", "model.kind", "model.cell", "data.corpus", "data.tokenizer")


def compare(
    runs: str | os.PathLike | Mapping[str, Run] | Sequence[Run],
    names: Iterable[str] | None = None,
    *,
    x: str = "tokens",
    baselines: Mapping[str, float] | None = None,
    title: str = "Training runs side by side",
) -> Figure:
    """Bits a character while training, over `x`: "tokens", "seconds" or "steps"; a run is a line.

    `runs` is a folder of runs, or runs themselves. Runs in a dict go by its keys, others by the settings that
    differ among them. `names` chooses some, in that order. A line is the mean over its neighbouring steps (about
    1 in 25 of all). Small marks are what `evaluate_every` measured, the large mark at the end is the score of the
    validation lines, whose number stands in the legend. `baselines` are levels, such as that of a compressor.

    >>> compare("runs", x="seconds", baselines={"bz2": 2.1})  # doctest: +SKIP

    Raises ValueError for another `x`, for names that are not there, and where no run has taken a step.
    """
    if x not in XLABELS:
        raise ValueError(f"x must be one of {', '.join(XLABELS)}; got {x!r}")
    chosen = _chosen(runs, names)
    shown = chosen if isinstance(runs, Mapping) else labelled(chosen)
    made, ax = figure(title, XLABELS[x], "bits per character", size=(9.0, 4.2))
    styles = zip(cycle(CYCLE), cycle(LINES), cycle(MARKERS), strict=False)
    for (label, run), (colour, line, marker) in zip(shown.items(), styles, strict=False):
        xs, ys = curve(run, x)
        found = score(run)
        value = "unfinished" if found is None else f"{found.bits_per_char:.3f}"
        ax.plot(*smooth(xs, ys), color=colour, linestyle=line, linewidth=1.8, zorder=2)
        look = {"color": colour, "marker": marker, "markeredgecolor": PAPER, "linestyle": "none", "zorder": 3}
        ax.plot(*np.reshape(measured(run, x), (-1, 2)).T, markersize=6, **look)
        if found is not None:
            ax.plot(xs[-1], found.bits_per_char, markersize=10, **look)
        # The legend shows line and mark together.
        ax.plot([], [], color=colour, linestyle=line, marker=marker, label=f"{label}: {value}")
    levels(ax, baselines or {})
    legend(ax)
    ax.get_legend().set_title("validation, bits per character", {"size": 9})
    ax.get_legend().set_alignment("left")
    return made


def labelled(runs: Mapping[str, Run]) -> dict[str, Run]:
    """The runs by what sets each apart, such as "width 192, seed 1"; by name where that is nothing, or too much."""
    differ = differing({name: settings(run) for name, run in runs.items()})
    everywhere = set.intersection(*({n for n, v in one.items() if v is not None} for one in differ.values()))
    labels = [_label(one, everywhere) for one in differ.values()]
    if all(labels) and len(set(labels)) == len(labels):
        return dict(zip(labels, runs.values(), strict=True))
    return {
        f"{label} ({name})" if label else name: run
        for label, (name, run) in zip(labels, runs.items(), strict=True)
    }


def curve(run: Run, x: str = "tokens") -> tuple[list[float], list[float]]:
    """What was read (or spent, or stepped) after each logged step, and the bits a character of its batch."""
    logged = steps(run)
    along = {
        "tokens": list(accumulate(step["tokens"] for step in logged)),
        "seconds": [step["seconds"] for step in logged],
        "steps": [step["step"] + 1 for step in logged],
    }
    return along[x], [step["bits_per_char"] for step in logged]


def measured(run: Run, x: str = "tokens") -> list[tuple[float, float]]:
    """What `evaluate_every` measured on the way: where, and bits a character of the validation lines."""
    along, _ = curve(run, x)
    found = [(at, step["validation"]) for at, step in zip(along, steps(run), strict=True)]
    return [(at, bits) for at, bits in found if bits is not None]


def smooth(xs: list[float], ys: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Means over windows of a 25th of the steps, at most 400 points."""
    width = max(1, math.ceil(len(xs) / 25))
    kernel = np.ones(width)
    # At both ends the window is what there is of it.
    means = np.convolve(ys, kernel, "same") / np.convolve(np.ones(len(ys)), kernel, "same")
    every = max(1, len(xs) // 400)
    keep = np.unique([*range(0, len(xs), every), len(xs) - 1])
    return np.array(xs)[keep], means[keep]


def has_curve(run: Run | Exception) -> bool:
    """Whether it is a run that can be drawn: one that was loaded, has taken a step, and learns text."""
    return isinstance(run, Run) and bool(steps(run)) and all("bits_per_char" in step for step in steps(run))


def _label(one: dict, everywhere: set[str]) -> str:
    named = [name for name in one if name in everywhere or (name == "model.cell" and one[name])]
    if "model.cell" in named and "model.kind" in named:  # an LSTM is recurrent
        named.remove("model.kind")
    if len(named) > MOST_NAMED:
        return ""
    # Those that speak for themselves come first; a corpus may be a path.
    plain = [name for name in named if name in PLAIN]
    words = [Path(one[name]).name.removesuffix("Config") for name in plain]
    words += [f"{n.rpartition('.')[2].replace('_', ' ')} {one[n]}" for n in named if n not in plain]
    return ", ".join(words)


def _chosen(runs, names: Iterable[str] | None) -> dict[str, Run]:
    if isinstance(runs, str | os.PathLike):
        found = open_runs(runs)
    elif isinstance(runs, Mapping):
        found = dict(runs)
    else:
        found = {f"run {n}": run for n, run in enumerate(runs, start=1)}
    if names is not None:
        names = list(names)
        if missing := [name for name in names if name not in found]:
            raise ValueError(f"there is no run {', '.join(missing)}; there are: {', '.join(found) or 'none'}")
        found = {name: found[name] for name in names}
    drawn = {name: run for name, run in found.items() if has_curve(run)}
    if not drawn:
        raise ValueError(f"none of these runs can be drawn, by damage or for want of steps: {list(found)}")
    return drawn
