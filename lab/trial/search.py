"""The search for learning rates, which is the same for both sides."""

import math
from collections.abc import Callable, Mapping

from lab import runs
from lab.runs import Experiment
from lab.trial.plan import BASELINE, IDEA, sized
from lab.trial.result import Trial
from lab.trial.scoring import NoScore

FACTORS, FARTHEST = (0.5, 1.0, 2.0), 8.0  # of the learning rates; the search goes as far as 8 and 1/8
AGAIN = (101, 102)  # seeds that no pair has


def best_rates(found: Trial, sides: Mapping[str, Experiment], train: Callable) -> dict[str, float]:
    """The factor on the learning rates of each side, by short runs and their validation lines.

    Both try the same factors, and go on beyond the last where it is the best of one of them. They share the factor that
    is best for the two together, unless that which is best for one alone is better there with two further seeds as
    well: else one run's luck would part two sides that are alike.
    """
    steps, tried, grid = found.plan["search_steps"], found.rates, FACTORS

    def measured(seeds: tuple, factors_of: Mapping[str, tuple]) -> dict[tuple, float]:
        jobs = {
            (side, factor, seed): sized(sides[side], steps[side], factor, seed)
            for side, factors in factors_of.items()
            for factor in factors
            for seed in seeds
        }
        return {key: _validation(run) for key, run in train(jobs)} if jobs else {}

    while grid:
        for (side, factor, _), bits in measured((0,), dict.fromkeys(tried, grid)).items():
            tried[side][factor] = bits
        best = {side: min(rates, key=rates.get) for side, rates in tried.items()}
        beyond = [min(tried[IDEA]) / 2, max(tried[IDEA]) * 2]
        grid = [f for f in beyond if {2 * f, f / 2} & {*best.values()} and 1 / FARTHEST <= f <= FARTHEST]
    if lost := [side for side, factor in best.items() if tried[side][factor] == math.inf]:
        raise NoScore(f"the {lost[0]} diverged at every learning rate tried, or measures no bits_per_char")

    shared = min(tried[IDEA], key=lambda factor: tried[BASELINE][factor] + tried[IDEA][factor])
    apart = {side: (factor, shared) for side, factor in best.items() if factor != shared}
    again = measured(AGAIN, apart)
    for side, (own, _) in apart.items():
        if not all(again[side, own, seed] < again[side, shared, seed] for seed in AGAIN):
            best[side] = shared
    found.notes += [
        f"The {side} was best at the farthest learning rate tried, {factor:g} times its own."
        for side, factor in best.items()
        if factor in (1 / FARTHEST, FARTHEST)
    ]
    return best


def _validation(run: runs.Run | None) -> float:
    """Bits a character of the validation lines; infinite for a run that diverged."""
    return math.inf if run is None else runs.outcome(run).get("bits_per_char", math.inf)
