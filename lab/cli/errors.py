"""What a person can mend is told in a sentence, on whatever console they have."""

import errno
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Of no file: files are named.
OUTPUT_ENDED = [errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO, errno.EINVAL]
FLAGS = {"outside=[...]": "--own FILE.py:CLASS", "best=True": "--best"}


@contextmanager
def errors_told() -> Iterator[None]:
    """What a person can mend is one message and exit status 2, a Ctrl-C one message and 130: no traceback."""
    warnings.formatwarning = lambda message, *_: f"lab: {message}\n"  # not the line of our code
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


def at_the_command_line(told: str) -> str:
    """What is told in Python's words, in those of the command line."""
    for python, flag in FLAGS.items():
        told = told.replace(python, flag)
    return told


def _sentence(error: Exception) -> str:
    """What an error says, without the numbers of the system."""
    if isinstance(error, OSError) and error.filename:
        wrong = "a folder is expected here: move this file" if error.errno == errno.EEXIST else error.strerror
        return f"{error.filename}: {wrong}"
    if isinstance(error, OSError) and error.errno in OUTPUT_ENDED:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again when it ends
        return f"the output could not be written to its end: {error.strerror}"
    return at_the_command_line(str(error))


def _end(message: str, status: int) -> None:
    if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
        print(f"lab: {message}", file=sys.stderr)
    sys.exit(status)


def _prepare_output() -> None:
    """What a console has no letters for is shown as `\\u4e2d`; ValueError where there is no output at all."""
    closed = sys.stdout is None
    for name in ("stdout", "stderr"):
        # What is closed would be taken for the next file that is opened.
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)
    if closed:
        raise ValueError("the output is closed: send it to a file, even if nobody is to read it")
