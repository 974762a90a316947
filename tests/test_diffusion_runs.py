"""Visual diffusion as runs: stages that begin where another ended, checkpoints that hold all of it, lines from them."""

import math
from dataclasses import replace
from itertools import islice

import pytest
import torch
from diffusion_toys import OF_STACK, config_of, seeded
from run_toys import made_text, quiet

from lab import runs
from lab.data import Batch
from lab.decode import Sampling
from lab.diffusion import (
    Diffusion,
    LineLengths,
    Reconstruction,
    Tuning,
    VisualDiffusion,
    VisualDiffusionConfig,
)
from lab.diffusion.bound import score_bound
from lab.diffusion.learned_codes import reconstruction_loss
from lab.diffusion.losses import diffusion_loss
from lab.diffusion.writing import write_line
from lab.nn import TransformerConfig
from lab.runs import Data, Experiment
from lab.train import Step, TrainConfig

SIZES = {"context": 8, "width": 8, "num_layers": 1, "num_heads": 2, "feed_forward": 8, "grid": (2, 3)}
KINDS = {
    "token": {"code": "linear"},
    "cell": {"code": "random", "code_seed": 3, "granularity": "cell", "reads": "words", "neighbours": 1},
    "factorised": {"code": "random", "granularity": "cell", "head": "factorised", "schedule": "cosine"},
    "uniform": {"code": "linear", "noise": "uniform", "granularity": "cell", "time_input": True},
}
LEARNED = {"code": "learned", "grid": (3, 4)}
every_kind = pytest.mark.parametrize("kind", KINDS)


def visual(vocab_size=40, **settings) -> VisualDiffusionConfig:
    return config_of(vocab_size, VisualDiffusionConfig, **SIZES | settings)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    words = "the cat dog sat ran on under a mat tree and then slept"
    return made_text(tmp_path_factory.mktemp("text"), "cats.txt", words, (3, 11), 60)


@pytest.fixture
def ask(text):
    def make(objective=None, steps=6, start=None, seed=0, training=None, **model) -> Experiment:
        training = training or TrainConfig(steps=steps, warmup=2, other_lr=0.02, accumulate=2)
        data = Data(text, "word", batch_size=4)
        objective = objective or Diffusion(scored_lines=2)
        return Experiment(visual(**model), objective, training, data, seed, start)

    return make


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def learned(ask, folder) -> runs.Run:
    """A run of the first stage with a learned code, at its end."""
    training = TrainConfig(steps=40, other_lr=0.1, warmup=2)
    return quiet(ask(Reconstruction(words=19), training=training, **LEARNED), folder)


def tuning(ask, folder, **changed) -> Experiment:
    """An experiment of the third stage, whose second has been trained."""
    start = quiet(ask(**KINDS["factorised"]), folder).state.saved_to
    objective = Tuning(**{"prompts": 2, "samples": 3, "denoising_steps": 2, "scored_lines": 2} | changed)
    return ask(objective, start=start, **KINDS["factorised"])


def material_and_model(experiment: Experiment, folder=None):
    """What a run would begin with: the resolved experiment, its material and its model."""
    objective, experiment = experiment.objective, experiment.resolved(folder)
    material = objective.material(experiment)
    torch.manual_seed(experiment.seed)
    return experiment, material, objective.build(experiment.model, material)


