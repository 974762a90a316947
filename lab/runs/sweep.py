"""Many runs: each is trained once, by whichever process has nothing to do."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pandas as pd
from tqdm import tqdm

from lab.files import write_atomic
from lab.machine import usable_cores
from lab.runs import cluster
from lab.runs.checkpoint import Run, load, write_sent
from lab.runs.code import code_version
from lab.runs.experiment import Experiment, flat
from lab.runs.folder import CheckpointError, checkpoints, default_folder, number_of, run_name, where
from lab.runs.loop import get_or_train, outside_classes
from lab.runs.sending import packed
from lab.runs.table import RunFailed, outcome, sweep_table

NOT_THE_SIZE = ("seed", "training.steps", "training.matrix_lr", "training.other_lr", "training.warmup")


def sweep(
    experiments: Sequence[Experiment],
    folder: str | os.PathLike | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    insecure: bool = False,
    save_seconds: float = 60.0,
    dry_run: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Train what is not there yet of many runs, and make a table of all: a line each, as in `lab.runs.table`.

    By default as many processes as this machine has cores, of one thread each; `workers` of cores / workers threads;
    0 trains one after the other in this process. `scheduler` is the address of one of dask's, `tls://host:8786`: see
    README for what must be shared. Workers are sent names and JSON.

    The plan is said first, and how long it will take by the first steps of each size; with `dry_run` that is all. A run
    that is there already, by this sweep or another, is not trained again. One whose process is killed, or runs out of
    memory, is tried again and goes on from what it saved; one that diverges, or dies three times before it comes any
    further, has its reason in the column `state`, and the others go on. A Ctrl-C lets every worker save; the same call
    then takes up what is missing.

    >>> sweep([replace(experiment, seed=seed) for seed in range(3)])  # doctest: +SKIP

    Raises ValueError for no experiments, for what cannot be sent to another process, for a scheduler that does not
    answer or whose workers have another version of lab, and what `Experiment.resolved` raises.
    """
    options = {"workers": workers, "scheduler": scheduler, "insecure": insecure, "save_seconds": save_seconds}
    pairs = trained(experiments, folder, **options, dry_run=dry_run, progress=progress, say=say)
    table = sweep_table(list(pairs), folder)
    asked = [run_name(experiment.resolved(folder)) for experiment in experiments]
    return table.loc[[name for name in dict.fromkeys(asked) if name in table.index]]


