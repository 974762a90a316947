"""Makes .venv and installs the project into it: `python bootstrap.py`. Needs only Python 3.11 or newer.

Does nothing, fast, when pyproject.toml and constraints.txt are as they were at the last success.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "installed"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PIP = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]


def fingerprint() -> str:
    """Changes whenever another set of packages would be installed, or the folder was moved."""
    parts = [sys.version, str(ROOT)]
    parts += [(ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def usable() -> bool:
    """True when .venv was made here, by this Python: one that was moved or left by another is made anew."""
    config = VENV / "pyvenv.cfg"
    if not (PYTHON.exists() and config.exists()):
        return False
    text = config.read_text(encoding="utf-8")
    return str(VENV) in text and f"version = {sys.version.split()[0]}" in text


def wants_cpu_build() -> bool:
    """True on Linux and Windows without an NVIDIA GPU: there the default build may bring gigabytes of CUDA."""
    if sys.platform == "darwin":
        return False
    nvidia = shutil.which("nvidia-smi")
    return nvidia is None or subprocess.run([nvidia], capture_output=True).returncode != 0


def answers(address: str, seconds: float = 5) -> bool:
    """One try with a short time limit: an unreachable index must not cost minutes."""
    try:
        with urlopen(f"{address}/torch/", timeout=seconds) as response:
            return response.status == 200
    except OSError:
        return False


def run(command: list[str], step: str) -> None:
    print(f"[setup] {step}", flush=True)
    start = time.monotonic()
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        sys.exit(f"[setup] failed: {step}. The message above says why; then run the same command again.")
    print(f"[setup] done in {time.monotonic() - start:.0f} s", flush=True)


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036  (this file is started by whatever Python there is)
        sys.exit(f"lab needs Python 3.11 or newer, this is {sys.version.split()[0]} ({sys.executable})")
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    torch = re.search(r'"(torch==[^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[1]
    if not usable():
        run([sys.executable, "-m", "venv", "--clear", str(VENV)], f"making {VENV.name} with {sys.executable}")
    # torch alone and without its needs: only this one package may ask the extra index.
    extra = ["--extra-index-url", CPU_INDEX] if wants_cpu_build() and answers(CPU_INDEX) else []
    run(
        [*PIP, "--no-deps", *extra, torch],
        f"installing {torch} ({'CPU build' if extra else 'default build'})",
    )
    project = ["--quiet", "--constraint", "constraints.txt", "--editable", ".[dev]"]
    run([*PIP, *project], "installing the project and everything else (a minute or two)")
    STAMP.write_text(wanted)


if __name__ == "__main__":
    main()
