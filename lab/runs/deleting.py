"""Runs that are no longer wanted."""

import os
from contextlib import suppress
from pathlib import Path

from lab.runs.checkpoint import remove
from lab.runs.folder import (
    ABOUT,
    MODELS,
    CheckpointError,
    checkpoints,
    find,
    from_json_bytes,
    is_checkpoint,
    newest,
    read_file,
    run_folders,
)
from lab.runs.lock import locked
from lab.runs.manifest import clear


def delete(run: str | os.PathLike, folder: str | os.PathLike | None = None) -> Path:
    """Delete a run, by name or path, with all its checkpoints; what else lies in its folder stays.

    Raises RunBusy for a run that a process trains, and ValueError for one that is not there, for one checkpoint, and
    for a model that comes with the project.
    """
    path = find(run, folder)
    if path.parent == MODELS:
        raise ValueError(
            f"{path.name} comes with the project and is kept: `lab runs` lists what can be deleted"
        )
    if is_checkpoint(path):
        raise ValueError(f"{path} is one checkpoint of a run: name the run, {path.parent.name}")
    with locked(path):  # which removes what is left of a run without checkpoints
        for old in checkpoints(path):
            remove(old)
        clear(path)
        (path / ABOUT).unlink(missing_ok=True)
    return path


def started_from(run: Path) -> list[str]:
    """The names of the runs beside this one that began with its weights, and need it to be trained on."""
    return [other.name for other in run_folders(run.parent) if _start(other) == run.name]


def _start(run: Path) -> str | None:
    with suppress(CheckpointError, ValueError, LookupError, TypeError):
        return from_json_bytes(read_file(newest(run) / "experiment.json"))["start"]["run"]
