"""How much memory a function takes at its peak, on the host and on the device it works on."""

import ctypes
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from lab.bench.devices import synchronise


@dataclass(frozen=True)
class PeakMemory:
    """Bytes in use before a function ran, and at most while it ran; None where the system does not tell."""

    host_before: int | None
    host_peak: int | None
    device_before: int | None
    device_peak: int | None

    @property
    def host_rise(self) -> int | None:
        """Bytes of the host that the function took on top of what was in use."""
        return None if self.host_peak is None else self.host_peak - self.host_before

    @property
    def device_rise(self) -> int | None:
        """Bytes of the device that the function took on top of what was in use."""
        return None if self.device_peak is None else self.device_peak - self.device_before


def peak_memory(fn: Callable[[], object], *, device: torch.device | str = "cpu") -> PeakMemory:
    """Call `fn()` once and watch the memory.

    Host: the high-water mark of this process's resident memory. It sees every library, not only torch, but

    - only on Linux can the mark be lowered to where it stands; elsewhere (macOS) it never falls, so a rise shows
      only above all that this process ever took, and Windows has none;
    - memory that was freed but kept for reuse counts as in use. On Linux it is given back first, as far as the C
      library can; what libraries keep for themselves stays, so a first call may show more than later ones;
    - it does not see other processes, nor pages swapped out or never touched.

    Device: what torch's CUDA allocator handed out, exact to the byte and blind to other libraries and to the
    context of CUDA itself. None for a CPU, which is the host, and for MPS, which keeps no peak.

    >>> peak_memory(lambda: [0] * 1000).device_peak is None
    True
    """
    device = torch.device(device)
    cuda = device.type == "cuda"
    synchronise(device)
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    device_before = torch.cuda.memory_allocated(device) if cuda else None
    _lower_host_mark()
    host_before = _host_mark()
    fn()
    synchronise(device)
    host_peak = _host_mark()
    return PeakMemory(
        host_before, host_peak, device_before, torch.cuda.max_memory_allocated(device) if cuda else None
    )


def _lower_host_mark() -> None:
    """Set the high-water mark to what is resident now (proc(5), /proc/pid/clear_refs, 5), without freed memory."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a C library other than glibc keeps what it keeps
            ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # not Linux, or not allowed: the mark then never falls, as said above
        Path("/proc/self/clear_refs").write_text("5")


def _host_mark() -> int | None:
    """The most bytes of this process that were resident since the mark was lowered."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes elsewhere
