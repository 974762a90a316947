"""What a model must beat: character frequencies, compressors, and the best of the n-gram models."""

from lab.baselines.ngrams import KneserNey
from lab.baselines.simple import COMPRESSORS, compressed_bits_per_char, unigram_bits_per_char

__all__ = ["COMPRESSORS", "KneserNey", "compressed_bits_per_char", "unigram_bits_per_char"]
