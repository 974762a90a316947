"""What must hold of an idea, runnable on any implementation: ours, or the reader's.

>>> from lab import checks
>>> bool(checks.causal_mask(lambda T: [[key <= query for key in range(T)] for query in range(T)]))
True
"""

from lab.checks.masks import causal_mask, document_mask, padding_mask
from lab.checks.packing import packing
from lab.checks.report import CheckFailed, CheckReport, Example, Property
from lab.checks.tokenizers import bpe_train, tokenizer
from lab.checks.windows import windows

__all__ = [
    "CheckFailed",
    "CheckReport",
    "Example",
    "Property",
    "bpe_train",
    "causal_mask",
    "document_mask",
    "packing",
    "padding_mask",
    "tokenizer",
    "windows",
]
