"""Runs: trained once, loaded afterwards, continued where they broke off; and the table of them."""

import errno
import math
import os
import re
import shutil
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from run_toys import PROCESSES, made_text, quiet, told, weights

from lab import runs
from lab.nn import RecurrentConfig, TransformerConfig
from lab.runs import code as run_code
from lab.runs.experiment import prepare
from lab.runs.lock import locked
from lab.score import score_lines
from lab.text import Corpus, CorpusError
from lab.train import NextToken, TrainConfig, next_token, text_material

SIZES = {"context": 8, "width": 8, "num_layers": 1, "num_heads": 2, "feed_forward": 8}


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    words = "the cat dog sat ran on under a mat tree and then slept"
    return made_text(tmp_path_factory.mktemp("text"), "Cats & dogs.txt", words, (6, 6), 60)


@pytest.fixture
def experiment(text) -> runs.Experiment:
    model = TransformerConfig(40, **SIZES, dropout=0.1)
    data = runs.Data(text, "char", batch_size=4)
    return runs.Experiment(model, training=TrainConfig(steps=8, warmup=2), data=data)


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


@pytest.mark.parametrize(("kind", "asked"), [("bpe", 270), ("word", 9), ("char", 40)])
def test_a_resolved_experiment_resolves_to_itself(experiment, kind, asked):
    sized = replace(experiment, model=replace(experiment.model, vocab_size=asked))
    resolved, material = prepare(with_data(sized, tokenizer=kind))
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


def test_a_subset_is_a_share_of_the_training_lines_alone(experiment):
    whole = text_material(experiment)
    for subset, count in ((0.5, 27), (0.1, 5), (0.001, 1)):
        few = text_material(with_data(experiment, subset=subset))
        assert few.splits.train == whole.splits.train[:count] and few.splits[1:] == whole.splits[1:]
        assert few.tokenizer == type(few.tokenizer).train(few.splits.train)
    resolved = with_data(experiment, subset=0.5).resolved()
    stored = resolved.to_json()
    assert runs.Experiment.from_json(stored) == resolved.resolved() == resolved
    del stored["data"]["subset"]  # as runs were stored before there was one
    assert runs.Experiment.from_json(stored).data.subset == 1.0
    for wrong in (0.0, 1.1):
        with pytest.raises(ValueError, match="subset"):
            with_data(experiment, subset=wrong)


def test_the_material_says_how_long_its_text_is_and_how_lines_begin(experiment):
    material = text_material(with_data(experiment, tokenizer="word"))
    words = [len(material.tokenizer.encode(line)) for line in material.splits.train]
    chars = sum(len(line) for line in material.splits.train)
    assert material.longest == max(words) + 2 and material.chars_per_token == chars / sum(words)
    begun = material.prompts(tokens=3, count=2)
    assert [prompt + rest for prompt, rest in begun] == material.splits.validation[:2]
    assert [len(material.tokenizer.encode(prompt)) for prompt, _ in begun] == [3, 3]


def test_a_run_keeps_the_parts_that_folders_give(experiment, tmp_path):
    given = {"train": ["the cat ran"] * 3, "val": ["a dog sat"], "test": ["a tree slept"]}
    for part, lines in given.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "lines.txt").write_text("\n".join(lines))
    run = quiet(with_data(experiment, corpus=str(tmp_path)), tmp_path / "runs")
    assert [*text_material(run.experiment).splits] == [*given.values()]
    scored = score_lines(run.model, run.tokenizer, given["val"])
    assert runs.score(run) == pytest.approx(scored)


def test_what_a_vocabulary_hides_is_paid_for_in_the_curve_and_in_the_table(experiment, tmp_path):
    few = replace(experiment, model=replace(experiment.model, vocab_size=6))
    for kind, asked in {"word": few, "char": experiment}.items():
        quiet(with_data(asked, tokenizer=kind), tmp_path, name=kind)
    table = runs.table(tmp_path)
    for column in ("bits_per_char", "train_bits_per_char"):
        assert table[column]["word"] > 10 and table[column]["char"] < 6


def test_the_hash_decides_which_text_it_is_and_not_where_it_lies(experiment, tmp_path):
    run = quiet(experiment, tmp_path / "runs")
    copied = Path(shutil.copy(experiment.data.corpus, tmp_path / "Cats & dogs.txt"))
    moved = with_data(experiment, corpus=str(copied))
    assert told(moved, tmp_path / "runs")[0].startswith("loaded")
    copied.write_text("something\nelse\nby now\n")
    with pytest.raises(CorpusError):
        prepare(with_data(run.experiment, corpus=str(copied)))


