"""The checks of checkpoints and of resuming pass what is right, and catch every planted bug by name."""

import copy
import io
import json
import random
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from test_checks import caught
from torch import nn

from lab import bundle, checks
from lab.checks.checkpoint_cases import is_pickled
from lab.files import sha256_bytes
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.text import BPETokenizer
from lab.train import TrainConfig, TrainingState

ANSWER, WEIGHTS = (
    "the answer is (model, tokenizer, optimizer, step)",
    "the weights are the same, bit for bit",
)
FORMATS, FRESH = "numbers keep their format", "the model is a fresh one, made from the folder alone"
TOKENIZER, STEP = "the tokenizer gives the same ids", "the step is kept"
OPTIMIZER, PICKLED = "the optimizer goes on as it would have", "nothing is pickled"
FLIPPED, MOVED = "a flipped byte is noticed", "the folder can be moved"


class Checkpoint:
    """A right implementation that is not the lab's, in which a test may break one thing."""

    def __init__(self, bug: str = ""):
        self.bug, self.kept = bug, {}

    def save(self, folder, model, tokenizer, optimizer, step):
        folder.mkdir(parents=True)
        weights = {name: w.detach().clone() for name, w in model.named_parameters()}
        if self.bug == "half precision":
            weights = {name: w.half() for name, w in weights.items()}
        memory = {
            f"{n}/{what}": t.clone()
            for n, one in optimizer.state_dict()["state"].items()
            for what, t in one.items()
            if self.bug != "no second moments" or what != "exp_avg_sq"
        }
        groups = optimizer.state_dict()["param_groups"]
        config = vars(model.config)
        about = {"step": step, "groups": groups, "config": config, "home": str(folder)}
        files = {
            "weights": bytes_of(weights),
            "memory": bytes_of(memory),
            "tokenizer": tokenizer.to_json().encode(),
            "about": json.dumps(about).encode(),
        }
        if self.bug == "pickles":
            data = io.BytesIO()
            torch.save({"step": step}, data)
            files["about.pt"] = data.getvalue()
        for name, data in files.items():
            (folder / name).write_bytes(data)
            (folder / f"{name}.sha").write_text(sha256_bytes(data))
        self.kept = {"model": model, "tokenizer": tokenizer, "step": step, "config": model.config}

    def load(self, folder):
        for path in folder.iterdir():
            if path.suffix != ".sha" and self.bug != "no checksums":
                assert sha256_bytes(path.read_bytes()) == (folder / f"{path.name}.sha").read_text(), path
        about = json.loads((folder / "about").read_text())
        if self.bug == "stays at home":
            from pathlib import Path

            folder = Path(about["home"])
        config = TransformerConfig(**about["config"])
        model = DecoderOnlyTransformer(self.kept["config"] if self.bug == "config from outside" else config)
        weights = tensors_of((folder / "weights").read_bytes())
        if self.bug != "all in float32":
            model.to(next(iter(weights.values())).dtype)
        if self.bug != "no output weights":
            model.load_state_dict(weights, strict=False)
        else:
            model.load_state_dict({n: w for n, w in weights.items() if "output" not in n}, strict=False)
        if self.bug == "the saved object":
            model = self.kept["model"]
        parameters = list(model.parameters())
        if self.bug == "optimizer of another model":
            parameters = [nn.Parameter(p.detach().clone()) for p in parameters]
        optimizer = torch.optim.AdamW(parameters)
        memory = {}
        for name, tensor in tensors_of((folder / "memory").read_bytes()).items():
            n, what = name.split("/")
            memory.setdefault(int(n), {})[what] = tensor
        if self.bug == "no second moments":
            for one in memory.values():
                one["exp_avg_sq"] = torch.zeros_like(one["exp_avg"])
        groups = optimizer.state_dict()["param_groups"] if self.bug == "default settings" else about["groups"]
        if self.bug != "no memory":
            optimizer.load_state_dict({"state": memory, "param_groups": groups})
        tokenizer = BPETokenizer.from_json((folder / "tokenizer").read_text())
        if self.bug == "last tokenizer":
            tokenizer = self.kept["tokenizer"]
        step = {"last step": self.kept["step"], "step as text": str(about["step"])}.get(
            self.bug, about["step"]
        )
        return (
            (model, tokenizer, optimizer)
            if self.bug == "three things"
            else (model, tokenizer, optimizer, step)
        )


def test_an_independent_checkpoint_passes():
    mine = Checkpoint()
    report = checks.checkpoint_roundtrip(mine.save, mine.load)
    assert report.passed, report
    assert len(report.properties) == 10


