"""What must hold of an idea, runnable on any implementation: ours, or the reader's.

>>> from lab import checks
>>> bool(checks.causal_mask(lambda T: [[key <= query for key in range(T)] for query in range(T)]))
True
"""

from lab.checks.attention import attention
from lab.checks.attention_backward import attention_backward
from lab.checks.bound import bound
from lab.checks.check import Case, Check
from lab.checks.checkpoint import checkpoint_roundtrip
from lab.checks.codebook import codebook
from lab.checks.ctc import ctc
from lab.checks.diffusion import posterior, transition
from lab.checks.edit_distance import edit_distance
from lab.checks.language_models import decoder, leak
from lab.checks.logit_filters import repetition_penalty, top_k, top_p
from lab.checks.masks import causal_mask, document_mask, padding_mask
from lab.checks.mlm_masking import mlm_masking
from lab.checks.multi_head import multi_head_attention
from lab.checks.output_lengths import output_lengths
from lab.checks.packing import packing
from lab.checks.positions import positional_encoding
from lab.checks.recurrent import recurrent
from lab.checks.report import CheckFailed, CheckReport, Example, Property
from lab.checks.resume import resume
from lab.checks.score import score
from lab.checks.softmax import softmax
from lab.checks.text_search import beam_search, greedy
from lab.checks.tokenizers import bpe_train, tokenizer
from lab.checks.windows import windows

__all__ = [
    "Case", "Check", "CheckFailed", "CheckReport", "Example", "Property", "attention", "attention_backward",
    "beam_search", "bound", "bpe_train", "causal_mask", "checkpoint_roundtrip", "codebook", "ctc", "decoder",
    "document_mask", "edit_distance", "greedy", "leak", "mlm_masking", "multi_head_attention", "output_lengths",
    "packing", "padding_mask", "positional_encoding", "posterior", "recurrent", "repetition_penalty", "resume",
    "score", "softmax", "tokenizer", "top_k", "top_p", "transition", "windows",
]  # fmt: skip
