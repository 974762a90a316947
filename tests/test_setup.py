"""The two commands of the README: what they need stands in one place, and setting up asks for no more than it must."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bootstrap

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_says_nothing_that_pyproject_says():
    lines = [line.strip() for line in (ROOT / "environment.yml").read_text().splitlines()]
    entries = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    installed = ["--constraint constraints.txt", "--editable .[dev]"]
    assert entries == ["conda-forge", "python>=3.11", "pip", "pip:", *installed]
    assert PROJECT["requires-python"] == ">=3.11"


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
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / ".venv" / "installed")
    monkeypatch.setattr(bootstrap, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    commands = []

    def run(command, step):
        commands.append(command)
        if "venv" in command:
            (tmp_path / ".venv" / "bin").mkdir(parents=True)
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
