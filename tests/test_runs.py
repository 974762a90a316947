"""Runs: trained once, loaded afterwards, continued where they broke off; and the table of them."""

import math
import multiprocessing
import shutil
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from lab import bundle, runs
from lab.nn.transformer import TransformerConfig
from lab.runs import code as run_code
from lab.runs import tasks
from lab.runs.lock import locked
from lab.score import score_lines
from lab.text import CorpusError
from lab.train import TrainConfig

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "under", "a", "mat", "tree", "and", "then", "slept"]
SIZES = {"context": 8, "width": 8, "num_layers": 1, "num_heads": 2, "feed_forward": 8}


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    generator = torch.Generator().manual_seed(1)
    lines = [
        " ".join(WORDS[i] for i in torch.randint(len(WORDS), (6,), generator=generator)) for _ in range(60)
    ]
    path = tmp_path_factory.mktemp("text") / "Cats & dogs.txt"
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture
def plan(text) -> runs.Plan:
    model = TransformerConfig(40, **SIZES, dropout=0.1)
    return runs.Plan(model, TrainConfig(steps=8, warmup=2), corpus=text, tokenizer="char", batch_size=4)


def quiet(plan, folder, **more) -> bundle.Run:
    return runs.get_or_train(plan, folder, progress=False, say=lambda _: None, **more)


def weights(run: bundle.Run) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def test_what_is_prepared_is_what_the_experiment_says(plan):
    prepared = runs.prepare(plan)
    train, validation, test = prepared.splits
    assert len(train) + len(validation) + len(test) == 60 and not set(train) & set(validation)
    data = prepared.experiment.data
    assert data.vocab_size == prepared.tokenizer.vocab_size == prepared.experiment.model.vocab_size < 40
    assert data.sha256 == prepared.corpus.sha256 and Path(data.corpus).is_absolute()
    assert prepared.tokenizer.decode(prepared.ids.tolist()) == "".join(train)
    assert prepared.tokens_per_char == len(prepared.ids) / sum(len(line) + 1 for line in train)
    batch, again = next(prepared.batches()), next(prepared.batches())
    assert batch.ids.shape == (4, 8) and torch.equal(batch.ids, again.ids), "each stream begins anew"
    other = next(runs.prepare(replace(plan, seed=1)).batches())
    assert not torch.equal(batch.ids, other.ids)


def test_an_experiment_prepares_to_itself(plan):
    prepared = runs.prepare(plan)
    again = runs.prepare(prepared.experiment)
    assert again.experiment == prepared.experiment
    assert again.tokenizer.to_json() == prepared.tokenizer.to_json()
    assert all(
        torch.equal(a, b)
        for a, b in zip(prepared.model().parameters(), again.model().parameters(), strict=True)
    )


@pytest.mark.parametrize("kind", ["bpe", "word", "char"])
def test_every_tokenizer_can_be_asked_for(plan, kind):
    plan = replace(plan, tokenizer=kind, model=replace(plan.model, vocab_size=270 if kind == "bpe" else 9))
    prepared = runs.prepare(plan)
    assert prepared.tokenizer.vocab_size == {"bpe": 270, "word": 9}.get(kind, prepared.tokenizer.vocab_size)
    assert runs.prepare(prepared.experiment).experiment == prepared.experiment
    with pytest.raises(ValueError, match="one of char, word, bpe"):
        runs.prepare(replace(plan, tokenizer="bytes"))


def test_the_tokenizer_has_never_seen_the_held_out_lines(plan, tmp_path):
    (tmp_path / "signs.txt").write_text("".join(f"sign {chr(0x4E00 + n)}\n" for n in range(40)), "utf-8")
    prepared = runs.prepare(replace(plan, corpus=str(tmp_path / "signs.txt")))
    unknown = prepared.tokenizer.unk_id
    for lines, known in zip(prepared.splits, (True, False, False), strict=True):
        assert all((unknown not in prepared.tokenizer.encode(line)) == known for line in lines)


def test_a_text_that_changed_is_refused(plan, tmp_path):
    copied = shutil.copy(plan.corpus, tmp_path / "text.txt")
    experiment = runs.prepare(replace(plan, corpus=str(copied))).experiment
    Path(copied).write_text("something\nelse\nby now\n")
    with pytest.raises(CorpusError, match="has changed"):
        runs.prepare(experiment)


