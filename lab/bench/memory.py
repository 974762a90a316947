"""How much memory a function takes at its peak, on the host and on the device it works on."""

import ctypes
import gc
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from lab.bench.devices import synchronise


class PeakMemory(NamedTuple):
    """Bytes that a function took at its peak, on top of what was in use; None where the system does not tell."""

    host_rise: int | None
    device_rise: int | None


def peak_memory(fn: Callable[[], object], *, device: torch.device | str = "cpu") -> PeakMemory:
    """Call `fn()` once and watch the memory.

    Host: the high-water mark of this process's resident memory, which only Linux tells and lets one lower. It sees
    every library, not only torch, but

    - memory that was freed but kept for reuse counts as in use. It is given back first, as far as the C library can;
      what libraries keep for themselves stays, so a first call may show more than later ones;
    - it does not see other processes, nor pages swapped out or never touched.

    Device: what torch's CUDA allocator handed out, exact to the byte and blind to other libraries and to the
    context of CUDA itself. None for a CPU, which is the host, and for MPS, which keeps no peak.

    >>> peak_memory(lambda: [0] * 1000).device_rise is None
    True
    """
    device = torch.device(device)
    cuda = device.type == "cuda"
    synchronise(device)
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    _lower_host_mark()
    host_before = _host_mark()
    fn()
    synchronise(device)
    host_peak = _host_mark()
    return PeakMemory(
        None if host_peak is None else host_peak - host_before,
        torch.cuda.max_memory_allocated(device) - before if cuda else None,
    )


def _lower_host_mark() -> None:
    """Set the high-water mark to what is resident now (proc(5), /proc/pid/clear_refs, 5), without freed memory."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # a C library other than glibc keeps what it keeps
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # not Linux, or not allowed: the mark then never falls
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _host_mark() -> int | None:
    """The most bytes of this process that were resident since the mark was lowered."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+)", status.read_text(encoding="utf-8"))):
        return int(found[1]) * 1024
    return None