def trained(
    experiments: Sequence[Experiment],
    folder: str | os.PathLike | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    insecure: bool = False,
    save_seconds: float = 60.0,
    dry_run: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Iterator[tuple[Experiment, Run | RunFailed]]:
    """Each (resolved) experiment with its run as soon as that is there, or with why it never will; see `sweep`.

    Those that were trained before come first, then the others as they end. Of equal experiments one comes.
    """
    if workers is not None and workers < 0:
        raise ValueError(f"workers must be a whole number of at least 0, got {workers}")
    folder = Path(folder or default_folder())
    resolved = [experiment.resolved(folder) for experiment in experiments]
    if not resolved:
        raise ValueError("no experiments: a sweep needs at least one")
    named = {where(experiment, folder): experiment for experiment in resolved}
    here = workers == 0 and scheduler is None
    # Before anything is started, for what cannot be sent.
    jobs = {} if here else {path.name: packed(experiment, folder) for path, experiment in named.items()}
    return _trained(named, folder, jobs, workers, scheduler, insecure, save_seconds, dry_run, progress, say)


def _trained(named, folder, jobs, workers, scheduler, insecure, save_seconds, dry_run, progress, say):
    missing = {}
    for path, experiment in named.items():
        run = _complete(path, experiment)
        if run is None:
            missing[path.name] = experiment
        else:
            yield experiment, run
    if not missing:
        return
    say(f"{_counted(len(named))}, {len(named) - len(missing)} there already")
    if not jobs:
        if not dry_run:
            yield from _here(missing, folder, save_seconds, progress, say)
        return
    if scheduler:
        processes = cluster.remote_pool(scheduler, insecure=insecure)
    else:
        workers = min(workers or usable_cores(), len(missing))
        processes = cluster.local_pool(workers, threads=max(1, usable_cores() // workers))
    with processes as pool, _mark(folder) as mark:
        jobs = {
            name: json.dumps({
                "run": name,
                "packed": jobs[name],
                "code": code_version(experiment.objective),
                "mark": str(mark),
                "save_seconds": save_seconds,
            })
            for name, experiment in missing.items()
        }  # fmt: skip
        say(_estimate(pool, missing, jobs))
        if not dry_run:
            yield from _elsewhere(pool, missing, jobs, folder, progress)


def _complete(path: Path, experiment: Experiment) -> Run | RunFailed | None:
    """The run, if it was trained to its end."""
    if not checkpoints(path):
        return None
    try:
        run = load(path, outside=outside_classes(experiment))
    except CheckpointError as error:
        return RunFailed("damaged", str(error))
    return None if outcome(run) is None else run


def _here(missing, folder, save_seconds, progress, say):
    for experiment in missing.values():
        try:
            run = get_or_train(experiment, folder, save_seconds=save_seconds, progress=progress, say=say)
        except FloatingPointError as error:
            yield experiment, RunFailed("diverged", str(error))
        except ValueError as error:
            yield experiment, RunFailed("failed", str(error))
        else:
            yield experiment, run


def _elsewhere(
    pool, missing: Mapping[str, Experiment], jobs: Mapping[str, str], folder: Path, progress: bool
):
    """The runs as they come from workers."""
    from lab.runs.worker import TOPIC, train_sent

    reached = {name: _step(folder / name) for name in missing}
    pool.client.subscribe_topic(TOPIC, lambda event: reached.update({event[1]["run"]: event[1]["step"]}))
    best, ended = None, 0
    total = sum(experiment.training.steps for experiment in missing.values())
    with tqdm(total=total, unit="step", disable=None if progress else True, smoothing=0) as bar:

        def show():
            bar.n = min(total, sum(reached.get(name, 0) for name in missing))
            bar.set_postfix_str(
                f"{ended} of {_counted(len(missing))}" + (f", best {best[1]}" if best else "")
            )

        going = cluster.results(
            pool, train_sent, jobs, progress=lambda name: _step(folder / name), each_moment=show
        )
        for name, result in going:
            experiment = missing[name]
            run = _arrived(result, folder / name, experiment)
            ended += 1
            reached[name] = experiment.training.steps
            if isinstance(run, Run):
                found = next(iter(outcome(run).items()))
                best = min(best or (found[1], ""), (found[1], f"{found[0]} {found[1]:.4g}"))
            show()
            yield experiment, run


def _arrived(result, path: Path, experiment: Experiment) -> Run | RunFailed:
    if isinstance(result, cluster.Died):
        return RunFailed("died", str(result))
    told, files = result
    told = json.loads(told)
    if "other_code" in told:
        raise ValueError(
            f"a worker has another version of lab ({told['other_code']}): the same is needed everywhere, or the runs "
            f"would not be the same"
        )
    if "failed" in told:
        return RunFailed(told["failed"], told["why"])
    if files:
        write_sent(path, told["checkpoint"], files)
    return load(path, outside=outside_classes(experiment))


def _step(path: Path) -> int:
    """How far a run is saved."""
    saved = checkpoints(path)
    return number_of(saved[-1])[0] if saved else 0


@contextmanager
def _mark(folder: Path) -> Iterator[Path]:
    """A file in the folder of runs by which a worker knows that it sees the same folder."""
    mark = write_atomic(folder / f".sweep-{uuid4().hex}", "")
    try:
        yield mark
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def _estimate(pool, missing: Mapping[str, Experiment], jobs: Mapping[str, str]) -> str:
    """How long it will take, by the first steps of a run of each size."""
    from lab.runs.worker import step_seconds_sent

    sizes = {}
    for name, experiment in missing.items():
        sizes.setdefault(_size(experiment), []).append(name)
    first = {names[0]: jobs[names[0]] for names in sizes.values()}
    measured = dict(cluster.results(pool, step_seconds_sent, first))
    places, seconds = len(pool.client.nthreads()), 0.0
    for names in sizes.values():
        step = measured[names[0]]
        seconds += (step if isinstance(step, float) else 0) * sum(missing[n].training.steps for n in names)
    told = (
        f"{_counted(len(missing))} to train of {len(sizes)} size{'s' * (len(sizes) > 1)}, {places} at a time"
    )
    return f"{told}: about {_minutes(seconds / places)}"


def _size(experiment: Experiment) -> str:
    """What decides how long a step takes."""
    settings = flat(experiment.to_json())
    return json.dumps({name: value for name, value in settings.items() if name not in NOT_THE_SIZE})


def _counted(runs: int) -> str:
    return f"{runs} run{'s' * (runs != 1)}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
