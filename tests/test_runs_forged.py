"""A bundle whose digests agree but whose contents were forged: it is what it says, or refused by name, at once."""

import json
import math
import os
import random
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_runs_checkpoint import tiny_run, train_on
from test_runs_damage import consistent

from lab import runs

STEP = "step-00000003"
ROUNDS = 15  # thousands were tried when this was written
FORGED = (
    None, True, -1, 0, 1.5, 1e308, 10**9, 10**12, 10**400, -(10**30), "", "x", "NaN", "\x1b[31m", [], [[]], {},
    {"a": 1}, [0] * 1000, math.nan, math.inf,
)  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("forged") / "mine"
    run = train_on(tiny_run(), stop=3)
    run.metrics = [{"step": 0, "loss": 2.0, "bits_per_char": 3.0}]
    run.metrics += [{"step": 3, "outcome": {"nats": 20.0, "chars": 9, "tokens": 5, "bits_per_char": 3.2}}]
    runs.save(folder, run)
    return folder


@pytest.fixture
def bundle(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "runs" / "mine")) / STEP


def places(value, path=()):
    """Where something stands in a JSON value, lists of numbers aside."""
    yield path
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    )
    for key, inside in items:
        yield from places(inside, (*path, key))


def forge(value, path, forged):
    if not path:
        return forged
    value = value.copy()
    value[path[0]] = forge(value[path[0]], path[1:], forged)
    return value


@pytest.mark.parametrize(
    "name", ["experiment.json", "training.json", "metrics.jsonl", "tokenizer.json", "manifest.json"]
)
def test_a_field_that_is_forged_is_what_the_run_says_or_refused_within_a_second(bundle, name):
    dice, lines = random.Random(0), (bundle / name).read_text("utf-8")
    original = [json.loads(line) for line in lines.splitlines()] if name.endswith("l") else json.loads(lines)
    manifest = (bundle / "manifest.json").read_text("utf-8")
    where, loaded = list(places(original)), 0
    for _ in range(ROUNDS):
        values = forge(original, dice.choice(where), dice.choice(FORGED))
        rows = values if name.endswith("l") and isinstance(values, list) else [values]
        (bundle / "manifest.json").write_text(manifest, "utf-8")
        if name == "manifest.json":
            consistent(bundle, **values) if isinstance(values, dict) else (bundle / name).write_text("[]")
        else:
            (bundle / name).write_text("\n".join(map(json.dumps, rows)), "utf-8")
            consistent(bundle)
        began = time.process_time()
        try:
            run = runs.load(bundle.parent)
        except runs.CheckpointError as error:
            assert str(bundle) in str(error) and len(str(error)) < 2000
        else:
            loaded += 1
            runs.restore_random(run)
            said = {"experiment.json": run.experiment.to_json(), "metrics.jsonl": run.metrics}
            assert said.get(name, rows) in (values, rows)
        assert len(runs.table(bundle.parents[1])) == 1, "one forged run never hides the others"
        assert time.process_time() - began < 1
    assert loaded < ROUNDS


def set_at(bundle, name: str, path: tuple, forged) -> None:
    values = json.loads((bundle / name).read_text("utf-8"))
    (bundle / name).write_text(json.dumps(forge(values, path, forged)), "utf-8")
    consistent(bundle)


@pytest.mark.parametrize(
    ("name", "path", "forged"),
    [
        ("experiment.json", ("model", "width"), 2 * 10**6),
        ("experiment.json", ("model", "num_layers"), 10**9),
        ("experiment.json", ("model", "context"), 2 * 10**9),
        ("training.json", ("state", "batches_taken"), 10**15),
        ("training.json", ("state", "step"), 2),
        ("training.json", ("state", "tokens"), 10**400),
        ("training.json", ("numpy", "state", "pos"), 10**6),
        ("training.json", ("numpy", "state", "key"), [1, 2]),
        ("training.json", ("python", 1), [1, 2]),
        ("training.json", ("python", 0), 99),
    ],
)
def test_sizes_counts_and_random_states_that_would_end_the_process(bundle, name, path, forged):
    set_at(bundle, name, path, forged)
    began = time.process_time()
    with pytest.raises(runs.CheckpointError, match=STEP):
        runs.load(bundle)
    assert time.process_time() - began < 1


def test_a_state_of_torch_s_generator_of_another_shape(bundle):
    tensors = load_file(bundle / "training.safetensors")
    save_file(tensors | {"random/torch": torch.zeros(7, dtype=torch.uint8)}, bundle / "training.safetensors")
    consistent(bundle)
    with pytest.raises(runs.CheckpointError, match="training"):
        runs.load(bundle)


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "metrics.jsonl"])
@pytest.mark.parametrize("kind", ["link", "pipe", "sparse"])
def test_what_is_no_file_of_the_folder_is_refused(bundle, tmp_path, name, kind):
    (bundle / name).rename(tmp_path / name)
    try:
        if kind == "link":
            (bundle / name).symlink_to(tmp_path / name)
        elif kind == "pipe":
            os.mkfifo(bundle / name)
        else:
            with open(bundle / name, "wb") as file:
                file.truncate(2**43)
    except (OSError, AttributeError):
        pytest.skip(f"no {kind} can be made here")
    with pytest.raises(runs.CheckpointError, match=name):
        runs.load(bundle)


@pytest.mark.parametrize(
    "header", [b"\xff" * 8, (2 * 10**11).to_bytes(8, "little"), b"\2" + b"\0" * 7 + b"{}"]
)
def test_a_header_that_declares_more_than_there_is(bundle, header):
    (bundle / "model.safetensors").write_bytes(header + (bundle / "model.safetensors").read_bytes()[8:])
    consistent(bundle)
    with pytest.raises(runs.CheckpointError, match="model"):
        runs.load(bundle)


@pytest.mark.parametrize(
    "line",
    ['{"outcome": null}', '{"loss": "low"}', '{"outcome": {"nats": 1, "chars": 0, "tokens": 1}}', '{"outcome": [1]}',
     '{"outcome": {"nats": 1}}', '{"loss": NaN}', '{"loss": 1e999}', "[" * 100_000, '{"outcome": {"cer": "x"}}'],
)  # fmt: skip
def test_a_run_with_an_odd_result_does_not_hide_the_others(bundle, line):
    shutil.copytree(bundle.parent, bundle.parents[1] / "other")
    (bundle / "metrics.jsonl").write_text(f'{{"step": 0, "loss": 1.0}}\n{line}', "utf-8")
    consistent(bundle)
    states = runs.table(bundle.parents[1])["state"]
    assert states["other"] == "done" and states["mine"].startswith("damaged") and "metrics" in states["mine"]
