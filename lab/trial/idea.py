"""The file with an idea: what it defines, and what the idea changes."""

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from lab.runs import Experiment, differences


@dataclass(frozen=True)
class Idea:
    """An idea, the file that it stands in, and what it is compared with; `changes` are the settings that differ."""

    path: Path
    idea: Experiment
    baseline: Experiment
    changes: tuple[str, ...]


def read_idea(path: str | os.PathLike) -> Idea:
    """What the Python file at `path` defines; the file is executed.

    `idea(baseline)`, or `idea()`, returns the `Experiment` that is tried; `baseline()`, which may be absent, the one
    that it has to beat: by default `Experiment.usual()`. The text is that of the baseline, and how many steps are
    trained with which seeds is the referee's to say: in these an idea changes nothing.

    >>> read_idea("trials/muon.py").changes  # doctest: +SKIP
    ('training.optimizer: adamw -> muon',)

    Raises ValueError, naming the file, for one that is not there or fails, that defines no idea, returns anything but
    an Experiment, starts from another run, or changes nothing.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give the path of a Python file that defines idea()")
    module = called(path, _imported, path)
    if not callable(getattr(module, "idea", None)):
        raise ValueError(
            f"{path.name} defines no idea(): write a function idea(baseline) that returns an Experiment, such as "
            "replace(baseline, training=replace(baseline.training, optimizer='adamw'))"
        )
    baseline = called(path, module.baseline) if hasattr(module, "baseline") else Experiment.usual()
    idea = called(path, module.idea, *[baseline][: len(inspect.signature(module.idea).parameters)])
    for name, found in (("baseline()", baseline), ("idea()", idea)):
        if not isinstance(found, Experiment):
            kind = type(found).__name__
            raise ValueError(f"{name} of {path.name} must return a lab.runs.Experiment, got a {kind}")
        if found.start is not None:
            raise ValueError(
                f"{name} of {path.name} starts from the run {found.start!r}, which may have read the lines that a "
                "trial holds out: leave `start` out"
            )
    how = replace(idea.training, steps=baseline.training.steps)
    data = replace(idea.data, corpus=baseline.data.corpus, sha256=baseline.data.sha256)
    changes = differences(baseline, replace(idea, training=how, data=data, seed=baseline.seed))
    if not changes:
        raise ValueError(
            f"idea() of {path.name} is its baseline: it must change a setting, an objective or a model. The text, "
            "the number of steps and the seed are the referee's"
        )
    return Idea(path, idea, baseline, tuple(c for c in changes if not c.startswith("objective.source")))


def called(path: Path, function: Callable, *given) -> Any:
    """What it returns. Raises ValueError for whatever goes wrong in it, with the line of the file."""
    try:
        return function(*given)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        at = [f" in line {frame.lineno}" for frame in frames if frame.filename == str(path)]
        raise ValueError(f"{path.name} raised {type(error).__name__}{''.join(at[-1:])}: {error}") from error


def _imported(path: Path) -> ModuleType:
    """The file as a module, by which other processes find its classes; its name hides no other module."""
    name = f"idea_{path.stem}"
    spec = spec_from_file_location(name, path)
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
