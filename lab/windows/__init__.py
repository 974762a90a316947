"""From encoded lines to rows a model can read: sliding windows, the endless stream, whole transcripts."""

from lab.windows.flat import flatten, join_lines
from lab.windows.ledger import Ledger
from lab.windows.lines import LineWindows
from lab.windows.loader import Loader
from lab.windows.policies import POLICIES
from lab.windows.stream import random_windows
from lab.windows.transcripts import Transcripts

__all__ = [
    "POLICIES",
    "Ledger",
    "LineWindows",
    "Loader",
    "Transcripts",
    "flatten",
    "join_lines",
    "random_windows",
]
