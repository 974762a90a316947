"""The search for learning rates, which is the same for both sides."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import product

from lab.runs import Experiment, RunFailed, outcome
from lab.trial.result import Trial
from lab.trial.scoring import NoScore
from lab.trial.sides import BASELINE, IDEA

FACTORS, FARTHEST = (0.5, 1.0, 2.0), 8.0  # of the learning rates; the search goes as far as 8 and 1/8
AGAIN = (101, 102)  # seeds that no pair has


def best_rates(found: Trial, sides: Mapping[str, Experiment], train: Callable) -> dict[str, float]:
    """The factor on the learning rates of each side, by short runs and their validation lines.

    Both try the same factors, and go on beyond the last where it is the best of one of them. They share the factor that
    is best for the two together, unless that which is best for one alone is better there with two further seeds as
    well: else one run's luck would part two sides that are alike.
    """
    tried, grid = found.rates, FACTORS

    def measured(jobs: Iterable[tuple[str, float, int]]) -> dict[tuple, float]:
        steps, bits = found.plan["search_steps"], {}
        for job, run in train({job: sized(sides[job[0]], steps[job[0]], *job[1:]) for job in jobs}):
            diverged = isinstance(run, RunFailed)
            bits[job] = math.inf if diverged else outcome(run).get("bits_per_char", math.inf)
        return bits

    while grid:
        for (side, factor, _), bits in measured(product(tried, grid, [0])).items():
            tried[side][factor] = bits
        best = {side: min(rates, key=rates.get) for side, rates in tried.items()}
        beyond = [min(tried[IDEA]) / 2, max(tried[IDEA]) * 2]
        grid = [f for f in beyond if {2 * f, f / 2} & {*best.values()} and 1 / FARTHEST <= f <= FARTHEST]
    if lost := [side for side, factor in best.items() if tried[side][factor] == math.inf]:
        raise NoScore(f"the {lost[0]} diverged at every learning rate tried, or measures no bits_per_char")

    shared = min(tried[IDEA], key=lambda factor: tried[BASELINE][factor] + tried[IDEA][factor])
    for side, own in best.items():
        if own != shared:
            again = measured(product([side], [own, shared], AGAIN))
            if not all(again[side, own, seed] < again[side, shared, seed] for seed in AGAIN):
                best[side] = shared
    return best


def sized(experiment: Experiment, steps: int, factor: float, seed: int, validations: int = 0) -> Experiment:
    """For so many steps at `factor` times its learning rates, validated so often on the way, or as it says itself."""
    how = experiment.training
    every = max(1, steps // validations) if validations else how.evaluate_every
    rates = {"matrix_lr": factor * how.matrix_lr, "other_lr": factor * how.other_lr}
    return replace(experiment, seed=seed, training=replace(how, steps=steps, evaluate_every=every, **rates))
