"""What several seeds came to: each run a point, beside them the mean and its interval."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lab.bench import mean_interval
from lab.show.colours import BLUE, GREY, VERMILION
from lab.show.plots import DASHES, figure, legend_below

ROW = 0.5  # inches


def intervals_figure(
    rows: pd.DataFrame,
    by: str,
    title: str,
    *,
    value: str = "bits_per_char",
    baselines: Mapping[str, float] | None = None,
) -> Figure:
    """The column `value` of `rows` for each level of the column `by`, from top to bottom as they come in the rows.

    The interval is where the mean of ever more seeds lies with 95 % confidence, by Student's t; it says nothing of the
    difference of two levels, which `lab.bench.compare` finds in pairs. A level with one run has a point alone, and runs
    without a value, such as those that diverged, are counted beside its name. What `rows.attrs["label"]` says stands at
    the foot; `baselines` are levels of things that have no seeds.

    >>> intervals_figure(rows, "model.positions", "Positions: rotary against learned")  # doctest: +SKIP

    Raises ValueError when the rows lack one of the columns.
    """
    if missing := sorted({by, value} - {*rows.columns}):
        raise ValueError(
            f"the rows have no column {', '.join(missing)}; they have {', '.join(map(str, rows))}"
        )
    groups = dict(list(rows.groupby(by, sort=False, dropna=False)[value]))
    xlabel, ylabel = value.replace("_", " "), by.rpartition(".")[2].replace("_", " ")
    made, ax = figure(title, xlabel, ylabel, size=(6.4, 1.7 + ROW * len(groups)), panels=1)
    scored = {level: values.dropna() for level, values in groups.items()}
    points = [(x, place - 0.13) for place, values in enumerate(scored.values()) for x in values]
    ax.plot(*zip(*points, strict=True), "o", color=BLUE, alpha=0.6, label="a run")
    means = [(*mean_interval(v), place + 0.15) for place, v in enumerate(scored.values()) if len(v) > 1]
    if means:
        mean, low, high, place = np.array(means).T
        look = {"fmt": "D", "color": VERMILION, "markersize": 5, "linewidth": 2, "capsize": 4}
        ax.errorbar(mean, place, xerr=(mean - low, high - mean), label="their mean, 95 % interval", **look)
    for (name, x), dash in zip((baselines or {}).items(), cycle(DASHES), strict=False):
        ax.axvline(x, color=GREY, linestyle=dash, linewidth=1.3, label=f"{name}: {x:.2f}")
    named = [str(level) for level in groups]
    for place, values in enumerate(groups.values()):
        if lost := values.isna().sum():
            named[place] += f"\n{lost} without a score"
    ax.set(yticks=range(len(groups)), yticklabels=named, ylim=(len(groups) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    legend_below(made, ncols=3)
    made.legends[0].set_title(rows.attrs.get("label", ""), {"size": 8})
    made.legends[0].set_alignment("left")
    return made
