"""Synthetic speech by espeak-ng, where there is one: the same request gives the same samples, to the bit.

The synthesiser is found, not brought along: as the package `espeakng-loader`, which the extra `speech` installs, or as
the system's own. It runs in processes of its own (see `espeak_worker`).
"""

import ctypes.util
import difflib
import json
import os
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from tqdm import tqdm

from lab.config import AtLeast, AtMost, validate
from lab.speech.audio import Audio

WORKER = Path(__file__).with_name("espeak_worker.py")
FORKS = hasattr(os, "fork")  # without, every text costs the start of a process
AHEAD = 2  # texts asked of a worker before its first answer is read
SPEEDS = (80, 450)  # words a minute that espeak-ng speaks

MISSING = (
    "espeak-ng is not found, so no speech can be made here: pip install espeakng-loader; or, as a system package, apt "
    "install espeak-ng, brew install espeak-ng. Recorded speech needs none: see lab.speech.folders"
)


class EspeakMissing(ValueError):
    """espeak-ng is neither installed as `espeakng-loader` nor by the system; the message says how to get it."""


class UnknownVoice(ValueError):
    """A voice or accent that this espeak-ng does not have."""


@dataclass(frozen=True)
class Description:
    """The espeak-ng that was found: its version, samples a second, and the names of its voices."""

    version: str
    rate: int
    voices: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """What to say, and how: a voice (a variant such as "f2" or "Andy"), an accent, words a minute.

    Accents of English are "en-us", "en" (Britain), "en-gb-scotland", "en-029" (Caribbean) and others.

    Raises ValueError for no text, and a speed outside 80 .. 450.
    """

    text: str
    voice: str = "f2"
    accent: str = "en-us"
    speed: Annotated[int, AtLeast(SPEEDS[0]), AtMost(SPEEDS[1])] = 175
    seed: int = 0

    def __post_init__(self):
        validate(self)
        if not self.text.strip():
            raise ValueError(f"there is nothing to say in {self.text!r}: give at least one word")


def find() -> tuple[str, ...]:
    """The package `espeakng-loader` if it is installed, and where its data is; else the system's library.

    Raises EspeakMissing.
    """
    try:
        import espeakng_loader
    except ImportError:
        if path := ctypes.util.find_library("espeak-ng"):
            return (path,)
        raise EspeakMissing(MISSING) from None
    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


def available() -> bool:
    """Whether there is an espeak-ng here that starts."""
    try:
        describe()
    except EspeakMissing:
        return False
    return True


def describe() -> Description:
    """The espeak-ng that `find` finds. Raises EspeakMissing, also where it does not start."""
    return _describe(find())


@lru_cache(maxsize=4)
def _describe(library: tuple[str, ...]) -> Description:
    with closing(Worker(library)) as worker:
        return worker.about


def speak(requests: Sequence[Request], *, workers: int = 1, progress: bool = False) -> Iterator[Audio]:
    """Say each, in order, as 22,050 samples a second; `workers` processes share the work.

    What is said depends on the request and on the version of espeak-ng, not on what was said before.

    >>> for audio in speak([Request("in the beginning", voice="m3")]):  # doctest: +SKIP
    ...     audio.seconds

    Raises EspeakMissing, UnknownVoice before anything is said, and ValueError where espeak-ng cannot speak.
    """
    library = find()
    known = _describe(library).voices
    for request in requests:
        if request.voice not in known:
            close = difflib.get_close_matches(request.voice, known, n=3, cutoff=0.4)
            guess = f"did you mean {' or '.join(close)}? " if close else ""
            raise UnknownVoice(f"espeak-ng has no voice {request.voice!r}: {guess}It has {', '.join(known)}")
    shown = tqdm(total=len(requests), desc="speaking", unit="", mininterval=1, disable=not progress)
    with ExitStack() as stack, shown as bar:
        pool = [stack.enter_context(closing(Worker(library))) for _ in range(workers if FORKS else 0)]
        asked: deque[Worker] = deque()
        for n, request in enumerate(requests):
            if len(asked) == AHEAD * workers:
                yield _next(asked, bar)
            worker = pool[n % workers] if pool else stack.enter_context(closing(Worker(library)))
            worker.ask(request)
            asked.append(worker)
        while asked:
            yield _next(asked, bar)


def _next(asked: deque, bar: tqdm) -> Audio:
    worker = asked.popleft()
    audio = worker.hear()
    if not FORKS:
        worker.close()  # it has spoken once, and would not speak the same again
    bar.update()
    return audio


class Worker:
    """A process that speaks until it is closed."""

    def __init__(self, library: tuple[str, ...]):
        command = [sys.executable, "-I", "-S", str(WORKER), *library]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(command, **pipes)
        try:
            about = json.loads(self._answer(EspeakMissing))
        except BaseException:
            self.close()
            raise
        self.about = Description(about["version"], about["rate"], tuple(about["voices"]))

    def ask(self, request: Request) -> None:
        values = asdict(request) | {"voice": f"{request.accent}+{request.voice}"}
        self.process.stdin.write(json.dumps(values).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Audio:
        """The answer to what was asked first."""
        numbers = np.frombuffer(self._answer(UnknownVoice), "<i2")
        return Audio(torch.from_numpy(numbers.astype(np.float32) / 32768), self.about.rate)

    def _answer(self, refused: type[ValueError]) -> bytes:
        head = self.process.stdout.read(8)
        if len(head) < 8:
            said = self.process.stderr.read().decode(errors="replace").strip().splitlines()
            raise EspeakMissing(f"espeak-ng is here but does not work ({said[-1:] or 'it ended'}). {MISSING}")
        status, length = struct.unpack("<II", head)
        content = self.process.stdout.read(length)
        if status:
            raise refused(content.decode())
        return content

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
