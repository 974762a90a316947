"""The search for learning rates, which is the same for both sides."""

from collections.abc import Callable, Mapping

from lab import runs
from lab.runs import Experiment
from lab.trial.plan import IDEA, sized
from lab.trial.result import Trial
from lab.trial.scoring import NoScore

FACTORS, FARTHEST = (0.5, 1.0, 2.0), 8.0  # of the learning rates; the search goes as far as 8 and 1/8


def best_rates(found: Trial, sides: Mapping[str, Experiment], train: Callable) -> dict[str, float]:
    """For each side the factor on its learning rates that is best on the validation lines; all try the same."""
    grid, tried = FACTORS, found.rates
    while grid:
        steps = found.plan["search_steps"]
        jobs = {(side, factor): sized(sides[side], steps[side], factor) for side in tried for factor in grid}
        for (side, factor), run in train(jobs):
            tried[side][factor] = runs.outcome(run).get("bits_per_char") if run else None
        best = {side: _best(side, measured) for side, measured in tried.items()}
        edges = {min(tried[IDEA]): 0.5, max(tried[IDEA]): 2.0}
        beyond = [edge * times for edge, times in edges.items() if edge in best.values()]
        grid = [factor for factor in beyond if 1 / FARTHEST <= factor <= FARTHEST]
    for side, factor in best.items():
        if factor in (1 / FARTHEST, FARTHEST):
            found.notes.append(
                f"The {side} was best at the farthest learning rate tried, {factor:g} times its own."
            )
    return best


def _best(side: str, measured: Mapping[float, float | None]) -> float:
    measured = {factor: bits for factor, bits in measured.items() if bits is not None}
    if not measured:
        raise NoScore(f"the {side} diverged at every learning rate tried, or measures no bits_per_char")
    return min(measured, key=measured.get)
