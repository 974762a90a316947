"""The models that the sampler can let write: one that is given, and runs, which are loaded when they are chosen."""

import os
from collections.abc import Mapping

from torch import nn

from lab.decode.strategies import Filter
from lab.runs import Run, default_folder, load, run_folders
from lab.show.widgets.writing import Draft

GIVEN = "this model"


class Voices:
    """Models by name, each with the draft that it writes.

    `runs` is a folder of runs, or runs by name; None is the default folder where no model is given, else no runs.
    """

    def __init__(
        self,
        model: nn.Module | None,
        tokenizer,
        runs: str | os.PathLike | Mapping[str, Run] | None,
        filters: Mapping[str, Filter] | None = None,
    ):
        if (model is None) != (tokenizer is None):
            raise ValueError("a model needs its tokenizer, and a tokenizer its model: give both, or neither")
        self.filters = dict(filters or {})
        self.drafts = {} if model is None else {GIVEN: Draft(model, tokenizer, self.filters)}
        self.folder = None
        self._runs: dict = {}
        if isinstance(runs, Mapping):
            self._runs = dict(runs)
        elif runs is not None or model is None:
            self.folder = runs if runs is not None else default_folder()
            self._runs = {path.name: path for path in run_folders(self.folder)}
        self.names = [*self.drafts, *(name for name in self._runs if name not in self.drafts)]

    def draft(self, name: str) -> Draft:
        """The draft of that model, which is loaded where it was not.

        Raises ValueError for a name that is not there, a run that cannot be read, and as `language_model` does.
        """
        if name not in self.drafts:
            if name not in self._runs:
                raise ValueError(
                    f"there is no model {name!r} here; there are: {', '.join(self.names) or 'none'}"
                )
            run = self._runs[name]
            run = run if isinstance(run, Run) else load(run)
            self.drafts[name] = Draft(language_model(run), run.tokenizer, self.filters)
        return self.drafts[name]


def language_model(run: Run) -> nn.Module:
    """The part of a run that writes from left to right. Raises ValueError where there is none."""
    objective = run.experiment.objective
    if not hasattr(objective, "language_model"):
        raise ValueError(f"{objective.name} does not write from left to right: choose a language model")
    return objective.language_model(run.model)
