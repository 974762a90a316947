"""What the numbers were measured on: without it a time says nothing to a later reader."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psutil
import torch

WORTH_A_LOOK = 2**28  # bytes: what takes less is not looked at


def machine() -> dict[str, object]:
    """Processor, cores, threads, memory, GPU and driver, libraries, commit and date.

    `cpu_capability` is the widest instructions that torch uses, `blas` the library of its matrix products. What
    this machine has not, or does not tell, is None.
    """
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    apple = f"{cpu_name()} (MPS)" if torch.backends.mps.is_available() else None
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": gpu.name if gpu else apple,
        "gpu_memory_gib": round(gpu.total_memory / 2**30, 1) if gpu else None,
        "driver": _driver() if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "blas": blas and blas[1],
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def usable_cores() -> int:
    """The processors that this process may use, which can be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_memory(what: str, needed: int, remedy: str) -> None:
    """Raises ValueError when `needed` bytes are more than are free, before an allocator says so in its own words."""
    if needed > WORTH_A_LOOK and needed > (free := psutil.virtual_memory().available):
        raise ValueError(
            f"{what} would take {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB of memory are free: {remedy}"
        )


@cache
def fast_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 itself, several times as fast as float32.

    Its GPU where it has one of CUDA's, else its processor, by AVX-512 BF16 or AMX.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


@cache
def cpu_name() -> str:
    """What the processor's maker calls it, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    told = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    if named := re.search(r"^model name\s*:\s*(.+)$", told, re.M):
        return named[1]
    # On macOS platform.processor() says only "arm".
    brand = _answer("sysctl", "-n", "machdep.cpu.brand_string") if platform.system() == "Darwin" else None
    return brand or platform.processor() or platform.machine()


@cache
def _driver() -> str | None:
    """The version of NVIDIA's driver; torch does not tell it."""
    found = _answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return found and found.splitlines()[0]


def _commit() -> str | None:
    """The commit of the checkout that holds this file, marked when the tree has changes; None elsewhere."""
    return _answer("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=10")


def _answer(*command: str) -> str | None:
    """What a command prints; None where it is not there, fails or says nothing."""
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=20)
    except (OSError, ValueError, subprocess.SubprocessError):  # ValueError: not UTF-8
        return None
    return done.stdout.strip() or None
