"""Character encoders as runs: batches of lines, a checkpoint of all of it, and going on as if nothing had happened."""

import json
import math
import sys
from dataclasses import asdict, replace
from itertools import islice, pairwise

import pytest
import torch

from lab import cli, runs
from lab.chars import CharacterObjectives, CharacterScores, CharEncoderConfig, NextCharacter, Weights
from lab.decode.search import Sampling, generate
from lab.nn import TransformerConfig
from lab.runs import Data, Experiment
from lab.score import score_lines
from lab.train import TrainConfig

WORDS = ["the", "cat,", "dog", "sat", "ran.", "on", "under", "a", "mat;", "tree", "and", "then", "slept!"]
STACK = TransformerConfig(
    40, context=32, width=8, num_layers=1, num_heads=2, feed_forward=8, tied=True, dropout=0.1
)
MODEL = CharEncoderConfig(STACK, decoder_layers=1, latents=4, latent_width=2)
OBJECTIVE = CharacterObjectives(chunk=8, removed=(".,;!", " "))
REMEMBERING = CharacterObjectives(chunk=8, memory=1, last_weights=Weights(mlm=2.0), last_mask_rate=0.4)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 11, (80,), generator=g).tolist()
    lines = [" ".join(WORDS[i] for i in torch.randint(len(WORDS), (n,), generator=g)) for n in lengths]
    path = tmp_path_factory.mktemp("text") / "cats.txt"
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture
def experiment(text) -> Experiment:
    training = TrainConfig(steps=6, warmup=2, accumulate=2)
    return Experiment(MODEL, OBJECTIVE, training, Data(text, "char", batch_size=3))


def remembering(experiment: Experiment, context=32) -> Experiment:
    stack = replace(STACK, context=context)
    model = replace(MODEL, stack=stack, memory_slots=1, cross_attention="memory")
    return replace(experiment, model=model, objective=REMEMBERING)


def quiet(experiment, folder, **more) -> runs.Run:
    return runs.get_or_train(experiment, folder, progress=False, say=lambda _: None, **more)


def weights(run: runs.Run) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def test_batches_are_whole_lines_of_characters(experiment):
    material = OBJECTIVE.material(experiment)
    lines = set(material.splits.train)
    for batch in islice(OBJECTIVE.batches(experiment, material), 30):
        assert batch.ids.numel() <= 3 * 32 and batch.ids.shape[1] <= 32
        for row in batch.ids:
            text = material.tokenizer.decode(row.tolist())
            assert text in lines or (len(text) >= 15 and any(text in line for line in lines))


def test_with_a_memory_rows_follow_one_another_in_the_text(experiment):
    experiment = remembering(experiment, context=128)
    material = REMEMBERING.material(experiment)
    kept, follows = set(material.splits.train), set(pairwise(material.corpus.lines))
    for batch in islice(REMEMBERING.batches(experiment, material), 20):
        rows = [material.tokenizer.decode(row.tolist()) for row in batch.ids]
        pairs = list(zip(rows[::2], rows[1::2], strict=True))
        assert all(pair in follows and set(pair) <= kept for pair in pairs)


def test_a_checkpoint_holds_all_of_it_and_the_outcome(experiment, tmp_path):
    run = quiet(experiment, tmp_path / "runs", name="here")
    (tmp_path / "runs" / "here").rename(tmp_path / "moved")
    again = runs.load(tmp_path / "moved")
    assert again.experiment == run.experiment and torch.equal(weights(again), weights(run))
    validation = OBJECTIVE.material(run.experiment).splits.validation
    scores = OBJECTIVE.scores(again.model, again.tokenizer, validation)
    assert CharacterScores.from_outcome(runs.outcome(again)) == scores
    expected = score_lines(NextCharacter(again.model), again.tokenizer, validation)
    assert runs.score(again) == scores.clm == expected
    assert [one.characters for one in scores.restoration if len(one.characters) > 1] == [".,;!"]
    assert scores.restoration[-1].characters == " "


def test_each_step_tells_of_every_objective(experiment, tmp_path):
    run = quiet(experiment, tmp_path)
    for step in runs.steps(run):
        assert all(math.isfinite(step[name]) for name in asdict(Weights()))
        assert step["bits_per_char"] == pytest.approx(step["clm"] / math.log(2))
    (row,) = runs.table(tmp_path).to_dict("records")
    assert row["state"] == "done" and row["bits_per_char"] == runs.score(run).bits_per_char


