"""The file of a notebook's evidence: what was measured, a run a line, so that a diff shows what came and went.

{"format": 1,
"speeds": [
{"settings": {...}, "seconds_per_step": 0.041, ...}],
"rows": [
{"settings": {...}, "outcome": {...}, ...},
{"settings": {...}, "outcome": {...}, ...}]}
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

import lab
from lab.bench import machine_label
from lab.files import write_atomic
from lab.machine import machine
from lab.notebooks.fingerprint import key, settings_of
from lab.runs import Experiment, Run, RunFailed, code_version, differing, outcome, steps
from lab.runs.experiment import flat
from lab.runs.table import sweep_table

FORMAT = 1
FIELDS = {
    "speeds": {"settings", "text", "seconds_per_step", "machine", "date"},
    "rows": {"settings", "text", "outcome", "state", "cost", "curve", "machine", "date", "versions", "code",
             "cell", "probe"},
}  # fmt: skip
ON = ("cpu", "cpu_capability", "cores", "threads", "gpu", "blas", "system")  # what a number may depend on
COST = ["seconds", "steps", "parameters", "tokens_per_second"]
COUNTS = {"nats", "chars", "tokens"}  # of the scored lines: no result
POINTS = 60  # of a curve
Name = tuple[str, str]  # the SHA-256 of a text, and the key of the settings
Kept = dict[str, dict[Name, dict]]  # "rows", one a run, and "speeds", one a kind of run


def read(path: Path) -> Kept:
    """What a file holds, nothing where there is none; ValueError for one that is damaged."""
    if not path.exists():
        return {part: {} for part in FIELDS}
    try:
        found, kept = json.loads(path.read_text("utf-8")), {part: {} for part in FIELDS}
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}, and this version of lab reads {FORMAT}")
        for part, fields in FIELDS.items():
            for number, one in enumerate(found[part], start=1):
                name = one["text"], key(one["settings"])
                if one.keys() != fields or name in kept[part]:
                    raise ValueError(f"number {number} of its {part} has other fields, or is there twice")
                kept[part][name] = one
        return kept
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(
            f"the evidence in {path} cannot be read: {error!r}. Take the file back from version control, or delete it "
            "and run the notebook with --profile full"
        ) from error


def write(path: Path, kept: Kept) -> None:
    """Write the file whole or not at all, in an order that does not change with that in which runs end."""
    parts = [f'{{"format": {FORMAT}']
    for part in FIELDS:
        lines = [f"\n{json.dumps(one, allow_nan=False)}" for _, one in sorted(kept[part].items())]
        parts.append(f'"{part}": [{",".join(lines)}]')
    write_atomic(path, ",\n".join(parts) + "}\n")


def here(threads: int) -> dict:
    """This machine, as far as numbers may depend on it, and today."""
    known = machine() | {"threads": threads}
    return {"machine": {name: known[name] for name in ON}, "date": known["date"]}


def row_of(run: Run | RunFailed, experiment: Experiment, resolved: Experiment, folder) -> dict:
    """What a row says of a run that is trained to its end, or of the reason why it never will be.

    Its settings are those that were asked for, from which the run is made again, on the text that was found.
    """
    row = {
        "settings": settings_of(replace(experiment, data=resolved.data)),
        "versions": {"lab": lab.__version__} | {name: machine()[name] for name in ("torch", "python")},
        "code": code_version(resolved.objective)[:16],
    }
    if isinstance(run, RunFailed):
        return row | {"state": str(run), "outcome": {}, "cost": {}, "curve": {}}
    (told,) = sweep_table([(resolved, run)], folder).to_dict("records")
    return row | {
        "state": "done",
        "outcome": {name: float(v) if math.isfinite(v) else None for name, v in outcome(run).items()},
        "cost": {name: told[name] for name in COST} | {"tokens": run.state.tokens},
        "curve": curve(steps(run)),
        "date": told["date"],
    }


def curve(logged: Sequence[dict], points: int = POINTS) -> dict[str, list]:
    """At most so many points of a run's logged steps: the mean loss of the steps around each, the last validation.

    >>> steps = [{"step": i, "tokens": 10, "loss": 4.0 - i, "validation": None} for i in range(4)]
    >>> curve(steps, points=2)
    {'step': [2, 4], 'tokens': [20, 40], 'loss': [3.5, 1.5], 'validation': [None, None]}
    """
    unit = "bits_per_char" if "bits_per_char" in logged[0] else "loss"
    table = pd.DataFrame(logged).astype({"validation": float})
    parts = table.groupby(table.index // math.ceil(len(table) / points))
    thin = {
        "step": parts["step"].last() + 1,
        "tokens": parts["tokens"].sum().cumsum(),
        unit: parts[unit].mean().round(4),
        "validation": parts["validation"].last().round(4),  # that is one
    }
    return {name: [None if pd.isna(v) else v for v in values.tolist()] for name, values in thin.items()}


def table(rows: Sequence[dict]) -> pd.DataFrame:
    """The rows as `lab.notebooks.evidence` gives them."""
    differ = differing({i: flat(row["settings"]) for i, row in enumerate(rows)})
    lines = []
    for i, row in enumerate(rows):
        scores = {name: value for name, value in row["outcome"].items() if name not in COUNTS}
        on = machine_label(row["machine"] | {"date": None})
        about = {"machine": on, "date": row["date"], "state": row["state"]}
        lines.append(differ[i] | {"seed": row["settings"]["seed"]} | scores | row["cost"] | about)
    made = pd.DataFrame(lines)
    texts = " and ".join({Path(row["settings"]["data"]["corpus"]).stem: None for row in rows})
    machines = " and ".join(made["machine"].unique())
    days = " to ".join({made["date"].min(): None, made["date"].max(): None})
    seeds = made["seed"].nunique()
    label = f"measured on {texts}: {machines}, {days}, {seeds} seed{'s' * (seeds > 1)}"
    made.attrs = {"label": label, "curves": {i: row["curve"] for i, row in enumerate(rows)}}
    return made
