"""The commands `train`, `sample` and `runs`: thin, so most is asked of the command line as a function."""

import os
import subprocess
import sys

import pytest
import torch

from lab import cli, runs
from lab.decode.search import Sampling, generate
from lab.diffusion.writing import write_line
from lab.runs.writing import pieces
from lab.text import BPETokenizer

SMALL = {
    "--tokenizer": "char",
    "--batch-size": "4",
    "--model.context": "8",
    "--model.width": "8",
    "--model.num-layers": "1",
    "--model.num-heads": "2",
    "--model.feed-forward": "8",
    "--training.steps": "4",
    "--training.warmup": "2",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("cli")
    (place / "cats.txt").write_text("".join(f"line {n} of a text about cats\n" for n in range(40)))
    return place


@pytest.fixture
def folder(place, monkeypatch):
    monkeypatch.setenv("LAB_RUNS", str(place / "runs"))
    return place / "runs"


def lab(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["lab", *map(str, arguments)])
    cli.main()


def train(monkeypatch, place, **changed) -> None:
    flags = {"--corpus": place / "cats.txt", **SMALL}
    flags |= {f"--{name.replace('__', '.').replace('_', '-')}": value for name, value in changed.items()}
    lab(monkeypatch, "train", *(part for pair in flags.items() for part in pair))


def refused(capsys, run) -> str:
    with pytest.raises(SystemExit) as exit:
        run()
    assert exit.value.code == 2
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_train_trains_then_loads(monkeypatch, capsys, place, folder):
    train(monkeypatch, place)
    (path,) = folder.iterdir()
    assert capsys.readouterr().out.startswith(f"trained {path} in ")
    train(monkeypatch, place)
    assert capsys.readouterr().out.startswith(f"loaded {path}: trained ")
    experiment = runs.load(path).experiment
    assert (experiment.model.width, experiment.training.steps, experiment.data.batch_size) == (8, 4, 4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_a_recurrent_model_can_be_chosen(monkeypatch, place, folder, cell):
    flags = {"--corpus": place / "cats.txt", **SMALL, f"--recipe={cell}": None}
    del flags["--model.num-heads"], flags["--model.feed-forward"]
    flags = [str(part) for pair in flags.items() for part in pair if part]
    lab(monkeypatch, "train", *flags, "--name", cell)
    assert runs.load(folder / cell).model.config.cell == cell


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"training__steps": 0}, "steps"),
        ({"training__other_lr": "nan"}, "other_lr"),
        ({"model__width": 7}, "2 heads"),
        ({"recipe": "mamba"}, "mamba"),
        ({"objective": "mamba"}, "next-token"),
        ({"objective": "nowhere:Mamba"}, "nowhere"),
        ({"corpus": "kvj"}, "kjv"),
        ({"name": "../x"}, "one folder"),
    ],
)
def test_what_cannot_be_trained_is_one_message(monkeypatch, capsys, place, folder, changed, named):
    assert named in refused(capsys, lambda: train(monkeypatch, place, **changed))


def test_a_corpus_without_validation_lines_is_refused(monkeypatch, capsys, place, folder):
    (place / "short.txt").write_text("one\ntwo\n")
    message = refused(capsys, lambda: train(monkeypatch, place, corpus=place / "short.txt"))
    assert "2 distinct line" in message


def test_a_changed_config_lists_what_differs(monkeypatch, capsys, place, folder):
    train(monkeypatch, place, name="mine")
    message = refused(capsys, lambda: train(monkeypatch, place, name="mine", training__steps=5, seed=1))
    assert "training.steps: 4 -> 5; seed: 0 -> 1" in message


def test_sample_writes_what_the_model_draws(monkeypatch, capsys, place, folder):
    train(monkeypatch, place, name="mine")
    capsys.readouterr()
    lab(
        monkeypatch,
        "sample",
        "mine",
        "--prompt",
        "line",
        "--temperature",
        0.5,
        "--max-new-tokens",
        9,
        "--seed",
        3,
    )
    run = runs.load(folder / "mine")
    drawn = generate(
        run.model,
        [run.tokenizer.bos_id, *run.tokenizer.encode("line")],
        max_new_tokens=9,
        strategy=Sampling(0.5),
        generator=torch.Generator().manual_seed(3),
        stop_id=run.tokenizer.eos_id,
    )
    assert capsys.readouterr().out == f"line{run.tokenizer.decode(step.token for step in drawn)}\n"


VISUAL = {
    "--tokenizer": "char",
    "--batch-size": "4",
    "--model.stack.context": "32",
    "--model.stack.width": "8",
    "--model.stack.num-layers": "1",
    "--model.stack.num-heads": "2",
    "--model.stack.feed-forward": "8",
    "--model.neighbours": "1",
    "--model.code": "learned",
    "--training.steps": "4",
    "--training.warmup": "2",
    "--training.other-lr": "0.05",
}


