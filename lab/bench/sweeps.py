"""Going through values of which some may not fit in memory: those are left out, and it is said so."""

import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from lab.bench.devices import free_memory


@dataclass(frozen=True)
class Point:
    """What one value gave; `problem` says why there is no result."""

    value: Any
    result: Any
    problem: str | None = None

    @property
    def fitted(self) -> bool:
        return self.problem is None


def sweep(
    values: Iterable[Any],
    fn: Callable[[Any], Any],
    *,
    device: torch.device | str = "cpu",
    needs: Callable[[Any], int] | None = None,
) -> Iterator[Point]:
    """Call `fn(value)` for each value; one that runs out of memory is a point with a problem, and the sweep goes on.

    `needs(value)` is about how many bytes a value takes on `device`. A GPU says when its memory ends, but a host
    hands out more than it has and then kills the process, so values that need more than is free are not tried.
    Other errors are raised as they are.

    >>> [point.fitted for point in sweep([1, 10**18], lambda n: n, needs=lambda n: n)]
    [True, False]
    """
    for value in values:
        wanted, free = needs(value) if needs else 0, free_memory(device)
        if wanted > free:
            have = f"and {free / 2**30:,.1f} are free on {device}: left out; use a smaller one"
            yield Point(value, None, f"{value} needs about {wanted / 2**30:,.1f} GiB, {have}")
            continue
        try:
            point = Point(value, fn(value))
        except Exception as error:  # torch's allocators share no base class
            if not is_out_of_memory(error):
                raise
            problem = f"{value} does not fit in the memory of {device}: left out; use a smaller one"
            point = Point(value, None, problem)
        if not point.fitted:  # outside the handler: its traceback holds the tensors of the call that failed
            _release(device)
        yield point


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ended: Python's, CUDA's, or a RuntimeError of torch's other allocators."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _release(device: torch.device | str) -> None:
    """Give back what the failed call left behind, so that it does not count against the next value."""
    gc.collect()
    kind = torch.device(device).type
    if kind != "cpu":
        getattr(torch, kind).empty_cache()
