"""Pre-norm against post-norm: does the normalisation stand better before each layer, or after it as in 2017?"""

from dataclasses import replace

from lab.runs import Experiment


def baseline():
    usual = Experiment.usual()
    return replace(usual, model=replace(usual.model, norm_place="post"))


def idea():
    return Experiment.usual()