def test_visual_diffusion_is_trained_in_stages_and_sampled(monkeypatch, capsys, place, folder):
    flags = {"--corpus": place / "cats.txt", **VISUAL}
    flags = [part for pair in flags.items() for part in pair]
    asked = ("train", *flags, "--objective", "reconstruction", "--name", "code", "--training.steps", 40)
    lab(monkeypatch, *asked)
    told = ("--objective=diffusion", "--start", "code", "--objective.clamp", 0.25, "--name", "visual")
    lab(monkeypatch, "train", *flags, *told)
    assert "validation: <= " in capsys.readouterr().out
    code, run = (runs.load(folder / name) for name in ("code", "visual"))
    assert run.experiment.start.run == "code" and run.experiment.objective.clamp == 0.25
    assert run.model.codebook() == code.model.codebook()
    asked = ["sample", "visual", "--prompt", "line 1", "--suffix", " cats", "--steps", 4, "--seed", 3]
    lab(monkeypatch, *asked, "--temperature", 0.5, "--max-new-tokens", 9)
    line = write_line(
        run.model, run.tokenizer, prompt="line 1", suffix=" cats", steps=4, max_new_tokens=9,
        sampling=Sampling(0.5), generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    assert capsys.readouterr().out == f"{line.text}\n"
    assert line.text.startswith("line 1") and line.text.endswith(" cats") and len(line.text) <= 20
    lab(monkeypatch, *asked, "--method", "confidence")
    assert capsys.readouterr().out.startswith("line 1")
    refused(capsys, lambda: lab(monkeypatch, "sample", "code"))
    assert "at most 30" in refused(capsys, lambda: lab(monkeypatch, "sample", "visual", "--prompt", "a" * 40))
    lab(monkeypatch, "runs", folder)
    assert "<=" in capsys.readouterr().out


def test_a_language_model_takes_no_options_of_diffusion(monkeypatch, capsys, place, folder):
    train(monkeypatch, place, name="mine")
    for flag in (("--steps", 4), ("--suffix", "cats"), ("--method", "confidence")):
        assert flag[0][2:] in refused(capsys, lambda f=flag: lab(monkeypatch, "sample", "mine", *f))


OWN = """
from dataclasses import dataclass
from lab.train import NextToken
@dataclass(frozen=True)
class Mine(NextToken):
    name = "mine"
    share: float = 0.5
"""


def test_an_objective_of_ones_own_is_named_by_its_file(monkeypatch, capsys, place, folder):
    (place / "my_file.py").write_text(OWN)
    own = f"{place / 'my_file.py'}:Mine"
    train(monkeypatch, place, objective=own, objective__share=0.25, name="own")
    assert capsys.readouterr().out.startswith("trained ")
    train(monkeypatch, place, objective=own, objective__share=0.25, name="own")
    assert capsys.readouterr().out.startswith("loaded ")
    assert "Mine" in refused(capsys, lambda: lab(monkeypatch, "sample", "own"))
    lab(monkeypatch, "sample", "own", "--prompt", "line", "--own", own)
    assert capsys.readouterr().out.startswith("line")
    lab(monkeypatch, "runs", folder, "--own", own)
    assert "0.25" in capsys.readouterr().out


def test_an_unknown_run_lists_those_there_are(monkeypatch, capsys, place, folder):
    train(monkeypatch, place, name="mine")
    message = refused(capsys, lambda: lab(monkeypatch, "sample", "yours"))
    assert "no run is called 'yours'" in message and "mine" in message
    refused(capsys, lambda: lab(monkeypatch, "sample", "mine", "--temperature", "-1"))


def test_runs_prints_the_table(monkeypatch, capsys, place, tmp_path):
    monkeypatch.setenv("LAB_RUNS", str(tmp_path))
    lab(monkeypatch, "runs")
    assert "no runs in" in capsys.readouterr().out
    for name, seed in (("first", 0), ("second", 1), ("third", 2)):
        train(monkeypatch, place, name=name, seed=seed)
    (tmp_path / "third" / "step-00000004" / "metrics.jsonl").write_text("")
    capsys.readouterr()
    lab(monkeypatch, "runs", tmp_path)
    out = capsys.readouterr().out
    header, _, first, second, third, why = out.splitlines()
    assert header.split()[0] == "seed" and "bits_per_char" in header
    assert first.split()[:2] == ["first", "0"] and second.split()[:2] == ["second", "1"]
    assert third.split()[0] == "third" and third.split()[-1] == "damaged"
    assert why.startswith("third is damaged: ") and "metrics.jsonl" in why


def test_text_is_written_in_whole_characters():
    tokenizer = BPETokenizer.train(["plain"], 261)
    ids = tokenizer.encode("aé→b")
    assert list(pieces(tokenizer, ids)) == ["a", "é", "→", "b", ""]
    assert "".join(pieces(tokenizer, ids[:2])) == "a\N{REPLACEMENT CHARACTER}"
    assert list(pieces(tokenizer, [])) == [""]


def test_the_help_explains_every_command(monkeypatch, capsys):
    for command, told in {
        "train": "--model.num-heads",
        "sample": "--max-new-tokens",
        "runs": "settings that differ",
    }.items():
        with pytest.raises(SystemExit) as exit:
            lab(monkeypatch, command, "--help")
        assert exit.value.code == 0 and told in capsys.readouterr().out
    with pytest.raises(SystemExit):
        lab(monkeypatch, "train", "--recipe", "gru", "--help")
    out = capsys.readouterr().out
    assert "--model.cell" in out and "elman" in out and "--model.num-heads" not in out


@pytest.mark.parametrize(
    ("objective", "flag", "other"),
    [
        ("reconstruction", "--objective.words", "--objective.clamp"),
        ("diffusion", "--objective.clamp", "--objective.words"),
    ],
)
def test_the_help_of_an_objective_shows_what_it_can_be_told(monkeypatch, capsys, objective, flag, other):
    with pytest.raises(SystemExit):
        lab(monkeypatch, "train", "--objective", objective, "--help")
    out = capsys.readouterr().out
    assert flag in out and other not in out and "--start" in out


@pytest.mark.slow
def test_two_processes_under_torchrun_train_one_run(place, folder):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    flags = [part for pair in SMALL.items() for part in pair]
    arguments = ["train", "--corpus", str(place / "cats.txt"), *flags, "--name", "both"]
    result = subprocess.run(
        [*torchrun, "-m", "lab", *arguments], capture_output=True, text=True, env=os.environ, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("trained ") == 1, "one of them speaks"
    assert runs.load(folder / "both").state.step == 4
