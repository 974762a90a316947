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
from pathlib import Path
from typing import NamedTuple

import pandas as pd

import lab
from lab.bench import machine_label
from lab.files import write_atomic
from lab.machine import machine
from lab.notebooks.fingerprint import asked, asked_of, key, settings_of
from lab.runs import Experiment, Run, RunFailed, code_version, differing, outcome, steps, where
from lab.runs.experiment import flat
from lab.runs.folder import newest, read_manifest

FORMAT = 1
ROW = {"settings", "asked", "text", "outcome", "state", "cost", "curve", "machine", "date", "versions", "code",
       "cell", "probe"}  # fmt: skip
SPEED = {"settings", "asked", "text", "seconds_per_step", "machine", "date"}
ANY_STEPS = ("seed", "training.steps")  # what a speed does not depend on
ON = ("cpu", "cpu_capability", "cores", "threads", "gpu", "blas", "system")  # what a number may depend on
POINTS = 60  # of a curve
COUNTS = ("nats", "chars", "tokens")  # of the scored lines: no result
Name = tuple[str, str]  # the SHA-256 of a text, and the key of the settings


class Evidence(NamedTuple):
    """What a file holds: `rows`, one a run, and `speeds`, one a kind of run."""

    rows: dict[Name, dict]
    speeds: dict[Name, dict]

    @property
    def texts(self) -> set[str]:
        """The SHA-256 of each text that it was measured on."""
        return {text for text, _ in (*self.rows, *self.speeds)}


def read(path: Path) -> Evidence:
    """What a file holds, nothing where there is none; ValueError for one that is damaged."""
    if not path.exists():
        return Evidence({}, {})
    try:
        found = json.loads(path.read_text("utf-8"), parse_constant=_refused)
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}, and this version of lab reads {FORMAT}")
        return Evidence(_named(found["rows"], ROW), _named(found["speeds"], SPEED, ANY_STEPS))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(
            f"the evidence in {path} cannot be read: {error!r}. Take the file back from version control, mend the "
            "line, or delete the file and run the notebook with --profile full"
        ) from error


def write(path: Path, kept: Evidence) -> None:
    """Write the file whole or not at all, in an order that does not change with that in which runs end."""
    parts = [f'{{"format": {FORMAT}']
    for part in ("speeds", "rows"):
        lines = [f"\n{json.dumps(one, allow_nan=False)}" for _, one in sorted(getattr(kept, part).items())]
        parts.append(f'"{part}": [{",".join(lines)}]')
    write_atomic(path, ",\n".join(parts) + "}\n")


def here(threads: int) -> dict:
    """This machine, as far as numbers may depend on it, and today."""
    known = machine() | {"threads": threads}
    return {"machine": {name: known[name] for name in ON}, "date": known["date"]}


def row_of(run: Run | RunFailed, experiment: Experiment, resolved: Experiment, folder) -> dict:
    """What a row says of a run that is trained to its end, or of the reason why it never will be."""
    settings, wanted = settings_of(resolved), asked(settings_of(experiment))
    settled = asked(settings)
    row = {
        "settings": settings,
        "asked": {place: value for place, value in wanted.items() if settled.get(place, value) != value},
        "versions": {"lab": lab.__version__} | {name: machine()[name] for name in ("torch", "python")},
        "code": code_version(resolved.objective)[:16],
    }
    if isinstance(run, RunFailed):
        return row | {"state": str(run), "outcome": {}, "cost": {}, "curve": {}}
    spent = run.state
    cost = {"seconds": round(spent.seconds, 2), "steps": spent.step, "tokens": spent.tokens}
    cost["tokens_per_second"] = round(spent.tokens / spent.seconds, 1)
    cost["parameters"] = sum(p.numel() for p in run.model.parameters())
    return row | {
        "state": "done",
        "outcome": {name: float(v) if math.isfinite(v) else None for name, v in outcome(run).items()},
        "cost": cost,
        "curve": curve(steps(run)),
        "date": read_manifest(newest(where(resolved, folder)))["date"][:10],
    }


def curve(logged: Sequence[dict], points: int = POINTS) -> dict[str, list]:
    """At most so many points of a run's logged steps: the mean loss of the steps around each, the last validation.

    >>> steps = [{"step": i, "tokens": 10, "loss": 4.0 - i, "validation": None} for i in range(4)]
    >>> curve(steps, points=2)
    {'step': [2, 4], 'tokens': [20, 40], 'loss': [3.5, 1.5], 'validation': [None, None]}
    """
    unit = "bits_per_char" if "bits_per_char" in logged[0] else "loss"
    found, tokens, width = (
        {"step": [], "tokens": [], unit: [], "validation": []},
        0,
        -(-len(logged) // points),
    )
    for start in range(0, len(logged), width):
        part = logged[start : start + width]
        tokens += sum(step["tokens"] for step in part)
        mean = sum(step[unit] for step in part) / len(part)
        measured = [step["validation"] for step in part if step["validation"] is not None]
        point = part[-1]["step"] + 1, tokens, round(mean, 4), round(measured[-1], 4) if measured else None
        for values, value in zip(found.values(), point, strict=True):
            values.append(value)
    return found


def table(rows: Sequence[dict]) -> pd.DataFrame:
    """The rows as `lab.notebooks.evidence` gives them."""
    tuples = lambda value: tuple(value) if isinstance(value, list) else value  # noqa: E731
    settings = [{place: tuples(v) for place, v in flat(row["settings"]).items()} for row in rows]
    differ, lines = differing(dict(enumerate(settings))), []
    for i, row in enumerate(rows):
        scores = {name: value for name, value in row["outcome"].items() if name not in COUNTS}
        about = {"machine": _machine(row), "date": row["date"], "state": row["state"]}
        lines.append(differ[i] | {"seed": row["settings"]["seed"]} | scores | row["cost"] | about)
    made = pd.DataFrame(lines)
    made.attrs = {"label": label(rows), "curves": {i: row["curve"] for i, row in enumerate(rows)}}
    return made


def label(rows: Sequence[dict]) -> str:
    """What a caption says of rows: the text, the machines, the days, and how many seeds."""
    texts = dict.fromkeys(Path(row["settings"]["data"]["corpus"]).stem for row in rows)
    machines = dict.fromkeys(_machine(row) for row in rows)
    days = sorted(row["date"] for row in rows)
    days = " to ".join(dict.fromkeys((days[0], days[-1])))
    seeds = len({row["settings"]["seed"] for row in rows})
    where_on = f"{' and '.join(texts)}: {' and '.join(machines)}"
    return f"measured on {where_on}, {days}, {seeds} seed{'s' * (seeds > 1)}"


def _machine(row: dict) -> str:
    return machine_label(row["machine"] | {"date": None})


def _named(ones: list[dict], fields: set[str], without: Sequence[str] = ()) -> dict[Name, dict]:
    """What a list of the file holds, by the text and the settings that were asked for."""
    named = {}
    for number, one in enumerate(ones, start=1):
        if one.keys() != fields:
            raise ValueError(
                f"line {number} of its list has {sorted(one.keys() ^ fields)} too many or missing"
            )
        name = one["text"], key(asked_of(one), without)
        if name in named:
            raise ValueError(f"line {number} of its list is the second of one experiment")
        named[name] = one
    return named


def _refused(name: str):
    raise ValueError(f"it holds {name}, which is no number")
