import os
from pathlib import Path

import pytest

from lab.bench import Timing, machine, measure, measure_together
from lab.files import sha256_bytes, sha256_file, write_atomic


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_atomic(path, "one\r\n")
    write_atomic(path, "zwei ä\n")
    assert path.read_bytes() == "zwei ä\n".encode()
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "file", b"old")

    def disk_is_full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(OSError, match="no space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_hashes_of_bytes_and_of_files_agree(tmp_path):
    assert sha256_file(write_atomic(tmp_path / "file", b"abc")) == sha256_bytes(b"abc")
    assert sha256_bytes(b"abc").startswith("ba7816bf")


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


def test_the_machine_is_described():
    here = machine()
    assert here["cores"] >= 1 and here["torch"] and here["date"].count("-") == 2
    assert str(Path.home()) not in str(here)
