"""Sweeps: every run once, whatever happens to the processes that train them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
import torch
from ideas.two_ahead import TwoAhead
from run_toys import made_text, quiet, weights

from lab import cli, runs
from lab.nn import TransformerConfig
from lab.runs import Data, Experiment
from lab.runs.cluster import Died, Pool, local_pool, results
from lab.runs.sending import packed, unpacked
from lab.text import Corpus
from lab.train import NextToken, TrainConfig

ROOT = Path(__file__).resolve().parents[1]
SWEEP = sys.modules["lab.runs.sweep"]  # the function goes by the same name
POSIX = pytest.mark.skipif(os.name == "nt", reason="by signals")
SIZES = {"context": 24, "width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 16, "dropout": 0.1}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Experiment:
    text = made_text(tmp_path_factory.mktemp("text"), "t.txt", "the quick brown fox and a dog", (3, 9), 200)
    config = TransformerConfig(60, **SIZES)
    return Experiment(config, training=TrainConfig(steps=40, warmup=2), data=Data(text, "char", batch_size=4))


def swept(experiments, folder, **options):
    options = {"workers": 2, "progress": False, "say": lambda _: None} | options
    return runs.sweep(experiments, folder, **options)


def assert_as_alone(experiments, folder, alone) -> None:
    for experiment in experiments:
        by_itself = quiet(experiment, alone)
        run = runs.load(runs.where(experiment.resolved(), folder), outside=[TwoAhead])
        assert torch.equal(weights(run), weights(by_itself)) and runs.outcome(run) == runs.outcome(by_itself)


def test_every_row_is_that_of_a_run_alone_and_nothing_is_trained_twice(base, tmp_path):
    mine = Corpus("mine", [f"line {n} of mine" for n in range(60)])
    diverging = replace(base, training=replace(base.training, matrix_lr=1e30, other_lr=1e30))
    good = [
        base,
        replace(base, seed=1),
        replace(base, objective=TwoAhead()),
        replace(base, data=Data(mine, "char", batch_size=4)),
    ]
    table = swept([*good, diverging, base], tmp_path / "swept")
    assert list(table.index) == [runs.run_name(one.resolved()) for one in (*good, diverging)]
    assert table["state"].tolist()[:4] == ["done"] * 4 and "diverged" in table["state"].iloc[4]
    assert table["training.matrix_lr"].iloc[4] == 1e30
    assert_as_alone(good, tmp_path / "swept", tmp_path / "alone")

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "swept").glob("*/step-*/*")}
    told = []
    again = swept([*good[:2], replace(base, seed=2)], tmp_path / "swept", workers=0, say=told.append)
    assert again["state"].tolist() == ["done"] * 3 and "2 there already" in told[0]
    assert (
        before.items() <= {p: p.stat().st_mtime_ns for p in (tmp_path / "swept").glob("*/step-*/*")}.items()
    )


@POSIX
@pytest.mark.slow
def test_workers_that_are_killed_lose_nothing(base, tmp_path):
    experiments = [replace(base, seed=seed, training=replace(base.training, steps=400)) for seed in range(3)]
    ended, kills = threading.Event(), []
    killer = threading.Thread(target=kill_those_that_save, args=(tmp_path / "killed", kills, ended))
    killer.start()
    try:
        table = swept(experiments, tmp_path / "killed", save_seconds=0)
    finally:
        ended.set()
        killer.join()
    assert len(kills) >= 10 and table["state"].tolist() == ["done"] * 3
    assert_as_alone(experiments, tmp_path / "killed", tmp_path / "alone")


def kill_those_that_save(folder: Path, kills: list, ended: threading.Event) -> None:
    """SIGKILL for a process that trains, at a random moment after its run was saved again, so often in a save."""
    moments = torch.Generator().manual_seed(0)
    killed_at = {}
    while not ended.is_set() and len(kills) < 11:
        time.sleep(0.01 * torch.rand(1, generator=moments).item())
        for lock in folder.glob("*/.lock"):
            step = max((path.name for path in lock.parent.glob("step-*")), default="")
            holder = lock.read_bytes()[1:].strip()
            if holder and step > killed_at.get(lock, "") and psutil.pid_exists(int(holder)):
                psutil.Process(int(holder)).kill()
                killed_at[lock] = step
                kills.append(step)


@POSIX
def test_a_run_whose_process_always_dies_is_marked_and_the_others_go_on(base, tmp_path):
    table = swept([replace(base, objective=Deadly()), base], tmp_path)
    assert table["state"].iloc[0].startswith("died") and table["state"].iloc[1] == "done"


@dataclass(frozen=True)
class Deadly(NextToken):
    name: ClassVar[str] = "deadly"

    def loss(self, model, batch, step):
        if step.number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(model, batch, step)


@POSIX
def test_ctrl_c_lets_every_worker_save_and_the_same_command_goes_on(base, tmp_path):
    command = [sys.executable, "-m", "lab", "sweep", "--corpus", base.data.corpus, "--tokenizer", "char"]
    command += ["--model.context", "24", "--model.width", "16", "--training.steps", "200000"]
    command += ["--seed", "0", "1", "--folder", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    going = subprocess.Popen(
        command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # background jobs ignore it
    )  # fmt: skip
    try:
        while len(list(tmp_path.glob("*/.lock"))) < 2:
            assert going.poll() is None
            time.sleep(0.05)
        time.sleep(1)
        os.killpg(going.pid, signal.SIGINT)  # as a terminal does: to all its processes
        assert going.wait(60) == 130
    finally:
        going.kill()
        going.wait()
    steps = [int(path.name[5:]) for path in tmp_path.glob("*/step-*")]
    assert len(steps) == 2 and min(steps) >= 1


class Workers:
    """Two of dask's, at whose hands each job comes to what is written here for it, one try after the other."""

    status = "running"

    def __init__(self, tries: dict[str, list]):
        self.tries = tries

    def nthreads(self):
        return {"a": 1, "b": 1}

    def submit(self, function, job, **_):
        return Ended(self.tries[job].pop(0))


