"""Two processes that share every batch train the same model as one alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_runs_checkpoint import LINES, tiny_run, train_on

from lab.data import IGNORE, Batch
from lab.runs import load
from lab.train import parallel

ROOT = Path(__file__).resolve().parents[1]


def test_alone_nothing_is_shared_out_and_the_gradient_is_divided_by_the_count():
    batch = Batch(torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64))
    assert (parallel.rank(), parallel.world_size(), parallel.total(1.5, 2)) == (0, 1, [1.5, 2])
    assert parallel.shard(batch) is batch
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    (used * torch.tensor([3.0, 6.0])).sum().backward()
    parallel.sum_gradients([used, unused], 3)
    assert used.grad.tolist() == [1.0, 2.0] and unused.grad is None
    parallel.stop()


def test_each_process_takes_its_rows_and_what_all_rows_share_stays_whole(monkeypatch):
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    B, T = 5, 3
    ids = torch.arange(B * T).view(B, T)
    own_masks, one_mask = torch.rand(B, 1, T, T) > 0.5, torch.ones(T, T, dtype=torch.bool)
    taken = []
    for rank in range(2):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        part = parallel.shard(Batch(ids, ids + 1, mask=own_masks, positions=ids % T))
        assert torch.equal(part.targets, part.ids + 1) and torch.equal(part.positions, part.ids % T)
        assert torch.equal(part.mask, own_masks[rank::2])
        taken.append(part.ids)
        assert parallel.shard(Batch(ids, ids, mask=one_mask)).mask is one_mask
        assert parallel.shard(Batch(ids, ids, mask=one_mask[None, None])).mask.shape == (1, 1, T, T)
    assert torch.equal(torch.cat(taken).sort(dim=0).values, ids)
    assert [len(part) for part in taken] == [3, 2]


def train_once(folder: str) -> None:
    """What each process does: train on the same stream, and say what it saw. Some batches have one row only."""
    device = parallel.start()
    torch.set_default_dtype(torch.float64)  # the order of sums changes far less than a fault does
    run = tiny_run(steps=8, dropout=0.0, accumulate=2, evaluate_every=3, optimizer="muon")
    if parallel.rank():  # weights that differ at first are made the same
        torch.nn.init.zeros_(run.model.embedding.token.weight)
    run.model.to(device)

    def uneven(batches):
        for n, batch in enumerate(batches):
            batch.targets[0, n % 5 :] = IGNORE
            rows = slice(0, 1 if n % 3 == 0 else None)
            yield Batch(batch.ids[rows], batch.targets[rows])

    train_on(run, change=uneven, save_to=folder, save_every=4, evaluate=lambda model: float(parallel.rank()))
    seen = [[m["loss"], m["grad_norm"], m["tokens"], m["validation"]] for m in run.metrics]
    sums = [p.double().sum().item() for p in run.model.parameters()]
    Path(f"{folder}-seen-{parallel.rank()}.json").write_text(json.dumps({"seen": seen, "sums": sums}))
    parallel.stop()


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path):
    train_once(str(tmp_path / "alone"))
    torch.set_default_dtype(torch.float32)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += [__file__, str(tmp_path / "together")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=180)
    assert done.returncode == 0, done.stderr
    read = lambda name: json.loads((tmp_path / f"{name}.json").read_text())  # noqa: E731
    alone, one, other = read("alone-seen-0"), read("together-seen-0"), read("together-seen-1")
    assert one == other, "every process knows the mean over all, and takes the same steps"
    for ours, theirs in zip(alone["seen"], one["seen"], strict=True):
        assert theirs[:3] == pytest.approx(ours[:3], rel=1e-9)
    assert [s[3] for s in one["seen"]] == [None, None, 0.5, None, None, 0.5, None, None]
    assert one["sums"] == pytest.approx(alone["sums"], rel=1e-6, abs=1e-6)
    run = load(tmp_path / "together")
    assert run.state.step == 8 and run.tokenizer.decode(run.tokenizer.encode(LINES[0])) == LINES[0]
    assert [m["loss"] for m in run.metrics] == [s[0] for s in one["seen"]]


if __name__ == "__main__":
    train_once(sys.argv[1])