@pytest.mark.parametrize("kind", [lambda experiment: experiment, remembering], ids=["lines", "memory"])
def test_a_run_that_was_interrupted_goes_on_to_the_same_end(experiment, tmp_path, kind):
    experiment = kind(experiment)
    whole = quiet(experiment, tmp_path / "whole")
    list(islice(runs.training(experiment, tmp_path / "broken"), 3))
    torch.rand(7)
    broken = quiet(experiment, tmp_path / "broken")
    assert torch.equal(weights(whole), weights(broken))
    timeless = [
        [{k: v for k, v in step.items() if "second" not in k} for step in runs.steps(run)]
        for run in (whole, broken)
    ]
    assert timeless[0] == timeless[1] and runs.outcome(whole) == runs.outcome(broken)


def test_the_validation_on_the_way_is_the_loss_of_held_out_lines(experiment, tmp_path):
    experiment = replace(experiment, training=replace(experiment.training, evaluate_every=2))
    measured = [step["validation"] for step in runs.steps(quiet(experiment, tmp_path))]
    assert [value is None for value in measured] == [True, False] * 3
    assert measured[-1] < measured[1] < sum(asdict(Weights()).values()) * math.log(40)


def test_an_experiment_names_its_objectives(experiment):
    resolved = remembering(experiment).resolved()
    assert Experiment.from_json(json.loads(json.dumps(resolved.to_json()))) == resolved
    other = replace(resolved, objective=replace(REMEMBERING, weights=Weights(clm=0.5)))
    assert "objective.weights.clm: 1.0 -> 0.5" in runs.differences(resolved, other)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"data": {"tokenizer": "word"}}, "tokenizer"),
        ({"model": {"latents": 0, "latent_width": 0}}, "latents"),
        ({"objective": {"chunk": 64}}, "chunk"),
        ({"objective": {"memory": 1}}, "memory_slots"),
        ({"objective": {"removed": ("#",)}}, "removed"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_saved(experiment, tmp_path, changed, name):
    parts = {part: replace(getattr(experiment, part), **more) for part, more in changed.items()}
    with pytest.raises(ValueError, match=name):
        quiet(replace(experiment, **parts), tmp_path)
    assert not list(tmp_path.glob("*/about.json"))


def test_a_model_without_a_bottleneck_is_trained_for_the_rest(experiment, tmp_path):
    model = replace(MODEL, latents=0, latent_width=0)
    objective = CharacterObjectives(Weights(bottleneck=0.0), chunk=8)
    run = quiet(replace(experiment, model=model, objective=objective), tmp_path)
    assert "bottleneck.right" not in runs.outcome(run) and "bottleneck" not in runs.steps(run)[-1]


def test_the_command_line_trains_and_samples(text, tmp_path, monkeypatch, capsys):
    def lab(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["lab", *map(str, arguments)])
        cli.main()
        return capsys.readouterr().out

    monkeypatch.setenv("LAB_RUNS", str(tmp_path))
    sizes = ["width=8", "context=32", "num-layers=1", "num-heads=2", "feed-forward=8"]
    flags = [*(f"--model.stack.{size}" for size in sizes), "--model.latents=4", "--model.latent-width=2"]
    flags += ["--corpus", text, "--training.steps=4", "--objective.chunk=8", "--objective.weights.mlm=2"]
    lab("train", "--objective", "characters", *flags, "--name", "mine")
    run = runs.load(tmp_path / "mine")
    assert run.experiment.objective == CharacterObjectives(Weights(mlm=2), chunk=8)
    said = lab("sample", "mine", "--prompt", "the", "--temperature", 0.5, "--max-new-tokens", 9, "--seed", 3)
    drawn = generate(
        NextCharacter(run.model), [run.tokenizer.bos_id, *run.tokenizer.encode("the")], max_new_tokens=9,
        strategy=Sampling(0.5), generator=torch.Generator().manual_seed(3), stop_id=run.tokenizer.eos_id,
    )  # fmt: skip
    assert said == f"the{run.tokenizer.decode(step.token for step in drawn)}\n"
