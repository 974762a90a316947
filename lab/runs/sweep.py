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
from lab.runs.checkpoint import Run, load
from lab.runs.experiment import Experiment, flat, outside_classes
from lab.runs.folder import CheckpointError, checkpoints, default_folder, number_of, run_name
from lab.runs.loop import get_or_train
from lab.runs.sending import OtherCode, packed, received
from lab.runs.table import RunFailed, outcome, sweep_table

NOT_THE_SIZE = ("seed", "training.steps", "training.matrix_lr", "training.other_lr", "training.warmup")


def sweep(
    experiments: Sequence[Experiment], folder: str | os.PathLike | None = None, **options
) -> pd.DataFrame:
    """Train what is not there yet of many runs, and make a table of all: a line each, as in `lab.runs.table`.

    The options are those of `trained`.

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
    resolved = [experiment.resolved(folder) for experiment in experiments]
    found = {
        run_name(experiment): (experiment, run) for experiment, run in trained(resolved, folder, **options)
    }
    return sweep_table(
        [found[name] for name in dict.fromkeys(map(run_name, resolved)) if name in found], folder
    )


def trained(
    experiments: Sequence[Experiment],
    folder: str | os.PathLike | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    insecure: bool = False,
    save_seconds: float = 60.0,
    device: str = "cpu",
    dry_run: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Iterator[tuple[Experiment, Run | RunFailed]]:
    """Each (resolved) experiment with its run as soon as that is there, or with why it never will; see `sweep`.

    Those that were trained before come first, then the others as they end. Of equal experiments one comes. All are
    trained on the `device`, of which each worker must have one.
    """
    if workers is not None and workers < 0:
        raise ValueError(f"workers must be a whole number of at least 0, got {workers}")
    folder = Path(folder or default_folder())
    named = {run_name(experiment): experiment for experiment in (e.resolved(folder) for e in experiments)}
    if not named:
        raise ValueError("no experiments: a sweep needs at least one")
    here, how = workers == 0 and scheduler is None, {"save_seconds": save_seconds, "device": device}
    jobs = {} if here else {name: packed(experiment, folder) for name, experiment in named.items()}

    def pairs():
        missing = {}
        for name, experiment in named.items():
            run = _complete(folder / name, experiment)
            if run is None:
                missing[name] = experiment
            else:
                yield experiment, run
        if not missing:
            return
        begun = sum(_step(folder / name) > 0 for name in missing)
        told = f", {begun} begun" if begun else ""
        say(f"{_counted(len(named))}, {len(named) - len(missing)} there already{told}")
        if here:
            for experiment in () if dry_run else missing.values():
                yield experiment, _trained_here(experiment, folder, progress=progress, say=say, **how)
            return
        with _pool(workers, scheduler, insecure, len(missing)) as pool, _mark(folder) as mark:
            more = {"mark": str(mark), "how": how}
            ready = {name: json.dumps({"run": name} | jobs[name] | more) for name in missing}
            say(_estimate(pool, missing, ready))
            if not dry_run:
                yield from _trained_elsewhere(pool, missing, ready, folder, progress)

    return pairs()


def _complete(path: Path, experiment: Experiment) -> Run | RunFailed | None:
    """The run, if it was trained to its end."""
    if not checkpoints(path):
        return None
    try:
        run = load(path, outside=outside_classes(experiment))
    except CheckpointError as error:
        return RunFailed("damaged", str(error))
    return None if outcome(run) is None else run


def _trained_here(experiment: Experiment, folder: Path, **how):
    try:
        return get_or_train(experiment, folder, **how)
    except FloatingPointError as error:
        return RunFailed("diverged", str(error))
    except ValueError as error:
        return RunFailed("failed", str(error))


def _pool(workers: int | None, scheduler: str | None, insecure: bool, runs: int):
    """The processes, which share the cores of this machine evenly, or those of a scheduler."""
    if scheduler:
        return cluster.remote_pool(scheduler, insecure=insecure)
    return cluster.local_pool(min(workers or usable_cores(), runs), cluster.threads_each(workers))


def _trained_elsewhere(
    pool, missing: Mapping[str, Experiment], jobs: Mapping[str, str], folder: Path, progress: bool
) -> Iterator[tuple[Experiment, Run | RunFailed]]:
    """The runs as they come from the workers, under a bar of all their steps."""
    from lab.runs.worker import TOPIC, train_sent

    saved = lambda name: _step(folder / name)  # noqa: E731
    reached = {name: saved(name) for name in missing}
    pool.client.subscribe_topic(TOPIC, lambda event: reached.update({event[1]["run"]: event[1]["step"]}))
    steps = {name: experiment.training.steps for name, experiment in missing.items()}
    ended, best = 0, ()
    with tqdm(total=sum(steps.values()), unit="step", disable=None if progress else True, smoothing=0) as bar:

        def show():
            told = f", best {best[1]} {best[0]:.4g}" if best else ""
            bar.set_postfix_str(f"{ended} of {_counted(len(missing))}{told}", refresh=False)
            bar.update(sum(map(reached.get, missing)) - bar.n)  # draws it now and then

        for name, result in cluster.results(pool, train_sent, jobs, progress=saved, each_moment=show):
            run = _arrived(result, folder / name, missing[name])
            reached[name], ended = steps[name], ended + 1
            if isinstance(run, Run):
                what, value = next(iter(outcome(run).items()))
                best = min(best or (value, what), (value, what))
            show()
            yield missing[name], run


def _arrived(result, path: Path, experiment: Experiment) -> Run | RunFailed:
    if isinstance(result, cluster.Died):
        return RunFailed("died", str(result))
    told, files = result
    told = json.loads(told)
    if "other_code" in told:
        raise OtherCode(told["other_code"])
    if "failed" in told:
        return RunFailed(told["failed"], told["why"])
    if files:
        received(path, told["checkpoint"], files)
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
        seconds += (
            0 if isinstance(step, cluster.Died) else step * sum(missing[n].training.steps for n in names)
        )
    told = (
        f"{_counted(len(missing))} to train of {len(sizes)} size{'s' * (len(sizes) > 1)}, {places} at a time"
    )
    return f"{told}: about {_minutes(seconds / max(1, places))}"


def _size(experiment: Experiment) -> str:
    """What decides how long a step takes."""
    settings = flat(experiment.to_json())
    return json.dumps({name: value for name, value in settings.items() if name not in NOT_THE_SIZE})


def _counted(runs: int) -> str:
    return f"{runs} run{'s' * (runs != 1)}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
