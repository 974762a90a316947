"""Models that come with the project: found by name, rounded once, and refused where a byte is another."""

import sys
from dataclasses import replace

import pytest
import torch

from lab import cli, models, runs
from lab.nn import TransformerConfig
from lab.runs import CheckpointError, Data, Experiment
from lab.text import Corpus
from lab.train import TrainConfig

SIZES = TransformerConfig(30, context=12, width=8, num_layers=1, num_heads=2, feed_forward=12, tied=True)
TEXT = Corpus("psalm", ["in the beginning", "the night and the light", "that it was good"] * 8)
TINY = Experiment(SIZES, training=TrainConfig(steps=6, precision="float32"), data=Data(TEXT, "char", 4))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty models/."""
    for module in ("lab.runs.folder", "lab.runs.deleting", "lab.models"):
        monkeypatch.setattr(f"{module}.MODELS", tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def run(tmp_path):
    return runs.get_or_train(TINY, tmp_path / "runs", name="psalms", progress=False)


def test_a_model_is_the_run_with_rounded_weights(place, run, tmp_path):
    saved = runs.save_light(place / "psalm-1", run)
    model = models.get("psalm-1")
    for name, weight in run.model.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], weight.half().float())
    assert (
        model.experiment.to_json() == run.experiment.to_json()
        and model.tokenizer.to_json() == run.tokenizer.to_json()
    )
    assert model.state.values() == run.state.values() and model.metrics[-1] == run.metrics[-1]
    [written] = (tmp_path / "runs" / "psalms").glob("step-*")
    size = lambda folder: sum(file.stat().st_size for file in folder.glob("*.safetensors"))  # noqa: E731
    assert size(saved) < size(written) / 3


def test_names_are_those_of_versions_and_the_newest_goes_without_its_number(place, run):
    assert models.names() == []
    for version in (1, 2, 10):
        run.metrics[-1]["version"] = version
        runs.save_light(place / f"psalm-{version}", run)
    assert models.names() == ["psalm-1", "psalm-10", "psalm-2"]
    assert (
        models.get("psalm").metrics[-1]["version"] == 10 and models.get("psalm-2").metrics[-1]["version"] == 2
    )
    assert runs.find("psalm", folder=place.parent / "runs").name == "psalm-10", (
        "a part of a run's name comes later"
    )
    with pytest.raises(ValueError, match="psalm-2"):
        models.get("psalter")


def test_a_run_in_the_folder_goes_before_a_model(place, run, tmp_path):
    runs.save_light(place / "psalms", run)
    assert runs.find("psalms", tmp_path / "runs").parent == tmp_path / "runs"


def test_a_model_is_not_deleted_as_a_run(place, run, tmp_path):
    runs.save_light(place / "psalm-1", run)
    for name in ("psalm", "psalm-1", place / "psalm-1"):
        with pytest.raises(ValueError, match="psalm-1"):
            runs.delete(name, tmp_path / "runs")
    assert models.get("psalm").state.stopped


def test_others_start_from_a_model_and_it_is_not_trained_on(place, run, tmp_path):
    runs.save_light(place / "psalm-1", run)
    more = replace(TINY, start="psalm", training=TrainConfig(steps=3))
    assert runs.get_or_train(more, tmp_path / "runs", progress=False).state.step == 3
    with pytest.raises(CheckpointError, match="holds a run"):
        runs.save_light(place / "psalm-1", run)


def test_damage_is_refused(place, run):
    file = runs.save_light(place / "psalm-1", run) / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        models.get("psalm")


def test_those_of_the_project_write_at_once_and_are_small(capsys, monkeypatch):
    sizes = []
    for path in runs.run_folders(models.MODELS):
        run = models.get(path.name)
        sizes.append(runs.disk_use(path))
        assert sizes[-1] <= 6_000_000 and run.state.stopped
        if hasattr(run.experiment.objective, "language_model"):
            monkeypatch.setattr(
                sys, "argv", ["lab", "sample", path.name, "--prompt", "And", "--max-new-tokens", "5"]
            )
            cli.main()
            assert capsys.readouterr().out.startswith("And")
    assert sum(sizes) <= 20_000_000


def test_what_float16_cannot_say_is_refused(place, run):
    with torch.no_grad():
        next(run.model.parameters())[0, 0] = 1e6
    with pytest.raises(CheckpointError, match="65,504"):
        runs.save_light(place / "psalm-1", run)
    assert models.names() == []
