"""Whatever is wrong with a checkpoint is an error that names the file: never another model, never silence."""

import errno
import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_runs_checkpoint import LINES, steps_in, tiny_run, train_on

from lab.files import sha256_bytes
from lab.runs import CheckpointError, checkpoint, load, save
from lab.runs.manifest import FILES, MANIFEST, manifest_digest
from lab.text import CharTokenizer

EVERY = (*FILES, MANIFEST)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A run folder with the bundles of steps 2, 3 and 4."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    train_on(tiny_run(), stop=4, save_to=folder, keep_last=3)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


def contents(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.iterdir()}


def consistent(bundle: Path, **changes) -> None:
    """Make the manifest agree with the files as they are now, apart from `changes` of its own."""
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    manifest["files"] |= {name: sha256_bytes((bundle / name).read_bytes()) for name in FILES}
    manifest |= changes
    manifest["digest"] = manifest_digest(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_a_thousand_random_damages_are_all_caught(folder):
    dice, bundle = random.Random(0), folder / "step-00000004"
    original, others = contents(bundle), contents(folder / "step-00000003")
    for step in (2, 3):  # with none to advise instead, refusing is quicker
        shutil.rmtree(folder / f"step-{step:08d}")
    kinds = dict.fromkeys(("flip", "truncate", "delete", "swap", "extend", "zero", "duplicate"), 0)
    while sum(kinds.values()) < 1000:
        name, kind = dice.choice(EVERY), dice.choice(list(kinds))
        data = bytearray(original[name])
        place = dice.randrange(len(data))
        if kind == "flip":
            data[place] ^= 1 << dice.randrange(8)
        elif kind == "truncate":
            del data[place:]
        elif kind == "swap":
            data = others[name]
        elif kind == "extend":
            data += bytes([dice.randrange(256)])
        elif kind == "zero":
            end = min(len(data), place + dice.randrange(1, 64))
            data[place:end] = bytes(end - place)
        elif kind == "duplicate":
            data = original[dice.choice(EVERY)]
        if kind != "delete" and bytes(data).strip() == original[name].strip():
            continue  # a space more at the end of a manifest says nothing else
        if kind == "delete":
            (bundle / name).unlink()
        else:
            (bundle / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=re.escape(str(bundle))):
            load(bundle)
        (bundle / name).write_bytes(original[name])
        kinds[kind] += 1
    assert min(kinds.values()) > 50
    load(bundle)  # every damage was undone, so each was caught on its own


@pytest.mark.parametrize("name", EVERY)
def test_each_file_must_be_there_whole_and_its_own(folder, name):
    bundle = folder / "step-00000004"
    data, other = (bundle / name).read_bytes(), (folder / "step-00000003" / name).read_bytes()
    damages = [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(data[:-2]),
        lambda path: path.write_bytes(bytes([data[0] ^ 1]) + data[1:]),
        lambda path: (path.unlink(), path.mkdir()),
    ]
    if data != other:  # the experiment and the tokenizer are the same at every step
        damages.append(lambda path: path.write_bytes(other))
    for damage in damages:
        damage(bundle / name)
        with pytest.raises(CheckpointError) as error:
            load(folder)
        assert str(bundle) in str(error.value)
        assert str(folder / "step-00000003") in str(error.value), "the checkpoint to load instead"
        path = bundle / name
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(data)
    load(folder)


def test_the_bundle_to_load_instead_is_itself_intact(folder):
    for step in (4, 3):
        (folder / f"step-{step:08d}" / "metrics.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"metrics.jsonl.*step-00000002$"):
        load(folder)
    assert load(folder / "step-00000002").state.step == 2
    (folder / "step-00000002" / "training.json").unlink()
    with pytest.raises(CheckpointError, match="no intact checkpoint before it"):
        load(folder)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "._model.safetensors", "notes.txt"])
def test_what_does_not_belong_to_a_checkpoint_is_passed_over(folder, name):
    (folder / name).write_text("mine")
    (folder / "step-00000004" / name).write_text("mine")
    assert load(folder).state.step == 4


def test_whole_checkpoints_exchanged_are_noticed(folder):
    (folder / "step-00000004").rename(folder / "step-00000009")
    with pytest.raises(CheckpointError, match="step-00000009"):
        load(folder)


@pytest.mark.parametrize("changes", [{"format": 3}, {"step": 5}, {"run": "another"}, {"files": {}}])
def test_a_manifest_says_what_a_manifest_says(folder, changes):
    consistent(folder / "step-00000004", **changes)
    with pytest.raises(CheckpointError, match="step-00000004"):
        load(folder)


def changed(change, read=lambda path: json.loads(path.read_bytes())):
    def damage(path):
        values = read(path)
        change(values)
        save_file(values, path) if read is load_file else path.write_text(json.dumps(values))

    return damage


