"""The autopsy of a run that looked stuck: its faults as flags, where each should stop it, and what one finds."""

from autopsy.curves import Curve, HeldOut
from autopsy.faults import CAUSES, CORRECTED, RECORDED, RECORDED_LOG, SIZES, Faults, Size, variants
from autopsy.levels import Levels, levels
from autopsy.losses import written_clm
from autopsy.predictions import table
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
    "Size",
    "levels",
    "rehearse",
    "run",
    "table",
    "variants",
    "written_clm",
]
