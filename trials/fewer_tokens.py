"""A vocabulary of 512 tokens against 1,024."""

from dataclasses import replace


def idea(baseline):
    return replace(baseline, model=replace(baseline.model, vocab_size=512))
