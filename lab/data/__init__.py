"""From lines of ids to batches: windows, packed rows, masks."""

from lab.data import masks
from lab.data.batch import IGNORE, Batch
from lab.data.flat import FlatLines, flatten, join_lines
from lab.data.ledger import Ledger
from lab.data.lengths import by_length, pad, pad_pairs
from lab.data.lines import LineWindows
from lab.data.loader import Loader
from lab.data.packing import Packed, pack
from lab.data.policies import POLICIES
from lab.data.stream import random_windows
from lab.data.transcripts import Transcripts

__all__ = [
    "IGNORE",
    "POLICIES",
    "Batch",
    "FlatLines",
    "Ledger",
    "LineWindows",
    "Loader",
    "Packed",
    "Transcripts",
    "by_length",
    "flatten",
    "join_lines",
    "masks",
    "pack",
    "pad",
    "pad_pairs",
    "random_windows",
]
