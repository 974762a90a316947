import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab import files
from lab.files import absolute_environment, nameable, printable, write_atomic


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


@pytest.mark.parametrize(
    ("refusals", "windows", "put"), [(2, True, True), (9, True, False), (1, False, False)]
)
def test_a_file_that_windows_holds_for_a_moment_is_waited_for(tmp_path, monkeypatch, refusals, windows, put):
    replace, left = Path.replace, [PermissionError] * refusals

    def busy(beside, path):
        if left:
            raise left.pop()
        return replace(beside, path)

    waits = []
    monkeypatch.setattr(files, "_WINDOWS", windows)
    monkeypatch.setattr(files, "time", SimpleNamespace(sleep=waits.append))  # other threads sleep too
    monkeypatch.setattr(Path, "replace", busy)
    with nullcontext() if put else pytest.raises(PermissionError):
        write_atomic(tmp_path / "file", "new")
    assert os.listdir(tmp_path) == ["file"] * put and bool(waits) == windows and sum(waits) < 2


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        *((name, True) for name in ("first try", "Größe-2.1", "大", "console", "com", "COM10", "a.con")),
        *(
            (name, False)
            for name in ("", "a/b", "a\\b", "a:b", "what?", '"a"', "a\nb", "ends.", "ends ", "x" * 300)
        ),
        *((name, False) for name in ("con", "Nul.txt", "aux .b", "lpt1", "\ud800")),
    ],
)
def test_a_name_that_every_system_takes(name, fits):
    assert nameable(name) == fits


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Größe, 大 \N{FAMILY} \u200d\u0301", None),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\n\tb\x7f\x9b", r"a\r\n\tb\x7f\x9b"),
        ("\u2028\u202e\u2066", r"\u2028\u202e\u2066"),
        ("\ud800", r"\ud800"),
    ],
)
def test_a_terminal_shows_control_characters_and_obeys_none(text, shown):
    assert printable(text) == (shown or text)


def test_folders_in_the_environment_are_taken_from_where_they_were_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in {"LAB_DATA": "../data", "LAB_RUNS": "", "LAB_MIRROR": "HTTP://mirror/a"}.items():
        monkeypatch.setenv(name, value)
    absolute_environment()
    named = [os.environ[name] for name in ("LAB_DATA", "LAB_RUNS", "LAB_MIRROR")]
    assert named == [str(tmp_path.parent / "data"), "", "HTTP://mirror/a"]
    monkeypatch.setenv("LAB_MIRROR", ".")
    absolute_environment()
    assert os.environ["LAB_MIRROR"] == str(tmp_path)
