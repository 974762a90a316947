"""What a trial trains: an idea, its baseline, and a baseline made as large as the idea."""

from bisect import bisect_left
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.runs import Experiment, differences
from lab.trial.idea import Idea, called

BASELINE, IDEA = "baseline", "idea"
IN_TIME, RESIZED = "idea, equal seconds", "baseline, equal parameters"
CLOSE = 0.01  # parameters that differ by less are equal


def sides_of(idea: Idea, lines: Path) -> tuple[dict[str, Experiment], list[str]]:
    """What is trained, all of it on the file `lines`, and what to say of how unequal that is."""
    sides = {BASELINE: idea.baseline, IDEA: idea.idea}
    for side, one in sides.items():
        sides[side] = replace(one, data=replace(one.data, corpus=str(lines), sha256=None)).resolved()
    own, tried = (called(idea.path, num_parameters, one, one.material()) for one in sides.values())
    notes = []
    if abs(own / tried - 1) > CLOSE:
        made = "No width of the baseline makes them equal."
        resized = as_large(sides[BASELINE], tried)
        if resized and not differences(resized, sides[IDEA]):
            made = "With equal parameters the baseline is the idea: there is nothing to compare."
        elif resized:
            made = f"For equal parameters: {'; '.join(differences(sides[BASELINE], resized))}."
            sides[RESIZED] = resized
        notes.append(f"The idea has {tried:,} parameters, the baseline {own:,}. {made}")
    if all(change.startswith(("training.matrix_lr:", "training.other_lr:")) for change in idea.changes):
        notes.append(
            "The idea is a learning rate, which the search multiplies by the same factors on both sides."
        )
    if any(change.startswith(("data.tokenizer", "model.vocab_size")) for change in idea.changes):
        notes.append("The sides cut the text differently: equal tokens are not equally much text.")
    notes += [
        f"The score of the {side} is measured by its objective, and may be a bound."
        for side in (BASELINE, IDEA)
        if not hasattr(sides[side].objective, "language_model")
    ]
    return sides, notes


def num_parameters(experiment: Experiment, material: Any) -> int:
    """The parameters of a fresh model; tied ones count once."""
    objective = experiment.objective
    model = objective.build(objective.fitted(experiment.model, material), material)
    return sum(p.numel() for p in model.parameters())


def as_large(experiment: Experiment, parameters: int) -> Experiment | None:
    """The experiment with a model of about so many parameters, within 1 %; None where no size of it has them.

    The hidden width of the feed-forward layers is changed, or, where that is not enough, the width of all. A config
    may be composed of others: then they are those of its `stack`.
    """
    config, material = experiment.model, experiment.material()
    part = getattr(config, "stack", config)

    def sized(field: str, size: int) -> Experiment:
        changed = replace(part, **{field: size})
        return replace(experiment, model=changed if part is config else replace(config, stack=changed))

    head = 4 * getattr(part, "num_heads", 1)  # the width in whole pairs of each head's channels
    for field, unit in (("feed_forward", 1), ("width", head)):
        sizes = range(unit, 32 * getattr(part, field, 0) + 1, unit)
        enough = bisect_left(sizes, parameters, key=lambda n: num_parameters(sized(field, n), material))
        for size in reversed(sizes[max(0, enough - 1) : enough + 1]):
            found = sized(field, size)
            if abs(num_parameters(found, material) / parameters - 1) <= CLOSE:
                return found
    return None
