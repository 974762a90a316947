"""How large the sides of a trial are, and a baseline made as large as the idea."""

from collections.abc import Callable
from dataclasses import replace

from lab.runs import Experiment

CLOSE = 0.01  # parameters that differ by less are equal
FIELDS = ("feed_forward", "width")  # what is made larger or smaller: the first that will do


def num_parameters(experiment: Experiment) -> int:
    """The parameters of a fresh model; tied ones count once."""
    return _counter(experiment)(experiment.model)


def as_large(experiment: Experiment, parameters: int) -> Experiment | None:
    """The experiment with a model of about so many parameters, within 1 %; None where no size of it has them.

    The hidden width of the feed-forward layers is changed, or, where that is not enough, the width of all.
    """
    count = _counter(experiment)
    for field in FIELDS:
        for model in _nearest(experiment.model, field, lambda model: count(model) - parameters):
            if abs(count(model) / parameters - 1) <= CLOSE:
                return replace(experiment, model=model)
    return None


def _nearest(config, field: str, excess: Callable[[object], int]) -> list:
    """The configs just above and below where there is no `excess`, by the value of one field; none without that field.

    A config may be composed of others: then the field is that of its `stack`.
    """
    sizes = getattr(config, "stack", config)
    now, unit = getattr(sizes, field, 0), 4 * getattr(sizes, "num_heads", 1) if field == "width" else 1

    def sized(n: int):  # the width in whole pairs of each head's channels
        changed = replace(sizes, **{field: n * unit})
        return changed if sizes is config else replace(config, stack=changed)

    if not now:
        return []
    n = _first(lambda n: excess(sized(n)) >= 0, most=32 * now // unit)
    return [sized(n), sized(max(1, n - 1))]


def _counter(experiment: Experiment) -> Callable[[object], int]:
    """What counts the parameters of a config's model, on the experiment's material."""
    objective, material = experiment.objective, experiment.material()

    def count(config) -> int:
        model = objective.build(objective.fitted(config, material), material)
        return sum(p.numel() for p in model.parameters())

    return count


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
