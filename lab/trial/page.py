"""What a trial found: a JSON file, a page with its curves that needs nothing else, and a row of the table of trials."""

import base64
import io
import json
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import pandas as pd
from matplotlib.figure import Figure

from lab.bench import machine_label
from lab.files import write_atomic
from lab.show.colours import BLUE, FAINT, GREEN, GREY, INK, PINK, VERMILION
from lab.show.plots import figure
from lab.trial.plan import BASELINE, IDEA, IN_TIME, PARAMETERS, RESIZED, SECONDS, TOKENS
from lab.trial.result import Trial
from lab.trial.rule import MATTERS

LOOKS = {BASELINE: (BLUE, "-"), IDEA: (VERMILION, "-"), IN_TIME: (PINK, "--"), RESIZED: (GREEN, "--")}
SIZE = (4.6, 3.4)  # inches: two beside each other on a wide page, one below the other on a narrow one
TABLE = f"""# Trials

What `python -m lab trial` found, failures too. Each idea stood beside its baseline; the figures are bits a character of
lines that neither was trained on, with intervals that are all right in at least 95 of 100 trials. `--keep` adds a row.

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
    results = [found.arms.get(arm, {}).get("sentence", "") for arm in (TOKENS, SECONDS, PARAMETERS)]
    results = [found.problem, "", ""] if found.problem else results
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
    ax.xaxis.get_major_locator().set_params(nbins=4)
    ax.legend(frameon=False, fontsize=9)
    return made


def differences(found: Trial) -> Figure:
    """The difference of each pair of runs, their mean and its interval, by what was held equal."""
    made, ax = figure(
        "Idea less baseline, held-out lines", "bits per character; below 0 is better", "", size=SIZE
    )
    measured = {arm: one for arm, one in found.arms.items() if one["sides"]}
    ax.axvspan(-MATTERS, MATTERS, color=FAINT, linewidth=0, label=f"below {MATTERS}: too small to matter")
    ax.axvline(0, color=GREY, linewidth=1)
    for at, one in enumerate(measured.values()):
        first = at == 0
        ax.plot(one["pairs"], [at + 0.2] * len(one["pairs"]), "o", color=GREY, markersize=4,
                label="one pair of runs" if first else None)  # fmt: skip
        ax.plot([one["low"], one["high"]], [at, at], color=INK, linewidth=2)
        ax.plot(one["difference"], at, "D", color=VERMILION, markersize=7,
                label="their mean, with its interval" if first else None)  # fmt: skip
    ax.set_yticks(range(len(measured)), [arm.replace(" ", "\n") for arm in measured])
    ax.set_ylim(len(measured) - 0.5, -0.5)
    ax.xaxis.set_major_formatter("{x:.3g}")
    ax.xaxis.get_major_locator().set_params(nbins=5)
    made.legend(loc="outside lower left", frameon=False, fontsize=8, ncols=2)
    return made


def _page(found: Trial) -> str:
    answers = {arm: one["sentence"] for arm, one in found.arms.items()} or {"no comparison": found.problem}
    drawn = [curves, differences] if found.arms else []
    rates = pd.DataFrame(found.to_json()["rates"], dtype=float).sort_index().rename("{:g} times".format)
    values = {
        "name": escape(found.name),
        "file": escape(found.file),
        "about": escape(found.about),
        "answer": "".join(f"<tr><th>{arm}</th><td>{escape(told)}</td></tr>" for arm, told in answers.items()),
        "level": _level(found),
        "pictures": "".join(_picture(draw(found), draw.__doc__) for draw in drawn),
        "changes": _items(found.changes),
        "notes": _items(found.notes or ["Nothing but that differs by more than 3 %."]),
        "cost": _cost(found),
        "rates": rates.to_html(border=0, float_format="{:.4f}".format, na_rep="diverged"),
        "chosen": ", ".join(f"{side} {factor:g} times" for side, factor in found.factors.items()) or "none",
        "machine": escape(machine_label(found.machine)),
    }
    return Template(Path(__file__).with_name("page.html").read_text("utf-8")).substitute(values)


def _level(found: Trial) -> str:
    """How sure the sentences are."""
    if not found.arms:
        return ""
    return (
        f"The intervals are of {1 - found.level:.1%}: the trial looks several times, and so strictly that of an idea "
        "that changes nothing it would call anything different in less than one of 20 trials (simulated)."
    )


def _cost(found: Trial) -> str:
    """What the runs of each side came to and cost."""
    if not found.rows:
        return ""
    rows = pd.DataFrame(found.rows).drop(columns=["seed", "curve"])
    table = rows.groupby("side", sort=False).median().rename_axis(None)
    forms = {"bits_per_char": "{:.4f}", "seconds": "{:,.1f}"}
    table = table.apply(lambda column: column.map(forms.get(column.name, "{:,.0f}").format))
    return table.rename(columns=lambda name: name.replace("_", " ")).to_html(border=0)


def _items(texts: Sequence[str]) -> str:
    return "".join(f"<li>{escape(text)}</li>" for text in texts)


def _picture(made: Figure, about: str) -> str:
    file = io.BytesIO()
    made.savefig(file, format="svg", metadata={"Date": None})
    coded = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(about)}" src="data:image/svg+xml;base64,{coded}">'
