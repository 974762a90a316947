"""Character encoders as runs: batches of lines, a bundle of all of it, and going on as if nothing had happened."""

import json
import math
import sys
from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch

from lab import bundle, cli, runs
from lab.chars import (
    CharacterObjectives,
    CharacterScores,
    NextCharacter,
    Weights,
    character_scores,
    clm_score,
)
from lab.chars.model import CharEncoderConfig
from lab.decode.search import Sampling, generate
from lab.nn.transformer import TransformerConfig
from lab.train import TrainConfig

WORDS = ["the", "cat,", "dog", "sat", "ran.", "on", "under", "a", "mat;", "tree", "and", "then", "slept!"]
SIZES = {
    "context": 32, "width": 8, "encoder_layers": 1, "decoder_layers": 1, "num_heads": 2, "feed_forward": 8,
    "latents": 4, "latent_width": 2, "dropout": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 11, (80,), generator=g).tolist()
    lines = [" ".join(WORDS[i] for i in torch.randint(len(WORDS), (n,), generator=g)) for n in lengths]
    path = tmp_path_factory.mktemp("text") / "cats.txt"
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture
def plan(text):
    def make(objective=None, steps=6, batch_size=3, tokenizer="char", **model) -> runs.Plan:
        objective = objective or CharacterObjectives(chunk=8, removed=(".,;!", " "))
        training = TrainConfig(steps=steps, warmup=2, accumulate=2)
        config = CharEncoderConfig(40, **SIZES | model)
        return runs.Plan(config, training, text, tokenizer, batch_size=batch_size, objective=objective)

    return make


def quiet(plan, folder, **more) -> bundle.Run:
    return runs.get_or_train(plan, folder, progress=False, say=lambda _: None, **more)


def weights(run: bundle.Run) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def remembering(plan, **more) -> runs.Plan:
    objective = CharacterObjectives(chunk=8, memory=1, last_weights=Weights(mlm=2.0), last_mask_rate=0.4)
    return plan(objective, memory_slots=1, cross_attention="memory", **more)


def test_batches_are_whole_lines_of_characters(plan):
    prepared = runs.prepare(plan())
    lines = set(prepared.splits.train)
    for batch in islice(prepared.batches(), 30):
        assert batch.ids.numel() <= 3 * 32 and batch.ids.shape[1] <= 32
        for row in batch.ids:
            text = prepared.tokenizer.decode(row.tolist())
            assert text in lines or (len(text) >= 15 and any(text in line for line in lines))


def test_with_a_memory_rows_follow_one_another_in_the_text(plan):
    prepared = runs.prepare(remembering(plan, context=128))
    text, kept = list(prepared.corpus.lines), set(prepared.splits.train)
    follows = set(pairwise(text))
    for batch in islice(prepared.batches(), 20):
        rows = [prepared.tokenizer.decode(row.tolist()) for row in batch.ids]
        pairs = list(zip(rows[::2], rows[1::2], strict=True))
        assert all(pair in follows and set(pair) <= kept for pair in pairs)


def test_a_bundle_holds_all_of_it_and_the_outcome(plan, tmp_path):
    run = quiet(plan(), tmp_path / "runs", name="here")
    (tmp_path / "runs" / "here").rename(tmp_path / "moved")
    again = bundle.load(tmp_path / "moved")
    assert again.experiment == run.experiment and torch.equal(weights(again), weights(run))
    assert runs.run_name(run.experiment).startswith("char-encoder-cats-")
    found = runs.outcome(again)
    assert isinstance(found, CharacterScores) and found == runs.outcome(run)
    validation = runs.prepare(run.experiment).splits.validation
    assert found == character_scores(again.model, again.tokenizer, validation, run.experiment.objective)
    assert runs.score(again) == found.clm == clm_score(again.model, again.tokenizer, validation)
    assert [one.characters for one in found.restoration if len(one.characters) > 1] == [".,;!"]
    assert found.restoration[-1].characters == " "


def test_each_step_tells_of_every_objective(plan, tmp_path):
    run = quiet(plan(), tmp_path)
    for step in runs.steps(run):
        assert all(math.isfinite(step[name]) for name, _ in Weights().items())
        assert step["bits_per_char"] == pytest.approx(step["clm"] / math.log(2))
    last = runs.steps(run)[-1]
    assert last.keys() >= {"mlm", "clm", "reconstruction", "bottleneck", "restoration", "loss"}
    (row,) = runs.table(tmp_path).to_dict("records")
    assert row["state"] == "done" and row["bits_per_char"] == runs.score(run).bits_per_char


