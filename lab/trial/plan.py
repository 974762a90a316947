"""What a trial trains: its sides, what is held equal between which, and how many steps fit into the minutes."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch

from lab import runs
from lab.machine import usable_cores
from lab.runs import Experiment
from lab.runs.cluster import threads_each
from lab.trial.rule import FIRST, MOST

BASELINE, IDEA = "baseline", "idea"
IN_TIME, RESIZED = "idea, equal seconds", "baseline, equal parameters"
TOKENS, SECONDS, PARAMETERS = "equal tokens", "equal seconds", "equal parameters"
SAME_SPEED = 0.03  # what two measured speeds may differ by chance
TRAINING, SEARCH = (
    0.8,
    0.25,
)  # of the minutes, what training takes; of training, the search for learning rates
FEWEST_STEPS = 50
FEW_MINUTES, FEW_PAIRS = 20, 5  # a first look has so few pairs, that their runs are long enough


def planned(
    sides: Mapping[str, Experiment],
    minutes: float,
    workers: int | None = None,
    steps: int | None = None,
    pairs: int | None = None,
) -> dict:
    """The most `pairs` of runs, the `steps` of each side, and those of a run of the search; as JSON can hold it.

    Equal tokens are equally many places in the batches. Equal seconds are steps in the ratio of the measured speeds;
    where that is the same within 3 %, one run of the idea serves for both.

    Raises ValueError when the minutes are too few for three pairs of 50 steps; the message says how many it takes.
    """
    cores = 1 if workers == 0 else workers or usable_cores()
    with _threads(threads_each(workers)):
        measured = runs.seconds_per_step(list(sides.values()), seconds=min(5.0, 3 * minutes))
    seconds = dict(zip(sides, measured, strict=True))
    tokens = {
        side: one.model.context * one.data.batch_size * one.training.accumulate for side, one in sides.items()
    }
    share = {side: tokens[BASELINE] / tokens[side] for side in sides}  # steps, for each step of the baseline
    in_time = seconds[BASELINE] / seconds[IDEA]
    if abs(in_time / share[IDEA] - 1) > SAME_SPEED:
        share[IN_TIME] = in_time
    cost = {side: part * seconds[trained_as(side)] for side, part in share.items()}

    budget = 60 * minutes * TRAINING * cores
    most = pairs or (MOST if minutes >= FEW_MINUTES else FEW_PAIRS)
    affordable = {n: (1 - SEARCH) * budget / (n * sum(cost.values())) for n in range(FIRST, most + 1)}
    if steps is None:
        if affordable[FIRST] < FEWEST_STEPS:
            needed = math.ceil(minutes * FEWEST_STEPS / affordable[FIRST])
            raise ValueError(
                f"{minutes:g} minutes are too few for {FIRST} pairs of runs of {FEWEST_STEPS} steps: here it takes "
                f"about {needed}. Give more, or a smaller model"
            )
        most = max(n for n, affords in affordable.items() if affords >= FEWEST_STEPS)
        steps = int(affordable[most])
    # Three factors are tried for both, perhaps two more.
    searched = min(steps, SEARCH * budget / (5 * (cost[BASELINE] + cost[IDEA])))
    return {
        "pairs": most,
        "steps": {side: max(1, round(part * steps)) for side, part in share.items()},
        "search_steps": {side: max(1, round(share[side] * searched)) for side in (BASELINE, IDEA)},
        "seconds_per_step": seconds,
    }


def trained_as(side: str) -> str:
    """The side whose experiment and learning rates it has."""
    return IDEA if side == IN_TIME else side


def comparisons(steps: Mapping[str, int], same_size: bool) -> dict[str, tuple[str, str]]:
    """What is held equal, and which two sides then are compared; nothing where parameters could not be made equal."""
    found = {TOKENS: (BASELINE, IDEA), SECONDS: (BASELINE, IN_TIME if IN_TIME in steps else IDEA)}
    if RESIZED in steps or same_size:
        found[PARAMETERS] = (RESIZED if RESIZED in steps else BASELINE, IDEA)
    return found


def sized(
    experiment: Experiment, steps: int, factor: float, seed: int, *, validations: int = 0
) -> Experiment:
    """For so many steps at `factor` times its learning rates, validated so often on the way, or as it says itself."""
    how = experiment.training
    every = max(1, steps // validations) if validations else how.evaluate_every
    rates = {"matrix_lr": factor * how.matrix_lr, "other_lr": factor * how.other_lr}
    return replace(experiment, seed=seed, training=replace(how, steps=steps, evaluate_every=every, **rates))


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """With so many threads inside: as many as a run will have."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
