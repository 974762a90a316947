"""The two commands of the README: what they need stands in one place, and setting up asks for no more than it must."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bootstrap
from lab.threads import SPINS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_says_nothing_that_pyproject_says():
    lines = [line.strip() for line in (ROOT / "environment.yml").read_text().splitlines()]
    entries = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    installed = ["--constraint constraints.txt", "--editable .[dev]"]
    assert entries == ["conda-forge", "python>=3.11", "pip", "pip:", *installed]
    assert PROJECT["requires-python"] == ">=3.11"
    assert f'GOMP_SPINCOUNT: "{SPINS}"' in lines, "there is no bootstrap.py to tell its kernels"


def test_every_dependency_is_pinned():
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in constraints()}
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    names = {re.split(r"[=><\[]", entry)[0] for entry in wanted}
    assert names <= pinned, f"not in constraints.txt: {names - pinned}"
    assert all("==" in line and "+" not in line for line in constraints())
    assert "torch==2.13.0" in PROJECT["dependencies"] and "torch==2.13.0" in constraints()


def constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """bootstrap on an empty folder, with every command recorded instead of run."""
    for name in bootstrap.READ:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    monkeypatch.setattr(bootstrap, "has_pip", lambda: True)
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / ".venv" / "installed")
    monkeypatch.setattr(bootstrap, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    commands = []

    def run(command, step):
        commands.append(command)
        if "venv" in command:
            (tmp_path / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
            (tmp_path / ".venv" / "bin" / "python").touch()
            version = sys.version.split()[0]
            text = f"version = {version}\ncommand = python -m venv {tmp_path / '.venv'}\n"
            (tmp_path / ".venv" / "pyvenv.cfg").write_text(text)

    monkeypatch.setattr(bootstrap, "run", run)
    return commands


@pytest.mark.parametrize(("cpu", "reachable"), [(True, True), (True, False), (False, True)])
def test_only_torch_asks_the_extra_index_and_only_if_it_answers(setup, monkeypatch, cpu, reachable):
    monkeypatch.setattr(bootstrap, "wants_cpu_build", lambda: cpu)
    monkeypatch.setattr(bootstrap, "answers", lambda address: reachable)
    bootstrap.main()
    make, torch, project = setup
    assert make[1:3] == ["-m", "venv"]
    assert "torch==2.13.0" in torch and "--no-deps" in torch
    assert ("--extra-index-url" in torch) == (cpu and reachable)
    assert "--extra-index-url" not in project and "constraints.txt" in project


def test_a_second_time_only_what_changed_or_was_interrupted_is_done(setup, monkeypatch):
    assert bootstrap.answers("http://127.0.0.1:9/whl") is False, "nothing is there"
    monkeypatch.setattr(bootstrap, "answers", lambda address: False)
    constraints = bootstrap.ROOT / "constraints.txt"
    changes = [
        (lambda: None, 3),
        (lambda: None, 0),
        (lambda: constraints.write_text("torch==2.13.0\n# newer\n"), 2),  # into the same .venv
        (lambda: bootstrap.STAMP.unlink(), 2),
    ]
    for change, commands in changes:
        change()
        del setup[:]
        bootstrap.main()
        assert len(setup) == commands
    config = bootstrap.VENV / "pyvenv.cfg"
    config.write_text(config.read_text().replace(str(bootstrap.VENV), "/somewhere/else/.venv"))
    assert not bootstrap.usable(), "one that was moved here is made anew"


def test_a_venv_that_was_half_made_is_made_anew(setup, monkeypatch):
    monkeypatch.setattr(bootstrap, "answers", lambda address: False)
    bootstrap.main()
    bootstrap.STAMP.unlink()
    monkeypatch.setattr(bootstrap, "has_pip", lambda: False)
    del setup[:]
    bootstrap.main()
    assert setup[0][1:3] == ["-m", "venv"]


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("WARNING: Retrying (Retry(total=4)) after connection broken", "network"),
        ("ERROR: No matching distribution found for torch==2.13.0", "this Python"),
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("ERROR: something else in ßtraße", "message above"),
    ],
)
def test_a_step_that_fails_says_what_to_do_about_it(capfd, said, named):
    with pytest.raises(SystemExit, match=f"failed: installing; .*{named}"):
        bootstrap.run([sys.executable, "-X", "utf8", "-c", f"import sys; sys.exit({said!r})"], "installing")
    assert said in capfd.readouterr().err, "and what it says itself is seen too"


def test_where_no_venv_can_be_made_one_sentence_says_so(setup, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"no venv.*apt install python3-venv"):
        bootstrap.main()
    monkeypatch.setattr(bootstrap, "make_venv", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(SystemExit) as stopped:
        bootstrap.main()
    assert stopped.value.code == 130 and "goes on" in capsys.readouterr().err
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        bootstrap, "VENV", tmp_path / "file" / ".venv"
    )  # as little use as a folder that is read only
    monkeypatch.setattr(bootstrap, "usable", lambda: False)
    with pytest.raises(SystemExit, match="where you may write"):
        bootstrap.main()
    assert setup == []


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, str(SPINS)), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, None)],
)
def test_threads_spin_shortly_unless_the_person_said_how_they_wait(given, spins):
    """Told before torch is imported: by the command line, and by the file that every kernel of .venv reads."""
    script = """
import os, runpy, sys
class Watch:
    def find_spec(name, path, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"))
            os._exit(0)
sys.meta_path.insert(0, Watch)
sys.stdout.reconfigure(write_through=True)
"""
    clean = {key: os.environ[key] for key in os.environ if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    for way in (
        "sys.argv = ['lab', 'train', '--help']; from lab.cli import main; main()",
        f"runpy.run_path({str(ROOT / bootstrap.KERNEL_CONFIG)!r}); import torch",
    ):
        run = subprocess.run(
            [sys.executable, "-c", script + way], cwd=ROOT, env=clean | given, capture_output=True, text=True
        )
        assert run.stdout.split() == [str(spins)], run.stderr


def test_kernels_read_the_configuration_that_setting_up_puts_into_venv(setup, monkeypatch):
    from ipykernel.kernelapp import IPKernelApp
    from IPython.core import application

    monkeypatch.setattr(bootstrap, "answers", lambda address: False)
    bootstrap.main()
    put = bootstrap.VENV / "etc" / "ipython" / IPKernelApp().config_file_name
    assert put.read_bytes() == (ROOT / bootstrap.KERNEL_CONFIG).read_bytes()
    assert (
        sys.prefix == sys.base_prefix
        or f"{Path(sys.prefix, 'etc', 'ipython')}" in application.ENV_CONFIG_DIRS
    )


def lab(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "lab", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("command", ["run", "test", "lab", "check", "publish", "figures", "bench", "corpus"])
def test_every_command_explains_itself(command):
    result = lab(command, "--help")
    assert result.returncode == 0 and len(result.stdout) > 100
    makefile = (ROOT / "Makefile").read_text()
    assert command == "corpus" or re.search(rf"^run test.*:|\b{command}\b", makefile)


@pytest.mark.parametrize(
    ("command", "named"), [("run 77", "no notebook begins with '77'"), ("corpus kvj", "kjv")]
)
def test_a_wrong_notebook_or_corpus_is_one_clear_line(command, named):
    result = lab(*command.split())
    assert result.returncode != 0 and named in result.stderr and "Traceback" not in result.stderr


def test_benchmark_results_say_where_they_were_measured():
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        machine = json.loads(path.read_text())["machine"]
        assert {"cpu", "cores", "threads", "torch", "date"} <= machine.keys(), path.name
