"""The checks of checkpoints and of resuming pass what is right, and catch every planted bug by name."""

import copy
import io
import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from test_checks import failing, raises
from torch import nn

from lab import checks, runs
from lab.checks.checkpoint import is_pickled
from lab.data import random_windows
from lab.files import sha256_bytes
from lab.nn import DecoderOnlyTransformer, TransformerConfig
from lab.text import BPETokenizer
from lab.train import TrainConfig, TrainingState, next_token_loss, train

ANSWER, WEIGHTS, FORMATS, FRESH = "the answer", "the weights are the same", "their format", "a fresh one"
TOKENIZER, STEP, OPTIMIZER, PICKLED = "the tokenizer", "the step", "optimizer goes on", "is pickled"
FLIPPED, MOVED = "a flipped byte", "can be moved"


class Checkpoint:
    """A right implementation that is not the lab's, in which a test may break one thing."""

    def __init__(self, bug: str = ""):
        self.bug = bug

    def save(self, folder, model, tokenizer, optimizer, step):
        folder.mkdir(parents=True)
        half = self.bug == "half precision"
        weights = {name: w.detach().half() if half else w.detach() for name, w in model.named_parameters()}
        state = optimizer.state_dict()
        memory = {f"{n}/{what}": t.clone() for n, one in state["state"].items() for what, t in one.items()}
        about = {"step": step, "groups": state["param_groups"], "config": vars(model.config)}
        about["home"] = str(folder)
        files = {"weights": bytes_of(weights), "memory": bytes_of(memory), "tokenizer": tokenizer.to_json().encode(),
                 "about": json.dumps(about).encode()}  # fmt: skip
        if self.bug == "pickles":
            data = io.BytesIO()
            torch.save({"step": step}, data)
            files["about.pt"] = data.getvalue()
        for name, data in files.items():
            (folder / name).write_bytes(data)
            (folder / f"{name}.sha").write_text(sha256_bytes(data))
        self.model, self.tokenizer, self.step, self.config = model, tokenizer, step, model.config

    def load(self, folder):
        bug = self.bug
        for path in folder.iterdir():
            if path.suffix != ".sha" and bug != "no checksums":
                assert sha256_bytes(path.read_bytes()) == (folder / f"{path.name}.sha").read_text(), path
        about = json.loads((folder / "about").read_text())
        folder = Path(about["home"]) if bug == "stays at home" else folder
        weights = tensors_of((folder / "weights").read_bytes())
        config = self.config if bug == "config from outside" else TransformerConfig(**about["config"])
        model = DecoderOnlyTransformer(config)
        if bug != "all in float32":
            model.to(next(iter(weights.values())).dtype)
        model.load_state_dict(weights, strict=False)
        model = self.model if bug == "the saved object" else model
        optimizer, memory = torch.optim.AdamW(model.parameters()), {}
        for name, tensor in tensors_of((folder / "memory").read_bytes()).items():
            n, what = name.split("/")
            memory.setdefault(int(n), {})[what] = tensor
        groups = optimizer.state_dict()["param_groups"] if bug == "default settings" else about["groups"]
        if bug != "no memory":
            optimizer.load_state_dict({"state": memory, "param_groups": groups})
        tokenizer = BPETokenizer.from_json((folder / "tokenizer").read_text())
        tokenizer = self.tokenizer if bug == "last tokenizer" else tokenizer
        step = {"last step": self.step, "step as text": str(about["step"])}.get(bug, about["step"])
        return (model, tokenizer, optimizer, step)[: 3 if bug == "three things" else 4]


def test_the_checkpoints_of_the_lab_pass(tmp_path):
    def save(folder, model, tokenizer, optimizer, step):
        experiment = runs.Experiment(model.config, training=TrainConfig(steps=9999, optimizer="adamw"))
        state = TrainingState(model, experiment.training)
        state.step = step
        state.optimizers[0].state.update(optimizer.state)
        group = optimizer.state_dict()["param_groups"][0]
        runs.save(folder, runs.Run(experiment, tokenizer, model, state, [group]))

    def load(folder):
        run = runs.load(folder)
        (group,) = run.metrics
        settings = {name: group[name] for name in ("lr", "betas", "weight_decay")}
        optimizer = torch.optim.AdamW(run.model.parameters(), **settings)
        optimizer.state.update(run.state.optimizers[0].state)
        return run.model, run.tokenizer, optimizer, run.state.step

    checks.checkpoint_roundtrip(save, load).raise_if_failed()


def roundtrip(bug=""):
    mine = Checkpoint(bug)
    return checks.checkpoint_roundtrip(mine.save, mine.load)


def test_an_independent_checkpoint_passes():
    assert len(roundtrip().raise_if_failed().properties) == 10


test_bugs_of_a_checkpoint_are_caught_with_what_comes_of_them = failing(
    roundtrip,
    ("half precision", [WEIGHTS, FORMATS]), ("all in float32", [FORMATS]), ("the saved object", [FRESH]),
    ("config from outside", [ANSWER]), ("three things", [ANSWER]),
    only=False,
)  # fmt: skip
test_bugs_of_a_checkpoint_are_caught_by_name_and_by_no_other = failing(
    roundtrip,
    ("last tokenizer", [TOKENIZER]), ("last step", [STEP]), ("step as text", [STEP]), ("no memory", [OPTIMIZER]),
    ("default settings", [OPTIMIZER]), ("pickles", [PICKLED]), ("no checksums", [FLIPPED]), ("stays at home", [MOVED]),
)  # fmt: skip


