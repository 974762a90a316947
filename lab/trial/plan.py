"""How many steps, and how many pairs of runs, fit into the minutes."""

import math
from collections.abc import Mapping

import torch

from lab import runs
from lab.machine import usable_cores
from lab.runs import Experiment, threads_each
from lab.trial.rule import FIRST, MOST
from lab.trial.sides import BASELINE, IDEA, IN_TIME

SAME_SPEED = 0.03  # what two measured speeds may differ by chance
TRAINING = 0.8  # of the minutes
SEARCH = 0.25  # of the training: the search for learning rates
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
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes must be a number above 0, got {minutes}")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads_each(workers))  # as many as a run will have
    try:
        measured = runs.seconds_per_step(list(sides.values()), seconds=min(5.0, 3 * minutes))
    finally:
        torch.set_num_threads(threads)
    seconds = dict(zip(sides, measured, strict=True))
    tokens = {
        side: one.model.context * one.data.batch_size * one.training.accumulate for side, one in sides.items()
    }
    share = {side: tokens[BASELINE] / tokens[side] for side in sides}  # steps, for each step of the baseline
    in_time = seconds[BASELINE] / seconds[IDEA]
    if abs(in_time / share[IDEA] - 1) > SAME_SPEED:
        share[IN_TIME], seconds[IN_TIME] = in_time, seconds[IDEA]
    cost = {side: part * seconds[side] for side, part in share.items()}

    cores = 1 if workers == 0 else workers or usable_cores()
    budget, most = 60 * minutes * TRAINING * cores, pairs or (MOST if minutes >= FEW_MINUTES else FEW_PAIRS)
    if steps is None:
        affordable = {n: (1 - SEARCH) * budget / (n * sum(cost.values())) for n in range(FIRST, most + 1)}
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