def test_an_unchanged_run_is_loaded_and_says_so(plan, tmp_path):
    said = []
    first = runs.get_or_train(plan, tmp_path, progress=False, say=said.append)
    before = torch.get_rng_state()
    second = runs.get_or_train(plan, tmp_path, progress=False, say=said.append)
    assert torch.equal(before, torch.get_rng_state())
    path = runs.where(first.experiment, tmp_path)
    assert said[0].startswith(f"trained {path} in ") and said[1].startswith(f"loaded {path}: trained 20")
    assert "bits per character" in said[1] and len(said) == 2
    assert second is not first and torch.equal(weights(first), weights(second))
    assert not first.model.training and first.metrics == second.metrics
    assert len(runs.steps(second)) == 8


def test_the_score_is_that_of_the_validation_lines(plan, tmp_path):
    run, prepared = quiet(plan, tmp_path), runs.prepare(plan)
    assert runs.score(run) == score_lines(run.model, run.tokenizer, prepared.splits.validation)
    last = runs.steps(run)[-1]
    assert last["bits_per_char"] == pytest.approx(last["loss"] * prepared.tokens_per_char / math.log(2))


def test_a_run_is_named_by_everything_that_matters(plan, monkeypatch):
    experiment = runs.prepare(plan).experiment
    name = runs.run_name(experiment)
    assert name.startswith("decoder-cats-dogs-") and len(name.rpartition("-")[2]) == 8
    assert runs.run_name(runs.prepare(plan).experiment) == name
    others = [
        replace(experiment, seed=1),
        replace(experiment, training=TrainConfig(steps=9, warmup=2)),
        replace(experiment, model=replace(experiment.model, width=16)),
    ]
    names = {name, *map(runs.run_name, others)}
    monkeypatch.setattr("lab.runs.folder.code_version", lambda kind: "other code")
    assert len(names | {runs.run_name(experiment)}) == 5


def test_the_version_of_the_code_changes_with_what_it_does_and_not_with_what_it_says(tmp_path):
    for part in run_code.PARTS:
        source = run_code.PACKAGE / part
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    before = run_code.code_version(package=tmp_path)
    assert before == runs.code_version()
    file = tmp_path / "optim.py"
    source = file.read_text()
    file.write_text("# a comment\n" + source.replace('"""Optimizers', '"""All optimizers'))
    run_code.code_version.cache_clear()
    assert run_code.code_version(package=tmp_path) == before
    file.write_text(source.replace("momentum: float = 0.95", "momentum: float = 0.9"))
    run_code.code_version.cache_clear()
    assert run_code.code_version(package=tmp_path) != before


def test_changed_code_trains_a_new_run_and_the_old_one_can_still_be_loaded(plan, tmp_path, monkeypatch):
    old = quiet(plan, tmp_path)
    (path,) = tmp_path.iterdir()
    for module in ("folder", "loop"):
        monkeypatch.setattr(f"lab.runs.{module}.code_version", lambda kind: "b" * 64)
    said = []
    runs.get_or_train(plan, tmp_path, progress=False, say=said.append)
    assert said[0].startswith("trained") and len(list(tmp_path.iterdir())) == 2
    assert torch.equal(weights(bundle.load(path)), weights(old))
    assert set(runs.table(tmp_path)["code"]) == {runs.code_version()[:8], "bbbbbbbb"}


def test_a_run_with_a_name_refuses_other_settings_and_tells_of_other_code(plan, tmp_path, monkeypatch):
    quiet(plan, tmp_path, name="mine")
    with pytest.raises(ValueError, match=r"training\.steps: 8 -> 9"):
        quiet(replace(plan, training=TrainConfig(steps=9, warmup=2)), tmp_path, name="mine")
    monkeypatch.setattr("lab.runs.loop.code_version", lambda kind: "b" * 64)
    said = []
    runs.get_or_train(plan, tmp_path, name="mine", progress=False, say=said.append)
    assert said[0].startswith("loaded") and "the code has changed since" in said[0]
    with pytest.raises(ValueError, match="one folder"):
        quiet(plan, tmp_path, name="../mine")


