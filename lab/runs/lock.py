"""Two processes do not train the same run, and a Ctrl-C waits for the end of a step."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor

from lab.runs.folder import ABOUT
from lab.train import parallel

LOCK = ".lock"


class RunBusy(ValueError):
    """Another process trains this run; the message says which."""


@contextmanager
def locked(folder: Path, *, wait: bool = False, say: Callable[[str], None] = print) -> Iterator[None]:
    """Hold the lock of a run folder, which is made. The system lets go of it when the process ends, however it ends.

    A folder into which nothing was saved is removed at the end.

    Raises RunBusy when another process holds it; with `wait`, says so and waits. Of several processes that train
    together, process 0 holds the lock for all. Raises OSError where the folder can be neither written nor locked.
    """
    if parallel.rank():
        parallel.total(0)  # until process 0 has the lock
        yield
        return
    waiting = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
        with open(folder / LOCK, "r+b", buffering=0) as file:
            if _taken(file, folder):
                # Windows lets nobody else read the locked byte, the first.
                file.write(f" {os.getpid():<20}\n".encode())
                parallel.total(0)
                try:
                    yield
                finally:
                    _remove_empty(folder)
                return
            file.seek(1)
            holder = f"process {file.read().decode().strip() or 'unknown'} trains {folder}"
        if not wait:
            raise RunBusy(f"{holder}: wait until it is done, or end it; what it saved is kept")
        if not waiting:
            say(f"{holder}: waiting for it")
        waiting = True
        time.sleep(0.2)


def _taken(file, folder: Path) -> bool:
    """Whether this process holds the lock now, and of the file that lies there: the holder may just have removed it."""
    try:
        taken = lock_descriptor(file.fileno(), blocking=False)
    except OSError as error:
        raise OSError(
            f"{folder / LOCK} cannot be locked ({error.strerror}), so two processes could train one run: keep runs on "
            f"a disk whose file system knows locks, with --folder or LAB_RUNS"
        ) from error
    with suppress(FileNotFoundError):
        return taken and os.path.samestat(os.fstat(file.fileno()), os.stat(folder / LOCK))
    return False


def _remove_empty(folder: Path) -> None:
    """Remove a run folder without a checkpoint."""
    with suppress(OSError):  # an open file stays where it is on Windows
        if not {path.name for path in folder.iterdir()} - {LOCK, ABOUT}:
            for name in (ABOUT, LOCK):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


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
