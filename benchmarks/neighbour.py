"""How should threads wait for each other, so that training goes on beside another busy program, such as a browser?

- speed: the model of notebook 00 trained by one thread and by all, told in several ways how to wait; with nothing else
  running, and beside a program that this one starts and that keeps one core busy. Every figure comes from a process of
  its own, for the threads are told as torch is loaded; the ways take turns, so that a busy spell hits them all.

- bits: whether every kind of model, after a few steps, has the same weights to the bit with one thread as with all. If
  so, one thread while a neighbour is busy, and all of them afterwards, would be faster still and change no number.

    python benchmarks/neighbour.py            # a quarter of an hour; leave the machine alone meanwhile
    python benchmarks/neighbour.py --quick    # shows in a minute or two that it runs; writes and judges nothing
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
import tyro

from lab import runs
from lab.bench import machine
from lab.data import random_windows
from lab.files import sha256_bytes, write_atomic
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.runs import Experiment
from lab.speech import SyntheticConfig
from lab.threads import SPINS
from lab.train import TrainConfig, next_token_loss, train

RESULT = Path(__file__).parent / "results" / "neighbour.json"
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
WAYS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "all, default": {},
    **{
        f"all, GOMP_SPINCOUNT={spins}": {"GOMP_SPINCOUNT": str(spins)} for spins in (10_000, 1000, SPINS, 300)
    },
    "all, OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
}
OURS = f"all, GOMP_SPINCOUNT={SPINS}"
BUSY_FLOOR, IDLE_FLOOR = 0.8, 0.85  # of one thread beside a neighbour; of all threads by default without one
LONGEST = 120  # seconds that one process may take: with the default it may not come to an end
KINDS = [("next-token", recipe) for recipe in (None, "elman", "gru", "lstm")]
KINDS += [("characters", None), ("diffusion", None), ("recognition", "digits")]


@dataclass(frozen=True)
class Settings:
    """How often, how long a process trains, how many steps a kind of model is trained to compare its bits."""

    repeats: int = 3
    seconds: float = 8.0
    steps: int = 5
    quick: bool = False


# ---- speed ------------------------------------------------------------------------------------------------------


def speed(seconds: float) -> float:
    """Tokens a second of training, after a second that does not count. Random ids cost what those of a text do."""
    torch.manual_seed(0)
    model = DecoderOnlyTransformer(TransformerConfig(1000, context=64, width=192, num_layers=2, num_heads=4))
    batches = random_windows(torch.randint(1000, (100_000,)), 64, 18, torch.Generator().manual_seed(0))
    steps = train(model, batches, next_token_loss, TrainConfig(10**6))
    began = time.perf_counter()
    while time.perf_counter() - began < 1:
        next(steps)
    began, tokens = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        tokens += next(steps).tokens
    return tokens / (time.perf_counter() - began)


def speed_told(way: dict[str, str], seconds: float) -> float:
    """The same in a new process whose threads are told `way`; 0 where it did not come to an end."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | way
    command = [sys.executable, "-c", f"import neighbour; print(neighbour.speed({seconds}))"]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            env=environment,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            timeout=LONGEST,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return 0.0
    return float(done.stdout)


@contextmanager
def busy_program() -> Iterator[None]:
    """Another program that wants a core for itself, wherever the system puts it."""
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def speeds(settings: Settings) -> dict[str, dict[str, list[float]]]:
    """Tokens a second of every way in every repeat, idle and busy."""
    found = {state: {way: [] for way in WAYS} for state in ("idle", "busy")}
    for _ in range(settings.repeats):
        for state, beside in (("idle", nullcontext), ("busy", busy_program)):
            with beside():
                for way, told in WAYS.items():
                    found[state][way].append(speed_told(told, settings.seconds))
    return found


# ---- bits -------------------------------------------------------------------------------------------------------


