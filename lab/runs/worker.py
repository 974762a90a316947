"""What a worker of a sweep does: it is sent JSON, trains, and tells how far it is. Its process is started by dask."""

import json
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from threading import Lock

from distributed import get_worker
from distributed.core import Status

from lab.runs.experiment import Experiment
from lab.runs.folder import default_folder, newest, where
from lab.runs.lock import RunBusy
from lab.runs.loop import training
from lab.runs.sending import OtherCode, unpacked
from lab.runs.speed import seconds_per_step

TOPIC = "lab-steps"  # under which workers tell how far they are
TELL_SECONDS = 0.3
_ONE_AT_A_TIME = Lock()  # should a worker have several threads: dropout draws from one generator a process


def train_sent(job: str) -> tuple[str, dict[str, bytes]] | None:
    """Train a run: what came of it as JSON, and its files where the folder of runs is not the client's.

    None where this worker has to go before the run is at its end: it is saved, for another to go on with.
    """
    with _ONE_AT_A_TIME:
        return _train_sent(json.loads(job))


def _train_sent(job: dict) -> tuple[str, dict[str, bytes]] | None:
    try:
        experiment = unpacked(job)
        shared = Path(job["mark"]).is_file()
        folder = Path(job["mark"]).parent if shared else default_folder()
        if not _trained(experiment, folder, _Teller(job["run"]).stopped_after, **job["how"]):
            return None
        checkpoint = newest(where(experiment, folder))
        files = {} if shared else {file.name: file.read_bytes() for file in checkpoint.iterdir()}
        return _told(checkpoint=checkpoint.name), files
    except OtherCode as error:
        return _told(other_code=str(error)), {}
    except FloatingPointError as error:
        return _told(failed="diverged", why=str(error)), {}
    except (ValueError, OSError) as error:
        return _told(failed="failed", why=str(error)), {}


def step_seconds_sent(job: str) -> float:
    """The seconds of a step of a run; 0 where it cannot be trained here, which training it will say."""
    with _ONE_AT_A_TIME, suppress(ValueError, OSError, FloatingPointError):
        job = json.loads(job)
        return seconds_per_step([unpacked(job)], seconds=1.0, device=job["how"]["device"])[0]
    return 0.0


def _trained(experiment: Experiment, folder: Path, stop: Callable[[int], bool], **how) -> bool:
    """Train to the end; False when the client has stopped it, and what was trained is saved."""
    while True:
        try:
            with closing(training(experiment, folder, **how)) as reports:
                return not any(stop(report.step + 1) for report in reports)
        except RunBusy:  # another sweep is at it
            if stop(0):
                return False
            time.sleep(1)


class _Teller:
    """Tells the client how far the run is, now and then, and knows whether it is still wanted."""

    def __init__(self, run: str):
        self.run, self.worker, self.last = run, get_worker(), 0.0
        self.task = self.worker.state.tasks[self.worker.get_current_task()]

    def stopped_after(self, step: int) -> bool:
        if (now := time.monotonic()) - self.last >= TELL_SECONDS:
            self.last = now
            self.worker.log_event(TOPIC, {"run": self.run, "step": step})
        return self.task.state == "cancelled" or self.worker.status != Status.running


def _told(**values) -> str:
    return json.dumps(values)
