"""Character encoders as runs: batches of lines, a checkpoint of all of it, and going on as if nothing had happened."""

import math
from dataclasses import asdict, replace
from itertools import islice, pairwise

import pytest
import torch
from run_toys import made_text, quiet, weights

from lab import runs
from lab.chars import CharacterObjectives, CharacterScores, CharEncoderConfig, NextCharacter, Weights
from lab.decode.search import Sampling, generate
from lab.nn import TransformerConfig
from lab.runs import Data, Experiment
from lab.score import score_lines
from lab.train import TrainConfig

SIZES = dict(context=32, width=8, num_layers=1, num_heads=2, feed_forward=8)
STACK = TransformerConfig(40, **SIZES, tied=True, dropout=0.1)
MODEL = CharEncoderConfig(STACK, decoder_layers=1, latents=4, latent_width=2)
OBJECTIVE = CharacterObjectives(chunk=8, removed=(".,;!", " "))
REMEMBERING = CharacterObjectives(chunk=8, memory=1, last_weights=Weights(mlm=2.0), last_mask_rate=0.4)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    words = "the cat, dog sat ran. on under a mat; tree and then slept!"
    return made_text(tmp_path_factory.mktemp("text"), "cats.txt", words, (2, 10), 80)


@pytest.fixture
def experiment(text) -> Experiment:
    training = TrainConfig(steps=6, warmup=2, accumulate=2, evaluate_every=2)
    return Experiment(MODEL, OBJECTIVE, training, Data(text, "char", batch_size=3))


def remembering(experiment: Experiment, context=32) -> Experiment:
    stack = replace(STACK, context=context)
    model = replace(MODEL, stack=stack, memory_slots=1, cross_attention="memory")
    return replace(experiment, model=model, objective=REMEMBERING)


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
    (row,) = runs.table(tmp_path / "runs").to_dict("records")
    (tmp_path / "runs" / "here").rename(tmp_path / "moved")
    again = runs.load(tmp_path / "moved")
    assert again.experiment == run.experiment and torch.equal(weights(again), weights(run))
    validation = OBJECTIVE.material(run.experiment).splits.validation
    scores = OBJECTIVE.scores(again.model, again.tokenizer, validation)
    assert CharacterScores.from_outcome(runs.outcome(again)) == scores
    expected = score_lines(NextCharacter(again.model), again.tokenizer, validation)
    assert runs.score(again) == scores.clm == expected and row["bits_per_char"] == expected.bits_per_char
    assert [one.characters for one in scores.restoration if len(one.characters) > 1] == [".,;!"]
    assert scores.restoration[-1].characters == " "
    start, sampling = [again.tokenizer.bos_id, *again.tokenizer.encode("the")], Sampling(0.5)
    drawn = generate(
        NextCharacter(again.model), start, max_new_tokens=9, strategy=sampling,
        generator=torch.Generator().manual_seed(3), stop_id=again.tokenizer.eos_id,
    )  # fmt: skip
    rng = torch.Generator().manual_seed(3)
    written = runs.generate(again, "the", sampling, generator=rng, max_new_tokens=9)
    assert "".join(written) == "the" + again.tokenizer.decode(step.token for step in drawn)


def test_each_step_tells_of_every_objective_and_of_held_out_lines(experiment, tmp_path):
    steps = runs.steps(quiet(experiment, tmp_path))
    for step in steps:
        assert all(math.isfinite(step[name]) for name in asdict(Weights()))
        assert step["bits_per_char"] == pytest.approx(step["clm"] / math.log(2))
    measured = [step["validation"] for step in steps]
    assert [value is None for value in measured] == [True, False] * 3
    assert measured[-1] < measured[1] < sum(asdict(Weights()).values()) * math.log(40)


@pytest.mark.parametrize("kind", [lambda experiment: experiment, remembering], ids=["lines", "memory"])
def test_a_run_that_was_interrupted_goes_on_to_the_same_end(experiment, tmp_path, kind):
    experiment = kind(experiment)
    whole = quiet(experiment, tmp_path / "whole")
    list(islice(runs.training(experiment, tmp_path / "broken"), 3))
    torch.rand(7)
    broken = quiet(experiment, tmp_path / "broken")
    timeless = lambda step: {k: v for k, v in step.items() if "second" not in k}  # noqa: E731
    assert torch.equal(weights(whole), weights(broken)) and runs.outcome(whole) == runs.outcome(broken)
    assert [*map(timeless, runs.steps(whole))] == [*map(timeless, runs.steps(broken))]


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"data": {"tokenizer": "word"}}, "tokenizer"),
        ({"model": {"latents": 0, "latent_width": 0}}, "latents"),
        ({"objective": {"chunk": 64}}, "chunk"),
        ({"objective": {"memory": 1}}, "memory_slots"),
        ({"objective": {"removed": ("#",), "weights": Weights(0, 0, 0, 0, 1)}}, "removed"),
        ({"objective": {"removed": ("#",), "last_weights": Weights(0, 0, 0, 0, 1)}}, "removed"),
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