def test_leaving_the_loop_saves_and_the_next_goes_on_to_the_same_end(plan, tmp_path):
    whole = quiet(plan, tmp_path / "whole")
    seen = [step.step for step in islice(runs.training(plan, tmp_path / "broken"), 3)]
    state = runs.table(tmp_path / "broken")["state"]
    assert list(state) == ["stopped at step 3 of 8"]
    torch.rand(7)  # as if something else had been done meanwhile
    said = []
    broken = runs.get_or_train(plan, tmp_path / "broken", progress=False, say=said.append)
    assert seen == [0, 1, 2] and "continuing" in said[0] and "from step 3 of 8" in said[0]
    assert torch.equal(weights(whole), weights(broken))
    losses = [[step["loss"] for step in runs.steps(run)] for run in (whole, broken)]
    assert losses[0] == losses[1]
    assert list(runs.training(plan, tmp_path / "broken")) == [], "nothing is left to do"


def test_ctrl_c_waits_for_the_end_of_the_step_and_saves(plan, tmp_path, monkeypatch):
    calls = []

    def interrupted(model, batch):
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return original(model, batch)

    original, said = tasks.next_token_loss, []
    monkeypatch.setattr(tasks, "next_token_loss", interrupted)
    handler = signal.default_int_handler  # a job in the background is begun with Ctrl-C ignored
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            runs.get_or_train(plan, tmp_path, progress=False, say=said.append)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert "stopped at step 4 of 8; saved: " in said[-1] and "step-00000004" in said[-1]
    resumed = quiet(plan, tmp_path)
    assert resumed.training_state.step == 8
    assert torch.equal(weights(resumed), weights(quiet(plan, tmp_path / "whole")))


def test_a_step_that_is_torn_in_two_is_not_saved(plan, tmp_path, monkeypatch):
    calls, original = [], tasks.next_token_loss

    def interrupted_twice(model, batch):
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return original(model, batch)

    monkeypatch.setattr(tasks, "next_token_loss", interrupted_twice)
    with pytest.raises(KeyboardInterrupt):
        quiet(plan, tmp_path)
    assert list(runs.table(tmp_path)["state"]) == ["begun, nothing saved yet"]


def test_it_is_saved_on_the_way_and_at_each_best_validation(plan, tmp_path):
    (path,) = [runs.where(runs.prepare(plan).experiment, tmp_path)]
    steps = runs.training(plan, tmp_path, save_seconds=0)
    next(steps)
    assert [p.name for p in path.glob("step-*")] == ["step-00000001"]
    measured = replace(plan, training=TrainConfig(steps=6, warmup=2, evaluate_every=2))
    next(islice(runs.training(measured, tmp_path / "best"), 1, None))  # the second step, where it is measured
    assert runs.table(tmp_path / "best")["steps"].tolist() == [2]
    run = quiet(measured, tmp_path)
    found = [step["validation"] for step in runs.steps(run)]
    assert [bits is not None for bits in found] == [False, True] * 3
    assert bundle.load(runs.where(run.experiment, tmp_path), best=True).training_state.validation == min(
        found[1::2]
    )


def test_a_loop_that_was_left_hanging_does_not_lock_its_own_process_out(plan, tmp_path):
    left = runs.training(plan, tmp_path)
    next(left)
    said = []
    runs.get_or_train(plan, tmp_path, progress=False, say=said.append)
    assert "from step 1 of 8" in said[0]


def _hold(folder, ready, done):
    with locked(Path(folder)):
        ready.set()
        done.wait(20)


def test_two_processes_do_not_train_the_same_run(plan, tmp_path):
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    path = runs.where(runs.prepare(plan).experiment, tmp_path)
    other = context.Process(target=_hold, args=(path, ready, done))
    other.start()
    assert ready.wait(20)
    with pytest.raises(runs.RunBusy, match=f"process {other.pid} trains"):
        next(runs.training(plan, tmp_path))
    said = []

    def say(sentence):
        said.append(sentence)
        done.set()

    runs.get_or_train(plan, tmp_path, progress=False, say=say)
    other.join()
    assert "waiting" in said[0] and said[1].startswith("trained")


