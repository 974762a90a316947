"""Tied against untied: may the embedding be the output's matrix too, which saves many of a small model's parameters?"""

from dataclasses import replace

from lab.runs import Experiment


def baseline():
    usual = Experiment.usual()
    return replace(usual, model=replace(usual.model, tied=False))


def idea(baseline):
    return replace(baseline, model=replace(baseline.model, tied=True))
