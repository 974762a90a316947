"""A run saved is the run loaded: elsewhere, without its corpus, and trained on it gives the same numbers."""

import json
import random
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.data import join_lines, random_windows
from lab.decode.search import Sampling, generate
from lab.files import sha256_bytes
from lab.nn import DecoderOnlyTransformer, RecurrentConfig, TransformerConfig
from lab.runs import CheckpointError, Data, Experiment, Run, differences, load, restore_random, resume, save
from lab.text import BPETokenizer, CharTokenizer, Corpus, WordTokenizer
from lab.train import TrainConfig, TrainingState, next_token_loss, train

ROOT = Path(__file__).resolve().parents[1]
LINES = ["in the beginning", "the night and the light", "that it was good"] * 4
CORPUS = Corpus("psalm", LINES, licence="none")


def tiny_run(steps: int = 6, kind: str = "decoder", tokenizer=None, dropout: float = 0.2, **training) -> Run:
    """A run not yet trained, at settings that are mostly not the defaults."""
    tokenizer = tokenizer or CharTokenizer.train(LINES)
    both = dict(vocab_size=tokenizer.vocab_size, context=12, width=8, tied=True)
    sizes = dict(num_layers=1, num_heads=2, feed_forward=12, num_key_value_heads=1, dropout=dropout)
    parts = dict(norm="layer", activation="gated_silu", bias=True, positions="learned")
    if kind == "recurrent":
        config = RecurrentConfig(**both, cell="gru", num_layers=2)
    else:
        config = TransformerConfig(**both, **sizes, **parts)
    rates = dict(matrix_lr=0.02, other_lr=0.01, warmup=2, schedule="cosine")
    defaults = rates | dict(weight_decay=0.1, accumulate=2)
    data = Data("psalm", "char", batch_size=4, split_seed=3, sha256=CORPUS.sha256)
    experiment = Experiment(config, training=TrainConfig(steps, **defaults | training), data=data, seed=7)
    torch.manual_seed(7)
    model = experiment.objective.build(config, None)
    return Run(experiment, tokenizer, model, TrainingState(model, experiment.training))


def batches_of(run: Run):
    ids = join_lines(run.tokenizer.encode_lines(LINES))
    return random_windows(ids, 12, run.experiment.data.batch_size, torch.Generator().manual_seed(5))


def train_on(run: Run, *, stop=None, save_to=None, save_every=1, change=iter, evaluate=None, **saving) -> Run:
    """Train until the end, or until `stop` steps are taken."""
    config, batches, asked = run.experiment.training, change(batches_of(run)), {"evaluate": evaluate}
    for report in train(run.model, batches, next_token_loss, config, state=run.state, **asked):
        run.metrics.append(asdict(report))
        if save_to and run.state.step % save_every == 0:
            save(save_to, run, **saving)
        if run.state.step == stop:
            break
    return run


def weights_of(run: Run) -> str:
    """A fingerprint of every bit of the weights."""
    named = sorted(run.model.state_dict().items())
    return sha256_bytes(b"".join(name.encode() + t.contiguous().numpy().tobytes() for name, t in named))


def sampled_text(run: Run) -> str:
    generator, sampling = torch.Generator().manual_seed(1), Sampling(temperature=0.8, top_k=9)
    start = [run.tokenizer.bos_id]
    drawn = generate(run.model, start, max_new_tokens=40, strategy=sampling, generator=generator)
    return run.tokenizer.decode(token.token for token in drawn)


ELSEWHERE = """
import json, os, sys
sys.path[:0] = [{root!r}, {tests!r}]
from lab.runs import load
import lab.text
lab.text.load = None  # it is not at hand
from test_runs_checkpoint import sampled_text, weights_of
run = load({path!r})
tied = run.model.output.weight is run.model.embedding.token.weight
print(json.dumps([sampled_text(run), weights_of(run), run.experiment.to_json(), run.metrics, tied, os.getcwd()]))
"""


