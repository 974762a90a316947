"""The folder of runs: what was trained once, with the same settings and the same code, is loaded and not trained again.

runs/
    next-token-kjv-3f2a9c1d/   one run: its objective, its corpus, a hash of its experiment and of the code
        step-00000500/         its checkpoints (`lab.runs.checkpoint`)
        about.json             which run this is, and the version of the code that trained it
        .lock                  held while a process trains it
"""

from lab.runs.checkpoint import Run, load, restore_random, resume, save
from lab.runs.cluster import threads_each
from lab.runs.code import code_version
from lab.runs.deleting import delete, started_from
from lab.runs.experiment import Data, Experiment, Start, differences
from lab.runs.folder import CheckpointError, default_folder, disk_use, find, run_folders, run_name, where
from lab.runs.light import save_light
from lab.runs.lock import RunBusy
from lab.runs.loop import get_or_train, training
from lab.runs.objectives import OBJECTIVES
from lab.runs.speed import first_losses, seconds_per_step
from lab.runs.sweep import sweep, trained
from lab.runs.table import (
    RunFailed,
    differing,
    open_runs,
    outcome,
    score,
    settings,
    side_by_side,
    steps,
    table,
    tables,
)
from lab.runs.writing import generate

__all__ = [
    "OBJECTIVES",
    "CheckpointError",
    "Data",
    "Experiment",
    "Run",
    "RunBusy",
    "RunFailed",
    "Start",
    "code_version",
    "default_folder",
    "delete",
    "differences",
    "differing",
    "disk_use",
    "find",
    "first_losses",
    "generate",
    "get_or_train",
    "load",
    "open_runs",
    "outcome",
    "restore_random",
    "resume",
    "run_folders",
    "run_name",
    "save",
    "save_light",
    "score",
    "seconds_per_step",
    "settings",
    "side_by_side",
    "started_from",
    "steps",
    "sweep",
    "table",
    "tables",
    "threads_each",
    "trained",
    "training",
    "where",
]
