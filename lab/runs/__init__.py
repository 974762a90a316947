"""The folder of runs: what was trained once, with the same settings and the same code, is loaded and not trained again.

runs/
    decoder-kjv-3f2a9c1d/      one run: its kind, its corpus, a hash of its experiment and of the code
        step-00000500/         its bundles (`lab.bundle`)
        about.json             the version of the code that trained it
        .lock                  held while a process trains it
"""

from lab.runs.code import code_version
from lab.runs.folder import default_folder, find, open_runs, run_name, where
from lab.runs.lock import RunBusy
from lab.runs.loop import get_or_train, training
from lab.runs.prepared import Plan, Prepared, kind_of, prepare
from lab.runs.tables import differing, outcome, score, settings, steps, table

__all__ = [
    "Plan",
    "Prepared",
    "RunBusy",
    "code_version",
    "default_folder",
    "differing",
    "find",
    "get_or_train",
    "kind_of",
    "open_runs",
    "outcome",
    "prepare",
    "run_name",
    "score",
    "settings",
    "steps",
    "table",
    "training",
    "where",
]
