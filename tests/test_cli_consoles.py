"""Whatever the console is, a command says a sentence and ends with a status: it shows no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CYRILLIC = "\N{CYRILLIC SMALL LETTER YA}"


def lab(*arguments, shell: str = "", **environment) -> subprocess.CompletedProcess:
    """A command in a process of its own, its output sent where `shell` says."""
    command = ["sh", "-c", f'"$0" "$@" {shell}', sys.executable, "-m", "lab", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=60)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    return done


@pytest.mark.skipif(os.name == "nt", reason="asks a shell for a closed output")
@pytest.mark.parametrize(
    ("shell", "status", "told"),
    [
        (">&-", 2, "closed"),
        (">&- 2>&-", 2, ""),
        ("2>&-", 0, ""),
        (">/dev/full", 2, "No space left"),
        ("| true", 0, "Broken pipe"),  # the status is that of `true`
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_is_closed_or_full(shell, status, told, unbuffered):
    if "/dev/full" in shell and not os.path.exists("/dev/full"):
        pytest.skip("this system has none")
    done = lab("corpus", shell=shell, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, told in done.stderr) == (status, True)
    assert len(done.stderr.splitlines()) == bool(told)


def test_what_a_console_has_no_letters_for_is_escaped(tmp_path):
    (tmp_path / f"{CYRILLIC}.txt").write_text(
        "\n".join(f"{CYRILLIC} {n} \x1b[31m" for n in range(40)), "utf-8"
    )
    done = lab("corpus", tmp_path / f"{CYRILLIC}.txt", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0 and r"\u044f 0 \x1b[31m" in done.stdout


@pytest.mark.parametrize("imported", ["tyro", "torch"])
def test_ctrl_c_while_importing_is_one_line(tmp_path, imported):
    (tmp_path / f"{imported}.py").write_text("raise KeyboardInterrupt")
    done = lab("train", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 130 and done.stderr.count("\n") == 1 and "goes on" in done.stderr