def test_the_bundle_of_the_lab_passes():
    def save(folder, model, tokenizer, optimizer, step):
        data = bundle.Data("made up", "0" * 64, 0, "bpe", tokenizer.vocab_size, 16, 4, 0)
        experiment = bundle.Experiment(model.config, TrainConfig(steps=9999, optimizer="adamw"), data)
        state = TrainingState(model, experiment.training)
        state.step = step
        state.optimizers[0].state.update(optimizer.state)
        bundle.save(
            folder,
            bundle.Run(experiment, tokenizer, model, state, [optimizer.state_dict()["param_groups"][0]]),
        )

    def load(folder):
        run = bundle.load(folder)
        (group,) = run.metrics
        settings = {name: group[name] for name in ("lr", "betas", "weight_decay")}
        optimizer = torch.optim.AdamW(run.model.parameters(), **settings)
        optimizer.state.update(run.training_state.optimizers[0].state)
        return run.model, run.tokenizer, optimizer, run.training_state.step

    report = checks.checkpoint_roundtrip(save, load)
    assert report.passed, report


@pytest.mark.parametrize(
    ("bug", "broken"),
    [
        ("half precision", WEIGHTS),
        ("half precision", FORMATS),
        ("all in float32", FORMATS),
        ("no output weights", WEIGHTS),
        ("the saved object", FRESH),
        ("config from outside", ANSWER),
        ("last tokenizer", TOKENIZER),
        ("last step", STEP),
        ("step as text", STEP),
        ("no memory", OPTIMIZER),
        ("no second moments", OPTIMIZER),
        ("default settings", OPTIMIZER),
        ("optimizer of another model", OPTIMIZER),
        ("pickles", PICKLED),
        ("no checksums", FLIPPED),
        ("stays at home", MOVED),
        ("three things", ANSWER),
    ],
)
def test_a_planted_bug_of_a_checkpoint_is_caught_by_name(bug, broken):
    mine = Checkpoint(bug)
    failed = caught(checks.checkpoint_roundtrip(mine.save, mine.load))
    assert broken in failed
    if broken in (TOKENIZER, STEP, PICKLED, FLIPPED, OPTIMIZER, MOVED):
        assert failed == [broken], "and by no other"


def test_a_save_that_raises_is_reported():
    def save(*_):
        raise OSError("disk full")

    assert "disk full" in str(checks.checkpoint_roundtrip(save, lambda folder: None))


def test_a_pickle_is_known_among_other_files():
    import pickle

    array, legacy = io.BytesIO(), io.BytesIO()
    np.save(array, np.array([{"a": 1}]), allow_pickle=True)
    torch.save({"a": torch.ones(2)}, legacy, _use_new_zipfile_serialization=False)
    for protocol in range(6):
        assert is_pickled(pickle.dumps({"step": 3}, protocol))
    assert is_pickled(legacy.getvalue()) and is_pickled(array.getvalue())
    for plain in (b"0.", b"3", b'{"a": [1.5]}\n', b"[]", bytes_of({"a": torch.ones(3)}), b"\x80", b"N."):
        assert not is_pickled(plain)


# --- resuming

REPEATS, FIRST = (
    "the same call gives the same losses again",
    "the first steps do not depend on how many follow",
)
WENT_ON, BATCHES = "the weights go on from where they were", "the batches go on, and none comes again"
RATE, MEMORY = "the learning rate goes on", "the optimizer keeps its memory"
DROPOUT, LOSSES = "dropout goes on with the same random numbers", "the losses are those of training in one go"
TWICE = "a checkpoint can be used twice"
TEXT = torch.randint(0, 11, (300,), generator=torch.Generator().manual_seed(4))


