"""The autopsy of a run that looked stuck: its faults as flags, where each should stop it, and what one finds."""

from autopsy.curves import Curve, HeldOut
from autopsy.faults import CAUSES, CORRECTED, RECORDED, SIZES, Faults, Size, variants
from autopsy.levels import Levels, decay_over_gradient, frequency_reader, levels, tied_start
from autopsy.losses import written_clm
from autopsy.predictions import Prediction, predictions, table
from autopsy.recorded import RECORDED_LOG, explain
from autopsy.rehearsal import rehearse, run

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
