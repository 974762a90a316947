"""Where runs lie, which there are, and which of a run's checkpoints is the newest or the best."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lab.files import nameable, sha256_bytes
from lab.runs.code import PACKAGE, code_version
from lab.runs.experiment import Experiment
from lab.runs.manifest import MANIFEST, CheckpointError, from_json_bytes, read_file, read_manifest

ABOUT = "about.json"
MODELS = PACKAGE.parent / "models"  # runs that come with the project
NAME = re.compile(r"step-(\d{8,})(?:\.(\d+))?")


def default_folder() -> Path:
    """`LAB_RUNS` if set, else `runs/` of the project, else `./runs`."""
    if named := os.environ.get("LAB_RUNS"):
        return Path(named)
    # Installed into site-packages there is no project around the package: then the current folder serves.
    project = PACKAGE.parent
    return (project if (project / "pyproject.toml").is_file() else Path.cwd()) / "runs"


def run_name(experiment: Experiment) -> str:
    """`next-token-kjv-3f2a9c1d`: the objective, the text, and a hash of the whole experiment and the code."""
    whole = experiment.to_json()
    del whole["data"]["corpus"]  # its sha256 says which text it is
    digest = sha256_bytes(json.dumps([whole, code_version(experiment.objective)], sort_keys=True).encode())
    plain = lambda name: re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24]  # noqa: E731
    kind = plain(getattr(experiment.model, "cell", experiment.objective.name))
    return f"{kind or 'run'}-{plain(experiment.data.name) or 'text'}-{digest[:8]}"


def where(experiment: Experiment, folder: str | os.PathLike | None = None, name: str | None = None) -> Path:
    """The folder of this experiment's run in `folder` (by default `runs/`), called `name` or by its `run_name`."""
    if name is not None and (not nameable(name) or name[0] in "._" or NAME.fullmatch(name)):
        raise ValueError(
            f"a run's name is the name of one folder on any system, such as 'first-try'; got {name[:80]!r}"
        )
    return Path(folder or default_folder()) / (name or run_name(experiment))


def run_folders(folder: str | os.PathLike | None = None) -> list[Path]:
    """The runs in a folder, by name: all folders in it that hold a checkpoint, or once were to hold one."""
    folder = Path(folder or default_folder())
    if not folder.is_dir():
        return []
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [path for path in inside if checkpoints(path) or (path / ABOUT).is_file()]


def shipped(name: str) -> Path | None:
    """The run of that name in `models/`, of "kjv-1", "kjv-2" and so on the newest for "kjv"; None where none is."""
    versions = {}
    for path in run_folders(MODELS):
        stem, _, version = path.name.rpartition("-")
        if path.name == name:
            return path
        if stem == name and version.isdecimal():
            versions[int(version)] = path
    return versions[max(versions)] if versions else None


def find(name: str | os.PathLike, folder: str | os.PathLike | None = None) -> Path:
    """The run of that name: its folder or a checkpoint by path, or its name in `folder`, of which a part is enough.

    A model that comes with the project goes by its name too, where no run in the folder has the same.

    Raises ValueError for a run that is not there, or more than one, listing them.
    """
    path = Path(name)
    if os.fspath(name) and (is_checkpoint(path) or checkpoints(path)):
        return path
    folder = Path(folder or default_folder())
    runs = {run.name: run for run in run_folders(folder)}
    if path.name in runs and path.parent in (Path(), folder):
        return runs[path.name]
    if path.parent == Path() and (model := shipped(path.name)):
        return model
    fitting = [run for run in runs if os.fspath(name) and os.fspath(name) in run]
    if len(fitting) == 1:
        return runs[fitting[0]]
    listed = "\n".join(f"  {run}" for run in fitting or runs) or "  none; `lab train` makes one"
    problem = f"{len(fitting)} runs fit" if fitting else "no run is called"
    raise ValueError(f"{problem} {os.fspath(name)!r}. Runs in {folder}:\n{listed}")


def disk_use(run_folder: Path) -> int:
    """The bytes of all files of a run, with all its checkpoints."""
    found = 0
    for place, _, files in os.walk(run_folder):
        for name in files:
            with suppress(FileNotFoundError):  # a run that is being trained saves, and removes what is old
                found += os.lstat(os.path.join(place, name)).st_size
    return found


def about(run_folder: Path) -> dict:
    """What is known of the run in a folder before its first checkpoint: its `id`, the version of the `code`."""
    try:
        found = from_json_bytes(read_file(run_folder / ABOUT))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def checkpoint_name(step: int, saved: int = 0) -> str:
    """`step-00000100`, and `step-00000100.1` for the same step saved once more: names sort as their numbers do."""
    return f"step-{step:08d}" + (f".{saved}" if saved else "")


def number_of(path: Path) -> tuple[int, int] | None:
    """The step and the how-manieth saving of it in a checkpoint's name, None where the name is another."""
    match = NAME.fullmatch(path.name)
    return (int(match[1]), int(match[2] or 0)) if match else None


def is_checkpoint(path: Path) -> bool:
    """Whether this is the folder of one checkpoint, by its name or what it holds."""
    return number_of(path) is not None or (path / MANIFEST).is_file()


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in inside if number_of(path) and path.is_dir()), key=number_of)


def newest(folder: Path) -> Path:
    """The newest checkpoint of a run, be it intact or not, or the checkpoint itself; CheckpointError for none."""
    if is_checkpoint(folder):
        return folder
    if not (found := checkpoints(folder)):
        raise CheckpointError(
            f"there is no checkpoint in {folder}: expected folders such as {checkpoint_name(100)}"
        )
    return found[-1]


def best(folder: Path) -> Path:
    """The checkpoint with the lowest validation.

    Raises CheckpointError when nothing was measured, or a manifest cannot be read: that one might be the best.
    """
    newest(folder)
    chosen = _best_of({path: read_manifest(path) for path in checkpoints(folder)})
    if chosen is None:
        raise CheckpointError(
            f"no checkpoint in {folder} has a validation: load the newest, without best=True"
        )
    return chosen


def superseded(folder: Path, keep_last: int, written: Path) -> Iterator[Path]:
    """The checkpoints that may go: all but the `keep_last` newest, the best, and the one just `written`.

    What cannot be read is left for a person to see.
    """
    manifests = {}
    for path in checkpoints(folder):
        try:
            manifests[path] = read_manifest(path)
        except CheckpointError:
            continue
    again = {path for path in manifests if number_of(path)[0] == number_of(written)[0] and path != written}
    left = {path: manifest for path, manifest in manifests.items() if path not in again}
    kept = {*list(left)[-keep_last:], _best_of(left), written}
    return (path for path in manifests if path not in kept)


def _best_of(manifests: dict[Path, dict]) -> Path | None:
    measured = {path: m["validation"] for path, m in manifests.items() if m["validation"] is not None}
    return min(measured, key=measured.get) if measured else None
