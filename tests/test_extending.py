"""What is not part of lab is trained, killed, resumed, loaded, listed and sampled like what is.

Each idea stands in a file of its own under `ideas/`, as somebody would write it who has lab installed.
"""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ideas.alibi import ALiBi
from ideas.countdown import countdown
from ideas.dilated import DilatedAttention, dilated
from ideas.syllables import Syllables
from ideas.two_ahead import TwoAhead
from ideas.typical import typical
from run_toys import PROCESSES, quiet, weights

from lab import runs
from lab.decode import Sampling
from lab.nn import TransformerConfig
from lab.runs import Data, Experiment
from lab.train import TrainConfig

IDEAS = sorted((Path(__file__).parent / "ideas").glob("*.py"))
SIZES = dict(context=24, width=16, num_layers=2, num_heads=2, feed_forward=16, dropout=0.1)
BASE = Experiment(
    TransformerConfig(120, **SIZES),
    training=TrainConfig(steps=8, warmup=2, evaluate_every=3),
    data=Data(countdown(), "char", batch_size=4),
    seed=3,
)
EXPERIMENTS = {
    "objective": (replace(BASE, objective=TwoAhead(weight=0.5)), [TwoAhead]),
    "positions": (replace(BASE, model=replace(BASE.model, positions=ALiBi(steepest=0.5))), [ALiBi]),
    "mask": (replace(BASE, objective=DilatedAttention(gap=3)), [DilatedAttention]),
    "tokenizer": (replace(BASE, data=replace(BASE.data, tokenizer=Syllables)), [Syllables]),
    "corpus": (BASE, []),
}


@pytest.mark.parametrize("idea", IDEAS, ids=lambda path: path.stem)
def test_an_idea_takes_at_most_forty_lines(idea):
    assert len(idea.read_text().splitlines()) <= 40


def killed(experiment, folder) -> None:
    """Train in another process, which is killed once something is saved."""
    child = PROCESSES.Process(target=train_slowly, args=(experiment, folder))
    child.start()
    while not list(folder.glob("*/step-*")):
        assert child.is_alive()
        time.sleep(0.005)
    child.kill()
    child.join()


def train_slowly(experiment, folder) -> None:
    for _ in runs.training(experiment, folder, save_seconds=0):
        time.sleep(0.05)


@pytest.mark.parametrize("what", EXPERIMENTS)
def test_an_idea_is_trained_killed_resumed_loaded_listed_and_sampled(what, tmp_path):
    experiment, outside = EXPERIMENTS[what]
    whole = quiet(experiment, tmp_path / "whole")
    killed(experiment, tmp_path / "killed")
    resumed = quiet(experiment, tmp_path / "killed")
    assert torch.equal(weights(whole), weights(resumed)) and resumed.state.step == 8

    path = runs.where(experiment.resolved(), tmp_path / "killed")
    loaded = runs.load(path, outside=outside)
    assert torch.equal(weights(loaded), weights(whole))
    again = loaded.experiment
    assert again.objective == experiment.objective and again.model == whole.experiment.model
    table = runs.table(tmp_path / "killed", outside=outside)
    assert table["state"].tolist() == ["done"] and table["bits_per_char"].notna().all()
    written = [
        "".join(runs.generate(run, "3", generator=torch.Generator().manual_seed(0), max_new_tokens=12))
        for run in (whole, loaded)
    ]
    assert written[0] == written[1] and written[0].startswith("3")

    for one in outside:
        with pytest.raises(runs.CheckpointError, match=one.__name__):
            runs.load(path)
        assert runs.table(tmp_path / "killed")["state"].str.contains(one.__name__).all()


@pytest.mark.parametrize("what", ["objective", "positions", "mask", "tokenizer"])
def test_a_changed_idea_is_trained_again(what, tmp_path, monkeypatch):
    experiment, _ = EXPERIMENTS[what]
    before = runs.run_name(experiment.resolved())
    monkeypatch.setattr("lab.config.source_hash", lambda cls: "another")
    assert runs.run_name(experiment.resolved()) != before


def test_two_ahead_learns_the_second_token_and_reports_it(tmp_path):
    experiment = replace(EXPERIMENTS["objective"][0], training=TrainConfig(steps=60, warmup=5))
    steps = runs.steps(quiet(experiment, tmp_path))
    assert steps[-1]["second"] < 0.8 * steps[0]["second"]


def test_alibi_and_the_dilated_mask_change_what_is_seen():
    ids = torch.randint(5, 60, (1, 20))
    for what in ("positions", "mask"):
        experiment = EXPERIMENTS[what][0].resolved()
        torch.manual_seed(0)
        model = experiment.objective.build(experiment.model, None).eval()
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.3)
        cache = model.new_cache(1)
        with torch.no_grad():
            whole = model(ids % experiment.model.vocab_size)
            parts = [model(part % experiment.model.vocab_size, cache=cache) for part in ids.split(7, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-3, atol=1e-4)
    assert dilated(2, 6, gap=2, reach=4).int().tolist() == [[1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]]


def test_a_filter_joins_the_others_and_the_sampler(tmp_path):
    from lab.show import Sampler

    logits = torch.tensor([[8.0, 3.0, 3.0, 3.0, -2.0]])
    probs = typical(logits, None, mass=0.05).softmax(-1)
    assert (probs > 0).sum() == 1, "one token alone holds more than a twentieth"
    run = quiet(BASE, tmp_path)
    plain, filtered = (
        list(runs.generate(run, "4", Sampling(filters=filters), generator=torch.Generator().manual_seed(1)))
        for filters in ((), (typical,))
    )
    assert plain != filtered
    sampler = Sampler(run.model, run.tokenizer, filters={"typical": typical})
    assert sampler is not None


def test_syllables_come_back_and_others_are_unknown():
    tokenizer = Syllables.train(["strength and beauty", "beauty and order"], 12)
    assert tokenizer.decode(tokenizer.encode("beauty and beauty")) == "beauty and beauty"
    assert tokenizer.unk_id in tokenizer.encode("zebra")
    assert Syllables.from_json(tokenizer.to_json()).encode("and") == tokenizer.encode("and")
