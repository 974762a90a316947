"""Runs side by side: what differs in their settings, and what came of it."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lab.outside import OutsideNeeded
from lab.runs.checkpoint import Run, load
from lab.runs.experiment import Experiment, flat
from lab.runs.folder import (
    ABOUT,
    CheckpointError,
    about,
    checkpoints,
    default_folder,
    disk_use,
    find,
    newest,
    read_manifest,
    run_folders,
    where,
)
from lab.score import Score

FOLLOWS = {"data.corpus": "data.sha256", "start.run": "start.weights", "objective.class": "objective.source"}
AVERAGED = 20  # the last steps whose mean loss is the final one


class RunFailed(ValueError):
    """Why a run of a sweep did not come to its end: it `diverged`, `failed`, `died` or is `damaged`."""

    def __init__(self, kind: str, why: str):
        super().__init__(f"{kind}: {why}")
        self.kind = kind


def steps(run: Run) -> list[dict]:
    """The logged steps of a run: the fields of `Report`, what the loss said besides, and `bits_per_char`."""
    return [metric for metric in run.metrics if "loss" in metric]


def outcome(run: Run) -> dict[str, float] | None:
    """What was measured at the end of training, by name; None for a run that has not come so far."""
    found = [metric["outcome"] for metric in run.metrics if "outcome" in metric]
    return found[-1] if found else None


def score(run: Run) -> Score | None:
    """What the validation lines cost at the end of training, or at most; None where they were not scored (yet)."""
    return Score.of_columns(outcome(run) or {})


def told(found: Mapping[str, float]) -> str:
    """An outcome in a few words: the score that it holds, or its columns."""
    columns = {name: value for name, value in found.items() if "." not in name}
    return str(Score.of_columns(found) or ", ".join(f"{name} {value:.4g}" for name, value in columns.items()))


def settings(run: Run) -> dict:
    """Every setting of a run by its place: `{"model.width": 192, ..., "seed": 0}`."""
    return flat(run.experiment.to_json())


def differing(all_settings: Mapping[str, dict]) -> dict[str, dict]:
    """Of each run's settings those in which the runs are not all alike; one that a run does not have is None.

    >>> differing({"a": {"seed": 0, "width": 8}, "b": {"seed": 0, "width": 16}})
    {'a': {'width': 8}, 'b': {'width': 16}}
    """
    names = dict.fromkeys(name for one in all_settings.values() for name in one)
    differ = [n for n in names if len({repr(one.get(n)) for one in all_settings.values()}) > 1]
    for name, follows in FOLLOWS.items():
        if name in differ:
            differ = [n for n in differ if n != follows]  # of course
    return {run: {name: one.get(name) for name in differ} for run, one in all_settings.items()}


def open_runs(
    folder: str | os.PathLike | None = None, outside: Sequence[type] = ()
) -> dict[str, Run | Exception]:
    """All runs of a folder by name, from its newest checkpoint each, or the error that says why it cannot be loaded."""
    return {path.name: _opened(path, outside) for path in run_folders(folder)}


def _opened(path: Path, outside: Sequence[type]) -> Run | Exception:
    try:
        return load(path, outside=outside)
    except CheckpointError as error:
        return error


def table(folder: str | os.PathLike | None = None, outside: Sequence[type] = ()) -> pd.DataFrame:
    """The runs of a folder, by default of `runs/`: the settings in which they differ, and what came of them.

    What an objective measured at the end stands in columns of its own, such as `bits_per_char` of the validation lines
    (at most so many where `bound` has "<="); `train_bits_per_char` is the mean of the last 20 steps, `megabytes` the
    room that a run takes on disk, with all its checkpoints. `state` says "done", how far an unfinished run is, or why a
    damaged one cannot be read.
    """
    return _table(open_runs(folder, outside), folder)


def side_by_side(
    a: str | os.PathLike,
    b: str | os.PathLike,
    folder: str | os.PathLike | None = None,
    outside: Sequence[type] = (),
) -> pd.DataFrame:
    """The same of two runs, by name or path: two lines, which go by what they were asked for.

    Raises ValueError where they are one run, or one is not there.
    """
    paths = {os.fspath(name): find(name, folder) for name in (a, b)}
    if len({path.resolve() for path in paths.values()}) < 2:
        raise ValueError(f"{a} and {b} are one run: name two")
    return _table({name: _opened(path, outside) for name, path in paths.items()}, folder, paths=paths)


def sweep_table(
    pairs: Sequence[tuple[Experiment, Run | RunFailed]], folder: str | os.PathLike | None = None
) -> pd.DataFrame:
    """The same of resolved experiments and what came of each; a run that failed has its settings too."""
    opened = {where(experiment, folder).name: run for experiment, run in pairs}
    asked = {where(experiment, folder).name: flat(experiment.to_json()) for experiment, _ in pairs}
    return _table(opened, folder, asked=asked)


def tables(folder: str | os.PathLike | None = None, outside: Sequence[type] = ()) -> dict[str, pd.DataFrame]:
    """A table for the runs of each objective, by its name, the outcome first; under "" those that cannot be read."""
    opened, kinds = open_runs(folder, outside), {}
    for name, run in opened.items():
        kinds.setdefault(run.experiment.objective.name if isinstance(run, Run) else "", {})[name] = run
    return {
        kind: _table(kinds[kind], folder, outcome_first=True)
        for kind in sorted(kinds, key=lambda k: (not k, k))
    }


def _table(
    opened: Mapping[str, Run | Exception],
    folder,
    outcome_first: bool = False,
    asked: Mapping[str, dict] = {},
    paths: Mapping[str, Path] = {},
) -> pd.DataFrame:
    paths = paths or {name: Path(folder or default_folder()) / name for name in opened}
    intact = {name: run for name, run in opened.items() if isinstance(run, Run)}
    code = {name: (about(paths[name]).get("code") or "")[:8] for name in intact}
    known = {name: settings(run) | {"code": code[name]} for name, run in intact.items()}
    differ = differing(asked or known)
    rows = {
        name: differ.get(name, {})
        | (_results(run, paths[name]) if name in intact else {"state": _why(run, paths[name])})
        | {"megabytes": disk_use(paths[name]) / 1e6}
        for name, run in opened.items()
    }
    first = [*next(iter(differ.values()), {})]
    last = [
        "train_bits_per_char",
        "steps",
        "parameters",
        "seconds",
        "tokens_per_second",
        "megabytes",
        "date",
        "state",
    ]
    found = {"bits_per_char": None} | {
        n: None for row in rows.values() for n in row if n not in (*first, *last)
    }
    columns = [*found, *first, *last] if outcome_first else [*first, *found, *last]
    values = [[row.get(column) for column in columns] for row in rows.values()]
    made = pd.DataFrame(values, index=list(rows), columns=columns, dtype=object)
    made = made.where(made.notna(), math.nan)
    for column in ("bits_per_char", "train_bits_per_char", "seconds", "tokens_per_second", "megabytes"):
        made[column] = made[column].astype(float)
    for column in ("steps", "parameters"):
        made[column] = made[column].astype("Int64")  # whole numbers, also beside a damaged run
    return made.rename_axis("run")


def _results(run: Run, path: Path) -> dict:
    state, found, last = run.state, outcome(run) or {}, steps(run)[-AVERAGED:]
    columns = {name: value for name, value in found.items() if "." not in name}
    if columns.pop("is_bound", False):
        columns["bound"] = "<="
    for counted in ("nats", "chars", "tokens"):
        columns.pop(counted, None)
    bits = [step["bits_per_char"] for step in last if "bits_per_char" in step]
    unfinished = f"stopped at step {state.step} of {run.experiment.training.steps}"
    return columns | {
        "train_bits_per_char": sum(bits) / len(bits) if bits else math.nan,
        "steps": state.step,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "seconds": state.seconds,
        "tokens_per_second": state.tokens / state.seconds if state.seconds else math.nan,
        "date": read_manifest(newest(path))["date"][:10],
        "state": "done" if found else unfinished,
    }


def _why(error: Exception, path: Path) -> str:
    if isinstance(error, RunFailed):
        return str(error)
    if isinstance(getattr(error.__cause__, "__cause__", None), OutsideNeeded):
        return f"needs what is not here: {error.__cause__.__cause__}"
    begun = (path / ABOUT).is_file() and not checkpoints(path)
    return "begun, nothing saved yet" if begun else f"damaged: {error}"
