"""What the numbers were measured on: without it a time says nothing to a later reader."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import torch

from lab.bench.devices import cpu_name, device_name


def machine() -> dict[str, object]:
    """Processor, cores, threads, memory, GPU and driver, libraries, commit and date.

    `cpu_capability` is the widest instructions that torch uses, `blas` the library of its matrix products. What
    this machine has not, or does not tell, is None.
    """
    cuda = torch.cuda.is_available()
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": _gpu(),
        "gpu_memory_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
        if cuda
        else None,
        "driver": _driver() if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "blas": _blas(),
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def machine_label(machine: dict[str, object]) -> str:
    """One line for the caption of a figure: the processors and the day.

    >>> machine_label({"cpu": "Some CPU", "cores": 8, "threads": 4, "gpu": None, "date": "2025-01-31"})
    'Some CPU (4 threads of 8 cores), 2025-01-31'
    """
    cpu = f"{machine['cpu']} ({machine['threads']} threads of {machine['cores']} cores)"
    return ", ".join(str(part) for part in (machine.get("gpu"), cpu, machine["date"]) if part)


def _gpu() -> str | None:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"{device_name('mps')} (MPS)" if torch.backends.mps.is_available() else None


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


@cache
def _driver() -> str | None:
    """The version of NVIDIA's driver; torch does not tell it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return found.strip().splitlines()[0] if found.strip() else None


def _blas() -> str | None:
    found = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return found.group(1) if found else None


def _commit() -> str | None:
    """The commit of the checkout that holds this file, marked when the tree has changes; None elsewhere."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
