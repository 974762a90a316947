"""Times are repeated, in turn, and only of a device that the clock waits for."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lab.bench.timing
from lab.bench import Timing, machine, machine_label, measure, measure_together, peak_memory


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
    timings = measure_together(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warmup=2
    )
    assert calls == ["a", "b"] * 5
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 3, "b": 3}


def test_one_slow_repeat_does_not_move_the_median():
    timing = Timing((1.0, 1.1, 0.9, 1.0, 50.0))
    assert timing.median == 1.0
    assert timing.spread == (1.0, 1.1)
    assert "1 s" in str(timing) and "5 repeats" in str(timing)
    assert Timing((2.0,)).spread == (2.0, 2.0)


def test_nothing_to_repeat_is_refused():
    with pytest.raises(ValueError, match="got 0"):
        measure(lambda: None, repeats=0)


@pytest.mark.parametrize(
    "wrap",
    [lambda x: x, lambda x: [(x, 1)], lambda x: {"loss": x}, Outcome],
    ids=["tensor", "nested", "dict", "dataclass"],
)
def test_a_device_that_the_clock_does_not_wait_for_is_refused(wrap):
    with pytest.raises(ValueError, match=r"'it' works on cuda:0, but .*device='cpu'.*give device='cuda:0'"):
        measure(lambda: wrap(on_gpu()))


def test_a_module_is_known_by_its_weights():
    model = nn.Linear(1, 1)
    assert measure(lambda: model, repeats=1).seconds
    model.parameters = lambda: iter([on_gpu()])
    with pytest.raises(ValueError, match="works on cuda:0"):
        measure(lambda: model, repeats=1)


def test_a_queue_that_is_still_busy_is_refused(monkeypatch):
    monkeypatch.setattr(lab.bench.timing, "_busy_cuda_devices", lambda: iter([torch.device("cuda", 1)]))
    with pytest.raises(ValueError, match="works on cuda:1"):
        measure(lambda: None)


def test_the_device_that_is_waited_for_is_accepted(monkeypatch):
    waited = []
    monkeypatch.setattr(lab.bench.timing, "synchronise", lambda device: waited.append(device))
    assert len(measure(on_gpu, repeats=2, warmup=1, device="cuda:0").seconds) == 2
    assert (
        len(measure(on_gpu, repeats=1, warmup=0, device="cuda").seconds) == 1
    )  # the current one is number 0
    assert waited[:6] == [torch.device("cuda:0")] * 6, "before and after each call"
    with pytest.raises(ValueError, match="give device='cuda:0'"):
        measure(on_gpu, device="cuda:1")


def test_results_on_the_host_and_without_data_are_no_reason_to_refuse():
    measure(lambda: (torch.zeros(1), torch.zeros(1, device="meta"), None, "text"))


def test_peak_memory_sees_what_was_freed_again():
    def take(megabytes: int) -> None:
        torch.ones(megabytes * 250_000)  # freed at once

    for _ in range(2):  # the second call too, though the first has warmed up what can be
        measured = peak_memory(lambda: take(200))
        assert 190e6 < measured.host_rise < 260e6
        assert measured.device_rise is None
    assert peak_memory(lambda: take(1)).host_rise < 50e6


def test_the_machine_is_described():
    here = machine()
    assert here["cores"] >= 1 and here["torch"] and here["date"].count("-") == 2
    assert here["blas"] and here["cpu_capability"]
    assert str(Path.home()) not in str(here)
    assert here["date"] in machine_label(here) and str(here["cpu"]) in machine_label(here)
    assert machine_label(here | {"gpu": "Some GPU"}).startswith("Some GPU, ")
