"""What a trial found: a JSON file, a page with its curves that needs nothing else, and a row of the table of trials."""

import base64
import io
import json
import os
from html import escape
from itertools import cycle
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lab.bench.results import machine_label
from lab.files import write_atomic
from lab.show.colours import BLUE, FAINT, GREEN, GREY, INK, PINK, VERMILION
from lab.show.plots import figure
from lab.trial.referee import BASELINE, IDEA, IN_TIME, PARAMETERS, RESIZED, SECONDS, TOKENS, Trial
from lab.trial.rule import MATTERS

COLOURS = {BASELINE: BLUE, IDEA: VERMILION, IN_TIME: PINK, RESIZED: GREEN}
DASHES = {BASELINE: "-", IDEA: "-", IN_TIME: "--", RESIZED: "--"}
SIZE = (4.6, 3.4)  # inches: two beside each other on a wide page, one below the other on a narrow one
HEADER = f"| idea | trial | date | text | minutes | pairs | {TOKENS} | {SECONDS} | {PARAMETERS} |"
ABOUT = """# Trials

What `python -m lab trial` found, the failures too: the idea beside its baseline, in bits a character of lines that
neither was trained on, with intervals by a rule that cries wolf in less than one trial of twenty. `--keep` adds a row.
"""


def write_page(found: Trial, folder: str | os.PathLike) -> Path:
    """Write `folder/NAME.json` and `folder/NAME.html`; returns the path of the page."""
    folder = Path(folder)
    write_atomic(folder / f"{found.name}.json", json.dumps(found.to_json(), indent=1) + "\n")
    return write_atomic(folder / f"{found.name}.html", _page(found))


def keep(found: Trial, table: str | os.PathLike) -> Path:
    """Add the trial to the table in the Markdown file `table`; the row of the same trial is replaced."""
    table = Path(table)
    text = table.read_text("utf-8") if table.is_file() else f"{ABOUT}\n{HEADER}\n{'|---' * 9}|\n"
    of_it = f"| {found.name.rpartition('-')[2]} |"
    rows = [line for line in text.splitlines() if of_it not in line]
    results = [found.arms.get(arm, {}).get("sentence", "") for arm in (TOKENS, SECONDS, PARAMETERS)]
    cells = [
        f"[{found.name.rpartition('-')[0]}]({found.file})", of_it.strip("| "), found.machine["date"], found.text,
        f"{found.minutes:g}", str(found.pairs), *([found.problem, "", ""] if found.problem else results),
    ]  # fmt: skip
    row = " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells)
    return write_atomic(table, "\n".join([*rows, f"| {row} |"]) + "\n")


def curves(found: Trial) -> Figure:
    """Validation on the way of all runs, over the tokens that they had read."""
    made, ax = figure("Validation while training", "tokens read", "bits per character", size=SIZE)
    for side in dict.fromkeys(row["side"] for row in found.rows):
        look = {"color": COLOURS[side], "linestyle": DASHES[side], "linewidth": 1.2}
        for row in (row for row in found.rows if row["side"] == side and row["curve"]):
            ax.plot(*zip(*row["curve"], strict=True), alpha=0.7, **look)
        ax.plot([], [], label=side, **look)
    ax.xaxis.get_major_locator().set_params(nbins=4)
    ax.legend(frameon=False, fontsize=9)
    return made


def differences(found: Trial) -> Figure:
    """Each pair as a point, their mean and its interval, for what was held equal."""
    made, ax = figure("Idea less baseline, held-out lines", "bits per character; left of 0 is better", "", size=SIZE)
    measured = {arm: one for arm, one in found.arms.items() if "difference" in one}
    ax.axvspan(-MATTERS, MATTERS, color=FAINT, alpha=0.6, linewidth=0, label=f"less than {MATTERS}: does not matter")
    ax.axvline(0, color=GREY, linewidth=1)
    for at, one in enumerate(measured.values()):
        ax.plot(one["pairs"], [at + 0.18] * len(one["pairs"]), "o", color=GREY, markersize=4, alpha=0.8)
        ax.plot([one["low"], one["high"]], [at, at], color=INK, linewidth=2)
        ax.plot(one["difference"], at, "D", color=VERMILION, markersize=7)
    ax.plot([], [], "o", color=GREY, markersize=4, label="a pair of runs")
    ax.plot([], [], "D-", color=VERMILION, markersize=6, label="their mean, with its interval")
    ax.set_yticks(range(len(measured)), [arm.replace(" ", "\n") for arm in measured])
    ax.set_ylim(len(measured) - 0.5, -0.6)
    ax.xaxis.set_major_formatter("{x:.3g}")
    ax.xaxis.get_major_locator().set_params(nbins=5)
    made.legend(loc="outside lower left", frameon=False, fontsize=8, ncols=2)
    return made