@pytest.mark.parametrize("kind", [lambda plan, **more: plan(**more), remembering], ids=["lines", "memory"])
def test_a_run_that_was_interrupted_goes_on_to_the_same_end(plan, tmp_path, kind):
    whole = quiet(kind(plan), tmp_path / "whole")
    list(islice(runs.training(kind(plan), tmp_path / "broken"), 3))
    torch.rand(7)
    broken = quiet(kind(plan), tmp_path / "broken")
    assert torch.equal(weights(whole), weights(broken))
    timeless = [
        [{k: v for k, v in step.items() if "second" not in k} for step in runs.steps(run)]
        for run in (whole, broken)
    ]
    assert timeless[0] == timeless[1] and runs.outcome(whole) == runs.outcome(broken)


def test_the_validation_on_the_way_is_the_loss_of_held_out_lines(plan, tmp_path):
    made = plan()
    made = replace(made, training=replace(made.training, evaluate_every=2))
    measured = [step["validation"] for step in runs.steps(quiet(made, tmp_path))]
    assert [value is None for value in measured] == [True, False] * 3
    assert measured[-1] < measured[1] < sum(dict(Weights().items()).values()) * math.log(40)


def test_an_experiment_names_its_objectives(plan):
    experiment = runs.prepare(remembering(plan)).experiment
    written = json.loads(json.dumps(experiment.to_json()))
    assert written["objective"]["kind"] == "CharacterObjectives" and written["objective"]["memory"] == 1
    assert bundle.Experiment.from_json(written) == experiment
    other = replace(experiment, objective=replace(experiment.objective, weights=Weights(clm=0.5)))
    assert "objective.weights.clm: 1.0 -> 0.5" in bundle.differences(experiment, other)
    with pytest.raises(ValueError, match="is trained for one of CharacterObjectives; got NextToken"):
        replace(experiment, objective=bundle.NextToken())
    with pytest.raises(ValueError, match="is trained for one of NextToken; got CharacterObjectives"):
        replace(experiment, kind="decoder", model=TransformerConfig(experiment.data.vocab_size))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"tokenizer": "word"}, "tokenizer must be \"char\", got 'word'"),
        ({"latents": 0, "latent_width": 0}, "this model has no bottleneck"),
        ({"objective": CharacterObjectives()}, "a chunk of 64 characters does not fit in a context of 32"),
        ({"objective": CharacterObjectives(chunk=8, memory=1)}, "the model has memory_slots=0"),
        ({"objective": CharacterObjectives(chunk=8, removed=("#",))}, "the vocabulary has no character"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_saved(plan, tmp_path, changed, told):
    with pytest.raises(ValueError, match=told):
        quiet(plan(**changed), tmp_path)
    assert not list(tmp_path.glob("*/about.json"))


def test_a_model_without_a_bottleneck_is_trained_for_the_rest(plan, tmp_path):
    objective = CharacterObjectives(Weights(bottleneck=0.0), chunk=8)
    run = quiet(plan(objective, latents=0, latent_width=0), tmp_path)
    assert runs.outcome(run).bottleneck is None and "bottleneck" not in runs.steps(run)[-1]


def test_the_command_line_trains_and_samples(text, tmp_path, monkeypatch, capsys):
    def lab(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["lab", *map(str, arguments)])
        cli.main()
        return capsys.readouterr().out

    monkeypatch.setenv("LAB_RUNS", str(tmp_path))
    sizes = [f"--model.{name.replace('_', '-')}={value}" for name, value in SIZES.items()]
    flags = [
        "--corpus",
        text,
        *sizes,
        "--training.steps=4",
        "--objective.chunk=8",
        "--objective.weights.mlm=2",
    ]
    assert "restoration F1" in lab("train", "--model", "char-encoder", *flags, "--name", "mine")
    run = bundle.load(tmp_path / "mine")
    assert run.experiment.objective == CharacterObjectives(Weights(mlm=2), chunk=8)
    said = lab("sample", "mine", "--prompt", "the", "--temperature", 0.5, "--max-new-tokens", 9, "--seed", 3)
    drawn = generate(
        NextCharacter(run.model), [run.tokenizer.bos_id, *run.tokenizer.encode("the")], max_new_tokens=9,
        sampling=Sampling(0.5), generator=torch.Generator().manual_seed(3), stop_id=run.tokenizer.eos_id,
    )  # fmt: skip
    assert said == f"the{run.tokenizer.decode(step.token for step in drawn)}\n"
    with pytest.raises(SystemExit):
        lab("train", "--model", "char-encoder", "--help")
    shown = capsys.readouterr().out
    assert (
        "--objective.weights.bottleneck" in shown
        and "--model.latents" in shown
        and "--objective.removed" in shown
    )
