"""One device parameter, errors that say what is there, and sweeps that outlive the end of memory."""

import pytest
import torch

from lab.bench import (
    device_name,
    free_memory,
    is_out_of_memory,
    resolve_device,
    supports_bfloat16,
    sweep,
)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_without_a_gpu_auto_is_the_cpu(no_gpu):
    assert resolve_device() == resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", torch.device("cuda")])
def test_a_device_that_is_not_here_is_refused(no_gpu, name):
    with pytest.raises(ValueError, match="not present"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", None])
def test_what_is_no_device_is_refused(no_gpu, name):
    with pytest.raises(ValueError, match="auto"):
        resolve_device(name)


def test_auto_is_the_gpu_where_there_is_one(two_gpus):
    assert resolve_device() == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(ValueError, match="cuda:1"):
        resolve_device("cuda:2")


def test_auto_is_mps_where_that_is_all(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device() == torch.device("mps")


def test_the_cpu_tells_of_itself():
    assert device_name("cpu")
    assert supports_bfloat16("cpu")
    assert free_memory("cpu") > 2**20


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    ],
)
def test_a_sweep_goes_on_without_what_does_not_fit(error):
    def fn(batch: int) -> int:
        if batch == 2:
            raise error
        return 10 * batch

    points = list(sweep([1, 2, 3], fn))
    assert [(p.value, p.result, p.fitted) for p in points] == [(1, 10, True), (2, None, False), (3, 30, True)]
    assert "2 does not fit in the memory of cpu" in points[1].problem


def test_what_needs_more_than_is_free_is_not_tried(monkeypatch):
    monkeypatch.setattr("lab.bench.sweeps.free_memory", lambda device: 100)
    tried = []
    points = list(sweep([1, 7, 2], tried.append, needs=lambda n: 30 * n))
    assert tried == [1, 2]
    assert "7 needs about" in points[1].problem and "free on cpu" in points[1].problem


def test_a_real_allocation_that_is_too_large_is_a_point_without_result():
    points = list(sweep([1, 2**60], lambda n: torch.empty(n, dtype=torch.uint8)))
    assert [p.fitted for p in points] == [True, False]


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        list(sweep([1], lambda n: n / 0))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