def test_an_unchanged_run_is_loaded_with_its_score_and_draws_nothing(experiment, tmp_path):
    first = quiet(experiment, tmp_path)
    before = torch.get_rng_state()
    second = quiet(experiment, tmp_path)
    assert torch.equal(before, torch.get_rng_state())
    assert second is not first and torch.equal(weights(first), weights(second))
    assert not first.model.training and first.metrics == second.metrics and len(runs.steps(second)) == 8
    _, material = prepare(experiment)
    assert runs.score(second) == score_lines(first.model, first.tokenizer, material.splits.validation)
    last = runs.steps(second)[-1]
    assert last["bits_per_char"] == pytest.approx(last["loss"] * material.tokens_per_char / math.log(2))


def test_what_was_drawn_before_a_run_does_not_change_it(experiment, tmp_path):
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(weights(quiet(experiment, tmp_path, name=f"after-{seed}")))
    assert torch.equal(*found), "dropout too draws from the experiment's seed"


def test_a_run_is_named_by_everything_that_matters(experiment, monkeypatch):
    experiment = experiment.resolved()
    name = runs.run_name(experiment)
    assert name.startswith("next-token-cats-dogs-") and len(name.rpartition("-")[2]) == 8
    others = [
        replace(experiment, seed=1),
        replace(experiment, training=TrainConfig(steps=9, warmup=2)),
        replace(experiment, model=replace(experiment.model, width=16)),
        replace(experiment, model=RecurrentConfig(40, context=8, width=8, cell="gru")),
    ]
    names = {name, runs.run_name(experiment.resolved()), *map(runs.run_name, others)}
    monkeypatch.setattr("lab.runs.folder.code_version", lambda objective: "other code")
    assert len(names | {runs.run_name(experiment)}) == 6


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
    quiet(experiment, tmp_path)
    assert torch.equal(weights(runs.load(path)), weights(old))
    codes = runs.table(tmp_path)["code"]
    assert len(codes) == 2 and set(codes) == {runs.code_version(NextToken())[:8], "bbbbbbbb"}


def test_a_run_with_a_name_refuses_other_settings_and_tells_of_other_code(experiment, tmp_path, monkeypatch):
    quiet(experiment, tmp_path, name="mine")
    with pytest.raises(ValueError, match=r"training\.steps: 8 -> 9"):
        quiet(replace(experiment, training=TrainConfig(steps=9, warmup=2)), tmp_path, name="mine")
    monkeypatch.setattr("lab.runs.loop.code_version", lambda objective: "b" * 64)
    assert "the code has changed since" in told(experiment, tmp_path, name="mine")[0]
    with pytest.raises(ValueError, match="one folder"):
        quiet(experiment, tmp_path, name="../mine")


def test_leaving_the_loop_saves_and_the_next_goes_on_to_the_same_end(experiment, tmp_path):
    whole = quiet(experiment, tmp_path / "whole")
    seen = [step.step for step in islice(runs.training(experiment, tmp_path / "broken"), 3)]
    assert seen == [0, 1, 2] and list(runs.table(tmp_path / "broken")["state"]) == ["stopped at step 3 of 8"]
    torch.rand(7)  # as if something else had been done meanwhile
    assert "from step 3 of 8" in told(experiment, tmp_path / "broken")[0]
    broken = quiet(experiment, tmp_path / "broken")
    assert torch.equal(weights(whole), weights(broken))
    losses = [[step["loss"] for step in runs.steps(run)] for run in (whole, broken)]
    assert losses[0] == losses[1]
    assert list(runs.training(experiment, tmp_path / "broken")) == [], "nothing is left to do"


def interrupting(monkeypatch, times: int) -> None:
    """Ctrl-C so often in the fourth step."""
    calls, original = [], next_token.next_token_loss

    def interrupted(model, batch, **settings):
        calls.append(1)
        for _ in range(times * (len(calls) == 4)):
            signal.raise_signal(signal.SIGINT)
        return original(model, batch, **settings)

    monkeypatch.setattr(next_token, "next_token_loss", interrupted)


