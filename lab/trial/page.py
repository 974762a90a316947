"""What a trial found: a JSON file, a page with its curves that needs nothing else, and a row of the table of trials."""

import io
import json
import os
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lab.bench import machine_label
from lab.files import write_atomic
from lab.show.colours import BLUE, FAINT, GREEN, GREY, PINK, VERMILION
from lab.show.plots import figure, legend_below
from lab.trial.result import PARAMETERS, SECONDS, TOKENS, Trial
from lab.trial.rule import MATTERS
from lab.trial.sides import BASELINE, IDEA, IN_TIME, RESIZED

LOOKS = {BASELINE: (BLUE, "-"), IDEA: (VERMILION, "-"), IN_TIME: (PINK, "--"), RESIZED: (GREEN, "--")}
SIZE = (4.6, 3.4)  # inches: two beside each other on a wide page, one below the other on a narrow one
TABLE = f"""# Trials

What `python -m lab trial` found, failures too. Each idea stood beside its baseline; the figures are bits a character of
lines that neither was trained on, with intervals that are all right in at least 95 of 100 trials. Where an idea's file
names no baseline, it is the usual model as it was that day. `--keep` adds a row.

| idea | date | text | minutes | {TOKENS} | {SECONDS} | {PARAMETERS} |
|---|---|---|---|---|---|---|
"""


def write_page(found: Trial, folder: str | os.PathLike) -> Path:
    """Write `folder/NAME.json` and `folder/NAME.html`; returns the path of the page."""
    folder = Path(folder)
    write_atomic(folder / f"{found.name}.json", json.dumps(found.to_json(), indent=1) + "\n")
    return write_atomic(folder / f"{found.name}.html", _page(found))


def keep(found: Trial, table: str | os.PathLike) -> Path:
    """Add the trial to the Markdown table in the file `table`; the row of the same trial is replaced."""
    table = Path(table)
    text = table.read_text("utf-8") if table.is_file() else TABLE
    others = [line for line in text.splitlines() if not line.startswith(f"| {found.name} |")]
    results = [*found.answers.values(), "", ""][:3]
    cells = [found.name, found.machine["date"], found.text, f"{found.minutes:g}", *results]
    row = " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells)
    return write_atomic(table, "\n".join([*others, f"| {row} |"]) + "\n")


def curves(found: Trial) -> Figure:
    """The validation of all runs on the way, over the tokens that they had read."""
    made, ax = figure("Validation while training", "tokens read", "bits per character", size=SIZE)
    for side, (colour, line) in LOOKS.items():
        of_side = [row["curve"] for row in found.rows if row["side"] == side and row["curve"]]
        for n, curve in enumerate(of_side):
            label = None if n else f"{side}: {len(of_side)} runs"
            ax.plot(*zip(*curve, strict=True), color=colour, linestyle=line, linewidth=1.2, label=label)
    ax.locator_params(axis="x", nbins=4)
    ax.legend(frameon=False, fontsize=9)
    return made


def differences(found: Trial) -> Figure:
    """The difference of each pair of runs, their mean and its interval, by what was held equal."""
    made, ax = figure("Idea less baseline", "bits per character; below 0 is better", "", size=SIZE)
    arms = found.arms.values()
    look = {"fmt": "D", "color": VERMILION, "linewidth": 2, "label": "their mean, its interval"}
    pairs = [(x, at - 0.2) for at, one in enumerate(arms) for x in one.pairs.values()]
    mean, low, high = np.array([(one.difference, one.low, one.high) for one in arms]).T
    ax.axvspan(-MATTERS, MATTERS, color=FAINT, linewidth=0, label=f"too small to matter ({MATTERS})")
    ax.plot(*zip(*pairs, strict=True), "o", color=GREY, markersize=4, label="one pair of runs")
    ax.errorbar(mean, range(len(arms)), xerr=(mean - low, high - mean), **look)
    ax.set_yticks(range(len(arms)), [arm.replace(" ", "\n") for arm in found.arms])
    ax.set_ylim(len(arms) - 0.5, -0.5)
    ax.xaxis.set_major_formatter("{x:.3g}")
    ax.locator_params(axis="x", nbins=5)
    legend_below(made, ncols=2)
    return made


def _page(found: Trial) -> str:
    answers = (f"<tr><th>{arm}</th><td>{escape(told)}</td></tr>" for arm, told in found.answers.items())
    rates = pd.DataFrame(found.to_json()["rates"], dtype=float).sort_index().rename("{:g} times".format)
    values = {
        "name": escape(found.name),
        "file": escape(found.file),
        "about": escape(found.about),
        "answer": "".join(answers),
        **dict.fromkeys(["level", "pictures", "cost"], ""),
        "changes": _items(found.changes),
        "notes": _items(found.notes or ["Nothing."]),
        "rates": rates.to_html(border=0, float_format="{:.4f}".format, na_rep="diverged"),
        "chosen": ", ".join(f"{side} {factor:g} times" for side, factor in found.factors.items()) or "none",
        "machine": escape(machine_label(found.machine)),
    }
    if found.arms:
        level = (
            f"The intervals are {1 - found.level:.1%} intervals. A trial looks several times; these are wide enough "
            "that an idea which changes nothing is called better or worse in fewer than one of 20 trials (simulated)."
        )
        pictures = "".join(embedded(draw(found), draw.__doc__) for draw in (curves, differences))
        values |= {"level": level, "pictures": pictures, "cost": _cost(found)}
    return Template(Path(__file__).with_name("page.html").read_text("utf-8")).substitute(values)


def embedded(made: Figure, described: str) -> str:
    """A figure as HTML that needs no file beside it; `described` is for those who do not see it."""
    data = io.BytesIO()
    made.savefig(data, format="svg")
    source = f"data:image/svg+xml;base64,{b64encode(data.getvalue()).decode()}"
    return f"<img alt='{escape(described)}' src='{source}' style='max-width:100%'>"


def _cost(found: Trial) -> str:
    """What the runs of each side came to and cost."""
    typical = pd.DataFrame(found.rows).drop(columns=["seed", "curve"]).groupby("side", sort=False).median()
    typical = typical.rename_axis(None).rename(columns=lambda name: name.replace("_", " "))
    forms = {"bits per char": "{:.4f}".format, "seconds": "{:,.1f}".format}
    return typical.to_html(border=0, formatters=forms, float_format="{:,.0f}".format)


def _items(texts: Sequence[str]) -> str:
    return "".join(f"<li>{escape(text)}</li>" for text in texts)
