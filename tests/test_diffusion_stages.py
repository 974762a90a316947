"""Visual diffusion as runs: stages that begin where another ended, bundles that hold all of it, lines from a bundle."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_bundle_damage import consistent

from lab import bundle, runs
from lab.bundle import BundleError, NextToken
from lab.config import from_json, to_json
from lab.decode.search import Sampling
from lab.diffusion.bound import score_bound
from lab.diffusion.denoiser import Denoiser
from lab.diffusion.lines import LineLengths
from lab.diffusion.losses import diffusion_loss
from lab.diffusion.stages import Diffusion, Reconstruction, Recovered, Tuning, learning_code
from lab.diffusion.visual import VisualDiffusion, VisualDiffusionConfig
from lab.diffusion.writing import draw_length, write_line
from lab.nn.transformer import TransformerConfig
from lab.train import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["the", "cat", "dog", "sat", "ran", "on", "under", "a", "mat", "tree", "and", "then", "slept"]
SIZES = {
    "context": 8, "width": 8, "num_layers": 1, "num_heads": 2, "feed_forward": 8, "num_cells": 6, "rows": 2,
}  # fmt: skip
KINDS = {
    "token": {"code": "linear"},
    "cell": {"code": "random", "code_seed": 3, "granularity": "cell", "reads": "words", "neighbours": 1},
    "factorised": {"code": "random", "granularity": "cell", "head": "factorised", "schedule": "cosine"},
    "uniform": {"code": "linear", "noise": "uniform", "granularity": "cell", "time_input": True},
}
LEARNED = {"code": "learned", "num_cells": 12, "rows": 3}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(3, 12, (60,), generator=g).tolist()
    lines = [
        " ".join(WORDS[i] for i in torch.randint(len(WORDS), (length,), generator=g)) for length in lengths
    ]
    path = tmp_path_factory.mktemp("text") / "cats.txt"
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture
def plan(text):
    def make(objective=None, steps=6, start=None, seed=0, **model) -> runs.Plan:
        config = VisualDiffusionConfig(40, **SIZES | model)
        training = TrainConfig(steps=steps, warmup=2, other_lr=0.02, accumulate=2)
        objective = objective or Diffusion(scored_lines=2)
        return runs.Plan(
            config, training, text, "word", batch_size=4, seed=seed, objective=objective, start=start
        )

    return make


def quiet(plan, folder, **more) -> bundle.Run:
    return runs.get_or_train(plan, folder, progress=False, say=lambda _: None, **more)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def learned(plan, folder, **model) -> bundle.Run:
    """A run of the first stage with a learned code, at its end."""
    made = plan(Reconstruction(words=19), steps=40, **LEARNED | model)
    return quiet(replace(made, training=TrainConfig(steps=40, other_lr=0.1, warmup=2)), folder)


def tuning(plan, folder, **changed) -> runs.Plan:
    """A plan of the third stage, whose second has been trained."""
    start = quiet(plan(**KINDS["factorised"]), folder).training_state.last_bundle
    stage = Tuning(**{"prompts": 2, "samples": 3, "denoising_steps": 2, "scored_lines": 2} | changed)
    return plan(stage, start=start, **KINDS["factorised"])


@every_kind
def test_a_config_comes_back_from_json(kind):
    config = VisualDiffusionConfig(40, **SIZES | KINDS[kind], longest_line=9)
    assert from_json(VisualDiffusionConfig, json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"code": "hash"}, "code must be one of"),
        ({"rows": 4}, "num_cells 6 do not make a grid of 4 rows"),
        ({"rows": 0}, "rows must be a whole number of at least 1, got 0"),
        ({"granularity": "line"}, "granularity must be one of token, cell; got 'line'"),
        ({"noise": "uniform"}, "granularity must be 'cell', got 'token'"),
        ({"schedule": "steep"}, "schedule must be one of"),
        ({"vocab_size": 1000}, "have only 729"),
        ({"num_colours": 1}, "num_colours must be"),
        ({"longest_line": -1}, "longest_line must be a whole number of at least 0, got -1"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(changed, told):
    with pytest.raises(ValueError, match=told):
        VisualDiffusionConfig(**{"vocab_size": 40, **SIZES, **changed})


def test_a_stage_that_cannot_be_is_refused():
    for wrong in (
        {"weights": "all"}, {"times": "late"}, {"least": 1}, {"clamp": 2}, {"train_codes": 1},
        {"scored_lines": -1}, {"draws": 8}, {"draws": 18},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Diffusion(**wrong)
    with pytest.raises(ValueError, match="words must be"):
        Reconstruction(words=0)


def test_an_experiment_names_its_objective(plan):
    experiment = runs.prepare(plan(Diffusion(clamp=0.25))).experiment
    written = json.loads(json.dumps(experiment.to_json()))
    assert written["objective"]["kind"] == "Diffusion" and written["objective"]["clamp"] == 0.25
    assert bundle.Experiment.from_json(written) == experiment
    assert "objective.clamp: 0.25 -> 0.5" in bundle.differences(
        experiment, replace(experiment, objective=Diffusion())
    )
    with pytest.raises(ValueError, match=r"unknown keys \['speed'\]"):
        bundle.Experiment.from_json(written | {"objective": {"kind": "Diffusion", "speed": 1}})
    with pytest.raises(
        ValueError, match="expected an object of kind NextToken or Reconstruction or Diffusion or Tuning"
    ):
        bundle.Experiment.from_json(written | {"objective": {"kind": "Guessing"}})
    with pytest.raises(
        ValueError, match=r"is trained for one of Reconstruction, Diffusion, Tuning; got NextToken\(\)"
    ):
        replace(experiment, objective=NextToken())
    decoder = replace(
        experiment, kind="decoder", model=TransformerConfig(experiment.data.vocab_size), objective=NextToken()
    )
    with pytest.raises(ValueError, match="is trained for one of NextToken; got Diffusion"):
        replace(decoder, objective=Diffusion())
    with pytest.raises(ValueError, match="starts from no other run"):
        replace(decoder, start=bundle.Start("a", "b"))
    older = {name: value for name, value in decoder.to_json().items() if name not in ("objective", "start")}
    assert bundle.Experiment.from_json(older) == decoder, "what older bundles do not say is the default"


@every_kind
def test_a_bundle_holds_all_of_it(plan, tmp_path, kind):
    run = quiet(plan(**KINDS[kind]), tmp_path / "run", name="here")
    (tmp_path / "run" / "here").rename(tmp_path / "moved")
    again = bundle.load(tmp_path / "moved")
    assert again.experiment == run.experiment and again.model.noise == run.model.noise
    assert again.model.codebook() == run.model.codebook() and again.model.lengths == run.model.lengths
    state, restored = run.model.state_dict(), again.model.state_dict()
    assert state.keys() == restored.keys() and all(
        torch.equal(t, restored[name]) for name, t in state.items()
    )
    for name, tensor in run.model.denoiser.named_buffers():  # the tables that are not stored
        assert torch.equal(tensor, again.model.denoiser.get_buffer(name)), name
    lines = [
        write_line(r.model, r.tokenizer, prompt="the", steps=3, generator=torch.Generator().manual_seed(5))
        for r in (run, again)
    ]
    assert lines[0].ids == lines[1].ids and lines[0].text == lines[1].text


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_every_number_format_comes_back(plan, tmp_path, dtype):
    run = quiet(plan(**KINDS["uniform"]), tmp_path)
    run.model.to(dtype)
    run.training_state = bundle.contents.TrainingState(run.model, run.experiment.training)
    bundle.save(tmp_path / "other", run)
    again = bundle.load(tmp_path / "other").model
    assert {t.dtype for t in again.denoiser.state_dict().values()} == {dtype}
    assert again.denoiser.one_hot.dtype == run.model.denoiser.one_hot.dtype == dtype
    cells = again.codebook().encode(torch.tensor([[7, 9, 3]]))
    alpha = torch.tensor([0.5], dtype=dtype)
    assert torch.equal(run.model(cells, alpha=alpha), again(cells, alpha=alpha))


ELSEWHERE = """
import sys, torch
sys.path[:0] = [{root!r}]
from lab.bundle import load
import lab.text
lab.text.load = None  # it is not at hand
from lab.diffusion.writing import write_line
run = load({path!r})
generator = torch.Generator().manual_seed(2)
line = write_line(run.model, run.tokenizer, prompt="the cat", suffix="slept", steps=4, generator=generator)
print(line.text, line.ids)
"""


def test_a_fresh_process_elsewhere_writes_the_same_line(plan, tmp_path):
    code = learned(plan, tmp_path / "here")
    run = quiet(plan(start=code.training_state.last_bundle, **LEARNED), tmp_path / "here", name="second")
    script = ELSEWHERE.format(root=str(ROOT), path=str(tmp_path / "here" / "second"))
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    generator = torch.Generator().manual_seed(2)
    line = write_line(
        run.model, run.tokenizer, prompt="the cat", suffix="slept", steps=4, generator=generator
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{line.text} {line.ids}\n"


def test_other_contents_of_a_bundle_are_a_bundle_error(plan, tmp_path):
    quiet(plan(), tmp_path, name="run")
    (step,) = (tmp_path / "run").glob("step-*")
    original = load_file(step / "model.safetensors")

    def refused(told: str, **changed) -> None:
        tensors = {name: tensor.clone() for name, tensor in original.items()}
        for name, tensor in changed.items():
            tensors[name.replace("__", ".")] = tensor
        save_file({name: t for name, t in tensors.items() if t is not None}, step / "model.safetensors")
        consistent(step)
        with pytest.raises(BundleError, match=told):
            bundle.load(tmp_path / "run")

    table = original["autoencoder.encoder.table"].clone()
    refused("not those of the linear code", autoencoder__encoder__table=table.roll(1, 0))
    refused("counts must be whole numbers", line_lengths=-1 - original["line_lengths"])
    refused("line_lengths must be torch.int64", line_lengths=original["line_lengths"][1:].clone())
    refused("missing or too many", denoiser__head__words__weight=None)
    refused("missing or too many", patterns=table)
    save_file(original, step / "model.safetensors")
    experiment = json.loads((step / "experiment.json").read_bytes())
    for name, value in (("code", "hash"), ("rows", 5), ("noise", "fog"), ("code", "random")):
        changed = experiment | {"model": experiment["model"] | {name: value}}
        (step / "experiment.json").write_text(json.dumps(changed))
        consistent(step)
        with pytest.raises(BundleError):
            bundle.load(tmp_path / "run")
    (step / "experiment.json").write_text(json.dumps(experiment))
    consistent(step)
    bundle.load(tmp_path / "run")


@pytest.mark.parametrize("stop", [1, 4])
@pytest.mark.parametrize("stage", ["reconstruction", "diffusion", "uniform", "train_codes", "tuning"])
def test_a_stage_taken_up_again_ends_as_if_it_had_never_stopped(plan, tmp_path, stage, stop):
    if stage == "reconstruction":
        asked = plan(Reconstruction(words=19), **LEARNED)
    elif stage == "train_codes":
        start = learned(plan, tmp_path / "first").training_state.last_bundle
        asked = plan(Diffusion(train_codes=True, scored_lines=2), start=start, dropout=0.1, **LEARNED)
    elif stage == "tuning":
        asked = tuning(plan, tmp_path / "first")
    else:
        asked = plan(dropout=0.1, **KINDS["token" if stage == "diffusion" else "uniform"])
    whole = quiet(asked, tmp_path / "whole")
    seen = [step.step for step in islice(runs.training(asked, tmp_path / "broken"), stop)]
    torch.rand(7)  # as if something else had been done meanwhile
    broken = quiet(asked, tmp_path / "broken")
    assert seen == list(range(stop)) and broken.training_state.step == 6
    assert torch.equal(weights(whole.model), weights(broken.model))
    losses = [[step["loss"] for step in runs.steps(run)] for run in (whole, broken)]
    assert losses[0] == losses[1] and runs.outcome(whole) == runs.outcome(broken)


def test_every_batch_has_noise_of_its_own(plan):
    prepared = runs.prepare(plan(Diffusion(clamp=0)))
    model, batch = prepared.model(), next(prepared.batches())
    taken = 0
    loss = runs.tasks.diffusion_stage(Diffusion(clamp=0), model.config, lambda: taken, 0)

    def count() -> int:  # of the tokens that are noised
        return loss(model, batch)[1]

    first = [count(), count()]
    taken = 2
    second = [count(), count()]
    assert len({*first, *second}) > 1, "not the same noise each time"
    loss = runs.tasks.diffusion_stage(Diffusion(clamp=0), model.config, lambda: taken, 0)
    assert [count(), count()] == second
    loss = runs.tasks.diffusion_stage(Diffusion(clamp=0), model.config, lambda: taken, 1)
    assert [[count(), count()] for taken in range(3)] != [first, second, second]


def test_the_first_stage_says_what_comes_back(plan, tmp_path):
    run = learned(plan, tmp_path)
    found = runs.outcome(run)
    assert isinstance(found, Recovered) and runs.score(run) is None
    assert (
        found.words == found.right == run.tokenizer.vocab_size and found.accuracy == 1 and found.shared == 0
    )
    assert found.minimum_distance == run.model.codebook().minimum_distance()
    assert (
        str(found)
        == f"19 of 19 words come back from their grids, {found.minimum_distance} cells apart at least"
    )
    assert runs.run_name(run.experiment).startswith("visual-reconstruction-cats-")


def test_a_fixed_code_trains_its_decoder_alone(plan, tmp_path):
    asked = plan(Reconstruction(words=19), steps=30)
    run = quiet(replace(asked, training=TrainConfig(steps=30, other_lr=0.1, evaluate_every=10)), tmp_path)
    fresh = runs.prepare(asked).model()
    changed = {
        name for name, p in run.model.named_parameters() if not torch.equal(p, fresh.get_parameter(name))
    }
    assert changed == {"autoencoder.decoder.words.weight"} and runs.outcome(run).accuracy == 1
    assert [step["validation"] for step in runs.steps(run)][9::10][-1] == 0


def test_the_second_stage_keeps_the_code_or_goes_on_with_it(plan, tmp_path):
    code = learned(plan, tmp_path)
    start = code.training_state.last_bundle
    frozen = quiet(plan(start=start, **LEARNED), tmp_path)
    assert frozen.experiment.start.run == Path(start).parent.name
    same = [torch.equal(*pair) for pair in zip(
        code.model.autoencoder.parameters(), frozen.model.autoencoder.parameters(), strict=True
    )]  # fmt: skip
    assert all(same) and frozen.model.codebook() == code.model.codebook()
    assert torch.equal(frozen.model.denoiser.patterns, code.model.codebook().patterns)
    tuned = quiet(
        plan(Diffusion(train_codes=True, scored_lines=2), steps=30, start=start, **LEARNED), tmp_path
    )
    ours, theirs = (run.model.autoencoder.encoder.table.weight for run in (code, tuned))
    assert not torch.equal(ours, theirs)
    assert torch.equal(tuned.model.denoiser.patterns, tuned.model.codebook().patterns)
    assert torch.equal(
        bundle.load(tuned.training_state.last_bundle).model.denoiser.patterns, tuned.model.denoiser.patterns
    )


def test_another_seed_begins_with_another_denoiser(plan, tmp_path):
    start = learned(plan, tmp_path).training_state.last_bundle
    models = []
    for seed in (0, 1):
        prepared = runs.prepare(plan(start=start, seed=seed, **LEARNED), tmp_path)
        models.append(prepared.model())
        runs.tasks.begin_from(prepared, models[-1])
    assert torch.equal(weights(models[0].autoencoder), weights(models[1].autoencoder))
    assert not torch.equal(weights(models[0].denoiser), weights(models[1].denoiser))
    run = quiet(plan(start=start, **LEARNED), tmp_path)
    prepared = runs.prepare(plan(start=run.training_state.last_bundle, seed=3, **LEARNED), tmp_path)
    model = prepared.model()
    runs.tasks.begin_from(prepared, model)
    assert torch.equal(weights(model), weights(run.model)), "a later stage goes on with all of it"


def test_the_denoiser_alone_gives_the_encoder_a_gradient(plan):
    torch.manual_seed(0)
    prepared = runs.prepare(plan(neighbours=1, **LEARNED))  # at first attention adds nothing
    model, batch = prepared.model(), next(prepared.batches())
    for p in model.denoiser.head.parameters():
        torch.nn.init.normal_(p)  # a head of zeros passes nothing back
    table, asked = model.autoencoder.encoder.table.weight, []

    def loss(denoiser: Denoiser, batch):
        asked.append(denoiser.code)
        nats, count = diffusion_loss(model.noise, torch.Generator().manual_seed(0))(denoiser, batch)
        asked.append(nats)
        return nats, count

    plain, _ = loss(model.denoiser, batch)
    plain.backward()
    assert table.grad is None
    learning_code(model, batch, loss)
    assert asked[0] is None and asked[2] is not None and model.denoiser.code is None
    assert torch.equal(asked[3], plain), "it changes no value"
    asked[3].backward()
    assert table.grad.abs().sum() > 0


def test_tuning_tells_what_was_written_and_keeps_the_code(plan, tmp_path, text):
    sizes = {name: SIZES[name] for name in list(SIZES)[:5]} | {"context": 32}
    judge = runs.Plan(TransformerConfig(40, **sizes), TrainConfig(2, warmup=1), text, "word", batch_size=4)
    quiet(judge, tmp_path, name="judge")
    asked = tuning(plan, tmp_path, judge="judge")
    run = quiet(asked, tmp_path)
    told = runs.steps(run)[-1]
    assert 0 <= told["hit_rate"] < 1 and told["distance"] > 0 and told["fluency"] < 0
    parts = told["hit_rate"] - 0.5 * told["distance"] + told["fluency"] - told["repetition"]
    assert told["total"] == pytest.approx(parts) and told["kl"] >= 0
    assert runs.steps(run)[0]["kl"] == pytest.approx(0, abs=1e-6), "it begins as its reference"
    # Barely trained, each of the 6 cells costs about ln 3; the anchor's weight of 0.1 is not in the loss.
    assert runs.steps(run)[0]["loss"] > 0.4 * 6 * math.log(3)
    assert runs.score(run).is_bound and runs.run_name(run.experiment).startswith("visual-tuning-cats-")
    first = bundle.load(asked.start).model
    assert run.model.codebook() == first.codebook()
    assert not torch.equal(weights(run.model.denoiser), weights(first.denoiser))


def test_tuning_that_cannot_be_is_refused(plan, tmp_path):
    for wrong in ({"prompts": 0}, {"samples": 1}, {"kl": -1.0}, {"draws": 8}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Tuning(**wrong)
    with pytest.raises(ValueError, match="tuning begins with a trained denoiser"):
        quiet(plan(Tuning(), **KINDS["factorised"]), tmp_path)
    asked = tuning(plan, tmp_path)
    with pytest.raises(ValueError, match="no run is called 'nobody'"):
        quiet(replace(asked, objective=Tuning(judge="nobody")), tmp_path)
    with pytest.raises(ValueError, match="learned to predict the next token"):
        quiet(replace(asked, objective=Tuning(judge=asked.start)), tmp_path)
    code = quiet(plan(Reconstruction(), steps=2, **KINDS["factorised"]), tmp_path).training_state.last_bundle
    with pytest.raises(ValueError, match="is of the first stage"):
        quiet(replace(asked, start=code), tmp_path)
    words = quiet(plan(), tmp_path).training_state.last_bundle
    with pytest.raises(ValueError, match="nothing to tune"):
        quiet(plan(Tuning(), start=words), tmp_path)


def test_a_start_that_does_not_fit_is_refused(plan, tmp_path, text):
    code = learned(plan, tmp_path)
    start = code.training_state.last_bundle
    with pytest.raises(ValueError, match="a learned code comes from a run of the first stage"):
        quiet(plan(**LEARNED), tmp_path)
    with pytest.raises(ValueError, match="no run is called 'nothing'"):
        quiet(plan(start="nothing", **LEARNED), tmp_path)
    with pytest.raises(ValueError, match="must be equal"):
        quiet(plan(start=start, **LEARNED | {"rows": 4}), tmp_path)
    with pytest.raises(ValueError, match="has another tokenizer"):
        quiet(replace(plan(start=start, **LEARNED), split_seed=4, tokenizer="char"), tmp_path)
    next(runs.training(plan(Reconstruction(words=19), **LEARNED, seed=7), tmp_path, name="begun"))
    with pytest.raises(ValueError, match="it stopped at step 1: train it to its end first"):
        quiet(plan(start="begun", **LEARNED), tmp_path)
    experiment = runs.prepare(plan(start=start, **LEARNED), tmp_path).experiment
    quiet(experiment, tmp_path)  # found again by its name
    anew = replace(experiment, start=replace(experiment.start, weights="0" * 64))
    with pytest.raises(ValueError, match="trained anew since"):
        quiet(anew, tmp_path)
    with pytest.raises(BundleError, match="the run to start from cannot be loaded"):
        quiet(replace(experiment, start=bundle.Start("gone", "0"), seed=9), tmp_path)


def test_the_score_is_the_bound_of_the_same_lines(plan, tmp_path):
    run, prepared = quiet(plan(**KINDS["cell"]), tmp_path), runs.prepare(plan(**KINDS["cell"]))
    assert run.model.lengths == LineLengths.of(prepared.lines) != LineLengths((0,))
    generator = torch.Generator().manual_seed(0)
    expected = score_bound(
        run.model.denoiser, run.tokenizer, prepared.splits.validation[:2], run.model.noise, run.model.lengths,
        granularity="cell", draws=16, generator=generator,
    )  # fmt: skip
    assert runs.score(run) == expected and expected.is_bound and str(expected).startswith("<= ")
    every = quiet(plan(Diffusion(scored_lines=0), **KINDS["cell"]), tmp_path)
    assert runs.score(every).chars == sum(len(line) + 1 for line in prepared.splits.validation)


def test_the_table_says_where_a_score_is_a_bound(plan, tmp_path, text):
    config = TransformerConfig(40, **{name: SIZES[name] for name in list(SIZES)[:5]})
    plain = runs.Plan(config, TrainConfig(steps=2, warmup=1), text, "word", batch_size=4)
    quiet(plain, tmp_path, name="decoder")
    assert "bound" not in runs.table(tmp_path).columns
    quiet(plan(steps=2), tmp_path, name="diffusion")
    quiet(plan(Reconstruction(words=19), steps=2), tmp_path, name="code")
    table = runs.table(tmp_path)
    assert table["bound"].to_dict() == {"code": "", "decoder": "", "diffusion": "<="}
    assert table["bits_per_char"].notna().to_dict() == {"code": False, "decoder": True, "diffusion": True}
    assert set(table["state"]) == {"done"}
    assert "objective.kind" in table.columns


def test_prompt_and_suffix_are_kept(plan, tmp_path):
    run = quiet(plan(context=12), tmp_path)
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        line = write_line(
            run.model, run.tokenizer, prompt="the cat", suffix="a mat", steps=2, generator=generator
        )
        prompt, suffix = run.tokenizer.encode("the cat"), run.tokenizer.encode("a mat")
        assert line.ids[: len(prompt) + 1] == [run.tokenizer.bos_id, *prompt]
        assert line.ids[-len(suffix) - 1 :] == [*suffix, run.tokenizer.eos_id]
        assert len(prompt) + len(suffix) + 2 < len(line.ids) <= 12
        assert line.text == run.tokenizer.decode(line.ids[1:-1])
        assert (
            line.trajectory.cells[:, 0, 1 : len(prompt) + 1]
            == run.model.codebook().encode(torch.tensor(prompt))
        ).all()
    line = write_line(run.model, run.tokenizer, length=4, steps=1, sampling=Sampling(0))
    assert len(line.ids) == 6 and len(line.trajectory.cells) == 2
    line = write_line(run.model, run.tokenizer, prompt="the", max_new_tokens=1)
    assert len(line.ids) == 2 + len(run.tokenizer.encode("the")) + 1


def test_a_factorised_head_still_writes_words(plan, tmp_path):
    run = quiet(plan(**KINDS["factorised"]), tmp_path)
    line = write_line(run.model, run.tokenizer, length=6, steps=2, generator=torch.Generator().manual_seed(1))
    assert (line.trajectory.ids == -1).any(), "drawn cell by cell, some grids are no word"
    grids = line.trajectory.cells[-1, 0]
    assert line.ids == run.model.codebook().decode(grids).tolist()


def test_a_line_that_cannot_be_written_is_refused(plan, tmp_path):
    run = quiet(plan(), tmp_path)

    def refused(told: str, **asked) -> None:
        with pytest.raises(ValueError, match=told):
            write_line(run.model, run.tokenizer, **asked)

    refused("the prompt and what follows have 7 tokens; a line has at most 6", prompt="a a a a")
    refused("a line of 7 tokens was asked for", length=7)
    refused("a line of 1 tokens was asked for", prompt="a a", length=1)
    refused("max_new_tokens must be at least 1, got 0", max_new_tokens=0)
    refused("steps must be a whole number of at least 1", steps=0)
    refused("method must be one of", method="guess")
    with pytest.raises(ValueError, match="a denoiser writes all places of a line at once"):
        run.model.new_cache(1)


def test_lengths_are_drawn_as_the_lines_have_them():
    lengths = LineLengths((0, 0, 10, 30, 1000))
    g = torch.Generator().manual_seed(0)
    drawn = torch.tensor([draw_length(lengths, 1, 3, g) for _ in range(2000)])
    shares = drawn.bincount(minlength=4)[1:] / 2000
    assert torch.allclose(shares, torch.tensor([1.0, 11, 31]) / 43, atol=0.03)


def test_the_code_of_diffusion_changes_only_its_own_runs(plan, monkeypatch):
    assert "diffusion" in runs.code.MORE["visual-diffusion"]
    assert runs.code_version("visual-diffusion") != runs.code_version("decoder") == runs.code_version()


def test_words_that_share_a_pattern_stop_the_second_stage(plan):
    prepared = runs.prepare(plan(**LEARNED))
    model, batch = prepared.model(), next(prepared.batches())
    known = model.denoiser.patterns.clone()
    with torch.no_grad():
        model.autoencoder.encoder.table.weight[5] = model.autoencoder.encoder.table.weight[6]
    with pytest.raises(ValueError, match=r"\[5, 6\] share a pattern"):
        learning_code(model, batch, lambda *_: None)
    assert torch.equal(model.denoiser.patterns, known)
    with pytest.raises(ValueError, match="share a pattern"):
        VisualDiffusion(model.config).start_from(model)
    with pytest.raises(ValueError, match="share a pattern"):
        write_line(model, prepared.tokenizer)