@dataclass
class Ended:
    came_to: object

    def done(self):
        return True

    def result(self):
        if isinstance(self.came_to, Exception):
            raise self.came_to
        return self.came_to


def test_what_a_worker_gives_back_or_dies_of_is_tried_again_until_it_comes_no_further():
    gone, steps = OSError("gone"), iter(range(1, 9))
    tries = {"sent back": [None, 1], "lost": [gone, gone, 2], "never": [gone] * 3, "slow": [gone] * 4 + [3]}
    pool = Pool(Workers(tries))
    found = dict(
        results(
            pool, print, {name: name for name in tries}, progress=lambda n: next(steps) if n == "slow" else 0
        )
    )
    assert isinstance(found.pop("never"), Died) and found == {"sent back": 1, "lost": 2, "slow": 3}


class Dying:
    """Two workers of dask's that die of a job after so many looks at it, with all else that they were given."""

    status = "running"

    def __init__(self, looks: dict[str, int]):
        self.looks, self.alive, self.given, self.names = looks, [], [], iter(range(100))

    def nthreads(self):
        return dict.fromkeys(self.alive, 1)

    def revive(self):
        self.alive += [next(self.names) for _ in range(2 - len(self.alive))]

    def submit(self, function, job, *, workers=None, **_):
        busy = [future.worker for future in self.given if not future.ended]
        self.given.append(Given(self, job, workers[0] if workers else min(self.alive, key=busy.count)))
        return self.given[-1]


@dataclass
class Given:
    pool: Dying
    job: str
    worker: int
    looked: int = 0

    @property
    def ended(self):
        return self.worker not in self.pool.alive or self.looked > 30

    def done(self):
        self.looked += 1
        if self.looked == self.pool.looks.get(self.job) and self.worker in self.pool.alive:
            self.pool.alive.remove(self.worker)
        return self.ended

    def result(self):
        if self.worker not in self.pool.alive:
            raise OSError("gone")
        return self.job

    def cancel(self):
        pass


def test_no_job_is_blamed_for_the_death_of_another():
    client = Dying({"dies soon": 2, "dies later": 8})
    jobs = ["dies soon", "dies later", "good", "good too"]
    found = dict(results(Pool(client, client.revive), print, dict(zip(jobs, jobs, strict=True))))
    assert isinstance(found["dies soon"], Died) and isinstance(found["dies later"], Died)
    assert [[given.job for given in client.given].count(job) for job in jobs] == [3, 3, 1, 1]


def test_a_folder_that_workers_do_not_share_gets_whole_runs(base, tmp_path, monkeypatch):
    monkeypatch.setattr(SWEEP, "_mark", lambda folder: nullcontext(tmp_path / "not there" / "mark"))
    monkeypatch.setenv("LAB_RUNS", str(tmp_path / "theirs"))
    swept([base], tmp_path / "ours")
    assert_as_alone([base], tmp_path / "ours", tmp_path / "alone")
    assert runs.table(tmp_path / "theirs")["state"].tolist() == ["done"]