def weights_after(experiment: Experiment, steps: int, threads: int) -> dict[str, torch.Tensor]:
    """The weights of a run that is left after so many steps."""
    torch.set_num_threads(threads)
    with TemporaryDirectory() as folder:
        reports = runs.training(experiment, folder, name="it")
        for _ in islice(reports, steps):
            pass
        reports.close()
        return runs.load(Path(folder, "it")).model.state_dict()


def bits(objective: str, recipe: str | None, steps: int, threads: int) -> dict[str, object]:
    """Are the weights after `steps` steps of one thread those of `threads` threads?"""
    usual = Experiment.usual(objective, recipe)
    asked = usual.objective
    if objective == "recognition":
        asked = replace(asked, script=SyntheticConfig("digits", 40, 8, 8, speaker="whistle"))
    text = usual.data.corpus if objective == "recognition" else "grammar"
    experiment = replace(usual, objective=asked, data=replace(usual.data, corpus=text))
    one, all_ = (weights_after(experiment, steps, count) for count in (1, threads))
    return {
        "kind": " ".join(filter(None, (objective, recipe))),
        "sha256_one": fingerprint(one),
        "sha256_all": fingerprint(all_),
        "weights": len(one),
        "weights_that_differ": sum(not torch.equal(one[name], all_[name]) for name in one),
        "largest_difference": max((one[name] - all_[name]).abs().max().item() + 0.0 for name in one),
    }


def fingerprint(weights: dict[str, torch.Tensor]) -> str:
    named = sorted(weights.items())
    return sha256_bytes(b"".join(name.encode() + w.numpy().tobytes() for name, w in named))[:16]


# ---- report -----------------------------------------------------------------------------------------------------


def main(settings: Settings) -> bool:
    if settings.quick:
        settings = replace(settings, repeats=1, seconds=1.0, steps=1)
    threads = max(2, torch.get_num_threads())
    found = speeds(settings)
    middle = {state: {way: median(all_) for way, all_ in ways.items()} for state, ways in found.items()}
    print(f"{'tokens a second':<32}{'idle':>10}{'busy':>10}{'of default, idle':>18}{'of one, busy':>14}")
    for way in WAYS:
        idle, busy = middle["idle"][way], middle["busy"][way]
        shares = idle / middle["idle"]["all, default"], busy / middle["busy"]["one thread"]
        print(f"{way:<32}{idle:>10,.0f}{busy:>10,.0f}{shares[0]:>18.2f}{shares[1]:>14.2f}")
    kinds = [bits(*kind, settings.steps, threads) for kind in KINDS]
    for kind in kinds:
        differ = f"{kind['weights_that_differ']} of {kind['weights']} weights differ"
        print(f"{kind['kind']:<20}{differ}, by at most {kind['largest_difference']:.1e}")
    if settings.quick:
        return True
    claims = [
        claim(
            f"beside a busy program {SPINS} spins keep at least {BUSY_FLOOR} of one thread's speed",
            busy := middle["busy"][OURS] / middle["busy"]["one thread"],
            busy >= BUSY_FLOOR,
        ),
        claim(
            f"where nothing else runs they keep at least {IDLE_FLOOR} of the default's",
            idle := middle["idle"][OURS] / middle["idle"]["all, default"],
            idle >= IDLE_FLOOR,
        ),
        claim(
            "the number of threads changes the weights, so that it must stay what it is while a run is trained",
            changed := sum(kind["weights_that_differ"] > 0 for kind in kinds),
            changed > 0,
        ),
    ]
    for one in claims:
        print(f"{'met   ' if one['met'] else 'MISSED'} {one['claim']}: {one['measured']:.3g}")
    report = {"question": __doc__.splitlines()[0], "machine": machine() | {"threads": threads}}
    report |= {"settings": vars(settings), "tokens_per_second": found, "bits": kinds, "claims": claims}
    write_atomic(RESULT, json.dumps(report, indent=1) + "\n")
    return all(one["met"] for one in claims)


def claim(text: str, measured: float, met: bool) -> dict[str, object]:
    return {"claim": text, "measured": measured, "met": met}


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, description=__doc__)) else 1)
