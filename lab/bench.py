"""Timing that can be believed: warm up, repeat, interleave, report the median and the spread."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of each repeat of one function."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle time, in seconds: one slow repeat on a busy machine does not move it."""
        return median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The first and third quartile, in seconds."""
        if len(self.seconds) < 2:
            return self.seconds[0], self.seconds[0]
        first, _, third = quantiles(self.seconds, n=4, method="inclusive")
        return first, third

    def __str__(self) -> str:
        low, high = self.spread
        return f"{self.median:.4g} s ({low:.4g} to {high:.4g}, {len(self.seconds)} repeats)"


def synchronise(device: torch.device | str = "cpu") -> None:
    """Wait until the device has done all it was asked: without this a GPU's timing is a fiction."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def measure(
    fn: Callable[[], object], *, repeats: int = 5, warmup: int = 1, device: torch.device | str = "cpu"
) -> Timing:
    """Time `fn()` `repeats` times after `warmup` calls that do not count.

    >>> measure(lambda: sum(range(1000)), repeats=3).median < 1
    True
    """
    return measure_together({"it": fn}, repeats=repeats, warmup=warmup, device=device)["it"]


def measure_together(
    functions: dict[str, Callable[[], object]],
    *,
    repeats: int = 5,
    warmup: int = 1,
    device: torch.device | str = "cpu",
) -> dict[str, Timing]:
    """Time several functions in turn (A B C, A B C, ...), so that a busy spell hits them all.

    Compare the results by their ratios: seconds differ from one machine and hour to the next.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats must be at least 1 and warmup at least 0, got {repeats} and {warmup}")
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(warmup + repeats):
        for name, fn in functions.items():
            synchronise(device)
            start = time.perf_counter()
            fn()
            synchronise(device)
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(times)) for name, times in seconds.items()}


def machine() -> dict[str, object]:
    """What the numbers were measured on: processor, cores, threads, memory, versions, commit, date."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _commit() -> str | None:
    """The commit of the checkout that holds this file, marked when the tree has changes; None elsewhere."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
