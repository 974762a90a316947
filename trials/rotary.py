"""Rotary positions against learned ones: is a place better told by turning queries and keys, or by adding a vector?"""

from dataclasses import replace

from lab.runs import Experiment


def baseline():
    usual = Experiment.usual()
    return replace(usual, model=replace(usual.model, positions="learned"))


def idea():
    return Experiment.usual()
