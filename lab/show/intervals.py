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
    xlabel: str = "",
    baselines: Mapping[str, float] | None = None,
) -> Figure:
    """The column `value` of `rows` for each level of the column `by`, from top to bottom as they come in the rows.

    The interval is where the mean of ever more seeds lies with 95 % confidence, by Student's t; it says nothing of the
    difference of two levels, which `lab.bench.compare` finds in pairs. A level with one run has a point alone, and runs
    without a value, such as those that diverged, are counted beside its name. What `rows.attrs["label"]` says stands at
    the foot; `baselines` are levels of things that have no seeds.

    >>> intervals_figure(rows, "model.positions", "Positions: rotary against learned")  # doctest: +SKIP
    """
    groups, name = dict(list(rows.groupby(by, sort=False, dropna=False)[value])), by.rpartition(".")[2]
    size = 6.4, 1.7 + ROW * len(groups)
    labels = xlabel or value.replace("_", " "), name.replace("_", " ")
    made, ax = figure(title, *labels, size=size, panels=1)
    whole = [values.dropna() for values in groups.values()]
    runs = [(x, place - 0.13) for place, values in enumerate(whole) for x in values]
    ax.plot(*zip(*runs, strict=True), "o", color=BLUE, alpha=0.6, label="a run")
    means = [(*mean_interval(values), place + 0.15) for place, values in enumerate(whole) if len(values) > 1]
    if means:
        mean, low, high, place = np.array(means).T
        look = {"fmt": "D", "color": VERMILION, "markersize": 5, "linewidth": 2, "capsize": 4}
        ax.errorbar(mean, place, xerr=(mean - low, high - mean), label="their mean, 95 % interval", **look)
    for (name, x), dash in zip((baselines or {}).items(), cycle(DASHES), strict=False):
        ax.axvline(x, color=GREY, linestyle=dash, linewidth=1.3, label=f"{name}: {x:.2f}")
    lost = [len(all_) - len(some) for all_, some in zip(groups.values(), whole, strict=True)]
    told = [
        f"{level}\n{n} without a score" if n else f"{level}" for level, n in zip(groups, lost, strict=True)
    ]
    ax.set(yticks=range(len(groups)), yticklabels=told, ylim=(len(groups) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    legend_below(made, ncols=3)
    made.legends[0].set_title(rows.attrs.get("label", ""), {"size": 8})
    made.legends[0].set_alignment("left")
    return made
