"""Batches that grow: windows of a quarter of the context at first, of half of it, and of all for the last half.

As many tokens a batch all the time, so the windows are more while they are short.
"""

from dataclasses import dataclass, replace
from itertools import islice

import torch

from lab.data import random_windows
from lab.train import NextToken


@dataclass(frozen=True)
class Growing(NextToken):
    name = "growing"

    def batches(self, experiment, material):
        generator = torch.Generator().manual_seed(experiment.seed)
        context, rows = experiment.model.context, experiment.data.batch_size
        starts = (material.ids == material.tokenizer.bos_id).nonzero().flatten()
        for part in (4, 2):
            shorter = random_windows(material.ids, context // part, rows * part, generator, starts)
            yield from islice(shorter, experiment.training.steps // 4)
        yield from random_windows(material.ids, context, rows, generator, starts)


def idea(baseline):
    return replace(baseline, objective=Growing(**vars(baseline.objective)))
