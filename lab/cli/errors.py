"""What a person can mend is told in a sentence, on whatever console they have."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OUTPUT_ENDED = {
    errno.EPIPE,
    errno.ENOSPC,
    errno.EBADF,
    errno.EIO,
    errno.EINVAL,
}  # of no file, as files are named


@contextmanager
def errors_told() -> Iterator[None]:
    """What a person can mend is one message and exit status 2, a Ctrl-C one message and 130: no traceback."""
    try:
        _prepare_output()
        try:
            yield
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would tear the message
        _end(str(interrupt) or "stopped; what was saved is kept: the same command goes on from there", 130)
    except ModuleNotFoundError as error:
        wrong = f"this Python ({sys.executable}) is not the one of .venv that `make setup` makes"
        _end(f"{error}; {wrong}", 1)
    except (ValueError, OSError, FloatingPointError) as error:
        _end(_sentence(error), 2)


def _sentence(error: Exception) -> str:
    """What an error says, without the numbers of the system."""
    if isinstance(error, OSError) and error.errno in OUTPUT_ENDED and error.filename is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again when it ends
        return f"the output could not be written to its end: {error.strerror}"
    if isinstance(error, FileExistsError) and error.filename:
        return f"{error.filename} is a file where a folder is expected: move it"
    return f"{error.filename}: {error.strerror}" if getattr(error, "filename", None) else str(error)


def _end(message: str, status: int) -> None:
    if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
        print(f"lab: {message}", file=sys.stderr)
    sys.exit(status)


def _prepare_output() -> None:
    """What a console has no letters for is shown as `\\u4e2d`; ValueError where there is no output at all."""
    closed = sys.stdout is None
    # Without these the next file that is opened would take the place of what is closed.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if closed:
        raise ValueError(
            f"the output is closed: send it to a file, or to {os.devnull} where nobody is to read it"
        )
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
