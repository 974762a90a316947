"""The processes of a sweep: who starts them, how jobs come to them, and what happens when one dies. By dask."""

import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import torch

from lab.machine import usable_cores
from lab.threads import SPINS

WORKER = "dask worker SCHEDULER --nthreads 1 --preload lab.runs.worker"
TRIES = 3  # of a job whose worker dies before it comes any further
ANSWER = 10  # seconds in which a scheduler must answer
PATIENCE = 60  # seconds without any worker


class Died(Exception):
    """Every worker that was given this job has died of it, or with it."""


@dataclass
class Pool:
    """A dask client, and what starts processes again that have died, where that is our affair."""

    client: Any
    revive: Callable[[], None] = lambda: None


@contextmanager
def local_pool(workers: int, threads: int) -> Iterator[Pool]:
    """So many processes of so many threads on this machine, which listen on 127.0.0.1 only.

    They are programs of their own, not children that import what started them: a sweep may stand anywhere in a script
    or notebook, and a Ctrl-C in the terminal does not reach them.
    """
    needs_dask()
    from distributed import Client, LocalCluster

    variables = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": str(SPINS),
    }
    # Without a dashboard too they serve a page, by default to the whole network.
    page = "127.0.0.1:0"
    options = "--nthreads 1 --no-nanny --memory-limit 0 --host 127.0.0.1 --preload lab.runs.worker"
    options += f" --no-dashboard --dashboard-address {page}"
    served = {"dashboard": False, "dashboard_address": page}
    with (
        LocalCluster(
            n_workers=0, host="127.0.0.1", silence_logs="critical", scheduler_kwargs=served
        ) as cluster,
        Client(cluster) as client,
        TemporaryDirectory() as scratch,
        ExitStack() as ended,
    ):
        cluster.scheduler.allowed_failures = 0  # how often to try again is decided here
        place = ["--local-directory", scratch, cluster.scheduler_address]
        command = [sys.executable, "-m", "distributed.cli.dask_worker", *options.split(), *place]
        started = [None] * workers

        def revive() -> None:
            for i, process in enumerate(started):
                if process is None or process.poll() is not None:
                    started[i] = subprocess.Popen(
                        command, env=os.environ | variables, start_new_session=True, stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    )  # fmt: skip
                    ended.callback(_end, started[i])

        revive()
        client.wait_for_workers(workers, timeout=PATIENCE)
        yield Pool(client, revive)


def _end(process: subprocess.Popen) -> None:
    """By force: what it trained is saved, and what it holds beside is of no use."""
    process.kill()
    process.wait()


@contextmanager
def remote_pool(scheduler: str, *, insecure: bool = False) -> Iterator[Pool]:
    """The workers of dask's scheduler at an address such as `tls://host:8786`.

    Raises ValueError for an address without encryption, unless `insecure`, and where nobody answers.
    """
    if not scheduler.startswith("tls://") and not insecure:
        raise ValueError(
            f"whoever can reach {scheduler} may run any program on its workers: use tls://, with the certificates that "
            f"dask's settings name (distributed.comm.tls), or say --insecure (insecure=True) in a network you trust"
        )
    needs_dask()
    from distributed import Client

    try:
        client = Client(scheduler, timeout=ANSWER)
        client.wait_for_workers(1, timeout=PATIENCE)
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        raise ValueError(
            f"no worker of the scheduler {scheduler} could be reached ({error}): "
            f"start it by `dask scheduler`, and on each machine `{WORKER.replace('SCHEDULER', scheduler)}`"
        ) from error
    with client:
        yield Pool(client)


def threads_each(workers: int | None = None, scheduler: str | None = None) -> int:
    """The threads of a run in a sweep. How many runs there are does not change it, for it changes their numbers."""
    if workers == 0 and scheduler is None:
        return torch.get_num_threads()
    return 1 if scheduler else max(1, usable_cores() // (workers or usable_cores()))


def needs_dask() -> None:
    """Raises ValueError, saying how to get it, where dask is not installed."""
    if find_spec("distributed") is None:
        raise ValueError(
            "several workers need dask: `pip install -c constraints.txt -e .[sweep]`; workers=0 (--workers 0) trains "
            "one run after the other without it"
        )


def results(
    pool: Pool,
    function: Callable[[str], Any],
    jobs: Mapping[str, str],
    *,
    progress: Callable[[str], int] = lambda name: 0,
    each_moment: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, Any]]:
    """`function(job)` of each job by its name, as they come; Died in the place of a result that there will not be.

    A job whose worker died, or that came back as None, undone, is given to another, at most `TRIES` times without
    `progress(name)` growing in between. A worker has one job at a time, so that none is blamed for another's death.
    When it is left early, what runs is cancelled and waited for.
    """
    from distributed import CancelledError
    from distributed.scheduler import KilledWorker

    client = pool.client
    waiting, running, reached, failures = deque(jobs), {}, {}, Counter()
    asked, alive = 0.0, time.monotonic()
    try:
        while waiting or running:
            if time.monotonic() - asked > 1:
                pool.revive()
                workers, asked = set(client.nthreads()), time.monotonic()
                alive = asked if workers else alive
                for name in [name for name, (worker, _) in running.items() if worker not in workers]:
                    running.pop(name)[1].cancel()  # it went before it was given the job, or has just died
                    waiting.append(name)
            if client.status != "running" or time.monotonic() - alive > PATIENCE:
                raise OSError(
                    "the scheduler, or every worker, is gone: the same call goes on from what was saved"
                )
            for worker in workers - {worker for worker, _ in running.values()}:
                if waiting:
                    name = waiting.popleft()
                    key = f"{name}/{time.monotonic_ns()}"
                    future = client.submit(function, jobs[name], key=key, pure=False, workers=[worker])
                    running[name] = worker, future
            time.sleep(0.05)
            each_moment()
            for name in [name for name, (_, future) in running.items() if future.done()]:
                worker, future = running.pop(name)
                try:
                    result = future.result()
                except (
                    KilledWorker,
                    CancelledError,
                    OSError,
                ):  # the last where it dies as the result is fetched
                    result = None
                except Exception as error:
                    raise ValueError(f"a worker cannot do its work: {error}") from error
                if result is not None:
                    yield name, result
                    continue
                workers.discard(worker)
                before, reached[name] = reached.get(name, 0), progress(name)
                failures[name] = 1 if reached[name] > before else failures[name] + 1
                if failures[name] < TRIES:
                    waiting.append(name)
                else:
                    yield name, Died(f"its process died {TRIES} times before it came any further")
    finally:
        _stop(client, [future for _, future in running.values()])


def _stop(client, running: list, patience: float = 30.0) -> None:
    """Cancel, then wait until each worker has let go, which it does after it has saved."""
    if not running or client.status != "running":
        return
    client.cancel(running)
    end = time.monotonic() + patience
    while any(client.run(_busy).values()) and time.monotonic() < end:
        time.sleep(0.1)


def _busy(dask_worker) -> int:
    return len(dask_worker.active_threads)
