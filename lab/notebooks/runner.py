"""Runs notebooks through papermill and gathers what they measured and claimed."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill
from traitlets.config import Config

from lab.notebooks.claims import ANSWER_MIME, METRIC_MIME
from lab.notebooks.profiles import PROFILES

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
TEMPLATE = NOTEBOOKS / "template.ipynb"  # the page that a lesson is begun from
PICTURES = "pictures"  # a folder beside the notebooks: what their answers show
LONGEST_CELL_SECONDS = {"smoke": 300, "standard": 1800, "full": 6 * 3600}
SETTINGS = Config(
    {
        "KernelManager": {"transport_encryption": "auto"},  # talk to kernels in secret, and unwarned
        "NotebookClient": {"extra_arguments": ["--IPKernelApp.log_level=50"]},  # how one ends is no news
    }
)


@dataclass
class NotebookRun:
    """One executed notebook: where its output lies, how long it took, its metrics, and what failed.

    `lacking` is the sentence of `needs`, where the text lacks what this notebook is about: no failure. `answer` is what
    it answers to its title.
    """

    name: str
    output: Path
    seconds: float
    metrics: list[dict] = field(default_factory=list)
    error: str | None = None
    lacking: str | None = None
    answer: str | None = None

    @property
    def verdict(self) -> str:
        return "failed" if self.error else "does not apply" if self.lacking else "passed"

    @property
    def passed(self) -> bool:
        return self.verdict == "passed"


def all_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """The numbered notebooks, in order."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def find_notebooks(names: tuple[str, ...] = ()) -> list[Path]:
    """The notebooks whose names begin with one of `names`; all that are numbered when there is none.

    >>> [path.stem for path in find_notebooks(("00", "template"))]
    ['00_start_here', 'template']
    """
    found = all_notebooks() + [path for path in [TEMPLATE] if path.stem in names]
    for name in names:
        if not name or not any(path.stem.startswith(name) for path in found):
            raise ValueError(
                f"no notebook begins with {name!r}: there are {', '.join(p.stem for p in found)}"
            )
    return [path for path in found if not names or path.stem.startswith(names)]


def metrics_of(notebook: nbformat.NotebookNode) -> list[dict]:
    """Every figure and claim in the notebook's outputs, in order."""
    found = [o["data"][METRIC_MIME] for o in outputs_of(notebook) if METRIC_MIME in o.get("data", {})]
    return [metric | {"value": _number(metric["value"])} for metric in found]


def outputs_of(notebook: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """The outputs of all cells, in order."""
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def answer_of(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """The answer in the notebook's outputs, its `text` in Markdown and its `picture`; None where it gives none."""
    return next((o.data[ANSWER_MIME] for o in outputs_of(notebook) if ANSWER_MIME in o.get("data", {})), None)


def _number(value: float | str) -> float:
    """JSON has no nan and no infinity: they are written as text."""
    return float(value) if isinstance(value, str) else value


def claims_of(notebook: nbformat.NotebookNode) -> set[str]:
    """The names of all claims in the notebook's outputs."""
    return {metric["name"] for metric in metrics_of(notebook) if metric["claim"] is not None}


def run_notebook(
    path: Path, output_folder: Path, parameters: dict[str, object], *, progress: bool = True
) -> NotebookRun:
    """Execute `path` with `parameters`, leaving the executed notebook in `output_folder`.

    A failing cell, a failing claim, or a claim that the committed notebook makes and this run did not,
    ends up in `.error`, a text that the notebook does not apply to in `.lacking`; the other cells' results are kept.
    Raises ValueError for an unknown parameter.
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
            config=SETTINGS,
        )
    except Exception as failure:  # whatever went wrong inside belongs in the report, not in our traceback
        error = str(failure).strip() or type(failure).__name__
    seconds = time.perf_counter() - start
    executed = nbformat.read(output, as_version=4) if output.exists() else nbformat.v4.new_notebook()
    stopped = next((output for output in outputs_of(executed) if output.output_type == "error"), None)
    if stopped and stopped.ename == "DoesNotApply":
        return NotebookRun(path.stem, output, seconds, metrics_of(executed), lacking=stopped.evalue)
    if stopped and error is None:  # papermill takes SystemExit for a good end
        error = f"a cell ended the notebook: {stopped.ename} {stopped.evalue}"
    error = error or _broken_promise(path, executed)
    answer = (answer_of(executed) or {}).get("text")
    return NotebookRun(path.stem, output, seconds, metrics_of(executed), error, answer=answer)


def _broken_promise(path: Path, executed: nbformat.NotebookNode) -> str | None:
    """Claims that do not hold, though the notebook caught the error, and those that it never came to."""
    false = [metric["name"] for metric in metrics_of(executed) if not metric["holds"]]
    if false:
        return f"claims that do not hold: {', '.join(false)}"
    missing = claims_of(nbformat.read(path, as_version=4)) - claims_of(executed)
    if missing:
        return f"claims that the committed notebook makes were not made: {', '.join(sorted(missing))}"
    return None


def run_alone(path: Path, output_folder: Path, parameters: dict[str, object]) -> NotebookRun:
    """`run_notebook` for a worker process beside others: one thread each, nothing printed."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    return run_notebook(path, output_folder, parameters, progress=False)
