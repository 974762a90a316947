"""Many runs: what do two processes of one thread gain over one of two threads, and what does a sweep cost a run?

- speed: the same runs, two at a time by one thread each, against one after the other by two threads; for a small model
  and for the usual one; alone, and beside a program that keeps one core busy. The ways take turns, so that a busy spell
  hits both. The time is that of training: from the plan until the last run has come.

- overhead: runs in a sweep with one worker against the same runs trained in one process by `get_or_train`, both by one
  thread; what a sweep takes longer for each run, beside the seconds in which its processes start.

    python benchmarks/sweep.py            # a quarter of an hour; leave the machine alone meanwhile
    python benchmarks/sweep.py --quick    # shows in a minute that it runs; writes and judges nothing
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
import tyro
from neighbour import busy_program, claim

from lab import runs
from lab.bench import machine
from lab.files import write_atomic
from lab.machine import usable_cores
from lab.nn import TransformerConfig
from lab.runs import Experiment
from lab.train import TrainConfig

RESULT = Path(__file__).parent / "results" / "sweep.json"
MINUTE, SHARE = 60, 0.02  # a run of a minute may cost this share of it


@dataclass(frozen=True)
class Settings:
    """How often each way is measured, how many runs, how many seconds each takes about (with one thread)."""

    repeats: int = 3
    runs: int = 4
    seconds: float = 12.0
    corpus: str = "auto"
    quick: bool = False


def sizes(settings: Settings) -> dict[str, Experiment]:
    """A small model and the usual one, with as many steps as take the seconds asked for."""
    usual = replace(Experiment.usual(), data=runs.Data(settings.corpus))
    small = replace(usual, model=TransformerConfig(1024, width=64, num_heads=4, feed_forward=256))
    torch.set_num_threads(1)
    found = {}
    for name, one in {"small": small, "usual": usual}.items():
        (step,) = runs.seconds_per_step([one])
        found[name] = replace(one, training=TrainConfig(steps=max(5, round(settings.seconds / step))))
    return found


def swept(experiment: Experiment, count: int, workers: int) -> tuple[float, float]:
    """Seconds before the plan and from it to the end, for runs of so many seeds by so many workers."""
    moments = []
    with TemporaryDirectory() as folder:
        many = [replace(experiment, seed=seed) for seed in range(count)]
        begun = time.perf_counter()
        told = {"say": lambda _: moments.append(time.perf_counter()), "progress": False}
        table = runs.sweep(many, folder, workers=workers, **told)
        ended = time.perf_counter()
        assert (table["state"] == "done").all()
    return moments[-1] - begun, ended - moments[-1]


def alone(experiment: Experiment, count: int) -> float:
    """Seconds of the same runs one after the other in this process."""
    with TemporaryDirectory() as folder:
        begun = time.perf_counter()
        for seed in range(count):
            one = replace(experiment, seed=seed)
            runs.get_or_train(one, folder, progress=False, say=lambda _: None)
        return time.perf_counter() - begun


def main(settings: Settings) -> bool:
    if settings.quick:
        settings = replace(settings, repeats=1, runs=2, seconds=2.0)
    cores, rows = usable_cores(), []
    for size, experiment in sizes(settings).items():
        parameters = sum(p.numel() for p in experiment.objective.build(experiment.model, None).parameters())
        for beside, busy in (("nothing", nullcontext), ("a busy program", busy_program)):
            row = {
                "size": size,
                "parameters": parameters,
                "steps": experiment.training.steps,
                "beside": beside,
            }
            row |= {"one_thread_each": [], "all_threads_in_turn": []}
            for _ in range(settings.repeats):
                with busy():
                    row["one_thread_each"].append(swept(experiment, settings.runs, cores)[1])
                    row["all_threads_in_turn"].append(swept(experiment, settings.runs, 1)[1])
            row["gain"] = median(row["all_threads_in_turn"]) / median(row["one_thread_each"])
            rows.append(row)
            print(
                f"{size:<8}{parameters:>10,} parameters, beside {beside:<15} {row['gain']:.2f} times as fast"
            )
    overhead = {"start": [], "a_run": []}
    tiny = replace(sizes(settings)["small"], training=TrainConfig(steps=40))
    for _ in range(settings.repeats):
        torch.set_num_threads(1)  # one thread in both
        with one_core():
            before, during = swept(tiny, settings.runs, 1)
            overhead["start"].append(before)
            overhead["a_run"].append((during - alone(tiny, settings.runs)) / settings.runs)
    cost = median(overhead["a_run"])
    print(f"a sweep starts in {median(overhead['start']):.1f} s and costs {cost:.2f} s a run")
    if settings.quick:
        return True
    claims = [
        claim(
            f"beside {row['beside']}, {row['size']}: one thread each is faster than all threads in turn",
            row["gain"],
            row["gain"] > 1,
        )
        for row in rows
    ]
    told = f"the share of a one-minute run that a sweep costs is below {SHARE}"
    claims.append(claim(told, cost / MINUTE, cost / MINUTE < SHARE))
    for one in claims:
        print(f"{'met   ' if one['met'] else 'MISSED'} {one['claim']}: {one['measured']:.3g}")
    report = {"question": __doc__.splitlines()[0], "machine": machine() | {"threads": cores}}
    report |= {"settings": vars(settings), "speed": rows, "overhead_seconds": overhead, "claims": claims}
    write_atomic(RESULT, json.dumps(report, indent=1) + "\n")
    return all(one["met"] for one in claims)


@contextmanager
def one_core() -> Iterator[None]:
    """As if the machine had one core, so that a worker has one thread."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, description=__doc__)) else 1)
