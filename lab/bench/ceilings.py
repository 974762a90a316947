"""How fast this machine can be at best: its largest matrix product and its largest copy, measured."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from lab.bench.counts import Operation
from lab.bench.sweeps import sweep
from lab.bench.timing import Timing, measure

MATMUL_SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192, 16384), "mps": (1024, 2048, 4096)}
COPY_MEGABYTES = {"cpu": 256, "cuda": 2048, "mps": 512}  # far more than any cache holds


@dataclass(frozen=True)
class Ceiling:
    """The best rate seen: `per_second` in FLOP/s or B/s, at `size` (rows of the matrices, or bytes of the copy)."""

    what: str
    per_second: float
    size: int
    timing: Timing


def matmul_ceiling(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    sizes: Iterable[int] | None = None,
    repeats: int = 5,
) -> Ceiling:
    """FLOP/s of the fastest product of two square matrices of one of the `sizes`, 2 n^3 operations each.

    The fastest repeat counts: a ceiling is what the machine can do, not what a busy hour left of it. float32 is what
    torch makes of it, so TensorFloat32 where `torch.set_float32_matmul_precision` says so. Sizes that do not fit in
    memory are passed over; ValueError when none fits.
    """
    sizes = MATMUL_SIZES[torch.device(device).type] if sizes is None else sizes

    def timed(n: int) -> Timing:
        # Random values: zeros cost less power, and a GPU would clock higher than real work lets it.
        generator = torch.Generator(device).manual_seed(n)
        a, b = (torch.randn(n, n, generator=generator, device=device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(a)
        return _time_once(lambda: torch.mm(a, b, out=out), repeats, device)

    rates = [
        (2 * p.value**3 / min(p.result.seconds), p) for p in sweep(sizes, timed, device=device) if p.fitted
    ]
    if not rates:
        raise ValueError(f"no matrix product fits in the memory of {device}: give smaller sizes")
    per_second, best = max(rates, key=lambda rate: rate[0])
    return Ceiling(f"matmul {dtype}", per_second, best.value, best.result)


def copy_ceiling(
    device: torch.device | str = "cpu", *, megabytes: int | None = None, repeats: int = 5
) -> Ceiling:
    """B/s of copying a large array on the device itself; bytes read and bytes written both count."""
    size = (megabytes or COPY_MEGABYTES[torch.device(device).type]) * 10**6
    source = torch.zeros(size // 4, device=device).fill_(1.0)
    # Touched, so that no page is first made while the clock runs.
    target = torch.empty_like(source).fill_(0.0)
    timing = _time_once(lambda: target.copy_(source), repeats, device)
    return Ceiling("copy", 2 * source.nbytes / min(timing.seconds), size, timing)


def floor_seconds(operation: Operation, flops_per_second: float, bytes_per_second: float) -> float:
    """The least time of an operation: it cannot compute, nor move its bytes, faster than the machine.

    >>> floor_seconds(Operation("add", "forward", 10, 0, 120), 100.0, 60.0)
    2.0

    What fits in a processor's caches moves faster than the copy that is the ceiling, so small work can come below.
    """
    return max(operation.flops / flops_per_second, operation.bytes / bytes_per_second)


def fraction_of_limit(
    found: Iterable[Operation], seconds: float, flops_per_second: float, bytes_per_second: float
) -> float:
    """The least time of all operations one after the other, over the time that was measured: 1 is the limit."""
    return sum(floor_seconds(o, flops_per_second, bytes_per_second) for o in found) / seconds


def _time_once(fn: Callable[[], object], repeats: int, device: torch.device | str) -> Timing:
    """Seconds of one `fn()`, from as many in a row as take 20 ms or so: asking and waiting then weigh little."""
    times = max(1, round(0.02 / max(measure(fn, repeats=2, device=device).median, 1e-6)))

    def in_a_row() -> None:
        for _ in range(times):
            fn()

    timing = measure(in_a_row, repeats=repeats, device=device)
    return Timing(tuple(seconds / times for seconds in timing.seconds))
