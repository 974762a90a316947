"""Times are repeated, in turn, and only of a device that the clock waits for."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import lab.bench.timing
from lab.bench import Timing, measure, measure_together, peak_memory


class OnGPU(Tensor):
    """A tensor that says it lives on a GPU, where there is none."""

    @property
    def device(self):
        return torch.device("cuda", 0)


@dataclass
class Outcome:
    loss: Tensor


def on_gpu() -> Tensor:
    return torch.zeros(1).as_subclass(OnGPU)


def test_functions_are_timed_in_turn_after_the_warm_up():
    calls = []
    timed = {name: lambda name=name: calls.append(name) for name in "ab"}
    timings = measure_together(timed, repeats=3, warmup=2)
    assert calls == ["a", "b"] * 5
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 3, "b": 3}


def test_one_slow_repeat_does_not_move_the_median():
    timing = Timing((1.0, 1.1, 0.9, 1.0, 50.0))
    assert (timing.median, timing.spread, Timing((2.0,)).spread) == (1.0, (1.0, 1.1), (2.0, 2.0))


class OfGPU(nn.Module):
    def parameters(self, recurse: bool = True):
        return iter([on_gpu()])


MADE = {
    "tensor": on_gpu,
    "nested": lambda: [(on_gpu(), 1)],
    "dict": lambda: {"loss": on_gpu()},
    "dataclass": lambda: Outcome(on_gpu()),
    "module": OfGPU,
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_device_that_the_clock_does_not_wait_for_is_refused(make):
    with pytest.raises(ValueError, match=r"works on cuda:0, but .*device='cpu'.*give device='cuda:0'"):
        measure(make)


def test_what_the_clock_need_not_wait_for_is_timed_and_a_busy_queue_refused(monkeypatch):
    here = nn.Linear(1, 1), torch.zeros(1), torch.zeros(1, device="meta"), None, "text"
    assert measure(lambda: here, repeats=1).seconds
    with pytest.raises(ValueError, match="got 0"):
        measure(lambda: None, repeats=0)
    monkeypatch.setattr(lab.bench.timing, "_busy_cuda_devices", lambda: iter([torch.device("cuda", 1)]))
    with pytest.raises(ValueError, match="works on cuda:1"):
        measure(lambda: None)


def test_the_device_that_is_waited_for_is_accepted(monkeypatch):
    waited = []
    monkeypatch.setattr(lab.bench.timing, "synchronise", lambda device: waited.append(device))
    assert len(measure(on_gpu, repeats=2, warmup=1, device="cuda:0").seconds) == 2
    assert measure(on_gpu, repeats=1, warmup=0, device="cuda").seconds, "the current one is number 0"
    assert waited[:6] == [torch.device("cuda:0")] * 6, "before and after each call"
    with pytest.raises(ValueError, match="give device='cuda:0'"):
        measure(on_gpu, device="cuda:1")


def test_peak_memory_sees_what_was_freed_again():
    def take(megabytes: int) -> None:
        torch.ones(megabytes * 250_000)  # freed at once

    for _ in range(2):  # the second call too, though the first has warmed up what can be
        measured = peak_memory(lambda: take(200))
        assert 190e6 < measured.host_rise < 260e6
        assert measured.device_rise is None
    assert peak_memory(lambda: take(1)).host_rise < 50e6