def test_an_encoder_is_refused(plan, tmp_path):
    experiment = replace(runs.prepare(plan).experiment, kind="encoder")
    with pytest.raises(ValueError, match="an encoder sees the token"):
        quiet(experiment, tmp_path)
    with pytest.raises(ValueError, match="has a TrainConfig"):
        runs.kind_of(plan.training)


@pytest.mark.skipif("recurrent" not in bundle.KINDS, reason="lab.bundle.KINDS has no recurrent models yet")
def test_a_recurrent_model_is_trained_like_any_other(plan, tmp_path):
    from lab.nn.recurrent import RecurrentConfig

    run = quiet(replace(plan, model=RecurrentConfig(40, context=8, width=8, cell="gru")), tmp_path)
    assert runs.score(run) and runs.run_name(run.experiment).startswith("gru-cats-dogs-")


def test_a_damaged_run_says_what_to_delete(plan, tmp_path):
    run = quiet(plan, tmp_path)
    path = runs.where(run.experiment, tmp_path) / "step-00000008"
    (path / "metrics.jsonl").write_text("")
    with pytest.raises(bundle.BundleError, match=r"delete .*step-00000008"):
        quiet(plan, tmp_path)
    shutil.rmtree(path)
    assert torch.equal(weights(quiet(plan, tmp_path)), weights(run))


def test_the_table_shows_what_differs_and_what_is_damaged(plan, tmp_path):
    assert runs.table(tmp_path).empty and runs.table(tmp_path / "none").empty
    run = quiet(plan, tmp_path)
    wider = quiet(replace(plan, model=replace(plan.model, width=16)), tmp_path)
    (tmp_path / "notes").mkdir()
    shutil.copytree(runs.where(run.experiment, tmp_path), tmp_path / "zz")
    (tmp_path / "zz" / "step-00000008" / "manifest.json").write_text("{}")
    table = runs.table(tmp_path)
    assert len(table) == 3 and table.index.name == "run"
    assert list(table.columns[:2]) == ["model.width", "bits_per_char"], "first what differs, and nothing else"
    row = table.loc[runs.run_name(wider.experiment)]
    assert row["model.width"] == 16 and row["state"] == "done" and row["steps"] == 8
    assert row["bits_per_char"] == runs.score(wider).bits_per_char
    assert row["parameters"] == wider.model.num_parameters
    assert row["tokens_per_second"] == pytest.approx(8 * 4 * 8 / wider.training_state.seconds)
    assert row["train_bits_per_char"] == pytest.approx(
        sum(step["bits_per_char"] for step in runs.steps(wider)) / 8
    )
    assert table.loc["zz", "state"].startswith("damaged: ") and math.isnan(table.loc["zz", "bits_per_char"])


def test_settings_that_repeat_each_other_are_told_once():
    a = {"data.corpus": "kjv", "data.sha256": "1", "seed": 0, "model.width": 8}
    b = {"data.corpus": "grammar", "data.sha256": "2", "seed": 0, "model.cell": "gru"}
    assert runs.differing({"a": a, "b": b}) == {
        "a": {"data.corpus": "kjv", "model.width": 8, "model.cell": None},
        "b": {"data.corpus": "grammar", "model.width": None, "model.cell": "gru"},
    }
    started = {"first": {"start": None}, "second": {"start.run": "first", "start.weights": "3f2a"}}
    assert runs.differing(started)["second"] == {"start.run": "first"}
    assert runs.differing({}) == {}


def test_a_run_is_found_by_a_part_of_its_name(plan, tmp_path, monkeypatch):
    run = quiet(plan, tmp_path)
    quiet(plan, tmp_path, name="other")
    path = runs.where(run.experiment, tmp_path)
    for name in (path.name, path.name[-8:], "cats", path, path / "step-00000008"):
        assert runs.find(name, tmp_path) in (path, path / "step-00000008")
    monkeypatch.setenv("LAB_RUNS", str(tmp_path))
    assert runs.find("other") == tmp_path / "other"
    with pytest.raises(ValueError, match=rf"no run is called 'kjv'(.|\n)*{path.name}\n  other"):
        runs.find("kjv")
    with pytest.raises(ValueError, match="2 runs fit 'o'"):
        runs.find("o")
    with pytest.raises(ValueError, match="no run is called ''"):
        runs.find("")