def rates(found: Trial) -> Figure:
    """What the search for learning rates measured on validation lines, of both sides."""
    made, ax = figure("The search for learning rates", "times the own learning rates", "bits per character", size=SIZE)
    for (side, tried), marker in zip(found.rates.items(), cycle("os"), strict=False):
        measured = sorted((factor, bits) for factor, bits in tried.items() if bits is not None)
        ax.plot(*zip(*measured, strict=True), marker=marker, color=COLOURS[side], label=side)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend(frameon=False, fontsize=9)
    return made


def _page(found: Trial) -> str:
    drawn = [(curves, found.rows), (differences, found.arms), (rates, found.rates)]
    pictures = "".join(_picture(draw(found), draw.__doc__) for draw, what in drawn if what and _drawable(found))
    answer = "".join(
        f"<tr><th>{arm}</th><td>{escape(one['sentence'])}</td></tr>" for arm, one in found.arms.items()
    )
    look = "A first look: few minutes, short runs. " if found.is_first_look else ""
    return PAGE.format(
        name=escape(found.name.rpartition("-")[0]),
        answer=f"<table>{answer}</table>" if answer else f"<p><b>{escape(found.problem)}</b></p>",
        look=f"{look}{found.pairs} pairs of runs, on {escape(found.text)}, within {found.minutes:g} minutes.",
        level=f"Each interval is one of {1 - found.level:.1%}" if found.arms else "",
        pictures=pictures,
        changes="".join(f"<li><code>{escape(change)}</code></li>" for change in found.changes),
        notes="".join(f"<li>{escape(note)}</li>" for note in found.notes) or "<li>nothing else was found</li>",
        cost=_cost(found),
        rates=_rates(found),
        file=escape(found.file),
        machine=escape(machine_label(found.machine)),
    )


def _drawable(found: Trial) -> bool:
    return any(bits is not None for tried in found.rates.values() for bits in tried.values())


def _picture(made: Figure, about: str) -> str:
    file = io.BytesIO()
    made.savefig(file, format="svg", metadata={"Date": None})
    coded = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(about)}" src="data:image/svg+xml;base64,{coded}">'


def _cost(found: Trial) -> str:
    """What the runs of each side came to and cost: medians over the seeds."""
    if not found.rows:
        return ""
    table = pd.DataFrame(found.rows).drop(columns=["seed", "curve", "own_score"]).groupby("side", sort=False).median()
    forms = {"bits_per_char": "{:.4f}".format, "seconds": "{:,.1f}".format}
    forms |= {name: "{:,.0f}".format for name in ("steps", "tokens", "parameters")}
    table.columns = table.columns.str.replace("_", " ")
    forms = {name.replace("_", " "): form for name, form in forms.items()}
    return table.rename_axis(None).to_html(border=0, formatters=forms)


def _rates(found: Trial) -> str:
    table = pd.DataFrame(found.rates).sort_index().rename_axis("times").map(lambda bits: bits)
    return table.to_html(border=0, float_format="{:.4f}".format, na_rep="diverged") if found.rates else ""


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Trial: {name}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; --line: #8885; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem; }}
.pictures {{ display: flex; flex-wrap: wrap; gap: 0.8rem; }}
img {{ flex: 1 1 22rem; max-width: min(100%, 32rem); min-width: 0; border-radius: 4px; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 0.95rem; }}
td, th {{ text-align: left; padding: 0.25rem 0.8rem 0.25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }}
.dataframe td {{ text-align: right; font-variant-numeric: tabular-nums; }}
code {{ overflow-wrap: anywhere; }}
</style></head><body>
<h1>Trial: {name}</h1>
<p>The idea of <code>{file}</code> beside its baseline. {look}</p>
{answer}
<p>In bits a character of lines that neither was trained on. {level}</p>
<div class="pictures">{pictures}</div>
<h2>What the idea changes</h2><ul>{changes}</ul>
<h2>What else to know</h2><ul>{notes}</ul>
<h2>What it came to, and what it cost</h2>
<p>Medians over the seeds; the seconds are those of training.</p><div class="wide">{cost}</div>
<h2>Learning rates</h2>
<p>Both sides had the same search: short runs at multiples of their own learning rates, judged by their validation
lines, in bits per character.</p><div class="wide">{rates}</div>
<p>{machine}</p>
</body></html>
"""
