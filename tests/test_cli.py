"""The commands `train`, `sample` and `runs`: thin, so most is asked of the command line as a function."""

import os
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass

import pytest
import torch

from lab import cli, runs
from lab.cli.flags import explained
from lab.decode.search import Sampling, generate
from lab.diffusion.writing import write_line
from lab.runs.writing import pieces
from lab.text import BPETokenizer

TRANSFORMER = {"num-heads": 2, "feed-forward": 8}
TRAINING = {"batch-size": 4, "training.steps": 4, "training.warmup": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("cli")
    (place / "cats.txt").write_text("".join(f"line {n} of a text about cats\n" for n in range(40)))
    return place


def flags(place, stack="model", sizes=TRANSFORMER, context=8, **more) -> list[str]:
    """Those of `lab train` for a tiny model of the text about cats; in the names of more, `__` is a point."""
    told = {"corpus": place / "cats.txt", "tokenizer": "char", **TRAINING}
    sizes = {"context": context, "width": 8, "num-layers": 1} | sizes
    told |= {f"{stack}.{name}": size for name, size in sizes.items()}
    told |= {name.replace("__", ".").replace("_", "-"): value for name, value in more.items()}
    return [str(part) for name, value in told.items() for part in (f"--{name}", value)]


@pytest.fixture
def folder(place, monkeypatch):
    monkeypatch.setenv("LAB_RUNS", str(place / "runs"))
    return place / "runs"


@pytest.fixture
def lab(monkeypatch, capsys, folder):
    """A command, and what it prints; `refused` is what it says instead."""

    def lab(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["lab", *map(str, arguments)])
        capsys.readouterr()
        cli.main()
        return capsys.readouterr().out

    def refused(*arguments) -> str:
        with pytest.raises(SystemExit) as exit:
            lab(*arguments)
        said = capsys.readouterr()
        assert exit.value.code == (0 if "--help" in arguments else 2)
        return " ".join((said.out + said.err).replace("│", " ").split())

    lab.refused = refused
    return lab


def test_train_trains_then_loads(lab, place, folder):
    said = lab("train", *flags(place, seed=5))
    (path,) = folder.glob("next-token-*")
    assert said.startswith(f"trained {path} in ")
    assert lab("train", *flags(place, seed=5)).startswith(f"loaded {path}: trained ")
    experiment = runs.load(path).experiment
    assert (experiment.model.width, experiment.training.steps, experiment.data.batch_size) == (8, 4, 4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_a_recurrent_model_can_be_chosen(lab, place, folder, cell):
    lab("train", *flags(place, sizes={}, recipe=cell, name=cell))
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
        ({"name": "a:b"}, "one folder"),
        ({"name": "n" * 300}, "one folder"),
        ({"name": "step-00000001"}, "one folder"),
        ({"name": "_x"}, "one folder"),
        ({"objective": "lab.text:Corpus"}, "no objective"),
        ({"model__widht": 3}, "--model.width"),
        ({"batch_size": 0}, "batch_size"),
        ({"save_seconds": "soon"}, "--save-seconds"),
        ({"name": "mine", "training__steps": 5, "seed": 1}, "training.steps: 4 -> 5; seed: 0 -> 1"),
    ],
)
def test_what_cannot_be_trained_is_one_message(lab, place, folder, changed, named):
    lab("train", *flags(place, name="mine"))
    before = sorted(folder.iterdir())
    said = lab.refused("train", *flags(place, **changed))
    assert named in said and "Traceback" not in said and "dummy" not in said
    assert sorted(folder.iterdir()) == before


def test_a_corpus_shows_its_control_characters_and_sends_none(lab, place):
    (place / "red.txt").write_text("\x1b[31mred\nTo be\n")
    assert "red.txt: 2 lines" in (shown := lab("corpus", place / "red.txt"))
    assert r"\x1b[31mred" in shown and "\x1b" not in shown


def test_parts_given_by_folders_are_shown_and_trained_on(lab, place, folder):
    for part, count in (("train", 30), ("val", 5), ("test", 5)):
        (place / "parts" / part).mkdir(parents=True)
        (place / "parts" / part / "a.txt").write_text("".join(f"{part} LINE {n}\n" for n in range(count)))
    assert "30, 5 and 5" in (shown := lab("corpus", place / "parts")) and "longest line has 13" in shown
    lab("train", *flags(place, corpus=place / "parts", name="parts", subset=0.2))
    run = runs.load(folder / "parts")
    assert run.experiment.data.subset == 0.2 and runs.score(run).chars == sum(
        len(f"val LINE {n}\n") for n in range(5)
    )


def test_a_corpus_without_validation_lines_is_refused(lab, place):
    (place / "short.txt").write_text("one\ntwo\n")
    assert "2 distinct line" in lab.refused("train", *flags(place, corpus=place / "short.txt"))


