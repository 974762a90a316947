"""Runs notebooks through papermill and gathers what they measured and claimed."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill
from traitlets.config import Config

from lab.notebooks.claims import METRIC_MIME, PROFILES

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
LONGEST_CELL_SECONDS = {"smoke": 300, "standard": 1800, "full": 6 * 3600}
ENCRYPTED = Config(
    {"KernelManager": {"transport_encryption": "auto"}}
)  # talk to kernels in secret, and unwarned


@dataclass
class NotebookRun:
    """One executed notebook: where its output lies, how long it took, its metrics, and what failed."""

    name: str
    output: Path
    seconds: float
    metrics: list[dict] = field(default_factory=list)
    error: str | None = None

    @property
    def passed(self) -> bool:
        return self.error is None


def all_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """The numbered notebooks, in order."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def find_notebooks(names: tuple[str, ...] = ()) -> list[Path]:
    """The notebooks whose names begin with one of `names`; all of them when there is none.

    >>> [path.stem for path in find_notebooks(("00",))]
    ['00_start_here']
    """
    found = all_notebooks()
    for name in names:
        if not any(path.stem.startswith(name) for path in found):
            raise ValueError(
                f"no notebook begins with {name!r}: there are {', '.join(p.stem for p in found)}"
            )
    return [path for path in found if not names or path.stem.startswith(names)]


def metrics_of(notebook: nbformat.NotebookNode) -> list[dict]:
    """Every figure and claim in the notebook's outputs, in order."""
    return [
        dict(output["data"][METRIC_MIME])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if METRIC_MIME in output.get("data", {})
    ]


def claims_of(notebook: nbformat.NotebookNode) -> set[str]:
    """The names of all claims in the notebook's outputs."""
    return {metric["name"] for metric in metrics_of(notebook) if metric["claim"] is not None}


def run_notebook(
    path: Path, output_folder: Path, parameters: dict[str, object], *, progress: bool = True
) -> NotebookRun:
    """Execute `path` with `parameters`, leaving the executed notebook in `output_folder`.

    A failing cell, a failing claim, or a claim that the committed notebook makes and this run did not,
    ends up in `.error`; the other cells' results are kept. Raises ValueError for an unknown parameter.
    """
    known = papermill.inspect_notebook(str(path))
    unknown = parameters.keys() - known.keys()
    if unknown:
        raise ValueError(
            f"{path.name} has no parameter {', '.join(sorted(unknown))}: its parameters are {', '.join(known)}"
        )
    profile = parameters.get("profile", "standard")
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    output_folder.mkdir(parents=True, exist_ok=True)
    output, start, error = output_folder / path.name, time.perf_counter(), None
    try:
        papermill.execute_notebook(
            str(path),
            str(output),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(path.parent),
            progress_bar={"desc": path.stem, "unit": "cell"} if progress else False,
            execution_timeout=LONGEST_CELL_SECONDS[profile],
            request_save_on_cell_execute=True,
            config=ENCRYPTED,
        )
    except Exception as failure:  # whatever went wrong inside belongs in the report, not in our traceback
        error = str(failure).strip() or type(failure).__name__
    seconds = time.perf_counter() - start
    executed = nbformat.read(output, as_version=4) if output.exists() else nbformat.v4.new_notebook()
    missing = claims_of(nbformat.read(path, as_version=4)) - claims_of(executed)
    if missing and error is None:
        error = f"claims that the committed notebook makes were not made: {', '.join(sorted(missing))}"
    return NotebookRun(path.stem, output, seconds, metrics_of(executed), error)


def run_alone(path: Path, output_folder: Path, parameters: dict[str, object]) -> NotebookRun:
    """`run_notebook` for a worker process beside others: one thread each, nothing printed."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    return run_notebook(path, output_folder, parameters, progress=False)
