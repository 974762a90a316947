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

from lab import runs
from lab.nn import RecurrentConfig, TransformerConfig
from lab.runs import code as run_code
from lab.runs.experiment import prepare
from lab.runs.lock import locked
from lab.score import score_lines
from lab.text import Corpus, CorpusError
from lab.train import NextToken, TrainConfig, next_token, text_material

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
def experiment(text) -> runs.Experiment:
    model = TransformerConfig(40, **SIZES, dropout=0.1)
    data = runs.Data(text, "char", batch_size=4)
    return runs.Experiment(model, training=TrainConfig(steps=8, warmup=2), data=data)


def quiet(experiment, folder, **more) -> runs.Run:
    return runs.get_or_train(experiment, folder, progress=False, say=lambda _: None, **more)


def weights(run: runs.Run) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def with_data(experiment, **changes) -> runs.Experiment:
    return replace(experiment, data=replace(experiment.data, **changes))


def test_the_material_is_what_the_resolved_experiment_says(experiment):
    resolved, material = prepare(experiment)
    train, validation, test = material.splits
    assert len(train) + len(validation) + len(test) == 60 and not set(train) & set(validation)
    assert resolved.model.vocab_size == material.tokenizer.vocab_size < 40
    assert resolved.data.sha256 == material.sha256 and Path(resolved.data.corpus).is_absolute()
    assert material.tokenizer.decode(material.ids.tolist()) == "".join(train)
    assert material.tokens_per_char == len(material.ids) / sum(len(line) + 1 for line in train)
    first = lambda one: next(one.objective.batches(one, material)).ids  # noqa: E731
    assert first(resolved).shape == (4, 8)
    assert torch.equal(first(resolved), first(resolved)), "each stream begins anew"
    assert not torch.equal(first(resolved), first(replace(resolved, seed=1)))


@pytest.mark.parametrize("kind", ["bpe", "word", "char"])
def test_a_resolved_experiment_resolves_to_itself(experiment, kind):
    asked = {"bpe": 270, "word": 9, "char": 40}[kind]
    experiment = with_data(
        replace(experiment, model=replace(experiment.model, vocab_size=asked)), tokenizer=kind
    )
    resolved, material = prepare(experiment)
    again, same = prepare(resolved)
    assert again == resolved and same.tokenizer.to_json() == material.tokenizer.to_json()
    assert material.tokenizer.vocab_size == (asked if kind != "char" else resolved.model.vocab_size)
    assert runs.Experiment.from_json(resolved.to_json()) == resolved


def test_the_tokenizer_has_never_seen_the_held_out_lines(experiment):
    corpus = Corpus("signs", [f"sign {chr(0x4E00 + n)}" for n in range(40)], licence="none")
    material = text_material(with_data(experiment, corpus=corpus))
    unknown = material.tokenizer.unk_id
    for lines, known in zip(material.splits, (True, False, False), strict=True):
        assert all((unknown not in material.tokenizer.encode(line)) == known for line in lines)


def test_the_hash_decides_which_text_it_is_and_not_where_it_lies(experiment, tmp_path):
    run = quiet(experiment, tmp_path / "runs")
    copied = Path(shutil.copy(experiment.data.corpus, tmp_path / "Cats & dogs.txt"))
    said = []
    runs.get_or_train(with_data(experiment, corpus=str(copied)), tmp_path / "runs", say=said.append)
    assert said[0].startswith("loaded")
    copied.write_text("something\nelse\nby now\n")
    with pytest.raises(CorpusError):
        prepare(with_data(run.experiment, corpus=str(copied)))


def test_an_unchanged_run_is_loaded_and_says_so(experiment, tmp_path):
    said = []
    first = runs.get_or_train(experiment, tmp_path, progress=False, say=said.append)
    before = torch.get_rng_state()
    second = runs.get_or_train(experiment, tmp_path, progress=False, say=said.append)
    assert torch.equal(before, torch.get_rng_state())
    path = runs.where(first.experiment, tmp_path)
    assert said[0].startswith(f"trained {path} in ") and said[1].startswith(f"loaded {path}: trained 20")
    assert "bits per character" in said[1] and len(said) == 2
    assert second is not first and torch.equal(weights(first), weights(second))
    assert not first.model.training and first.metrics == second.metrics
    assert len(runs.steps(second)) == 8


def test_what_was_drawn_before_a_run_does_not_change_it(experiment, tmp_path):
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(weights(quiet(experiment, tmp_path, name=f"after-{seed}")))
    assert torch.equal(*found), "dropout too draws from the experiment's seed"


