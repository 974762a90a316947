"""Cosine against linear: how should the learning rates fall to zero?"""

from dataclasses import replace


def idea(baseline):
    return replace(baseline, training=replace(baseline.training, schedule="cosine"))
