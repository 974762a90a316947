"""How large the sides of a trial are, and a baseline made as large as the idea."""

from collections.abc import Callable
from dataclasses import replace

from lab.runs import Experiment

CLOSE = 0.01  # parameters that differ by less are equal
FIELDS = ("feed_forward", "width")  # what is made larger or smaller: the first that will do


def num_parameters(experiment: Experiment) -> int:
    """The parameters of a fresh model; tied ones count once."""
    return _counter(experiment)(experiment.model)


def tokens_per_step(experiment: Experiment) -> int:
    """The places of the batches of a step."""
    return experiment.model.context * experiment.data.batch_size * experiment.training.accumulate


def as_large(experiment: Experiment, parameters: int) -> Experiment | None:
    """The experiment with a model of about so many parameters, within 1 %; None where no size of it has them.

    The hidden width of the feed-forward layers is changed, or, where that is not enough, the width of all.
    """
    count, sizes = _counter(experiment), getattr(experiment.model, "stack", experiment.model)
    for field in FIELDS:
        now = getattr(sizes, field, 0)
        unit = 4 * getattr(sizes, "num_heads", 1) if field == "width" else 1  # heads of whole pairs of channels
        if now:
            sized = lambda n, field=field, unit=unit: _with(experiment.model, field, n * unit)  # noqa: E731
            n = _first(lambda n: count(sized(n)) >= parameters, most=32 * now // unit)  # noqa: B023
            nearest = min((sized(max(1, n - 1)), sized(n)), key=lambda model: abs(count(model) - parameters))
            if abs(count(nearest) / parameters - 1) <= CLOSE:
                return replace(experiment, model=nearest)
    return None


def _counter(experiment: Experiment) -> Callable[[object], int]:
    """What counts the parameters of a config's model, on the experiment's material."""
    objective, material = experiment.objective, experiment.material()

    def count(config) -> int:
        model = objective.build(objective.fitted(config, material), material)
        return sum(p.numel() for p in model.parameters())

    return count


def _with(config, field: str, value: int):
    """The config with another value of that field, which may be one of its stack."""
    if hasattr(config, field) and not hasattr(config, "stack"):
        return replace(config, **{field: value})
    return replace(config, stack=replace(config.stack, **{field: value}))


def _first(holds: Callable[[int], bool], most: int) -> int:
    """The smallest of 1 .. `most` for which it holds, as it does for all larger ones; `most` where it never does.

    >>> _first(lambda n: n * n >= 50, most=100)
    8
    """
    low, high = 1, max(1, most)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
