"""The autopsy of a run that looked stuck: its faults as flags, where each should stop it, and what one finds."""

from lab.autopsy.curves import Curve, HeldOut
from lab.autopsy.faults import CAUSES, CORRECTED, RECORDED, SIZES, Faults, Size, variants
from lab.autopsy.levels import Levels, decay_over_gradient, frequency_reader, levels, tied_start
from lab.autopsy.losses import written_clm
from lab.autopsy.predictions import Prediction, predictions, table
from lab.autopsy.recorded import RECORDED_LOG, explain
from lab.autopsy.rehearsal import rehearse, run

__all__ = [
    "CAUSES",
    "CORRECTED",
    "RECORDED",
    "RECORDED_LOG",
    "SIZES",
    "Curve",
    "Faults",
    "HeldOut",
    "Levels",
    "Prediction",
    "Size",
    "decay_over_gradient",
    "explain",
    "frequency_reader",
    "levels",
    "predictions",
    "rehearse",
    "run",
    "table",
    "tied_start",
    "variants",
    "written_clm",
]
