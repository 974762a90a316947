"""Where the time of a training step goes: by a clock that waits after each part, and by torch's profiler."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from lab.bench.devices import synchronise
from lab.bench.steps import STEP_PARTS, TrainingStep
from lab.bench.timing import Timing

NextBatch = Callable[[], tuple[Tensor, Tensor]]


def time_parts(
    step: TrainingStep, next_batch: NextBatch, *, repeats: int = 5, warmup: int = 1
) -> dict[str, Timing]:
    """Seconds of each of `STEP_PARTS`, in `repeats` whole steps; `next_batch()` makes ids and targets `(B, T)`.

    The clock waits for the device after each part. On a GPU the parts together then take longer than the step, in
    which the host asks for the next part while the device still works on this one: shares, not a sum.

    Raises ValueError for a step that is one CUDA graph: it has no parts.
    """
    _refuse_graph(step)
    seconds: dict[str, list[float]] = {part: [] for part in STEP_PARTS}

    @contextmanager
    def clock(part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        synchronise(step.device)
        seconds[part].append(time.perf_counter() - start)

    synchronise(step.device)
    for _ in range(warmup + repeats):
        _in_parts(step, next_batch, clock)
    return {part: Timing(tuple(times[warmup:])) for part, times in seconds.items()}


def profile_parts(
    step: TrainingStep, next_batch: NextBatch, *, steps: int = 3, warmup: int = 1
) -> dict[str, float]:
    """Mean seconds of each of `STEP_PARTS` as torch's profiler records them, over so many steps.

    A second witness for `time_parts`, cut alike; the profiler's own work is in it, so it is a little slower.
    """
    _refuse_graph(step)

    @contextmanager
    def label(part: str) -> Iterator[None]:
        with record_function(f"step: {part}"):
            yield
            synchronise(step.device)

    for _ in range(warmup):
        _in_parts(step, next_batch, label)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            _in_parts(step, next_batch, label)
    microseconds = {event.key: event.cpu_time_total for event in profiler.key_averages()}
    return {part: microseconds[f"step: {part}"] / 1e6 / steps for part in STEP_PARTS}


def profile_operators(
    fn: Callable[[], object], *, device: torch.device | str = "cpu", top: int = 10
) -> list[tuple[str, int, float]]:
    """The `top` operators of one call of `fn` by their own time: (name, calls, seconds).

    On CUDA the seconds are those of the kernels. Time inside operators that an operator calls is theirs, not its own.
    """
    cuda = torch.device(device).type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    with profile(activities=activities) as profiler:
        fn()
        synchronise(device)
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    found = [(event.key, event.count, getattr(event, key) / 1e6) for event in profiler.key_averages()]
    return sorted(found, key=lambda operator: -operator[2])[:top]


def _in_parts(
    step: TrainingStep, next_batch: NextBatch, mark: Callable[[str], AbstractContextManager]
) -> None:
    with mark("data"):
        ids, targets = next_batch()
    with mark("transfer"):
        ids, targets = step.transfer(ids, targets)
    with mark("forward"):
        loss = step.forward(ids, targets)
    with mark("backward"):
        step.backward(loss)
    with mark("optimizer"):
        step.optimize()


def _refuse_graph(step: TrainingStep) -> None:
    if step.mode == "graph":
        raise ValueError("a step that is one CUDA graph has no parts: measure it in eager mode")
