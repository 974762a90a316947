"""Pick some trained runs: see their curves on one axis, and what each writes after the same prompt."""

import os

from traitlets import Enum, Int

from lab.runs import CheckpointError, Run, default_folder, open_runs, score
from lab.show.clusters import legible
from lab.show.runs import XLABELS, curve, has_curve, labelled, measured, smooth
from lab.show.widgets.sampler import Sampler
from lab.show.widgets.writing import Settings

CHOSEN_FIRST = 4  # runs
LENGTH = 80  # tokens


class RunsExplorer(Sampler):
    """The runs of a folder (by default `runs/`): their curves, and a text from each for one prompt and one seed.

    It writes as the sampler does: `models` are the runs that are picked, by what sets each apart, and `x` is "tokens",
    "seconds" or "steps".

    >>> RunsExplorer("runs", prompt="And God said", x="seconds")  # doctest: +SKIP

    Runs that cannot be read, and what goes wrong, are told in place.
    """

    x = Enum(list(XLABELS), next(iter(XLABELS))).tag(sync=True)
    length = Int(LENGTH).tag(sync=True)
    drawn_from = ("models", "x")

    def __init__(
        self, folder: str | os.PathLike | None = None, prompt: str = Settings.prompt, seed: int = 0, **state
    ):
        folder = folder or default_folder()
        found = open_runs(folder)
        drawable = {name: run for name, run in found.items() if has_curve(run)}
        self.opened: dict[str, Run] = {
            legible(label): run for label, run in (labelled(drawable) if drawable else {}).items()
        }
        self.left_out = [f"{legible(name)} is left out: {legible(str(error))}"
                         for name, error in found.items() if isinstance(error, CheckpointError)]  # fmt: skip
        if not found:
            self.left_out.append(f"no runs in {legible(str(folder))}: `lab train` makes one")
        picked = state.pop("models", list(self.opened)[:CHOSEN_FIRST])
        super().__init__(prompt=prompt, seed=seed, runs=self.opened, **{"top_p": 1.0} | state)
        self.models = picked

    @property
    def chosen(self) -> dict[str, Run]:
        """The runs that are picked, by label."""
        return {label: self.opened[label] for label in self.models if label in self.opened}

    def draw(self) -> dict:
        """The curves of the picked runs over `x`, their scores, and what there is to know of the others."""
        return {"names": list(self.opened), "over": [list(pair) for pair in XLABELS.items()], "title": XLABELS[self.x],
                "left_out": self.left_out, "curves": [self._curve(*one) for one in self.chosen.items()]}  # fmt: skip

    def _curve(self, label: str, run: Run) -> dict:
        xs, ys = curve(run, self.x)
        found = score(run)
        points = [part.tolist() for part in smooth(xs, ys)]
        return {"name": label, "place": list(self.opened).index(label), "line": list(zip(*points, strict=True)),
                "measured": measured(run, self.x), "last": xs[-1],
                "score": None if found is None else found.bits_per_char}  # fmt: skip
