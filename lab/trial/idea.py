"""The file with an idea: what it defines, read once, and what the idea changes."""

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from lab.runs import Experiment, differences

RATES = ("training.matrix_lr: ", "training.other_lr: ")


@dataclass(frozen=True)
class Idea:
    """An idea and what it is compared with.

    changes   the settings in which they differ, `"model.positions: rotary -> learned"`; the number of steps and the
              seed are the referee's, and do not count
    """

    path: Path
    idea: Experiment
    baseline: Experiment
    changes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def is_learning_rate(self) -> bool:
        """Whether the learning rate is all that it changes."""
        return all(change.startswith(RATES) for change in self.changes)


def read_idea(path: str | os.PathLike) -> Idea:
    """What the Python file at `path` defines.

    `idea(baseline)`, or `idea()`, returns the `Experiment` that is tried; `baseline()`, which may be absent, the one
    that it has to beat, by default `Experiment.usual()`. The file is executed.

    Raises ValueError, naming the file, for one that is not there or fails, that defines no idea, returns anything but
    an Experiment, starts from another run, or changes nothing.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give the path of a Python file that defines idea()")
    module = _imported(path)
    if not callable(idea := getattr(module, "idea", None)):
        raise ValueError(
            f"{path.name} defines no idea(): write a function idea(baseline) that returns an Experiment, such as "
            "dataclasses.replace(baseline, training=replace(baseline.training, optimizer='adamw'))"
        )
    baseline = _returned(path, module.baseline) if hasattr(module, "baseline") else Experiment.usual()
    tried = _returned(path, idea, *[baseline][: len(inspect.signature(idea).parameters)])
    alike = replace(tried, seed=0, training=replace(tried.training, steps=baseline.training.steps))
    changes = tuple(differences(replace(baseline, seed=0), alike))
    if not changes:
        raise ValueError(
            f"idea() of {path.name} is its baseline: it must change a setting, an objective or a model. The number "
            "of steps and the seed are the referee's"
        )
    return Idea(path, tried, baseline, changes)


def _imported(path: Path) -> ModuleType:
    """The file as a module that goes by its name, by which other processes find its classes."""
    if not hasattr(sys.modules.get(path.stem), "idea"):  # one that was read before is read again
        spec = find_spec(path.stem) if path.stem.isidentifier() else None
        if spec is not None and Path(spec.origin or "").resolve() != path:
            raise ValueError(f"{path.name} would hide the module {path.stem!r}: give the file another name")
    spec = spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise _failed(path, "reading it", error) from error
    return module


def _returned(path: Path, function: Callable, *given) -> Experiment:
    try:
        found = function(*given)
    except Exception as error:
        raise _failed(path, f"{function.__name__}()", error) from error
    if not isinstance(found, Experiment):
        raise ValueError(
            f"{function.__name__}() of {path.name} must return a lab.runs.Experiment, got a {type(found).__name__}"
        )
    if found.start is not None:
        raise ValueError(
            f"{function.__name__}() of {path.name} starts from the run {found.start!r}, which may have read the "
            "lines that a trial holds out: leave `start` out"
        )
    return found


def _failed(path: Path, what: str, error: Exception) -> ValueError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    at = f" in line {lines[-1]}" if lines else ""
    return ValueError(f"{path.name}: {what} raised {type(error).__name__}{at}: {error}")
