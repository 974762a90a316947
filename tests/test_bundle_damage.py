"""Whatever is wrong with a bundle is an error that names the file: never another model, never silence."""

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
from test_bundle import LINES, tiny_run, train_on

import lab.bundle.step_folder as step_folder
from lab.bundle import BundleError, load, save
from lab.bundle.step_folder import FILES, MANIFEST
from lab.files import sha256_bytes
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
    for name in FILES:
        data = (bundle / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": sha256_bytes(data)}
    manifest |= changes
    manifest["digest"] = step_folder._digest(manifest)
    (bundle / MANIFEST).write_bytes(step_folder._manifest_bytes(manifest))


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
        if bytes(data) == original[name] and kind != "delete":
            continue
        if kind == "delete":
            (bundle / name).unlink()
        else:
            (bundle / name).write_bytes(data)
        with pytest.raises(BundleError, match=re.escape(str(bundle))):
            load(bundle)
        (bundle / name).write_bytes(original[name])
        kinds[kind] += 1
    assert min(kinds.values()) > 50
    load(bundle)  # every damage was undone, so each was caught on its own


@pytest.mark.parametrize("name", EVERY)
def test_each_file_must_be_there_whole_and_its_own(folder, name):
    bundle = folder / "step-00000004"
    data, other = (bundle / name).read_bytes(), (folder / "step-00000003" / name).read_bytes()
    outside = folder / "outside"
    outside.write_bytes(data)
    damages = {
        "missing": lambda path: path.unlink(),
        "damaged": lambda path: path.write_bytes(data[:-1]),
        "damaged: ": lambda path: path.write_bytes(bytes([data[0] ^ 1]) + data[1:]),
        "a link": lambda path: (path.unlink(), path.symlink_to(outside)),
        "no file at all": lambda path: (path.unlink(), path.mkdir()),
        "or no file": lambda path: (path.unlink(), os.mkfifo(path)),
    }
    if data != other:  # the experiment and the tokenizer are the same at every step
        damages["does not match|damaged|exchanged|is not"] = lambda path: path.write_bytes(other)
    for said, damage in damages.items():
        damage(bundle / name)
        with pytest.raises(BundleError, match=rf"step-00000004/?.*({said})") as error:
            load(folder)
        assert name in str(error.value) or name == MANIFEST
        assert str(folder / "step-00000003") in str(error.value), "the bundle to load instead"
        path = bundle / name
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        path.write_bytes(data)
    load(folder)


def test_the_bundle_to_load_instead_is_itself_intact(folder):
    for step in (4, 3):
        (folder / f"step-{step:08d}" / "metrics.jsonl").unlink()
    with pytest.raises(BundleError, match=r"metrics.jsonl is missing.*step-00000002'\)"):
        load(folder)
    assert load(folder / "step-00000002").training_state.step == 2
    (folder / "step-00000002" / "training.json").unlink()
    with pytest.raises(BundleError, match="There is no intact bundle before it"):
        load(folder)


def test_a_file_too_many_is_an_error(folder):
    (folder / "step-00000004" / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"notes.txt does not belong to the bundle"):
        load(folder)


def test_whole_bundles_exchanged_are_noticed(folder):
    (folder / "step-00000004").rename(folder / "step-00000009")
    with pytest.raises(BundleError, match=r"the steps \[4, 9\]"):
        load(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "sub/model.safetensors", "model.bin"])
def test_a_manifest_names_no_file_elsewhere(folder, name):
    bundle = folder / "step-00000004"
    files = json.loads((bundle / MANIFEST).read_bytes())["files"]
    files[name] = files.pop("model.safetensors")
    consistent(bundle, files=files)
    with pytest.raises(BundleError, match=r"manifest.json lists .*a bundle has exactly the files"):
        load(folder)


def test_a_newer_format_is_named(folder):
    consistent(folder / "step-00000004", format=2, more="fields")
    with pytest.raises(BundleError, match="has format 2, this code reads up to 1"):
        load(folder)


@pytest.mark.parametrize("changes", [{"step": "4"}, {"validation": "low"}, {"best": None}, {"step": 5}])
def test_a_manifest_says_what_a_manifest_says(folder, changes):
    consistent(folder / "step-00000004", **changes)
    with pytest.raises(BundleError, match="step-00000004"):
        load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_numbers_that_are_not_finite_are_refused(folder, name, value):
    path = folder / "step-00000004" / name
    tensors = load_file(path)
    next(t for t in tensors.values() if t.is_floating_point()).view(-1)[0] = value
    save_file(tensors, path)
    consistent(path.parent)
    with pytest.raises(BundleError, match=rf"{name} .*numbers that are not finite"):
        load(folder)


def change_tensors(name, change):
    def damage(bundle):
        tensors = load_file(bundle / name)
        change(tensors)
        save_file(tensors, bundle / name)

    return name, damage


def change_json(name, change):
    def damage(bundle):
        values = json.loads((bundle / name).read_bytes())
        change(values)
        (bundle / name).write_text(json.dumps(values))

    return name, damage


def replaced_by(name, data):
    return name, lambda bundle: (bundle / name).write_bytes(data)


