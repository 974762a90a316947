import os

import pytest

from lab.files import write_atomic


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