def test_the_score_is_that_of_the_validation_lines(experiment, tmp_path):
    run, (_, material) = quiet(experiment, tmp_path), prepare(experiment)
    assert runs.score(run) == score_lines(run.model, run.tokenizer, material.splits.validation)
    last = runs.steps(run)[-1]
    assert last["bits_per_char"] == pytest.approx(last["loss"] * material.tokens_per_char / math.log(2))


def test_a_run_is_named_by_everything_that_matters(experiment, monkeypatch):
    experiment = experiment.resolved()
    name = runs.run_name(experiment)
    assert name.startswith("next-token-cats-dogs-") and len(name.rpartition("-")[2]) == 8
    assert runs.run_name(experiment.resolved()) == name
    others = [
        replace(experiment, seed=1),
        replace(experiment, training=TrainConfig(steps=9, warmup=2)),
        replace(experiment, model=replace(experiment.model, width=16)),
    ]
    names = {name, *map(runs.run_name, others)}
    monkeypatch.setattr("lab.runs.folder.code_version", lambda objective: "other code")
    assert len(names | {runs.run_name(experiment)}) == 5


def test_the_version_of_the_code_changes_with_what_it_does_and_not_with_what_it_says(tmp_path):
    for room in run_code.CORE:
        shutil.copytree(run_code.PACKAGE / room, tmp_path / room)
    fingerprint = run_code._fingerprint.__wrapped__
    before = fingerprint(run_code.CORE, tmp_path)
    assert before == runs.code_version(NextToken())
    file = tmp_path / "train" / "optim.py"
    source = file.read_text()
    file.write_text("# a comment\n" + source.replace('"""Optimizers', '"""All optimizers'))
    assert fingerprint(run_code.CORE, tmp_path) == before
    file.write_text(source.replace("momentum: float = 0.95", "momentum: float = 0.9"))
    assert fingerprint(run_code.CORE, tmp_path) != before


def test_changed_code_trains_a_new_run_and_the_old_one_can_still_be_loaded(experiment, tmp_path, monkeypatch):
    old = quiet(experiment, tmp_path)
    (path,) = tmp_path.iterdir()
    for module in ("folder", "loop"):
        monkeypatch.setattr(f"lab.runs.{module}.code_version", lambda objective: "b" * 64)
    said = []
    runs.get_or_train(experiment, tmp_path, progress=False, say=said.append)
    assert said[0].startswith("trained") and len(list(tmp_path.iterdir())) == 2
    assert torch.equal(weights(runs.load(path)), weights(old))
    assert set(runs.table(tmp_path)["code"]) == {runs.code_version(NextToken())[:8], "bbbbbbbb"}


def test_a_run_with_a_name_refuses_other_settings_and_tells_of_other_code(experiment, tmp_path, monkeypatch):
    quiet(experiment, tmp_path, name="mine")
    with pytest.raises(ValueError, match=r"training\.steps: 8 -> 9"):
        quiet(replace(experiment, training=TrainConfig(steps=9, warmup=2)), tmp_path, name="mine")
    monkeypatch.setattr("lab.runs.loop.code_version", lambda objective: "b" * 64)
    said = []
    runs.get_or_train(experiment, tmp_path, name="mine", progress=False, say=said.append)
    assert said[0].startswith("loaded") and "the code has changed since" in said[0]
    with pytest.raises(ValueError, match="one folder"):
        quiet(experiment, tmp_path, name="../mine")


def test_leaving_the_loop_saves_and_the_next_goes_on_to_the_same_end(experiment, tmp_path):
    whole = quiet(experiment, tmp_path / "whole")
    seen = [step.step for step in islice(runs.training(experiment, tmp_path / "broken"), 3)]
    state = runs.table(tmp_path / "broken")["state"]
    assert list(state) == ["stopped at step 3 of 8"]
    torch.rand(7)  # as if something else had been done meanwhile
    said = []
    broken = runs.get_or_train(experiment, tmp_path / "broken", progress=False, say=said.append)
    assert seen == [0, 1, 2] and "continuing" in said[0] and "from step 3 of 8" in said[0]
    assert torch.equal(weights(whole), weights(broken))
    losses = [[step["loss"] for step in runs.steps(run)] for run in (whole, broken)]
    assert losses[0] == losses[1]
    assert list(runs.training(experiment, tmp_path / "broken")) == [], "nothing is left to do"


