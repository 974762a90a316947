"""Runs side by side: what differs in their settings, and what came of it."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lab.bundle import BundleError, Run
from lab.bundle.run_folder import newest
from lab.bundle.step_folder import read_manifest
from lab.chars import CharacterScores
from lab.config import from_json
from lab.diffusion.stages import Recovered
from lab.runs.folder import ABOUT, open_runs, run_folders, trained_by
from lab.score import Score
from lab.speech.recognition import Transcribed

AVERAGED = 20  # the last steps whose mean loss is the final one
RESULTS = (
    "bits_per_char", "bound", "cer", "train_bits_per_char", "steps", "parameters", "seconds", "tokens_per_second",
    "date", "state",
)  # fmt: skip
SELDOM = ("bound", "cer")  # columns that are there if any run needs them

# What a run may come to: the name in the last line of its metrics, and the record.
OUTCOMES = {"score": Score, "recovered": Recovered, "characters": CharacterScores, "transcribed": Transcribed}
Outcome = Score | Recovered | CharacterScores | Transcribed


def steps(run: Run) -> list[dict]:
    """The logged steps of a run: the fields of `Step`, and `bits_per_char`."""
    return [metric for metric in run.metrics if "loss" in metric]


def outcome(run: Run) -> Outcome | None:
    """What was measured at the end of training; None for a run that has not come so far."""
    found = [
        from_json(kind, metric[name])
        for metric in run.metrics
        for name, kind in OUTCOMES.items()
        if name in metric
    ]
    return found[-1] if found else None


def score(run: Run) -> Score | None:
    """What the validation lines cost at the end of training, or at most; None where they were not scored (yet).

    Of a character encoder it is what its decoder pays.
    """
    found = outcome(run)
    found = found.clm if isinstance(found, CharacterScores) else found
    return found if isinstance(found, Score) else None


def settings(run: Run) -> dict:
    """Every setting of a run by its place: `{"model.width": 192, ..., "seed": 0}`; what is said twice, once."""
    flat = _flat(run.experiment.to_json())
    twice = {"data.vocab_size": "model.vocab_size", "data.context": "model.context", "data.seed": "seed"}
    return {name: value for name, value in flat.items() if name not in twice or value != flat[twice[name]]}


def differing(all_settings: Mapping[str, dict]) -> dict[str, dict]:
    """Of each run's settings those in which the runs are not all alike; one that a run does not have is None.

    >>> differing({"a": {"seed": 0, "width": 8}, "b": {"seed": 0, "width": 16}})
    {'a': {'width': 8}, 'b': {'width': 16}}
    """
    names = dict.fromkeys(name for one in all_settings.values() for name in one)
    differ = [n for n in names if len({repr(one.get(n)) for one in all_settings.values()}) > 1]
    for name, follows in {"data.corpus": "data.sha256", "start.run": "start.weights"}.items():
        if name in differ:
            differ = [n for n in differ if n != follows]  # of course
    return {run: {name: one.get(name) for name in differ} for run, one in all_settings.items()}


def table(folder: str | os.PathLike | None = None) -> pd.DataFrame:
    """One row a run of `folder`, by name: the settings that differ, then what came of it.

    `bits_per_char` is that of the validation lines, `train_bits_per_char` the mean of the last 20 steps. Where it is
    only known to be at most so many, the column `bound` has "<="; `cer` is the share of wrong characters, by CTC, of a
    run that hears; these two are there if any run needs them. `state` says "done", how far an unfinished run is, or why
    a damaged one cannot be read.
    """
    opened = open_runs(folder)
    intact = {name: run for name, run in opened.items() if isinstance(run, Run)}
    paths = {path.name: path for path in run_folders(folder)}
    known = {
        name: settings(run) | {"code": (trained_by(paths[name]) or "")[:8]} for name, run in intact.items()
    }
    differ = differing(known)
    rows = {}
    for name, run in opened.items():
        if isinstance(run, BundleError):
            rows[name] = {"state": _why(run, paths[name])}
        else:
            rows[name] = differ[name] | _results(run, paths[name])
    results = [
        n for n in RESULTS if n not in SELDOM or any(row.get(n) not in (None, "") for row in rows.values())
    ]
    columns = [*next(iter(differ.values()), {}), *results]
    values = [[row.get(column) for column in columns] for row in rows.values()]
    made = pd.DataFrame(values, index=list(rows), columns=columns, dtype=object)
    made = made.where(made.notna(), math.nan)
    for column in ("bits_per_char", "train_bits_per_char", "seconds", "tokens_per_second"):
        made[column] = made[column].astype(float)
    for column in ("steps", "parameters"):
        made[column] = made[column].astype("Int64")  # whole numbers, also beside a damaged run
    return made.rename_axis("run")


def _results(run: Run, path: Path) -> dict:
    state, found, logged = run.training_state, score(run), steps(run)
    came_to = outcome(run)
    unfinished = came_to is None
    done = f"stopped at step {state.step} of {run.experiment.training.steps}" if unfinished else "done"
    last = [step["bits_per_char"] for step in logged[-AVERAGED:] if "bits_per_char" in step]
    return {
        "bits_per_char": math.nan if found is None else found.bits_per_char,
        "bound": "<=" if found is not None and found.is_bound else "",
        "cer": came_to.ctc_cer if isinstance(came_to, Transcribed) else None,
        "train_bits_per_char": sum(last) / len(last) if last else math.nan,
        "steps": state.step,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "seconds": state.seconds,
        "tokens_per_second": state.tokens / state.seconds if state.seconds else math.nan,
        "date": read_manifest(newest(path))["date"][:10],
        "state": done,
    }


def _flat(values: dict, place: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{place}{key}.") if isinstance(value, dict) else {place + key: value}
    return flat


def _why(error: BundleError, path: Path) -> str:
    begun = (path / ABOUT).is_file() and not any(path.glob("step-*"))
    return "begun, nothing saved yet" if begun else f"damaged: {error}"