def test_sample_writes_what_the_model_draws(lab, place, folder):
    lab("train", *flags(place, name="mine"))
    asked = ("--prompt", "line", "--temperature", 0.5, "--max-new-tokens", 9, "--seed", 3)
    said, run = lab("sample", "mine", *asked), runs.load(folder / "mine")
    drawn = generate(
        run.model, [run.tokenizer.bos_id, *run.tokenizer.encode("line")], max_new_tokens=9,
        strategy=Sampling(0.5), generator=torch.Generator().manual_seed(3), stop_id=run.tokenizer.eos_id,
    )  # fmt: skip
    assert said == f"line{run.tokenizer.decode(step.token for step in drawn)}\n"
    unknown = lab.refused("sample", "yours")
    assert "no run is called 'yours'" in unknown and "mine" in unknown
    for flag, value in (("temperature", -1), ("steps", 4), ("suffix", "cats"), ("method", "confidence")):
        assert flag in lab.refused("sample", "mine", f"--{flag}", value)


def test_visual_diffusion_is_trained_in_stages_and_sampled(lab, place, folder):
    parts = {"model__neighbours": 1, "model__code": "learned", "training__other_lr": 0.05}
    told = flags(place, "model.stack", context=32, **parts)
    first = flags(place, "model.stack", context=32, **parts, training__steps=40)
    lab("train", *first, "--objective", "reconstruction", "--name", "code")
    clamped = ("--objective=diffusion", "--start", "code", "--objective.clamp", 0.25, "--name", "visual")
    assert "validation: <= " in lab("train", *told, *clamped)
    code, run = (runs.load(folder / name) for name in ("code", "visual"))
    assert run.experiment.start.run == "code" and run.experiment.objective.clamp == 0.25
    assert run.model.codebook() == code.model.codebook()
    asked = ["sample", "visual", "--prompt", "line 1", "--suffix", " cats", "--steps", 4, "--seed", 3]
    line = write_line(
        run.model, run.tokenizer, prompt="line 1", suffix=" cats", steps=4, max_new_tokens=9,
        sampling=Sampling(0.5), generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    assert lab(*asked, "--temperature", 0.5, "--max-new-tokens", 9) == f"{line.text}\n"
    assert line.text.startswith("line 1") and line.text.endswith(" cats") and len(line.text) <= 20
    assert lab(*asked, "--method", "confidence").startswith("line 1")
    lab.refused("sample", "code")
    assert "at most 30" in lab.refused("sample", "visual", "--prompt", "a" * 40)
    assert "<=" in lab("runs", folder)


def test_fine_tuning_takes_the_model_and_the_text_from_the_start(lab, place, folder):
    (place / "dogs.txt").write_text("".join(f"line {n} of a text on dogs\n" for n in range(40)))
    lab("train", *flags(place, name="base"))
    tuning = ("--training.steps", 4, "--training.warmup", 2, "--name")
    said = lab("train", "--start", "base", "--corpus", place / "dogs.txt", *tuning, "tuned")
    assert said.startswith("before: ") and "<unk>" in said and "trained " in said
    base, tuned = (runs.load(folder / name).experiment for name in ("base", "tuned"))
    assert tuned.model == base.model and tuned.data.tokenizer == "char" and tuned.data.name == "dogs"
    again = lab("train", f"--start={folder / 'base'}", *tuning, "longer")
    assert "<unk>" not in again and runs.load(folder / "longer").experiment.data == base.data
    assert "width: 8 -> 16" in lab.refused("train", "--start", "base", "--model.width", 16, *tuning, "x")
    assert "'char', got 'bpe'" in lab.refused("train", "--start", "base", "--tokenizer", "bpe", *tuning, "x")
    assert "recipe 'gru'" in lab.refused("train", "--start", "base", "--recipe", "gru")
    with pytest.raises(SystemExit, match=r"^0$"):
        lab("sweep", "--start", "base", *tuning[:-1], "--seed", 0, 1, "--workers", 0, "--device", "cpu")
    assert len(runs.started_from(folder / "base")) == 4


def test_a_device_that_is_not_here_is_named(lab, place, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    lab("train", *flags(place, name="mine"), "--device", "auto")
    for command in (["train", *flags(place, name="mine")], ["sample", "mine"]):
        assert "'cuda' is not present" in lab.refused(*command, "--device", "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    spoken = ["--objective", "recognition", "--device", "mps"]
    assert "recognition" in lab.refused("train", *spoken) and "Apple" in lab.refused("train", *spoken)


OWN = """
from dataclasses import dataclass
from lab.train import NextToken
@dataclass(frozen=True)
class Mine(NextToken):
    name = "mine"
    share: float = 0.5
"""


def test_an_objective_of_ones_own_is_named_by_its_file(lab, place, folder):
    (place / "my_file.py").write_text(OWN)
    own = f"{place / 'my_file.py'}:Mine"
    told = flags(place, objective=own, objective__share=0.25, name="own")
    assert lab("train", *told).startswith("trained ") and lab("train", *told).startswith("loaded ")
    assert "Mine" in lab.refused("sample", "own")
    assert lab("sample", "own", "--prompt", "line", "--own", own).startswith("line")
    assert "mine\n" in lab("runs", folder, "--own", own)


def test_a_class_of_ones_own_has_a_name_of_its_own(lab, place):
    (place / "nameless.py").write_text(OWN.replace('name = "mine"', ""))
    said = lab.refused("train", *flags(place, objective=f"{place / 'nameless.py'}:Mine"))
    assert "'next-token'" in said and "'mine'" in said
    lab.refused(
        "train", *flags(place, objective=f"{place / 'my_file.py'}:Mine", recipe="lstm"), "--model.bias"
    )


def test_a_flag_given_twice_and_a_flag_of_another_command(lab, place):
    assert "--name" in lab.refused("train", *flags(place, name="a"), "--name", "b")
    assert "--batch-size" in lab.refused("train", *flags(place), "--batch_size=3")
    assert "--top-k" in lab.refused("sample", "mine", "--topk", 3)
    assert "--steps " not in lab.refused("train", "--stpes", 3), "that is a flag of `sample`"


def configs_in(config):
    yield config
    for value in filter(is_dataclass, vars(config).values()):
        yield from configs_in(value)


@pytest.mark.parametrize("objective", ["next-token --recipe gru", *runs.OBJECTIVES])
def test_every_flag_of_training_has_its_text(lab, objective):
    said = lab.refused("train", "--objective", *objective.split(), "--help")
    assert ">>>" not in said and "Raises" not in said, "which are for those who write Python"
    name, _, recipe = objective.partition(" --recipe ")
    usual = runs.Experiment.usual(name, recipe or None)
    for part in (usual.model, usual.objective, usual.training):
        for config in configs_in(part):
            told = explained(type(config))
            assert [field.name for field in fields(config) if len(told.get(field.name, "")) < 5] == []
            for name, text in told.items():
                shown = re.search(rf"--[a-z.-]+\.{name.replace('_', '-')} ", said)
                assert text[:12] in said or not shown


def test_runs_prints_the_table(lab, place, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_RUNS", str(tmp_path))
    assert "no runs in" in lab("runs")
    for name, seed in (("first", 0), ("second", 1), ("third", 2)):
        lab("train", *flags(place, name=name, seed=seed))
    (tmp_path / "third" / "step-00000004" / "metrics.jsonl").write_text("")
    (tmp_path / "second").rename(tmp_path / "\x1b[31m")
    said = lab("runs", tmp_path)
    objective, header, _, second, first, *_, why = said.splitlines()
    assert objective == "next-token" and header.split()[:2] == ["bits_per_char", "seed"]
    assert first.split()[0] == "first" and first.split()[2] == "0"
    assert second.split()[0] == r"\x1b[31m" and second.split()[2] == "1" and "\x1b" not in said
    assert max(map(len, said.splitlines()[:-1])) <= 100
    assert why.startswith("third: damaged: ") and "metrics.jsonl" in why


def test_text_is_written_in_whole_characters():
    tokenizer = BPETokenizer.train(["plain"], 261)
    ids = tokenizer.encode("aé→b")
    assert list(pieces(tokenizer, ids)) == ["a", "é", "→", "b", ""]
    assert "".join(pieces(tokenizer, ids[:2])) == "a\N{REPLACEMENT CHARACTER}"
    assert list(pieces(tokenizer, [])) == [""]


@pytest.mark.parametrize(
    ("command", "told", "untold"),
    [
        ("train", "--model.num-heads", "--model.cell"),
        ("sample", "--max-new-tokens", "--corpus"),
        ("runs", "settings that differ", "--corpus"),
        ("train --recipe gru", "--model.cell", "--model.num-heads"),
        ("train --objective reconstruction", "--objective.words", "--objective.clamp"),
        ("train --objective diffusion", "--objective.clamp", "--objective.words"),
    ],
)
def test_the_help_explains_every_command(lab, command, told, untold):
    out = lab.refused(*command.split(), "--help")
    assert told in out and untold not in out


@pytest.mark.slow
def test_two_processes_under_torchrun_train_one_run(place, folder):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "lab", "train", *flags(place, name="both")]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("trained ") == 1, "one of them speaks"
    assert runs.load(folder / "both").state.step == 4