def test_a_save_that_raises_is_reported():
    assert "no such <thing>" in str(checks.checkpoint_roundtrip(raises, lambda folder: None))


def test_a_pickle_is_known_among_other_files():
    array, legacy = io.BytesIO(), io.BytesIO()
    np.save(array, np.array([{"a": 1}]), allow_pickle=True)
    torch.save({"a": torch.ones(2)}, legacy, _use_new_zipfile_serialization=False)
    for protocol in range(6):
        assert is_pickled(pickle.dumps({"step": 3}, protocol))
    assert is_pickled(legacy.getvalue()) and is_pickled(array.getvalue())
    for plain in (b"0.", b"3", b'{"a": [1.5]}\n', b"[]", bytes_of({"a": torch.ones(3)}), b"\x80", b"N."):
        assert not is_pickled(plain)


# --- resuming

REPEATS, FIRST = "the same call", "the first steps"
WENT_ON, BATCHES = "the weights go on", "the batches go on"
RATE, MEMORY, DROPOUT, LOSSES = "the learning rate", "its memory", "dropout", "training in one go"
TWICE, PAIR = "used twice", "the answer is (losses, checkpoint)"
TEXT = torch.randint(0, 11, (300,), generator=torch.Generator().manual_seed(4))


def train_fn(bug: str = "", optimizer_class=torch.optim.AdamW):
    """A right `train_fn`, in which a test may break one thing."""

    def train(steps, start=None):
        if bug != "unseeded":
            torch.manual_seed(3)
        model = nn.Sequential(nn.Embedding(11, 8), nn.Dropout(0.2), nn.Linear(8, 11))
        settings = {"momentum": 0.9} if optimizer_class is torch.optim.SGD else {}
        optimizer = optimizer_class(model.parameters(), lr=0.05, **settings)
        data, done = torch.Generator().manual_seed(5), 0
        if start is not None:
            done = start["done"]
            if bug not in ("aliases", "fresh weights"):
                model.load_state_dict(start["weights"])
            kept = copy.deepcopy(start["optimizer"])  # torch does not copy what it loads
            if bug == "step count lost":
                for one in kept["state"].values():
                    one["step"] = torch.tensor(0.0)
            if bug == "aliases":
                model, optimizer = start["model"], start["live"]
            elif bug != "momentum lost":
                optimizer.load_state_dict(kept)
            if bug != "data again":
                data.set_state(start["data"])
            if bug != "dropout again":
                torch.set_rng_state(start["random"])
        losses, length = [], steps if bug == "schedule of steps" else 10
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (step + 1 + (0 if bug == "warm up again" else done)) / length
            at = torch.randint(0, 290, (4,), generator=data)
            loss = nn.functional.cross_entropy(model(TEXT[at]), TEXT[at + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        state = {"weights": model.state_dict(), "optimizer": optimizer.state_dict()}
        end = {"done": done + steps, "data": data.get_state(), "random": torch.get_rng_state()}
        end |= copy.deepcopy(state)
        if bug == "aliases":
            end |= {"model": model, "live": optimizer}
        return losses if bug == "no checkpoint" else (losses[:-1] if bug == "a loss too few" else losses, end)

    return train


@pytest.mark.parametrize("optimizer_class", [torch.optim.AdamW, torch.optim.SGD])
def test_training_that_resumes_passes(optimizer_class):
    assert len(checks.resume(train_fn("", optimizer_class)).raise_if_failed().properties) == 10


def test_the_training_of_the_lab_passes(tmp_path):
    tokenizer = BPETokenizer.train(["the cat sat on the mat"], 262)
    config = TransformerConfig(tokenizer.vocab_size, 8, 8, 1, 2, 8, dropout=0.1)
    experiment = runs.Experiment(config, training=TrainConfig(steps=20, warmup=3))

    def lab(steps, start=None):
        if start is None:
            torch.manual_seed(0)
            model = DecoderOnlyTransformer(config)
            run = runs.Run(experiment, tokenizer, model, TrainingState(model, experiment.training))
        else:
            run = runs.load(start)
            runs.restore_random(run)
        batches = random_windows(TEXT, 8, 2, torch.Generator().manual_seed(0))
        reports = train(run.model, batches, next_token_loss, experiment.training, state=run.state)
        losses = [next(reports).loss for _ in range(steps)]
        return losses, runs.save(tmp_path / str(random.getrandbits(40)), run)

    checks.resume(lab).raise_if_failed()


test_bugs_of_resuming_are_caught_by_name = failing(
    lambda bug: checks.resume(train_fn(bug)),
    ("fresh weights", [WENT_ON, LOSSES]), ("warm up again", [RATE, LOSSES]),
    ("data again", [BATCHES, LOSSES], "the stream of batches began again"),
    ("momentum lost", [MEMORY, LOSSES], "remembers nothing"),
    ("step count lost", [MEMORY, LOSSES], "another memory"),
    ("dropout again", [DROPOUT, LOSSES], "torch.get_rng_state()"),
    ("aliases", [TWICE]),
)  # fmt: skip
test_training_that_cannot_be_compared_is_told = failing(
    lambda bug: checks.resume(train_fn(bug)),
    ("unseeded", [REPEATS]), ("schedule of steps", [FIRST]), ("a loss too few", [PAIR]), ("no checkpoint", [PAIR]),
    only=False,
)  # fmt: skip


def test_the_check_leaves_the_generators_and_torch_as_they_were():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    checks.resume(train_fn())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate() and before[2] == np.random.get_state()[1].tolist()
    hooks = torch.nn.modules.module
    assert not hooks._global_forward_pre_hooks and not hooks._global_forward_hooks