def test_a_fresh_process_elsewhere_has_the_same_run(tmp_path):
    run = train_on(tiny_run(), save_to=tmp_path / "here", save_every=6)
    moved, elsewhere = tmp_path / "moved there", tmp_path / "empty"
    (tmp_path / "here").rename(moved)
    elsewhere.mkdir()
    script = ELSEWHERE.format(root=str(ROOT), tests=str(ROOT / "tests"), path=str(moved))
    asked = {"env": {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(elsewhere)}}
    asked |= {"cwd": elsewhere, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", script], **asked)
    assert done.returncode == 0, done.stderr
    text, weights, experiment, metrics, tied, cwd = json.loads(done.stdout)
    assert (text, weights) == (sampled_text(run), weights_of(run)) and len(text) > 20
    assert Experiment.from_json(experiment) == run.experiment
    assert metrics == run.metrics and len(metrics) == 6
    assert tied and cwd == str(elsewhere)


def same_run(one: Run, other: Run) -> None:
    assert weights_of(one) == weights_of(other)
    assert one.experiment == other.experiment
    assert one.tokenizer.to_json() == other.tokenizer.to_json()
    assert one.metrics == other.metrics
    assert one.state.values() == other.state.values()
    ours, theirs = one.state.tensors(), other.state.tensors()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", ["decoder", "recurrent"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_kind_and_number_format_comes_back(tmp_path, kind, dtype):
    run = tiny_run(kind=kind)
    run.model.to(dtype)
    train_on(run, stop=2)
    save(tmp_path, run)
    again = load(tmp_path)
    assert {p.dtype for p in again.model.parameters()} == {dtype}
    restored = again.model.state_dict()
    assert all(torch.equal(tensor, restored[name]) for name, tensor in run.model.state_dict().items())
    ids = torch.tensor([[2, 7, 8, 9]])
    assert torch.equal(run.model.eval()(ids), again.model(ids))


def test_tables_that_are_not_stored_follow_the_number_format(tmp_path):
    run = tiny_run()
    experiment = replace(run.experiment, model=replace(run.experiment.model, positions="rotary", tied=False))
    model = DecoderOnlyTransformer(experiment.model).to(torch.bfloat16).eval()
    torch.nn.init.normal_(model.output.weight)
    save(tmp_path, Run(experiment, run.tokenizer, model, TrainingState(model, experiment.training)))
    ids = torch.tensor([[2, 7, 8, 9]])
    assert torch.equal(model(ids), load(tmp_path).model(ids))


@pytest.mark.parametrize(
    "tokenizer",
    [WordTokenizer.train(LINES), BPETokenizer.train(LINES, 270), CharTokenizer.train(["𝄞é\u2028 \n"])],
)
def test_every_tokenizer_comes_back(tmp_path, tokenizer):
    run = tiny_run(tokenizer=tokenizer)
    save(tmp_path, run)
    again = load(tmp_path)
    same_run(run, again)
    assert again.tokenizer.encode("the light 𝄞") == tokenizer.encode("the light 𝄞")


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("stop", [0, 1, 4])
def test_a_run_taken_up_again_ends_as_if_it_had_never_stopped(tmp_path, optimizer, stop):
    settings = dict(optimizer=optimizer, evaluate_every=2)
    evaluate = lambda model: float(model.output.weight.double().abs().sum())  # noqa: E731
    whole = train_on(tiny_run(**settings), evaluate=evaluate)
    run = tiny_run(**settings)
    if stop:
        train_on(run, stop=stop, evaluate=evaluate)
    save(tmp_path, run)
    torch.manual_seed(1234)
    run = resume(tmp_path, tiny_run(**settings).experiment)
    assert run.state.step == stop
    train_on(run, evaluate=evaluate)
    for timed in (*whole.metrics, *run.metrics):
        timed["seconds"] = timed["tokens_per_second"] = 0
    whole.state.seconds = run.state.seconds = 0
    same_run(whole, run)


def test_the_global_generators_go_back_only_when_asked(tmp_path):
    run = tiny_run()
    random.seed(3), np.random.seed(4)
    random.gauss(0, 1), np.random.randn(), torch.rand(3)  # of a pair of normal numbers one is kept for later
    draw = lambda: (random.gauss(0, 1), random.random(), np.random.randn(5).tolist(), torch.randn(5).tolist())  # noqa: E731
    save(tmp_path, run)
    expected = draw()
    run = load(tmp_path)
    assert draw() != expected
    restore_random(run)
    assert draw() == expected
    restore_random(load(tmp_path))
    load(tmp_path)  # draws nothing, though it makes a model
    assert draw() == expected
    with pytest.raises(ValueError, match="never saved"):
        restore_random(tiny_run())


def steps_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "about.json")