def test_ctrl_c_waits_for_the_end_of_the_step_and_saves(experiment, tmp_path, monkeypatch):
    calls = []

    def interrupted(model, batch):
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return original(model, batch)

    original, said = next_token.next_token_loss, []
    monkeypatch.setattr(next_token, "next_token_loss", interrupted)
    handler = signal.default_int_handler  # a job in the background is begun with Ctrl-C ignored
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            runs.get_or_train(experiment, tmp_path, progress=False, say=said.append)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert "stopped at step 4 of 8; saved: " in said[-1] and "step-00000004" in said[-1]
    resumed = quiet(experiment, tmp_path)
    assert resumed.state.step == 8
    assert torch.equal(weights(resumed), weights(quiet(experiment, tmp_path / "whole")))


def test_a_step_that_is_torn_in_two_is_not_saved(experiment, tmp_path, monkeypatch):
    calls, original = [], next_token.next_token_loss

    def interrupted_twice(model, batch):
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return original(model, batch)

    monkeypatch.setattr(next_token, "next_token_loss", interrupted_twice)
    with pytest.raises(KeyboardInterrupt):
        quiet(experiment, tmp_path)
    assert list(runs.table(tmp_path)["state"]) == ["begun, nothing saved yet"]


def test_it_is_saved_on_the_way_and_at_each_best_validation(experiment, tmp_path):
    (path,) = [runs.where(experiment.resolved(), tmp_path)]
    steps = runs.training(experiment, tmp_path, save_seconds=0)
    next(steps)
    assert [p.name for p in path.glob("step-*")] == ["step-00000001"]
    measured = replace(experiment, training=TrainConfig(steps=6, warmup=2, evaluate_every=2))
    next(islice(runs.training(measured, tmp_path / "best"), 1, None))  # the second step, where it is measured
    assert runs.table(tmp_path / "best")["steps"].tolist() == [2]
    run = quiet(measured, tmp_path)
    found = [step["validation"] for step in runs.steps(run)]
    assert [bits is not None for bits in found] == [False, True] * 3
    assert runs.load(runs.where(run.experiment, tmp_path), best=True).state.validation == min(found[1::2])


def test_a_loop_that_was_left_hanging_does_not_lock_its_own_process_out(experiment, tmp_path):
    left = runs.training(experiment, tmp_path)
    next(left)
    said = []
    runs.get_or_train(experiment, tmp_path, progress=False, say=said.append)
    assert "from step 1 of 8" in said[0]


def _hold(folder, ready, done):
    with locked(Path(folder)):
        ready.set()
        done.wait(20)


def test_two_processes_do_not_train_the_same_run(experiment, tmp_path):
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    path = runs.where(experiment.resolved(), tmp_path)
    other = context.Process(target=_hold, args=(path, ready, done))
    other.start()
    assert ready.wait(20)
    with pytest.raises(runs.RunBusy, match=f"process {other.pid} trains"):
        next(runs.training(experiment, tmp_path))
    said = []

    def say(sentence):
        said.append(sentence)
        done.set()

    runs.get_or_train(experiment, tmp_path, progress=False, say=say)
    other.join()
    assert "waiting" in said[0] and said[1].startswith("trained")


def test_a_recurrent_model_is_trained_like_any_other(experiment, tmp_path):
    run = quiet(replace(experiment, model=RecurrentConfig(40, context=8, width=8, cell="gru")), tmp_path)
    assert runs.score(run) and runs.run_name(run.experiment).startswith("gru-cats-dogs-")


def test_a_damaged_run_says_what_to_delete(experiment, tmp_path):
    run = quiet(experiment, tmp_path)
    path = runs.where(run.experiment, tmp_path) / "step-00000008"
    (path / "metrics.jsonl").write_text("")
    with pytest.raises(runs.CheckpointError, match=r"delete .*step-00000008"):
        quiet(experiment, tmp_path)
    shutil.rmtree(path)
    assert torch.equal(weights(quiet(experiment, tmp_path)), weights(run))


def test_the_table_shows_what_differs_and_what_is_damaged(experiment, tmp_path):
    assert runs.table(tmp_path).empty and runs.table(tmp_path / "none").empty
    run = quiet(experiment, tmp_path)
    wider = quiet(replace(experiment, model=replace(experiment.model, width=16)), tmp_path)
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
    assert row["tokens_per_second"] == pytest.approx(8 * 4 * 8 / wider.state.seconds)
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


def test_a_run_is_found_by_a_part_of_its_name(experiment, tmp_path, monkeypatch):
    run = quiet(experiment, tmp_path)
    quiet(experiment, tmp_path, name="other")
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
