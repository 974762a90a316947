"""Windows that begin where a line does: a line is scored with nothing before it, and training may be as well."""

from dataclasses import dataclass, replace

import torch

from lab.data import Batch
from lab.text.protocol import BOS
from lab.train import NextToken


@dataclass(frozen=True)
class LineStarts(NextToken):
    name = "line-starts"

    def batches(self, experiment, material):
        generator = torch.Generator().manual_seed(experiment.seed)
        context, rows = experiment.model.context, experiment.data.batch_size
        starts = (material.ids[: len(material.ids) - context] == BOS).nonzero()
        while True:
            some = starts[torch.randint(len(starts), (rows,), generator=generator)]
            windows = material.ids[some + torch.arange(context + 1)]
            yield Batch(windows[:, :-1], windows[:, 1:])


def idea(baseline):
    return replace(baseline, objective=LineStarts())
