"""Muon against AdamW: are steps better orthogonalised, for the matrices inside the blocks?"""

from dataclasses import replace

from lab.runs import Experiment


def baseline():
    usual = Experiment.usual()
    return replace(usual, training=replace(usual.training, optimizer="adamw"))


def idea():
    return Experiment.usual()
