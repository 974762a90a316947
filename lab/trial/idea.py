"""The file with an idea: what it defines, and what the idea changes."""

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from lab.runs import Experiment, differences


@dataclass(frozen=True)
class Idea:
    """An idea and what it is compared with.

    changes   the settings in which they differ, such as `"model.positions: rotary -> learned"`; the number of steps
              and the seed are the referee's, and do not count
    """

    path: Path
    idea: Experiment
    baseline: Experiment
    changes: tuple[str, ...]


def read_idea(path: str | os.PathLike) -> Idea:
    """What the Python file at `path` defines; the file is executed.

    `idea(baseline)`, or `idea()`, returns the `Experiment` that is tried; `baseline()`, which may be absent, the one
    that it has to beat: by default `Experiment.usual()`.

    >>> read_idea("trials/muon.py").changes  # doctest: +SKIP
    ('training.optimizer: adamw -> muon',)

    Raises ValueError, naming the file, for one that is not there or fails, that defines no idea, returns anything but
    an Experiment, starts from another run, or changes nothing.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give the path of a Python file that defines idea()")
    module = _imported(path)
    if not callable(getattr(module, "idea", None)):
        raise ValueError(
            f"{path.name} defines no idea(): write a function idea(baseline) that returns an Experiment, such as "
            "replace(baseline, training=replace(baseline.training, optimizer='adamw'))"
        )
    baseline = _returned(path, module.baseline) if hasattr(module, "baseline") else Experiment.usual()
    given = [baseline] if inspect.signature(module.idea).parameters else []
    idea = _returned(path, module.idea, *given)
    alike = replace(idea, seed=baseline.seed, training=replace(idea.training, steps=baseline.training.steps))
    changes = tuple(differences(baseline, alike))
    if not changes:
        raise ValueError(
            f"idea() of {path.name} is its baseline: it must change a setting, an objective or a model. The number "
            "of steps and the seed are the referee's"
        )
    return Idea(path, idea, baseline, tuple(c for c in changes if not c.startswith("objective.source")))


def _imported(path: Path) -> ModuleType:
    """The file as a module of its own name, by which other processes find its classes."""
    name = path.stem
    known = PathFinder.find_spec(name)
    if name in sys.stdlib_module_names or (known and Path(known.origin or "").resolve() != path):
        raise ValueError(f"{path.name} would hide the module {name!r}: give the file another name")
    spec = spec_from_file_location(name, path)
    module = sys.modules[name] = module_from_spec(spec)
    with _its_errors(path, "reading it"):
        spec.loader.exec_module(module)
    return module


def _returned(path: Path, function: Callable, *given) -> Experiment:
    what = f"{function.__name__}()"
    with _its_errors(path, what):
        found = function(*given)
    if not isinstance(found, Experiment):
        kind = type(found).__name__
        raise ValueError(f"{what} of {path.name} must return a lab.runs.Experiment, got a {kind}")
    if found.start is not None:
        raise ValueError(
            f"{what} of {path.name} starts from the run {found.start!r}, which may have read the lines that a trial "
            "holds out: leave `start` out"
        )
    return found


@contextmanager
def _its_errors(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f" in line {frame.lineno}" for frame in frames if frame.filename == str(path)]
        at = lines[-1] if lines else ""
        raise ValueError(f"{path.name}: {what} raised {type(error).__name__}{at}: {error}") from error
