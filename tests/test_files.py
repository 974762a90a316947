import os

import pytest

from lab.files import absolute_environment, printable, write_atomic


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