WEIGHT = "embedding.token.weight"
NONSENSE = [
    ("model.safetensors", changed(lambda t: t.popitem(), load_file)),
    ("model.safetensors", changed(lambda t: t.update(x=torch.ones(1)), load_file)),
    ("model.safetensors", changed(lambda t: t.update({WEIGHT: torch.ones(3, 8)}), load_file)),
    ("training.safetensors", changed(lambda t: t.update({"x/y": torch.ones(1)}), load_file)),
    ("experiment.json", changed(lambda v: v["model"].update(colour=1))),
    ("experiment.json", changed(lambda v: v["training"].pop("steps"))),
    ("experiment.json", changed(lambda v: v.update(seed="1"))),
    ("experiment.json", changed(lambda v: v.update(objective=3))),
    ("experiment.json", changed(lambda v: v["objective"].update(name="os:system"))),
    ("training.json", changed(lambda v: v.pop("state"))),
    ("training.json", changed(lambda v: v["state"].update(step=-1))),
    ("tokenizer.json", CharTokenizer.train(["ab"]).to_json().encode()),
    ("tokenizer.json", b"\xff"),
    ("model.safetensors", b"12345"),
    ("metrics.jsonl", b"{"),
    ("experiment.json", b"[" * 100_000),
    ("training.json", b"[]"),
]


@pytest.mark.parametrize(("name", "damage"), NONSENSE)
def test_contents_that_agree_with_the_manifest_must_still_make_sense(folder, name, damage):
    path = folder / "step-00000004" / name
    path.write_bytes(damage) if isinstance(damage, bytes) else damage(path)
    consistent(folder / "step-00000004")
    files = name if not name.startswith("training") else r"training\.(json|safetensors)"
    with pytest.raises(CheckpointError, match=rf"(?s){files}.*step-00000003"):
        load(folder)


def test_places_without_a_checkpoint(folder):
    for place in (folder.parent / "nowhere", folder.parent, folder / "step-00000077"):
        with pytest.raises(CheckpointError, match=re.escape(str(place))):
            load(place)
    with pytest.raises(CheckpointError, match="has a validation"):
        load(folder, best=True)
    (folder / "step-00000002" / MANIFEST).write_text("{}")
    with pytest.raises(CheckpointError, match=r"step-00000002/manifest.json"):
        load(folder, best=True)  # that one might have been the best


def test_runs_that_could_not_be_loaded_are_not_saved(tmp_path):
    run = tiny_run()
    with torch.no_grad():
        run.model.decoder.norm.weight[0] = float("nan")
    with pytest.raises(CheckpointError, match=r"decoder\.norm"):
        save(tmp_path, run)
    for change in [
        {"tokenizer": CharTokenizer.train(["ab"])},
        {"model": tiny_run().model},
        {"experiment": tiny_run(steps=9).experiment},
        {"experiment": tiny_run(dropout=0.3).experiment},
        {"metrics": [{"loss": float("nan")}]},
        {"metrics": [{"loss": torch.ones(1)}]},
    ]:
        run = tiny_run()
        for name, value in change.items():
            setattr(run, name, value)
        with pytest.raises(CheckpointError):
            save(tmp_path, run)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="keep_last"):
        save(tmp_path, tiny_run(), keep_last=0)


@pytest.mark.parametrize("same_step", [False, True])
@pytest.mark.parametrize("call", range(7))
@pytest.mark.parametrize("operation", ["fsync", "mkdir", "replace", "write"])
def test_a_disk_that_refuses_leaves_the_bundle_before(folder, monkeypatch, operation, call, same_step):
    run = load(folder)
    if not same_step:
        train_on(run, stop=5)
    before, calls = contents(folder / "step-00000004"), iter(range(100))

    def refusing(real):
        def maybe(*arguments, **settings):
            if next(calls) >= call:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **settings)

        return maybe

    if operation == "fsync":
        monkeypatch.setattr(os, "fsync", refusing(os.fsync))
    elif operation == "write":
        opener = lambda *a: refusing(open)(*a)  # noqa: E731
        monkeypatch.setattr(checkpoint, "open", opener, raising=False)
    else:
        monkeypatch.setattr(Path, operation, refusing(getattr(Path, operation)))
    try:
        save(folder, run, keep_last=9)
    except OSError as error:
        assert error.errno == errno.ENOSPC
    monkeypatch.undo()
    again = load(folder)
    assert again.state.step in (4, run.state.step)
    if (folder / "step-00000004").exists():
        assert contents(folder / "step-00000004") == before
    assert again.tokenizer.decode(again.tokenizer.encode(LINES[0])) == LINES[0]
    save(folder, run, keep_last=9)  # the next save clears up
    assert {name[:13] for name in steps_in(folder)} == {f"step-{n:08d}" for n in (2, 3, 4, run.state.step)}
    assert not list(folder.glob(".*"))
