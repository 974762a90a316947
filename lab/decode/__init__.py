"""From logits to text: filters that reshape a distribution, and ways to choose from it."""

from lab.decode import filters
from lab.decode.beam import beam_search, n_best
from lab.decode.hypotheses import BeamStep, Candidate, Hypothesis
from lab.decode.search import Drawn, generate, generate_batch
from lab.decode.strategies import BeamSearch, Sampling

__all__ = [
    "BeamSearch",
    "BeamStep",
    "Candidate",
    "Drawn",
    "Hypothesis",
    "Sampling",
    "beam_search",
    "filters",
    "generate",
    "generate_batch",
    "n_best",
]
