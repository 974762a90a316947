"""Where runs lie, and which there are."""

import json
import os
import re
from pathlib import Path

from lab import bundle
from lab.bundle import BundleError, Experiment, Run
from lab.bundle.run_folder import step_of
from lab.bundle.run_folder import steps as bundles_in
from lab.files import sha256_bytes
from lab.runs.code import PACKAGE, code_version

ABOUT = "about.json"


def default_folder() -> Path:
    """`LAB_RUNS` if set, else `runs/` of the project, else `./runs`."""
    if named := os.environ.get("LAB_RUNS"):
        return Path(named)
    # Installed into site-packages there is no project around the package: then the current folder serves.
    project = PACKAGE.parent
    return (project if (project / "pyproject.toml").is_file() else Path.cwd()) / "runs"


def run_name(experiment: Experiment) -> str:
    """`decoder-kjv-3f2a9c1d`: the kind of model, the text, and a hash of the whole experiment and the code.

    Of visual diffusion the stage takes the place of the kind: `visual-reconstruction-kjv-91d0b7aa`.
    """
    whole = json.dumps([experiment.to_json(), code_version(experiment.kind)], sort_keys=True)
    kind = getattr(experiment.model, "cell", experiment.kind)
    if experiment.kind == "visual-diffusion":
        kind = f"visual-{type(experiment.objective).__name__.lower()}"
    corpus = re.sub(r"[^a-z0-9]+", "-", Path(experiment.data.corpus).stem.lower()).strip("-")[:24] or "text"
    return f"{kind}-{corpus}-{sha256_bytes(whole.encode())[:8]}"


def where(experiment: Experiment, folder: str | os.PathLike | None = None, name: str | None = None) -> Path:
    """The folder of this experiment's run in `folder` (by default `runs/`), called `name` or by its `run_name`."""
    if name is not None and (not name or Path(name).name != name or name.startswith(".")):
        raise ValueError(f"a run's name is the name of one folder, such as 'first-try'; got {name!r}")
    return Path(folder or default_folder()) / (name or run_name(experiment))


def run_folders(folder: str | os.PathLike | None = None) -> list[Path]:
    """The runs in a folder, by name: all folders in it that hold a bundle, or once were to hold one."""
    folder = Path(folder or default_folder())
    if not folder.is_dir():
        return []
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [path for path in inside if bundles_in(path) or (path / ABOUT).is_file()]


def find(name: str | os.PathLike, folder: str | os.PathLike | None = None) -> Path:
    """The run of that name: its folder or a bundle in it by path, or its name in `folder`, of which a part is enough.

    Raises ValueError for a run that is not there, or more than one, listing them.
    """
    path = Path(name)
    if os.fspath(name) and (step_of(path) is not None or bundles_in(path)):
        return path
    folder = Path(folder or default_folder())
    runs = {run.name: run for run in run_folders(folder)}
    if path.name in runs and path.parent in (Path(), folder):
        return runs[path.name]
    fitting = [run for run in runs if os.fspath(name) and os.fspath(name) in run]
    if len(fitting) == 1:
        return runs[fitting[0]]
    listed = "\n".join(f"  {run}" for run in fitting or runs) or "  none; `lab train` makes one"
    problem = f"{len(fitting)} runs fit" if fitting else "no run is called"
    raise ValueError(f"{problem} {os.fspath(name)!r}. Runs in {folder}:\n{listed}")


def open_runs(folder: str | os.PathLike | None = None) -> dict[str, Run | BundleError]:
    """All runs of a folder by name, each from its newest bundle; what cannot be loaded is the error that says why."""
    return {path.name: _opened(path) for path in run_folders(folder)}


def _opened(path: Path) -> Run | BundleError:
    try:
        return bundle.load(path)
    except BundleError as error:
        return error


def trained_by(run_folder: Path) -> str | None:
    """The `code_version` that began the run in that folder; None where nothing says so."""
    try:
        return json.loads((run_folder / ABOUT).read_text("utf-8"))["code"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
