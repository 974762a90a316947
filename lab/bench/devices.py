"""Where the work is done: a CPU, a CUDA GPU or Apple's MPS, all through one `device` parameter."""

import platform
import subprocess
from functools import cache
from pathlib import Path

import torch


def available_devices() -> list[torch.device]:
    """The devices of this machine, one of each kind; the CPU comes first."""
    present = [torch.device("cpu")]
    if torch.cuda.is_available():
        present.append(torch.device("cuda"))
    if torch.backends.mps.is_available():
        present.append(torch.device("mps"))
    return present


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The device of that name; "auto" is a GPU where there is one, CUDA before MPS, else the CPU.

    >>> resolve_device("cpu")
    device(type='cpu')

    Raises ValueError for a device that is not here; the message says which are.
    """
    present = {device.type: device for device in available_devices()}
    if name == "auto":
        return present.get("cuda") or present.get("mps") or present["cpu"]
    here = ", ".join(present)
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device {name!r} is none: use auto or one of this machine's, {here}") from error
    if device.type not in present:
        raise ValueError(f"device {str(device)!r} is not present on this machine: use auto or one of {here}")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise ValueError(
            f"device {str(device)!r} is not present: this machine has {count} of them, so the last is "
            f"{device.type}:{count - 1}"
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
        torch.ones(2, 2, dtype=torch.bfloat16, device=device) @ torch.ones(
            2, 2, dtype=torch.bfloat16, device=device
        )
    except (RuntimeError, TypeError):  # MPS before macOS 14
        return False
    return True


def free_memory(device: torch.device | str = "cpu") -> int | None:
    """Bytes that may still be taken there, None where nobody says (a CPU outside Linux).

    Of a CPU: what the kernel calls available, and no more than a container's limit leaves.
    """
    device = torch.device(device)
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return available if limit is None or used is None else max(0, min(available, limit - used))


def _number(path: Path) -> int | None:
    """The number in a file of the kernel's; None where there is no file, or it says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


@cache
def cpu_name() -> str:
    """What the processor's maker calls it, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin":  # where platform.processor() says only "arm"
        try:
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass
    return platform.processor() or platform.machine()
