"""A run that begins with the weights of another: what it takes over from that, and what both must share."""

import os
from dataclasses import replace

from torch import nn

from lab.outside import class_name
from lab.runs.checkpoint import Run, load
from lab.runs.experiment import Experiment, outside_classes
from lab.runs.folder import find
from lab.runs.table import outcome


def first(experiment: Experiment) -> Run:
    """The run that a resolved experiment starts from; see `Experiment.first`."""
    run = load(experiment.start.path or experiment.start.run, outside=outside_classes(experiment))
    if outcome(run) is None:
        raise ValueError(
            f"cannot start from {experiment.start.run}: it stopped at step {run.state.step}; train it to its end first"
        )
    asked, has = (_kind(one.data.tokenizer) for one in (experiment, run.experiment))
    if asked != has:
        raise ValueError(
            f"cannot start from {experiment.start.run}: its tokenizer is {has!r}, got {asked!r}; ask for {has!r}"
        )
    return run


def begin(model: nn.Module, experiment: Experiment, material) -> Run:
    """Give a fresh model what the run that it starts from has learned, and return that.

    Raises ValueError where the two have other tokenizers, or another split of one text, by which the one would be
    scored on what the other was trained on; and what `Experiment.first` and the objective's `begin` raise.
    """
    run, name = experiment.first(), experiment.start.run
    if run.tokenizer.to_json() != material.tokenizer.to_json():
        raise ValueError(
            f"cannot start from {name}: it has another tokenizer; train it on the same corpus, split and vocabulary"
        )
    ours, theirs = experiment.data, run.experiment.data
    if ours.sha256 == theirs.sha256 and ours.split_seed != theirs.split_seed:
        raise ValueError(
            f"cannot start from {name}: it was trained on lines that would be held out here; take its split_seed, "
            f"{theirs.split_seed}, not {ours.split_seed}"
        )
    experiment.objective.begin(model, run, experiment)
    return run


def like(
    start: str | os.PathLike,
    objective: str | type | None,
    recipe: str | None,
    folder: str | os.PathLike | None,
) -> Experiment:
    """What is usual for the objective, else for that of `start`, with the model and the data of that run."""
    own = [objective] if isinstance(objective, type) else []
    earlier = load(find(start, folder), outside=own).experiment
    usual = Experiment.usual(objective or type(earlier.objective), recipe)
    cell, has = (getattr(one.model, "cell", None) for one in (usual, earlier))
    if recipe and cell != has:
        raise ValueError(f"recipe {recipe!r} is another model than that of {os.fspath(start)}: leave it out")
    changed = {"start": os.fspath(start)}
    if isinstance(earlier.model, tuple(usual.objective.configs)):
        changed |= {"model": earlier.model, "data": replace(earlier.data, sha256=None, subset=1.0)}
    if recipe is None and type(earlier.objective) is type(usual.objective):
        changed |= {"objective": earlier.objective}
    return replace(usual, **changed)


def _kind(tokenizer: str | type) -> str:
    return tokenizer if isinstance(tokenizer, str) else class_name(tokenizer)
