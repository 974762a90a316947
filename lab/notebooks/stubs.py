"""Whether the claims of a lesson hold it: they fail without what is written by hand, and the solutions solve."""

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import wraps
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType

import nbformat
import numpy as np
import torch
from nbformat import NotebookNode

from lab.notebooks.exercises import ATTEMPT_MIME
from lab.notebooks.runner import NotebookRun, outputs_of, run_alone
from lab.notebooks.shape import SOLUTION, cells_of, is_lesson

AS_ZEROS = "\n\nfrom lab.notebooks.stubs import zeroed\n\n{}"


def zeroed(thing: object) -> object:
    """The same with zeros in place of what it gives: a function, a class by its methods, or a value.

    >>> zeroed(lambda x: (x + 1, "text"))(1), zeroed([True, 2.5])
    ((0, ''), [False, 0.0])
    """
    if isinstance(thing, type):
        for name, method in list(vars(thing).items()):
            if isinstance(method, FunctionType) and (name == "__call__" or not name.startswith("__")):
                setattr(thing, name, zeroed(method))
        return thing
    if isinstance(thing, FunctionType):
        return wraps(thing)(lambda *given, **named: zeroed(thing(*given, **named)))
    if isinstance(thing, torch.Tensor):  # still a function of the weights, so that training goes on
        return torch.nan_to_num(thing) * 0 if thing.is_floating_point() else torch.zeros_like(thing)
    if isinstance(thing, dict):
        return {name: zeroed(value) for name, value in thing.items()}
    if isinstance(thing, list | set) or type(thing) is tuple:
        return type(thing)(map(zeroed, thing))
    if isinstance(thing, Iterator):
        return map(zeroed, thing)
    if isinstance(thing, bool | int | float | str | bytes):
        return type(thing)()
    return np.zeros_like(thing) if isinstance(thing, np.ndarray | np.generic) else thing


def stubbed(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """For each cell by hand, what it is called and a copy of the notebook in which its functions give zeros."""
    for cell in cells_of(notebook):
        if "by-hand" in cell.tags:
            names = cell.functions
            variant = copy.deepcopy(notebook)
            variant.cells[cell.number - 1].source += AS_ZEROS.format(
                "\n".join(f"{n} = zeroed({n})" for n in names)
            )
            yield f"cell {cell.number} ({', '.join(names)})", variant


def solved(notebook: NotebookNode) -> NotebookNode:
    """A copy in which each exercise is its solution, taken from below its check."""
    variant = copy.deepcopy(notebook)
    for cell, below in zip(variant.cells, cells_of(notebook)[2:], strict=False):
        if "exercise" in cell.metadata.get("tags", []):
            cell.source = SOLUTION.search(below.source)[1]
    return variant


def complaints(paths: list[Path], say: Callable[[str], None] = print) -> list[str]:
    """What can be taken from these lessons without a claim that fails, and exercises whose solutions solve nothing.

    Each variant is run at `smoke`, two at once. A few seconds a cell, as a run ends where a claim fails, and for the
    solutions one whole run a lesson.
    """
    found, jobs = [], []
    with TemporaryDirectory() as folder, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for path in paths:
            notebook = nbformat.read(path, as_version=4)
            if is_lesson(notebook):
                for what, variant in [*stubbed(notebook), ("", solved(notebook))]:
                    place = Path(folder, str(len(jobs)), path.name)
                    place.parent.mkdir()
                    nbformat.write(variant, place)
                    job = pool.submit(run_alone, place, place.parent / "run", {"profile": "smoke"})
                    jobs.append((path.name, what, job))
        for name, what, job in jobs:
            run = job.result()
            problem = _held(run) if what else _unsolved(run)
            say(f"{name}: {what or 'solutions'}: {problem or 'as it should be'} ({run.seconds:.0f} s)")
            found += [f"{name}: {what}: {problem}"] if problem else []
    return found


def _held(run: NotebookRun) -> str:
    if any(not metric["holds"] for metric in run.metrics):
        return ""
    how = f"an error ends it first: {run.error.splitlines()[-1]}" if run.error else "every claim holds"
    return f"giving zeros breaks no claim, {how}. Claim right after the cell what it computes"


def _unsolved(run: NotebookRun) -> str:
    if run.error:
        return f"solving the exercises breaks the notebook: {run.error.splitlines()[-1]}"
    shown = [output.get("data", {}) for output in outputs_of(nbformat.read(run.output, as_version=4))]
    passed = [data[ATTEMPT_MIME]["passed"] for data in shown if ATTEMPT_MIME in data]
    return "" if all(passed) else f"{passed.count(True)} of {len(passed)} solutions pass their checks"