@pytest.mark.parametrize(
    "name, damage, said",
    [
        (*change_tensors("model.safetensors", lambda t: t.popitem()), "missing or too many"),
        (*change_tensors("model.safetensors", lambda t: t.update(x=torch.ones(1))), r"too many: \['x'\]"),
        (
            *change_tensors(
                "model.safetensors", lambda t: t.update({"embedding.token.weight": torch.ones(3, 8)})
            ),
            "embedding.token.weight must be",
        ),
        (*change_tensors("training.safetensors", lambda t: t.pop("random/torch")), "'torch' is missing"),
        (
            *change_tensors("training.safetensors", lambda t: t.update({"optimizer/x/y": torch.ones(1)})),
            "x/y",
        ),
        (*change_tensors("training.safetensors", lambda t: t.update({"random/torch": torch.zeros(9)})), ""),
        (
            *change_json("experiment.json", lambda v: v["model"].update(colour=1)),
            r"unknown keys \['colour'\]",
        ),
        (*change_json("experiment.json", lambda v: v["training"].pop("steps")), r"\['steps'\] are missing"),
        (
            *change_json("experiment.json", lambda v: v["data"].update(seed="1")),
            "seed: expected int, got '1'",
        ),
        (*change_json("experiment.json", lambda v: v.update(kind=3)), "unknown kind of model 3"),
        (*change_json("training.json", lambda v: v.pop("random")), "'random' is missing"),
        (*change_json("training.json", lambda v: v["state"].update(step=-0.5)), "step must be a number"),
        (
            *replaced_by("tokenizer.json", CharTokenizer.train(["ab"]).to_json().encode()),
            "has 7 ids, the model",
        ),
        (*replaced_by("tokenizer.json", b"\xff"), "decode"),
        (*replaced_by("model.safetensors", b"12345"), ""),
        (*replaced_by("metrics.jsonl", b"[1]\n"), "each line must be an object"),
        (*replaced_by("experiment.json", b"[" * 100_000), ""),
        (*replaced_by("training.json", b"[]"), ""),
    ],
)
def test_contents_that_agree_with_the_manifest_must_still_make_sense(folder, name, damage, said):
    damage(folder / "step-00000004")
    consistent(folder / "step-00000004")
    files = name if not name.startswith("training") else r"training\.(json|safetensors)"
    with pytest.raises(BundleError, match=rf"(?s){files}.*{said}.*step-00000003"):
        load(folder)


def test_places_without_a_bundle(folder):
    for place in (folder.parent / "nowhere", folder.parent):
        with pytest.raises(BundleError, match=r"there is no bundle in .*expected folders such as"):
            load(place)
    with pytest.raises(BundleError, match=r"step-00000077/manifest.json is missing"):
        load(folder / "step-00000077")
    with pytest.raises(BundleError, match="has a validation"):
        load(folder, best=True)
    (folder / "step-00000002" / MANIFEST).write_text("{}")
    with pytest.raises(BundleError, match=r"step-00000002/manifest.json"):
        load(folder, best=True)  # that one might have been the best


def test_runs_that_could_not_be_loaded_are_not_saved(tmp_path):
    run = tiny_run()
    with torch.no_grad():
        run.model.decoder.norm.weight[0] = float("nan")
    with pytest.raises(BundleError, match=r"decoder.norm.weight holds numbers that are not finite"):
        save(tmp_path, run)
    for change, said in [
        ({"tokenizer": CharTokenizer.train(["ab"])}, "the tokenizer has 7 ids, the model"),
        ({"model": tiny_run().model}, "another model"),
        ({"experiment": tiny_run(steps=9).experiment}, "another training config"),
        ({"experiment": tiny_run(dropout=0.3).experiment}, "its config differs"),
        ({"experiment": tiny_run(kind="encoder").experiment}, "not the one that the experiment describes"),
        ({"metrics": [{"loss": float("nan")}]}, "cannot be written as JSON"),
        ({"metrics": [{"loss": torch.ones(1)}]}, "cannot be written as JSON"),
    ]:
        run = tiny_run()
        for name, value in change.items():
            setattr(run, name, value)
        with pytest.raises(BundleError, match=said):
            save(tmp_path, run)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="keep_last must be at least 1, got 0"):
        save(tmp_path, tiny_run(), keep_last=0)


@pytest.mark.parametrize("same_step", [False, True])
@pytest.mark.parametrize("call", range(7))
@pytest.mark.parametrize("operation", ["fsync", "mkdir", "rename", "write"])
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
        monkeypatch.setattr(step_folder, "open", opener, raising=False)
    else:
        monkeypatch.setattr(Path, operation, refusing(getattr(Path, operation)))
    try:
        save(folder, run, keep_last=9)
    except OSError as error:
        assert error.errno == errno.ENOSPC
    monkeypatch.undo()
    again = load(folder)
    assert again.training_state.step in (4, run.training_state.step)
    if not same_step:
        assert contents(folder / "step-00000004") == before
    assert again.tokenizer.decode(again.tokenizer.encode(LINES[0])) == LINES[0]
    save(folder, run, keep_last=9)  # the next save clears up
    expected = {2, 3, 4, run.training_state.step}
    assert sorted(p.name for p in folder.iterdir()) == [f"step-{n:08d}" for n in sorted(expected)]
