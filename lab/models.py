"""Small trained models that come with the project: run folders in `models/`, read offline, every byte verified."""

import torch

from lab.runs import Run, load, run_folders
from lab.runs.folder import MODELS, shipped


def names() -> list[str]:
    """Every model that there is, each version by its own name, such as "kjv-1"."""
    return [path.name for path in run_folders(MODELS)]


def get(name: str, device: torch.device | str = "cpu") -> Run:
    """The run called `name`: "kjv-1", or "kjv" for its newest version. What stands on a model names the version.

    >>> get("kjv").experiment.data.name
    'kjv'

    Raises ValueError for a name that there is not, with those there are, and CheckpointError for damaged files.
    """
    if (path := shipped(name)) is None:
        there = ", ".join(names()) or f"none in {MODELS}; they come with a clone of the project"
        raise ValueError(f"no model is called {name!r}. There are {there}")
    return load(path, device=device)