def test_a_scheduler_by_its_address(base, tmp_path):
    with local_pool(1, threads=1) as pool:
        address = pool.client.scheduler_info()["address"]
        ours = psutil.Process()
        sockets = [one for p in (ours, *ours.children(recursive=True)) for one in p.net_connections("tcp")]
        assert {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        table = swept([base], tmp_path, scheduler=address, insecure=True)
    assert table["state"].tolist() == ["done"]
    with pytest.raises(ValueError, match="tls://"):
        swept([replace(base, seed=5)], tmp_path, scheduler=address)


def test_a_worker_with_other_code_is_refused(base, tmp_path, monkeypatch):
    monkeypatch.setattr("lab.runs.sending.code_version", lambda objective: "0" * 64)
    with pytest.raises(ValueError, match="version"):
        swept([base], tmp_path)
    assert not list(tmp_path.glob("*/step-*"))


def test_what_cannot_be_is_said_before_anything_is_started(base, tmp_path, monkeypatch):
    monkeypatch.setattr("lab.runs.cluster.ANSWER", 0.3)

    @dataclass(frozen=True)
    class Inside(NextToken):
        name: ClassVar[str] = "inside"

    cases = [
        ([], {}, "experiment"),
        ([base], {"workers": -1}, "workers"),
        ([replace(base, objective=Inside())], {}, "file"),
        ([base], {"scheduler": "tcp://127.0.0.1:9", "insecure": True}, "127.0.0.1:9"),
    ]
    for experiments, options, named in cases:
        with pytest.raises(ValueError, match=named):
            swept(experiments, tmp_path, **options)
    monkeypatch.setattr("lab.runs.cluster.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="workers=0"):
        swept([base], tmp_path)
    assert not list(tmp_path.glob("*/step-*"))


def test_an_experiment_is_made_again_from_what_is_sent(base, tmp_path):
    divided = Corpus("mine", ["one", "two", " three"], parts=(1, 1, 1))
    mine = replace(base, objective=TwoAhead(0.7), data=Data(divided, "char", subset=0.5))
    sent = json.loads(json.dumps(packed(mine, tmp_path)))
    assert unpacked(sent) == mine
    sent["classes"][0]["source"] = "another"
    with pytest.raises(ValueError, match="TwoAhead"):
        unpacked(sent)


@pytest.fixture
def lab_sweep(monkeypatch, capsys, tmp_path):
    """`lab sweep` in this process: its exit status and what it says."""

    def lab_sweep(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(
            sys, "argv", ["lab", "sweep", *words, "--folder", str(tmp_path), "--workers", "0"]
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out + captured.err

    return lab_sweep


def test_the_command_takes_the_product_of_its_flags_or_a_file_of_them(base, lab_sweep, tmp_path):
    sizes = ["--corpus", base.data.corpus, "--tokenizer", "char", "--model.num-layers", "1"]
    sizes += ["--training.steps", "2"]
    varied = ["--model.width", "8", "16", "--seed", "0", "1", "--model.tied", "True", "False"]
    assert lab_sweep(*sizes, *varied)[0] == 0
    settings = [runs.settings(run) for run in runs.open_runs(tmp_path).values()]
    found = {(s["model.width"], s["seed"], s["model.tied"]) for s in settings}
    assert found == {(w, s, t) for w in (8, 16) for s in (0, 1) for t in (True, False)}

    listed = tmp_path / "sweep.json"
    listed.write_text(
        json.dumps([{"model.width": [8, 24], "seed": 0, "model.tied": True}, {"model.width": 32}])
    )
    status, said = lab_sweep(*sizes, "--file", str(listed))
    assert status == 0 and "1 there already" in said
    assert len(runs.run_folders(tmp_path)) == 8 + 2


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--model.widht", "8"], "--model.width"),
        (["--seed"], "--seed"),
        (["8", "--seed", "1"], "8"),
        (["--seed", "0", "--seed", "1"], "--seed"),
        (["--file", "[]"], "list"),
        (["--file", '[{"seed": []}]'], "seed"),
        (["--file", "{"], "JSON"),
    ],
)
def test_flags_that_make_no_sweep(words, named, lab_sweep, tmp_path):
    if words[0] == "--file":
        (tmp_path / "sweep.json").write_text(words[1])
        words = ["--file", str(tmp_path / "sweep.json")]
    status, said = lab_sweep(*words)
    assert status == 2 and named in said
