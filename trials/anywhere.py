"""Windows that begin anywhere, against those that begin where a line does: a line is scored with nothing before it."""

from dataclasses import replace


def idea(baseline):
    return replace(baseline, objective=replace(baseline.objective, whole_lines=False))
