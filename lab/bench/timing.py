"""Timing that can be believed: warm up, synchronise, repeat, interleave, report the median and the spread."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from statistics import median, quantiles

import torch
from torch import Tensor, nn

from lab.bench.devices import synchronise


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


def measure(
    fn: Callable[[], object], *, repeats: int = 5, warmup: int = 1, device: torch.device | str = "cpu"
) -> Timing:
    """Time `fn()` `repeats` times after `warmup` calls that do not count.

    `device` is where `fn` works: the clock waits for it. Raises ValueError where another device was left working.

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

    Raises ValueError when a function returns tensors or modules on a GPU that `device` does not name, or leaves
    such a CUDA device with work in its queue: the clock would stop before the work does. One that has finished
    by itself and returns nothing from there cannot be told from one that never used it.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats must be at least 1 and warmup at least 0, got {repeats} and {warmup}")
    device = torch.device(device)
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(warmup + repeats):
        for name, fn in functions.items():
            synchronise(device)
            start = time.perf_counter()
            returned = fn()
            synchronise(device)
            taken = time.perf_counter() - start
            if turn == 0:
                _refuse_unsynchronised(name, returned, device)
            del returned  # else the first function's result takes up memory while the second is timed
            if turn >= warmup:
                seconds[name].append(taken)
    return {name: Timing(tuple(times)) for name, times in seconds.items()}


def _refuse_unsynchronised(name: str, returned: object, device: torch.device) -> None:
    seen = {d for d in (*_devices_in(returned), *_busy_cuda_devices()) if d.type not in ("cpu", "meta")}
    if others := sorted(str(d) for d in seen if _numbered(d) != _numbered(device)):
        raise ValueError(
            f"{name!r} works on {', '.join(others)}, but the clock waits for device={str(device)!r} only, so it would "
            f"time the asking, not the work: give device={others[0]!r}"
        )


def _numbered(device: torch.device) -> tuple[str, int]:
    """Its kind and which of them; one without a number is the current one of its kind."""
    current = torch.cuda.current_device() if device.type == "cuda" and torch.cuda.is_initialized() else 0
    return device.type, current if device.index is None else device.index


def _devices_in(value: object) -> Iterator[torch.device]:
    """The devices of all tensors in a nest of tuples, lists, dicts, dataclasses and modules."""
    items = ()
    if isinstance(value, Tensor):
        yield value.device
    elif isinstance(value, nn.Module):
        yield from {p.device for p in value.parameters()}
    elif isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, tuple | list):
        items = value
    elif is_dataclass(value) and not isinstance(value, type):
        items = [getattr(value, field.name) for field in fields(value)]
    for item in items:
        yield from _devices_in(item)


def _busy_cuda_devices() -> Iterator[torch.device]:
    """CUDA devices whose current stream still has work; where CUDA was never used there are none."""
    if torch.cuda.is_initialized():
        for index in range(torch.cuda.device_count()):
            # Asking one that this process never used would take up memory there.
            if torch.cuda.memory_reserved(index) and not torch.cuda.current_stream(index).query():
                yield torch.device("cuda", index)
