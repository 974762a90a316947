"""Bundles of format 1 stay loadable: one is committed, and must give the same weights, text and next step for ever.

It was made, once, by `python tests/test_bundle_format.py` (which needs `tests` and the project on the path).
"""

import sys
from pathlib import Path

import pytest
import torch
from test_bundle import LINES, batches_of, sampled_text, tiny_run, train_on, weights_of

from lab.bundle import load, save
from lab.score import next_token_loss

FIXTURE = Path(__file__).parent / "fixtures" / "bundle_v1"


def make() -> None:
    run = tiny_run(steps=40, other_lr=0.05, matrix_lr=0.05, dropout=0.1, evaluate_every=10)
    train_on(run, stop=30, evaluate=lambda model: 1.5)
    run.metrics = run.metrics[-2:]
    save(FIXTURE, run)
    print(weights_of(run), repr(sampled_text(run)), loss_of(run))


def loss_of(run) -> float:
    with torch.no_grad():
        nats, count = next_token_loss(run.model.eval(), next(batches_of(run)))
    return nats.item() / count


WEIGHTS = "056a6a24ce88421de90234e0906841b4ebac0fcd060452e6f685604950b0bbe8"
TEXT = "tttththaaaaninnninih     tt  hee   n iin"  # since draws take one random number a token
LOSS = 2.1406160990397134


def test_format_1_gives_the_same_weights_and_text():
    run = load(FIXTURE)
    assert weights_of(run) == WEIGHTS
    assert sampled_text(run) == TEXT
    assert loss_of(run) == pytest.approx(LOSS, rel=1e-4)
    assert run.tokenizer.decode(run.tokenizer.encode(LINES[1])) == LINES[1]


def test_format_1_can_be_trained_on():
    run = load(FIXTURE, restore_random=True)
    assert (run.training_state.step, run.training_state.best_validation) == (30, 1.5)
    assert [m["step"] for m in run.metrics] == [28, 29]
    train_on(run, evaluate=lambda model: 1.0)
    assert [m["step"] for m in run.metrics] == list(range(28, 40))
    assert run.training_state.best_step == 40


def test_the_fixture_is_small():
    assert sum(path.stat().st_size for path in FIXTURE.rglob("*")) < 40_000


if __name__ == "__main__":
    sys.exit(make())