def train_fn(bug: str = "", optimizer_class=torch.optim.AdamW, in_folder=None):
    """A right `train_fn`, in which a test may break one thing."""

    def train(steps, start=None):
        if bug != "unseeded":
            torch.manual_seed(3)
        model = nn.Sequential(nn.Embedding(11, 8), nn.Dropout(0.2), nn.Linear(8, 11))
        settings = {"momentum": 0.9} if optimizer_class is torch.optim.SGD else {}
        optimizer = optimizer_class(model.parameters(), lr=0.05, **settings)
        data, done = torch.Generator().manual_seed(5), 0
        if start is not None:
            if in_folder:
                start = torch.load(start, weights_only=True)
            done = start["done"]
            if bug == "aliases":
                model = start["model"]
            elif bug != "fresh weights":
                model.load_state_dict(start["weights"])
            if bug == "momentum lost":
                pass
            elif bug == "step count lost":
                kept = copy.deepcopy(start["optimizer"])
                for one in kept["state"].values():
                    one["step"] = torch.tensor(0.0)
                optimizer.load_state_dict(kept)
            elif bug == "aliases":
                optimizer = start["live"]
            else:
                shared = bug == "memory shared"  # torch does not copy what it loads
                optimizer.load_state_dict(start["optimizer"] if shared else copy.deepcopy(start["optimizer"]))
            if bug != "data again":
                data.set_state(start["data"])
            if bug == "one batch lost":
                torch.randint(0, 290, (4,), generator=data)
            if bug != "dropout again":
                torch.set_rng_state(start["random"])
        losses, length = [], steps if bug == "schedule of steps" else 10
        for step in range(steps):
            now = step if bug == "warm up again" else done + step
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (now + 1) / length
            at = torch.randint(0, 290, (4,), generator=data)
            logits = model(TEXT[at])
            loss = nn.functional.cross_entropy(logits, TEXT[at + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss if bug == "tensors" else loss.item())
        weights = model.state_dict()
        end = {
            "done": done + steps,
            "weights": copy.deepcopy(weights),
            "optimizer": copy.deepcopy(optimizer.state_dict()),
            "data": data.get_state(),
            "random": torch.get_rng_state(),
        }
        if bug == "aliases":
            end |= {"model": model, "live": optimizer}
        if in_folder:
            path = in_folder / f"{done + steps}-{random.getrandbits(40)}.pt"
            torch.save(end, path)
            end = path
        if bug == "no checkpoint":
            return losses
        return losses[:-1] if bug == "a loss too few" else losses, end

    return train


@pytest.mark.parametrize("optimizer_class", [torch.optim.AdamW, torch.optim.SGD])
def test_training_that_resumes_passes(optimizer_class):
    report = checks.resume(train_fn(optimizer_class=optimizer_class))
    assert report.passed, report
    assert len(report.properties) == 10


def test_a_checkpoint_may_be_a_file(tmp_path):
    assert checks.resume(train_fn(in_folder=tmp_path)).passed


def test_the_training_of_the_lab_passes(tmp_path):
    from lab.data import random_windows
    from lab.score import next_token_loss
    from lab.train import train

    tokenizer = BPETokenizer.train(["the cat sat on the mat"], 262)
    model_config = TransformerConfig(tokenizer.vocab_size, 8, 8, 1, 2, 8, dropout=0.1)
    data = bundle.Data("made up", "0" * 64, 0, "bpe", tokenizer.vocab_size, 8, 2, 0)
    experiment = bundle.Experiment(model_config, TrainConfig(steps=20, warmup=3), data)

    def lab(steps, start=None):
        if start is None:
            torch.manual_seed(0)
            model = DecoderOnlyTransformer(model_config)
            run = bundle.Run(experiment, tokenizer, model, TrainingState(model, experiment.training))
        else:
            run = bundle.load(start, restore_random=True)
        batches = random_windows(TEXT, 8, 2, torch.Generator().manual_seed(0))
        steps_taken = train(
            run.model, batches, next_token_loss, experiment.training, state=run.training_state
        )
        losses = [next(steps_taken).loss for _ in range(steps)]
        return losses, bundle.save(tmp_path / str(random.getrandbits(40)), run)

    report = checks.resume(lab)
    assert report.passed, report
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    ("bug", "broken"),
    [
        ("unseeded", REPEATS),
        ("schedule of steps", FIRST),
        ("fresh weights", WENT_ON),
        ("data again", BATCHES),
        ("one batch lost", BATCHES),
        ("warm up again", RATE),
        ("momentum lost", MEMORY),
        ("step count lost", MEMORY),
        ("dropout again", DROPOUT),
        ("aliases", TWICE),
        ("memory shared", TWICE),
        ("a loss too few", "the answer is (losses, checkpoint), with one finite loss a step"),
        ("no checkpoint", "the answer is (losses, checkpoint), with one finite loss a step"),
    ],
)
def test_a_planted_bug_of_resuming_is_caught_by_name(bug, broken):
    failed = caught(checks.resume(train_fn(bug)))
    assert broken in failed
    if broken in (WENT_ON, BATCHES, RATE, MEMORY, DROPOUT):
        assert set(failed) == {broken, LOSSES}, "the cause, and what came of it"
    if broken == TWICE:
        assert failed == [TWICE]


def test_a_batch_that_comes_again_is_named():
    report = str(checks.resume(train_fn("data again")))
    assert "batches 3, 4, 5, 6" in report and "0, 1, 2, 3" in report and "began again" in report


def test_the_check_leaves_the_generators_and_torch_as_they_were():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    checks.resume(train_fn())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate() and before[2] == np.random.get_state()[1].tolist()
    hooks = torch.nn.modules.module
    assert not hooks._global_forward_pre_hooks and not hooks._global_forward_hooks
