"""A run on disk, whole: experiment, tokenizer, weights, training state and metrics, verified and resumable.

    run folder/
        step-00000100/           one bundle; nothing else is needed to load it
            manifest.json        format, versions, date; size and SHA-256 of every other file, and its own digest
            experiment.json      what was trained, how, on what
            tokenizer.json
            model.safetensors
            training.safetensors the optimizers' memories, the generators' states
            training.json        counts, best validation
            metrics.jsonl        one line a logged step
        step-00000200/

`save` and `load` are the whole of it; `resume` goes on with a run. Nothing is ever unpickled.
"""

from lab.bundle.bundles import load, resume, save
from lab.bundle.contents import Run, restore_random
from lab.bundle.experiment import KINDS, OBJECTIVES, Data, Experiment, NextToken, Start, differences
from lab.bundle.step_folder import BundleError

__all__ = [
    "KINDS",
    "OBJECTIVES",
    "BundleError",
    "Data",
    "Experiment",
    "NextToken",
    "Run",
    "Start",
    "differences",
    "load",
    "restore_random",
    "resume",
    "save",
]