def test_ctrl_c_waits_for_the_end_of_the_step_and_saves(experiment, tmp_path, monkeypatch):
    interrupting(monkeypatch, 1)
    handler = signal.default_int_handler  # a job in the background is begun with Ctrl-C ignored
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt, match=r"step 4 of 8; saved: .*step-00000004"):
            quiet(experiment, tmp_path)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(runs.table(tmp_path)["state"]) == ["stopped at step 4 of 8"]
    resumed = quiet(experiment, tmp_path)
    assert torch.equal(weights(resumed), weights(quiet(experiment, tmp_path / "whole")))


def test_a_step_that_is_torn_in_two_is_not_saved(experiment, tmp_path, monkeypatch):
    interrupting(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        quiet(experiment, tmp_path)
    assert not list(tmp_path.iterdir()), "a run into which nothing was saved is none"


def test_it_is_saved_on_the_way_and_at_each_best_validation(experiment, tmp_path):
    next(runs.training(experiment, tmp_path, save_seconds=0))
    assert len(list(tmp_path.glob("*/step-00000001"))) == 1
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
    assert "from step 1 of 8" in told(experiment, tmp_path)[0]


def _hold(folder, ready, done):
    with locked(Path(folder)):
        ready.set()
        done.wait(20)


def test_two_processes_do_not_train_the_same_run(experiment, tmp_path):
    ready, done = PROCESSES.Event(), PROCESSES.Event()
    path = runs.where(experiment.resolved(), tmp_path)
    other = PROCESSES.Process(target=_hold, args=(path, ready, done))
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


def test_a_start_that_fails_leaves_nothing_and_one_that_waited_for_it_still_locks(tmp_path):
    folder = tmp_path / "runs" / "mine"
    with pytest.raises(ZeroDivisionError), locked(folder):
        with pytest.raises(runs.RunBusy, match=str(os.getpid())), locked(folder):
            pass
        with locked(folder, wait=True, say=lambda _: (folder / ".lock").unlink()):
            assert (folder / ".lock").exists(), "the lock is of the file that lies there"
        folder.mkdir()
        (folder / "about.json").write_text("{}")
        raise ZeroDivisionError
    assert not folder.exists()
    with locked(folder):
        (folder / "step-00000001").mkdir()
    assert folder.exists()


def test_a_full_disk_is_told_with_the_file_and_the_last_checkpoint(experiment, tmp_path, monkeypatch):
    def full(handle):
        if list(tmp_path.glob("*/step-00000002")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return fsync(handle)

    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space.*step-00000002.*step 2 of 8; saved: .*step-00000001"):
        quiet(experiment, tmp_path, save_seconds=0)


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("lab.runs.lock.lock_descriptor", refuse)
    with pytest.raises(OSError, match=r"\.lock.*No locks available.*LAB_RUNS"), locked(tmp_path / "mine"):
        pass


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
    assert (row["model.width"], row["state"], row["steps"]) == (16, "done", 8)
    assert row["bits_per_char"] == runs.score(wider).bits_per_char
    assert row["parameters"] == wider.model.num_parameters
    assert row["tokens_per_second"] == pytest.approx(8 * 4 * 8 / wider.state.seconds)
    told_on_the_way = [step["bits_per_char"] for step in runs.steps(wider)]
    assert row["train_bits_per_char"] == pytest.approx(sum(told_on_the_way) / 8)
    assert table.loc["zz", "state"].startswith("damaged: ") and math.isnan(table.loc["zz", "bits_per_char"])


def test_a_run_whose_newest_checkpoint_is_damaged_is_told_which_folder_to_delete(experiment, tmp_path):
    path = runs.where(quiet(experiment, tmp_path).experiment, tmp_path)
    (path / "step-00000008" / "metrics.jsonl").write_text("")
    with pytest.raises(runs.CheckpointError, match=re.escape(f"delete {path / 'step-00000008'}")):
        quiet(experiment, tmp_path)


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
    path = runs.where(quiet(experiment, tmp_path).experiment, tmp_path)
    quiet(experiment, tmp_path, name="other")
    for name in (path.name, path.name[-8:], "cats", path, path / "step-00000008"):
        assert runs.find(name, tmp_path) in (path, path / "step-00000008")
    monkeypatch.setenv("LAB_RUNS", str(tmp_path))
    assert runs.find("other") == tmp_path / "other"
    for name, message in (
        ("psalms", rf"'psalms'(.|\n)*{path.name}\n  other"),
        ("o", "2 runs fit 'o'"),
        ("", "''"),
    ):
        with pytest.raises(ValueError, match=message):
            runs.find(name)
