"""Many runs: each is trained once, in whichever process has nothing to do."""

import os
from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from lab.runs.checkpoint import Run
from lab.runs.experiment import Experiment
from lab.runs.loop import get_or_train


def sweep(
    experiments: Sequence[Experiment],
    folder: str | os.PathLike | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    save_seconds: float = 60.0,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """The table of many runs, of which those that are not there yet are trained."""
    options = {"workers": workers, "scheduler": scheduler, "save_seconds": save_seconds}
    pairs = trained(experiments, folder, progress=progress, say=say, **options)
    return pd.DataFrame([run.experiment.seed for _, run in pairs])


def trained(
    experiments: Sequence[Experiment],
    folder: str | os.PathLike | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    save_seconds: float = 60.0,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Iterator[tuple[Experiment, Run | Exception]]:
    """Each experiment with its run as soon as that is there, or the error that kept it from its end.

    `workers=0` trains one after the other in this process.
    """
    for experiment in experiments:
        try:
            yield (
                experiment,
                get_or_train(experiment, folder, save_seconds=save_seconds, progress=False, say=say),
            )
        except (ValueError, FloatingPointError) as error:
            yield experiment, error