def test_what_cannot_be_is_refused():
    for make, wrong, named in (
        (visual, {"grid": (0, 6)}, "grid"), (visual, {"vocab_size": 1000}, "1,000 tokens"),
        (Diffusion, {"draws": 8}, "draws"), (Tuning, {"draws": 18}, "draws"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=named):
            make(**wrong)


@every_kind
def test_it_learns_as_much_in_bfloat16(ask, kind):
    asked = ask(**KINDS[kind])
    coarse = replace(asked, training=replace(asked.training, precision="bfloat16"))
    assert runs.first_losses(coarse, 4) == pytest.approx(runs.first_losses(asked, 4), rel=0.03)


@every_kind
def test_a_checkpoint_holds_all_of_it(ask, tmp_path, kind):
    run = quiet(ask(**KINDS[kind]), tmp_path / "run", name="here")
    (tmp_path / "run" / "here").rename(tmp_path / "moved")
    again = runs.load(tmp_path / "moved")
    assert again.experiment == run.experiment and again.model.denoiser.noise == run.model.denoiser.noise
    assert again.model.codebook() == run.model.codebook() and again.model.lengths == run.model.lengths
    state, restored = run.model.state_dict(), again.model.state_dict()
    assert state.keys() == restored.keys()
    assert all(torch.equal(t, restored[name]) for name, t in state.items())
    for name, tensor in run.model.denoiser.named_buffers():  # the tables that are not stored
        assert torch.equal(tensor, again.model.denoiser.get_buffer(name)), name
    line = write_line(run.model, run.tokenizer, prompt="the", steps=3, generator=seeded(5))
    generate = again.experiment.objective.generate
    assert generate(again.model, again.tokenizer, "the", generator=seeded(5), steps=3) == line.text


def test_weights_that_are_not_those_of_the_config_are_refused():
    model = VisualDiffusion(visual(longest_line=3))
    changes = {"autoencoder.encoder.table": lambda t: t.roll(1, 0), "line_lengths": lambda t: t - 1}
    for name, change in changes.items():
        state = {key: t.clone() for key, t in model.state_dict().items()}
        state[name] = change(state[name])
        broken = VisualDiffusion(model.config)
        broken.load_state_dict(state)
        with pytest.raises(ValueError, match=r"code of its config|counts"):
            broken.refresh()


@pytest.mark.parametrize("stage", ["reconstruction", "diffusion", "uniform", "train_codes", "tuning"])
def test_a_stage_taken_up_again_ends_as_if_it_had_never_stopped(ask, tmp_path, stage):
    if stage == "reconstruction":
        asked = ask(Reconstruction(words=19), **LEARNED)
    elif stage == "train_codes":
        start = learned(ask, tmp_path / "first").state.saved_to
        asked = ask(Diffusion(train_codes=True, scored_lines=2), start=start, dropout=0.1, **LEARNED)
    elif stage == "tuning":
        asked = tuning(ask, tmp_path / "first")
    else:
        asked = ask(dropout=0.1, **KINDS["token" if stage == "diffusion" else "uniform"])
    whole = quiet(asked, tmp_path / "whole")
    for stop in (1, 3):  # steps at a time
        seen = [report.step for report in islice(runs.training(asked, tmp_path / "broken"), stop)]
        torch.rand(7)  # as if something else had been done meanwhile
    broken = quiet(asked, tmp_path / "broken")
    assert seen == [1, 2, 3] and broken.state.step == 6
    assert torch.equal(weights(whole.model), weights(broken.model))
    losses = [[step["loss"] for step in runs.steps(run)] for run in (whole, broken)]
    assert losses[0] == losses[1] and runs.outcome(whole) == runs.outcome(broken)


def test_the_first_stage_says_what_comes_back(ask, tmp_path):
    run = learned(ask, tmp_path)
    found, V = runs.outcome(run), run.tokenizer.vocab_size
    assert runs.score(run) is None and found["accuracy"] == 1 and found["code.shared"] == 0
    assert found["code.words"] == found["code.right"] == V
    assert found["code.minimum_distance"] == run.model.codebook().minimum_distance()
    fixed = ask(Reconstruction(words=19), training=TrainConfig(steps=30, other_lr=0.1, evaluate_every=10))
    run, (_, _, fresh) = quiet(fixed, tmp_path), material_and_model(fixed)
    pairs = zip(run.model.named_parameters(), fresh.parameters(), strict=True)
    changed = [name for (name, ours), theirs in pairs if not torch.equal(ours, theirs)]
    assert changed == ["autoencoder.decoder.words.weight"], "a fixed code trains its decoder alone"
    assert runs.outcome(run)["accuracy"] == 1 and runs.steps(run)[-1]["validation"] == 0


def test_the_second_stage_keeps_the_code_or_goes_on_with_it(ask, tmp_path):
    code = learned(ask, tmp_path)
    start = code.state.saved_to
    frozen = quiet(ask(start=start, **LEARNED), tmp_path)
    both = zip(code.model.autoencoder.parameters(), frozen.model.autoencoder.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in both) and frozen.model.codebook() == code.model.codebook()
    assert torch.equal(frozen.model.denoiser.patterns, code.model.codebook().patterns)
    both = Diffusion(train_codes=True, scored_lines=2)
    tuned = quiet(ask(both, steps=30, start=start, **LEARNED), tmp_path)
    ours, theirs = (run.model.autoencoder.encoder.table.weight for run in (code, tuned))
    assert not torch.equal(ours, theirs)
    assert torch.equal(tuned.model.denoiser.patterns, tuned.model.codebook().patterns)
    again = runs.load(tuned.state.saved_to).model.denoiser.patterns
    assert torch.equal(again, tuned.model.denoiser.patterns)


def test_another_seed_begins_with_another_denoiser(ask, tmp_path):
    first, models = learned(ask, tmp_path), []
    for seed in (0, 1):
        asked = ask(start=first.state.saved_to, seed=seed, **LEARNED)
        experiment, _, model = material_and_model(asked, tmp_path)
        experiment.objective.begin(model, first, experiment)
        models.append(model)
    assert torch.equal(weights(models[0].autoencoder), weights(models[1].autoencoder))
    assert not torch.equal(weights(models[0].denoiser), weights(models[1].denoiser))
    second = quiet(ask(start=first.state.saved_to, **LEARNED), tmp_path)
    experiment.objective.begin(model, second, experiment)
    assert torch.equal(weights(model), weights(second.model)), "a later stage goes on with all of it"


def test_the_denoiser_alone_gives_the_encoder_a_gradient(ask):
    asked = ask(neighbours=1, **LEARNED)  # at first attention adds nothing
    experiment, material, model = material_and_model(asked)
    batch = next(experiment.objective.batches(experiment, material))
    for p in model.denoiser.head.parameters():
        torch.nn.init.normal_(p)  # a head of zeros passes nothing back
    table, losses = model.autoencoder.encoder.table.weight, []

    def cost():
        return diffusion_loss(model.denoiser, batch, seeded(0)).nats

    plain = cost()
    plain.backward()
    assert table.grad is None
    with model.learning_code():
        losses.append(cost())
    assert model.denoiser.code is None and torch.equal(losses[0], plain), "it changes no value"
    losses[0].backward()
    assert table.grad.abs().sum() > 0
    torch.manual_seed(3)
    whole = Diffusion(train_codes=True).loss(model, batch, Step(rng=seeded(0)))
    torch.manual_seed(3)
    code, words, _ = reconstruction_loss(model.autoencoder, Batch(batch.ids, batch.ids))
    mean = plain.item() / whole.count + code.item() / words
    assert whole.nats.item() / whole.count == pytest.approx(mean), "each of the two is a mean"


def test_tuning_tells_what_was_written_and_keeps_the_code(ask, tmp_path, text):
    stack = TransformerConfig(40, **{name: SIZES[name] for name in OF_STACK & SIZES.keys()} | {"context": 32})
    judge = Experiment(stack, training=TrainConfig(2, warmup=1), data=Data(text, "word", batch_size=4))
    quiet(judge, tmp_path, name="judge")
    asked = tuning(ask, tmp_path, judge="judge")
    run = quiet(asked, tmp_path)
    told = runs.steps(run)[-1]
    assert 0 <= told["hit_rate"] < 1 and told["distance"] > 0 and told["fluency"] < 0
    begun = runs.steps(run)[0]
    parts = begun["hit_rate"] - 0.5 * begun["distance"] + begun["fluency"] - begun["repetition"]
    assert begun["total"] == pytest.approx(parts) and told["kl"] >= 0
    assert begun["kl"] == pytest.approx(0, abs=1e-6), "it begins as its reference"
    # Barely trained, each of the 6 cells costs about ln 3; the anchor's weight of 0.1 is not in the loss.
    assert begun["loss"] > 0.4 * 6 * math.log(3)
    assert runs.score(run).is_bound
    first = runs.load(asked.start).model
    assert run.model.codebook() == first.codebook()
    assert not torch.equal(weights(run.model.denoiser), weights(first.denoiser))


def test_a_start_or_a_judge_that_does_not_fit_is_refused(ask, tmp_path):
    def refused(named: str, experiment: Experiment) -> None:
        with pytest.raises(ValueError, match=named):
            quiet(experiment, tmp_path)

    refused("start", ask(Tuning(), **KINDS["factorised"]))
    asked = tuning(ask, tmp_path)
    refused("nobody", replace(asked, objective=Tuning(judge="nobody")))
    refused("judge", replace(asked, objective=Tuning(judge=asked.start)))
    code = quiet(ask(Reconstruction(), steps=2, **KINDS["factorised"]), tmp_path)
    refused("first stage", replace(asked, start=code.state.saved_to))
    words = quiet(ask(), tmp_path)
    refused("head", ask(Tuning(), start=words.state.saved_to))
    whole = KINDS["factorised"] | {"granularity": "token"}
    refused("granularity", ask(Tuning(), start=quiet(ask(**whole), tmp_path).state.saved_to, **whole))
    refused("learned code", ask(**LEARNED))
    start = learned(ask, tmp_path).state.saved_to
    refused("grid", ask(start=start, **LEARNED | {"grid": (4, 3)}))
    other = replace(ask(start=start, **LEARNED).data, tokenizer="char", split_seed=4)
    refused("tokenizer", replace(ask(start=start, **LEARNED), data=other))


def test_the_score_is_the_bound_of_the_same_lines(ask, tmp_path):
    run = quiet(ask(**KINDS["cell"]), tmp_path)
    _, material, _ = material_and_model(ask(**KINDS["cell"]))
    lines = material.splits.validation
    assert run.model.lengths == LineLengths.of(material.lines) != LineLengths((0,))
    parts = run.model.denoiser, run.tokenizer, lines[:2], run.model.lengths
    expected = score_bound(*parts, draws=16, generator=seeded(0))
    assert runs.score(run) == expected and expected.is_bound and str(expected).startswith("<= ")
    every = quiet(ask(Diffusion(scored_lines=0), **KINDS["cell"]), tmp_path)
    assert runs.score(every).chars == sum(len(line) + 1 for line in lines)
    quiet(ask(Reconstruction(words=19), steps=2), tmp_path, name="code")
    table = runs.table(tmp_path)
    assert (table["bound"] == "<=").sum() == table["bits_per_char"].notna().sum() == 2


def test_prompt_and_suffix_are_kept(ask, tmp_path):
    run = quiet(ask(context=12), tmp_path)
    prompt, suffix = run.tokenizer.encode("the cat"), run.tokenizer.encode("a mat")
    given = {"prompt": "the cat", "suffix": "a mat", "steps": 2}
    for seed in range(10):
        line = write_line(run.model, run.tokenizer, **given, generator=seeded(seed))
        assert line.ids[: len(prompt) + 1] == [run.tokenizer.bos_id, *prompt]
        assert line.ids[-len(suffix) - 1 :] == [*suffix, run.tokenizer.eos_id]
        assert len(prompt) + len(suffix) + 2 < len(line.ids) <= 12
        assert line.text == run.tokenizer.decode(line.ids[1:-1])
        kept = line.trajectory.cells[:, 0, 1 : len(prompt) + 1]
        assert (kept == run.model.codebook().encode(torch.tensor(prompt))).all()
    line = write_line(run.model, run.tokenizer, length=4, steps=1, sampling=Sampling(0))
    assert len(line.ids) == 6 and len(line.trajectory.cells) == 2
    line = write_line(run.model, run.tokenizer, prompt="the", max_new_tokens=1)
    assert len(line.ids) == 2 + len(run.tokenizer.encode("the")) + 1
    for asked, named in (
        ({"prompt": "a " * 6}, "tokens"), ({"length": 11}, "length"), ({"prompt": "a a", "length": 1}, "length"),
        ({"max_new_tokens": 0}, "max_new_tokens"), ({"steps": 0}, "steps"), ({"method": "guess"}, "method"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=named):
            write_line(run.model, run.tokenizer, **asked)


def test_a_factorised_head_still_writes_words(ask, tmp_path):
    run = quiet(ask(**KINDS["factorised"]), tmp_path)
    line = write_line(run.model, run.tokenizer, length=6, steps=2, generator=seeded(1))
    assert (line.trajectory.ids == -1).any(), "drawn cell by cell, some grids are no word"
    assert line.ids == run.model.codebook().decode(line.trajectory.cells[-1, 0]).tolist()


def test_words_that_share_a_pattern_stop_the_second_stage(ask):
    experiment, material, model = material_and_model(ask(Diffusion(train_codes=True), **LEARNED))
    batch = next(experiment.objective.batches(experiment, material))
    known = model.denoiser.patterns.clone()
    with torch.no_grad():
        model.autoencoder.encoder.table.weight[5] = model.autoencoder.encoder.table.weight[6]
    for call in (
        lambda: experiment.objective.loss(model, batch, Step()),
        lambda: VisualDiffusion(model.config).start_from(model),
        lambda: write_line(model, material.tokenizer),
    ):
        with pytest.raises(ValueError, match=r"\[5, 6\] share a pattern"):
            call()
    assert torch.equal(model.denoiser.patterns, known)
