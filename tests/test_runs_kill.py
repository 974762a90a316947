"""Training killed at random moments, also inside a save, ends as training left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_killed_25_times_the_weights_are_those_of_a_run_left_alone(tmp_path):
    result = tmp_path / "kill.json"
    command = [sys.executable, "benchmarks/kill.py", "--kills", "25", "--seed", "1", "--result", str(result)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(result.read_text())["counts"]
    assert counts["kills"] == 25 and counts["inside a save"] >= 5
    assert counts["as if left alone"] == counts["runs ended"] >= 1
