"""Where the work is done: a CPU, a CUDA GPU or Apple's MPS, all through one `device` parameter."""

from contextlib import suppress
from pathlib import Path

import psutil
import torch

from lab.machine import cpu_name

CGROUP = Path("/sys/fs/cgroup")  # where the kernel says what a container may take


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The device of that name; "auto" is a GPU where there is one, CUDA before MPS, else the CPU.

    >>> resolve_device("cpu")
    device(type='cpu')

    Raises ValueError for a device that is not here; the message says which are.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    present = [kind for kind, is_there in there.items() if is_there]
    if name == "auto":
        return torch.device(present[0])
    here = ", ".join(reversed(present))
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device {name!r} is none: use auto or one of this machine's, {here}") from error
    if device.type not in present:
        raise ValueError(f"device {str(device)!r} is not present on this machine: use auto or one of {here}")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise ValueError(
            f"device {str(device)!r} is not present: the last one here is {device.type}:{count - 1}"
        )
    return device


def synchronise(device: torch.device | str = "cpu") -> None:
    """Wait until the device has done all it was asked: without this a GPU's timing is a fiction."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device | str = "cpu") -> str:
    """What its maker calls it, such as "NVIDIA GeForce RTX 5070 Ti"; of MPS, the chip."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def supports_bfloat16(device: torch.device | str) -> bool:
    """Whether it computes in bfloat16 at all; a CPU always does, though often slower than in float32."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    try:
        square = torch.ones(2, 2, dtype=torch.bfloat16, device=device)
        square @ square
    except (RuntimeError, TypeError):  # MPS before macOS 14
        return False
    return True


def free_memory(device: torch.device | str = "cpu") -> int:
    """Bytes that may still be taken there; of a CPU no more than a container's limit leaves."""
    device = torch.device(device)
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    available = psutil.virtual_memory().available
    with suppress(
        OSError, ValueError
    ):  # where there is no such file, or it says "max", nothing else is a limit
        limit, used = (int((CGROUP / name).read_text("utf-8")) for name in ("memory.max", "memory.current"))
        available = max(0, min(available, limit - used))
    return available
