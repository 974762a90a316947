"""The benchmark on a tiny model: all parts give rows that the reader of results accepts."""

import importlib.util
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from lab.bench import load_result
from lab.nn.transformer import TransformerConfig

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu_vs_cpu.py"


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        spec = importlib.util.spec_from_file_location("gpu_vs_cpu", PATH)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "gpu_vs_cpu", module)
        spec.loader.exec_module(module)
        tiny = TransformerConfig(50, context=8, width=16, num_layers=1, num_heads=2, feed_forward=32)
        plan = replace(
            module.QUICK, repeats=2, repeat_seconds=0.0, cells=((2, 50), (4, 3)), cell_seconds=0.0,
            matmul_sizes=(32,), widths=(16,), contexts=(4, 8), batches=(1, 2, 4), few_batches=(1, 2),
        )  # fmt: skip
        monkeypatch.setattr(module, "SMALL", tiny)
        monkeypatch.setattr(module, "Plan", lambda: plan)
        monkeypatch.setattr(module, "RESULTS", tmp_path_factory.mktemp("results"))
        monkeypatch.setattr(module, "copy_ceiling", partial(module.copy_ceiling, megabytes=8))
        monkeypatch.setattr(torch, "compile", lambda fn, **_: fn)  # its own tests are slow enough
        yield module


@pytest.fixture(scope="module")
def measured(script) -> Path:
    """The result of all parts, measured once for the tests of this file."""
    script.main(script.Settings(device="cpu"))
    (path,) = script.RESULTS.iterdir()
    return path


def test_all_parts_on_a_cpu(script, measured):
    result = load_result(measured)
    assert set(result.parts) == set(script.Part.__args__) and result.device["kind"] == "cpu"
    for part in ("ceilings", "cells", "step_parts", "threads", "forward_work", "grid"):
        assert result.parts[part] and all(row.seconds for row in result.parts[part]), part
    (long,), (short,) = result.select("cells", batch=2), result.select("cells", batch=4)
    assert long.notes["extrapolated"] and long.notes["measured_iterations"] == 3
    assert long.notes["total_seconds"] == pytest.approx(50 * sum(long.seconds) / 3)
    assert not short.notes["extrapolated"] and short.notes["measured_iterations"] == 3
    assert [r.case["batch"] for r in result.select("sweep", mode="eager", precision="float32")] == [1, 2, 4]
    assert all("needs CUDA" in row.problem for row in result.select("sweep", mode="graph"))
    assert "--gpt2" in result.parts["gpt2"][0].problem and result.parts["transfer"] == ()


def test_a_part_measured_anew_leaves_the_others_of_the_same_machine(script, measured, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    path, threads, here = shutil.copy(measured, tmp_path), torch.get_num_threads(), script.machine()
    script.main(script.Settings(device="cpu", only=("threads",)))
    before, after = load_result(measured).parts, load_result(path).parts
    assert set(after) == set(before) and torch.get_num_threads() == threads
    assert {part for part in before if after[part] != before[part]} <= {"ceilings", "threads"}
    monkeypatch.setattr(script, "machine", lambda: here | {"cpu": "another"})
    script.main(script.Settings(device="cpu", only=("threads",)))
    assert set(load_result(path).parts) == {"ceilings", "threads"}


def test_what_does_not_fit_or_takes_too_long_has_the_reason(script, monkeypatch):
    bench = script.Bench(torch.device("cpu"), script.Plan())
    monkeypatch.setattr(script, "memory_needed", lambda config, B, T: 2**60 if B == 2 else 0)
    rows = list(script.eager_sweep(bench, "float32"))
    assert [bool(row.seconds) for row in rows] == [True, False, True] and "2 needs about" in rows[1].problem

    def gives_up(fn, **_):
        raise RuntimeError("no compiler found\nlong story")

    monkeypatch.setattr(torch, "compile", gives_up)
    made = [row for row in script.measured_sweep(bench) if row.case["mode"] == "compiled"]
    said = [row.problem for row in made if row.case["batch"] != 2]
    assert said and set(said) == {"RuntimeError: no compiler found"}
    bench = replace(bench, plan=replace(bench.plan, longest_step=0.0))
    for row in [*script.eager_sweep(bench, "float32"), *script.grid(bench), *script.step_parts(bench)]:
        assert row.problem and not row.seconds
