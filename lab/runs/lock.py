"""Two processes do not train the same run, and a Ctrl-C waits for the end of a step."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.train import parallel

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None

LOCK = ".lock"


class RunBusy(ValueError):
    """Another process trains this run; the message says which."""


@contextmanager
def locked(folder: Path, *, wait: bool = False, say: Callable[[str], None] = print) -> Iterator[None]:
    """Hold the lock of a run folder, which is made. The system lets go of it when the process ends, however it ends.

    Raises RunBusy when another process holds it; with `wait`, says so and waits. Of several processes that train
    together, process 0 holds the lock for all.
    """
    if parallel.rank() or fcntl is None:
        parallel.total(0)  # until process 0 has the lock
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a+", encoding="utf-8") as file:
        waiting = False
        while not _taken(file):
            file.seek(0)
            holder = f"process {file.read().strip() or 'unknown'} trains {folder}"
            if not wait:
                raise RunBusy(f"{holder}: wait until it is done, or end it; what it saved is kept")
            if not waiting:
                say(f"{holder}: waiting for it")
            waiting = True
            time.sleep(0.2)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        parallel.total(0)
        yield


def _taken(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Hold a Ctrl-C back until the block ends, so that it does not tear a step in two; a second one comes through.

    Only the main thread hears signals; in another the block runs as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = []

    def hold(*signal_and_frame):
        if held:
            raise KeyboardInterrupt
        held.append(signal_and_frame)

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if held and callable(before):
        before(*held[0])
