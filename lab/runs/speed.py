"""What a step of training costs, and how it begins, before anything is trained."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median

import torch

from lab.runs.experiment import Experiment, prepare
from lab.runs.starting import begin
from lab.train import Report, TrainConfig, TrainingState, train

WARM_UP = 3  # the first steps make what the later ones find


def seconds_per_step(
    experiments: Sequence[Experiment],
    folder: str | os.PathLike | None = None,
    *,
    seconds: float = 5.0,
    device: torch.device | str = "cpu",
) -> list[float]:
    """The median seconds of a training step of each experiment, measured in turns for about `seconds` each.

    In turns, so that a busy spell of the machine hits them alike: their ratios can be believed more than the seconds.
    Nothing is saved. Raises what `Experiment.resolved` and `lab.train.train` raise.
    """
    with torch.random.fork_rng(devices=[]):
        endless = [replace(e.training, steps=2**40, evaluate_every=0, patience=0) for e in experiments]
        running = [_steps(e, config, folder, device) for e, config in zip(experiments, endless, strict=True)]
        for steps in running:
            list(islice(steps, WARM_UP))
        times, end = [[] for _ in running], time.perf_counter() + seconds * len(running)
        while time.perf_counter() < end or len(times[0]) < WARM_UP:
            for told, steps in zip(times, running, strict=True):
                begun = time.perf_counter()
                next(steps)
                told.append(time.perf_counter() - begun)
    return [median(told) for told in times]


def first_losses(
    experiment: Experiment, steps: int = 5, folder: str | os.PathLike | None = None
) -> list[float]:
    """The losses of the first steps, in nats a target, as a run of it would report them; nothing is saved."""
    with torch.random.fork_rng(devices=[]):
        config = replace(experiment.training, evaluate_every=0, patience=0)
        return [report.loss for report in islice(_steps(experiment, config, folder), steps)]


def _steps(experiment: Experiment, config: TrainConfig, folder, device="cpu") -> Iterator[Report]:
    """Training of which nothing is kept."""
    experiment, material = prepare(experiment, folder)
    objective, seed = experiment.objective, experiment.seed
    torch.manual_seed(seed)
    model = objective.build(experiment.model, material)
    if experiment.start is not None:
        begin(model, experiment, material)
    model.to(device)
    torch.manual_seed(seed)
    batches, state = objective.batches(experiment, material), TrainingState(model, config)
    return train(model, batches, objective.loss, config, state=state, seed=seed, material=material)
