"""What lines of text cost a model, and what a model must beat: frequencies, compressors, n-grams."""

from lab.score.hidden import hidden_nats
from lab.score.lines import Score, score_lines, scoring_windows, token_logprobs
from lab.score.ngrams import KneserNey
from lab.score.simple import COMPRESSORS, compressed_bits_per_char, unigram_bits_per_char

__all__ = [
    "COMPRESSORS",
    "KneserNey",
    "Score",
    "compressed_bits_per_char",
    "hidden_nats",
    "score_lines",
    "scoring_windows",
    "token_logprobs",
    "unigram_bits_per_char",
]
