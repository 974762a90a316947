"""An experiment on its way to another process, as names and JSON; and the run on its way back, as its files."""

import inspect
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from lab.config import from_json, to_json
from lab.files import write_atomic
from lab.outside import class_name, source_hash
from lab.runs.code import code_version
from lab.runs.experiment import Experiment, outside_classes
from lab.runs.folder import NAME
from lab.runs.manifest import FILES, MANIFEST, CheckpointError, put
from lab.text import Corpus


class OtherCode(ValueError):
    """The same experiment would be trained by other code here."""


def packed(experiment: Experiment, folder: Path) -> dict:
    """What `unpacked` makes the experiment of; a text that lies in no file is written beside the runs.

    Raises ValueError for a class that no other process can import.
    """
    corpus, classes = experiment.data.corpus, outside_classes(experiment)
    return {
        "experiment": experiment.to_json(),
        "code": code_version(experiment.objective),
        "classes": [_importable(cls) for cls in classes],
        "paths": [str(Path(path).absolute()) for path in sys.path] if classes else [],
        "text": str(_written(corpus, folder)) if isinstance(corpus, Corpus) else None,
    }


def unpacked(values: dict) -> Experiment:
    """The experiment again. Raises ValueError, saying what is missing here or is another; OtherCode for another lab."""
    sys.path += [path for path in values["paths"] if path not in sys.path and os.path.isdir(path)]
    experiment = Experiment.from_json(values["experiment"], [_imported(**cls) for cls in values["classes"]])
    if (ours := code_version(experiment.objective)) != values["code"]:
        raise OtherCode(
            f"a worker has another version of lab ({ours[:8]}, not {values['code'][:8]}): the same is needed "
            f"everywhere, or the runs would not be the same"
        )
    if values["text"] is None:
        return experiment
    place = Path(values["text"])
    if not place.is_file():
        raise ValueError(f"the text {place} is not here: share the folder of runs, or give a text by name")
    corpus = from_json(Corpus, json.loads(place.read_text("utf-8")))
    return replace(experiment, data=replace(experiment.data, corpus=corpus))


def received(folder: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """Write the checkpoint that another machine made into the folder of a run, as it was written there.

    Raises CheckpointError for one whose parts have not the names that they should have; `load` verifies the rest.
    """
    if not NAME.fullmatch(name) or files.keys() != {*FILES, MANIFEST}:
        raise CheckpointError(f"{name!r} with the files {', '.join(sorted(files))} is no checkpoint")
    put(folder / name, files)
    return folder / name


def _written(corpus: Corpus, folder: Path) -> Path:
    place = folder / ".texts" / f"{corpus.sha256}.json"
    return place if place.is_file() else write_atomic(place, json.dumps(to_json(corpus)))


def _importable(cls: type) -> dict:
    """The module of a class, the file of that, and the class' source, by which the same one is known elsewhere."""
    where = "" if cls.__module__ != "__main__" else " stands in a notebook or in the program that was started"
    where = where or (" stands inside a function" if "<locals>" in cls.__qualname__ else "")
    if where:
        raise ValueError(
            f"{class_name(cls)}{where}, from which no other process can import it: put it into a file of its own and "
            f"import it from there, or train in this process with workers=0"
        )
    file = inspect.getsourcefile(cls)
    return {"module": cls.__module__, "file": file, "name": cls.__qualname__, "source": source_hash(cls)}


def _imported(module: str, file: str, name: str, source: str) -> type:
    """The class of that name and source: of the module that goes by that name here, else from its file."""
    for load in (_by_name, _from_file):
        found = load(module, file)
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and source_hash(found) == source:
            return found
    raise ValueError(
        f"{module}:{name} is not here, or is another class: {file} is needed as it is where the sweep was started"
    )


def _by_name(module: str, file: str) -> ModuleType | None:
    with suppress(ImportError):
        return import_module(module)


def _from_file(module: str, file: str) -> ModuleType | None:
    if os.path.isfile(file):
        spec = spec_from_file_location(module, file)
        found = sys.modules[module] = module_from_spec(spec)
        spec.loader.exec_module(found)
        return found
