"""One device parameter, errors that say what is there, and sweeps that outlive the end of memory."""

import pytest
import torch

from lab.bench import is_out_of_memory, resolve_device, sweep


@pytest.fixture
def with_devices(monkeypatch):
    def have(gpus: int, mps: bool):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return have


FOUND = [
    (0, False, "auto", "cpu"), (0, False, "cpu", "cpu"), (2, False, "auto", "cuda"), (0, True, "auto", "mps"),
    (2, False, "cuda:1", "cuda:1"), (2, False, torch.device("cpu"), "cpu"),
]  # fmt: skip


@pytest.mark.parametrize(("gpus", "mps", "asked", "found"), FOUND)
def test_a_device_is_found(with_devices, gpus, mps, asked, found):
    with_devices(gpus, mps)
    assert resolve_device(asked) == torch.device(found)


ABSENT = [(0, name, "not present") for name in ("cuda", "cuda:1", "mps", torch.device("cuda"))]
UNKNOWN = [(0, name, "auto") for name in ("gpu", "", "cuda:x", None)]


@pytest.mark.parametrize(("gpus", "asked", "named"), [*ABSENT, *UNKNOWN, (2, "cuda:2", "cuda:1")])
def test_what_is_no_device_or_not_here_is_refused(with_devices, gpus, asked, named):
    with_devices(gpus, False)
    with pytest.raises(ValueError, match=named):
        resolve_device(asked)


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: 9"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_sweep_goes_on_without_what_does_not_fit(error):
    def fn(batch: int) -> int:
        if batch == 2:
            raise error
        return 10 * batch

    points = list(sweep([1, 2, 3], fn))
    assert [(p.value, p.result, p.fitted) for p in points] == [(1, 10, True), (2, None, False), (3, 30, True)]
    assert "2 does not fit in the memory of cpu" in points[1].problem


def test_what_needs_more_than_is_free_is_not_tried_and_other_errors_are_not_hidden(monkeypatch):
    monkeypatch.setattr("lab.bench.sweeps.free_memory", lambda device: 100)
    tried = []
    points = list(sweep([1, 7, 2], tried.append, needs=lambda n: 30 * n))
    assert tried == [1, 2] and "7 needs about" in points[1].problem
    with pytest.raises(ZeroDivisionError):
        list(sweep([1], lambda n: n / 0))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
