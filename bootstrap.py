"""Makes .venv and installs the project into it: `python bootstrap.py`. Needs only Python 3.11 or newer.

Does nothing, fast, when what it read at the last success is as it was.
"""

import hashlib
import importlib.util
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
# IPython reads it from there whoever starts a kernel: JupyterLab, VS Code, papermill.
KERNEL_CONFIG = "notebooks/.jupyter/ipython_kernel_config.py"
READ = ("pyproject.toml", "constraints.txt", KERNEL_CONFIG)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PIP = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
# What pip says when something common is wrong, and what a person can do about it.
REMEDIES = {
    "Retrying (Retry(": "no package index answers: connect to the network, or tell pip of a proxy or mirror",
    "No matching distribution": "no index that answers has it for this Python and system; README says which are served",
    "No space left on device": "the disk is full: the packages need 2 GB, and 6 with CUDA",
}


def fingerprint() -> str:
    """Changes whenever another set of packages would be installed, or the folder was moved."""
    parts = [sys.version, str(ROOT), *((ROOT / name).read_text(encoding="utf-8") for name in READ)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def usable() -> bool:
    """True when .venv was made here, whole, by this Python: any other one is made anew."""
    config = VENV / "pyvenv.cfg"
    if not (PYTHON.exists() and config.exists()):
        return False
    text = config.read_text(encoding="utf-8")
    return str(VENV) in text and f"version = {sys.version.split()[0]}" in text and has_pip()


def has_pip() -> bool:
    """False when making .venv was interrupted before its last step."""
    return subprocess.run([str(PYTHON), "-m", "pip", "--version"], capture_output=True).returncode == 0


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
    """Carry out one step and say how long it took; a failure ends the program with what can be done about it."""
    print(f"[setup] {step}", flush=True)
    start = time.monotonic()
    said = ""
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as child:
        for line in child.stderr:
            said += line
            print(line, end="", file=sys.stderr, flush=True)
    if child.returncode != 0:
        remedies = [remedy for sign, remedy in REMEDIES.items() if sign in said]
        why = remedies[0] if remedies else "the message above says why"
        sys.exit(f"[setup] failed: {step}; {why}. Then run the same command again.")
    print(f"[setup] done in {time.monotonic() - start:.0f} s", flush=True)


def make_venv() -> None:
    missing = [module for module in ("venv", "ensurepip") if importlib.util.find_spec(module) is None]
    if missing:
        sys.exit(
            f"[setup] {sys.executable} has no {missing[0]}, with which .venv is made: on Debian and Ubuntu "
            "`apt install python3-venv` brings it, elsewhere take a Python from python.org"
        )
    run([sys.executable, "-m", "venv", "--clear", str(VENV)], f"making {VENV.name} with {sys.executable}")


def install() -> None:
    """Everything, unless it was installed already."""
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    torch = re.search(r'"(torch==[^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[1]
    if not usable():
        VENV.mkdir(exist_ok=True)  # where that cannot be, the error says more than venv's
        make_venv()
    # torch alone and without its needs: only this one package may ask the extra index.
    extra = ["--extra-index-url", CPU_INDEX] if wants_cpu_build() and answers(CPU_INDEX) else []
    run(
        [*PIP, "--no-deps", *extra, torch],
        f"installing {torch} ({'CPU build' if extra else 'default build'})",
    )
    project = ["--quiet", "--constraint", "constraints.txt", "--editable", ".[dev]"]
    # As a plain path, which is found before a folder that happens to be called lab where Python is started.
    project += ["--config-settings", "editable_mode=compat"]
    run([*PIP, *project], "installing the project and everything else (a minute or two)")
    place = VENV / "etc" / "ipython"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / KERNEL_CONFIG, place)
    STAMP.write_text(wanted, encoding="utf-8")


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036  (this file is started by whatever Python there is)
        sys.exit(f"lab needs Python 3.11 or newer, this is {sys.version.split()[0]} ({sys.executable})")
    for stream in (sys.stdout, sys.stderr):  # a folder's name may hold what the console's encoding lacks
        stream.reconfigure(errors="backslashreplace")
    try:
        install()
    except KeyboardInterrupt:
        print("[setup] stopped; the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        sys.exit(f"[setup] {error}: the project must lie where you may write, on a disk with a few GB free")


if __name__ == "__main__":
    main()
