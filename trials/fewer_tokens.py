"""A vocabulary of 1,024 tokens against 2,048."""

from dataclasses import replace


def idea(baseline):
    return replace(baseline, model=replace(baseline.model, vocab_size=1024))
