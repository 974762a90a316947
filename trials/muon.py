"""Muon against AdamW: is it better to orthogonalise the step of each matrix inside the blocks (Jordan et al. 2024)?"""

from dataclasses import replace

from lab.runs import Experiment


def baseline():
    usual = Experiment.usual()
    return replace(usual, training=replace(usual.training, optimizer="adamw"))


def idea():
    return Experiment.usual()
