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
from pathlib import Path
from typing import NamedTuple

import lab
from lab.files import write_atomic
from lab.machine import machine
from lab.notebooks.fingerprint import asked, asked_of, key
from lab.runs import Experiment, Run, code_version, outcome, steps
from lab.runs.experiment import flat

FORMAT = 1
POINTS = 60  # of a curve
ON = ("cpu", "cpu_capability", "cores", "threads", "gpu", "blas", "system")  # what a number may depend on
ANY_STEPS = ("seed", "training.steps")  # what a speed does not depend on
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
        kept = Evidence(_named(found["rows"], ROW), _named(found["speeds"], SPEED, ANY_STEPS))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(
            f"the evidence in {path} cannot be read: {error!r}. Take the file back from version control, mend the "
            "line, or delete the file and run the notebook with --profile full"
        ) from error
    return kept


def write(path: Path, kept: Evidence) -> None:
    """Write the file whole or not at all."""
    lists = {part: getattr(kept, part).values() for part in ("speeds", "rows")}
    parts = [
        f'"{part}": [' + ",".join(f"\n{json.dumps(one, allow_nan=False)}" for one in ones) + "]"
        for part, ones in lists.items()
    ]
    write_atomic(path, ",\n".join([f'{{"format": {FORMAT}', *parts]) + "}\n")


def row_of(run: Run | None, experiment: Experiment, resolved: Experiment, text: str, **more) -> dict:
    """The row of a run that is trained to its end, or, where there is none, diverged."""
    found, logged, cost = {}, [], {}
    if run is not None:
        found, logged, state = outcome(run), steps(run), run.state
        cost = {
            "seconds": round(state.seconds, 2),
            "steps": state.step,
            "tokens": state.tokens,
            "tokens_per_second": round(state.tokens / state.seconds, 1),
            "parameters": sum(p.numel() for p in run.model.parameters()),
        }
    settled = flat(resolved.to_json())
    return more | {
        "outcome": {name: float(v) if math.isfinite(v) else None for name, v in found.items()},
        "cost": cost,
        "settings": resolved.to_json(),
        "asked": {place: v for place, v in asked(experiment).items() if settled.get(place, v) != v},
        "text": text,
        "versions": {"lab": lab.__version__} | {name: machine()[name] for name in ("torch", "python")},
        "code": code_version(resolved.objective)[:16],
        "curve": curve(logged),
    }


ROW = {"settings", "asked", "text", "outcome", "cost", "curve", "state", "date", "machine", "versions", "code",
       "cell", "probe"}  # fmt: skip
SPEED = {"settings", "asked", "text", "seconds_per_step", "date", "machine"}


def here(threads: int) -> dict:
    """This machine, as far as numbers may depend on it, and today."""
    known = machine() | {"threads": threads}
    return {"machine": {name: known[name] for name in ON}, "date": known["date"]}


def curve(logged: list[dict], points: int = POINTS) -> dict[str, list]:
    """At most so many points of a run's logged steps: the mean loss of the steps around each, the last validation.

    >>> steps = [{"step": i, "tokens": 10, "loss": 4.0 - i, "validation": None} for i in range(4)]
    >>> curve(steps, points=2)
    {'step': [2, 4], 'tokens': [20, 40], 'loss': [3.5, 1.5], 'validation': [None, None]}
    """
    unit = "bits_per_char" if logged and "bits_per_char" in logged[0] else "loss"
    found, tokens, width = (
        {"step": [], "tokens": [], unit: [], "validation": []},
        0,
        -(-len(logged) // points),
    )
    for start in range(0, len(logged), width or 1):
        part = logged[start : start + width]
        tokens += sum(step["tokens"] for step in part)
        measured = [step["validation"] for step in part if step["validation"] is not None]
        mean = sum(step[unit] for step in part) / len(part)
        point = part[-1]["step"] + 1, tokens, round(mean, 4), round(measured[-1], 4) if measured else None
        for values, value in zip(found.values(), point, strict=True):
            values.append(value)
    return found


def _named(ones: list[dict], fields: set[str], without: tuple[str, ...] = ()) -> dict[Name, dict]:
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