def test_the_newest_and_the_best_are_kept_and_what_was_just_saved(tmp_path):
    values = iter([5.0, 1.0, 2.0, 3.0, 4.0])
    run = tiny_run(steps=10, evaluate_every=2)
    train_on(run, save_to=tmp_path, evaluate=lambda model: next(values), keep_last=3)
    assert steps_in(tmp_path) == [f"step-{n:08d}" for n in (4, 8, 9, 10)]
    best = load(tmp_path, best=True)
    assert (best.state.step, best.state.validation) == (4, 1.0)
    assert load(tmp_path).state.step == 10
    early = load(tmp_path / "step-00000008")
    path = save(tmp_path, early, keep_last=1)
    assert early.state.step == 8 and path.name in steps_in(tmp_path)


def test_the_same_step_saved_again_takes_the_place_of_the_first(tmp_path):
    run = train_on(tiny_run(), stop=2)
    first = save(tmp_path, run)
    run.metrics.append({"note": "second"})
    second = save(tmp_path, run)
    assert second != first and steps_in(tmp_path) == [second.name]
    assert load(tmp_path).metrics[-1] == {"note": "second"}
    assert run.state.saved_to == load(tmp_path).state.saved_to == str(second)


def test_a_folder_holds_one_run_and_knows_which(tmp_path):
    one, other = (train_on(tiny_run(), stop=2) for _ in range(2))
    save(tmp_path / "one", one)
    path = save(tmp_path / "other", other)
    with pytest.raises(CheckpointError, match="another run"):
        save(tmp_path / "one", other)
    shutil.rmtree(tmp_path / "one" / path.name)
    shutil.copytree(path, tmp_path / "one" / path.name)
    with pytest.raises(CheckpointError, match="another run"):
        load(tmp_path / "one")
    assert load(path).id == other.id


def test_a_changed_experiment_is_listed_field_by_field(tmp_path):
    run = tiny_run()
    save(tmp_path, run)
    e = run.experiment
    training, data = replace(e.training, other_lr=0.5), replace(e.data, sha256="other")
    changed = replace(e, training=training, data=data, seed=8)
    fields = [one.partition(":")[0] for one in differences(e, changed)]
    assert fields == ["training.other_lr", "data.sha256", "seed"]
    with pytest.raises(ValueError, match=r"training.other_lr: 0.01 -> 0.5"):
        resume(tmp_path, changed)
    assert resume(tmp_path / "nothing here", e) is None
    moved = replace(e, data=replace(e.data, corpus="elsewhere/psalm.txt"))
    assert differences(e, moved) == [] and resume(tmp_path, moved), "the hash decides, the path is a hint"


E = tiny_run().experiment


def stored(part, **change):
    values = E.to_json()
    return lambda: Experiment.from_json(values | {part: values[part] | change})


REFUSED = [
    (lambda: replace(E, model=E.training), "TransformerConfig or RecurrentConfig"),
    (lambda: replace(Experiment.usual("characters"), start="another"), "characters"),
    (lambda: replace(E, seed=-1), "seed"),
    (lambda: replace(E, seed=True), "seed"),
    (lambda: replace(E, training={"steps": 3}), "training"),
    (lambda: replace(E.data, batch_size=0), "batch_size"),
    (lambda: replace(E.data, tokenizer="bytes"), "tokenizer"),
    (stored("model", colour=1), "colour"),
    (stored("model", kind="Star"), "Star"),
    (stored("objective", name="nothing"), "nothing"),
    (stored("training", steps="3"), "steps"),
]


@pytest.mark.parametrize(("call", "named"), REFUSED)
def test_an_experiment_refuses_parts_that_do_not_fit(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_what_a_killed_process_left_half_written_is_gone_with_the_next_save(tmp_path):
    run = train_on(tiny_run(), stop=1, save_to=tmp_path)
    (tmp_path / ".step-00000009.1234abcd.part").mkdir()
    (tmp_path / ".about.json.1234abcd.part").write_text("{")
    (tmp_path / ".notes").write_text("mine")
    before = {path.name for path in tmp_path.iterdir()}
    save(tmp_path, run)
    assert before - {path.name for path in tmp_path.iterdir()} >= {
        ".step-00000009.1234abcd.part",
        ".about.json.1234abcd.part",
    }
    assert (tmp_path / ".notes").read_text() == "mine"
