"""Does training that is killed again and again, also while it saves, end with the weights of training left alone?

A process trains a tiny model and saves after every other step; it is killed (SIGKILL) at a random moment, a little
after the hidden folder of a save appears, or just as that is renamed. A new one takes the run up, saves the same step
once more, and trains on, until a run is at its end. After every kill the newest checkpoint must load, and no step may
be lost that was saved before. On Linux the processes are forked from this one, which has torch imported already, so
that each starts at once.

    python benchmarks/kill.py --kills 200
"""

import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import tyro

from lab import runs
from lab.bench import machine
from lab.data import join_lines, random_windows
from lab.files import sha256_bytes, write_atomic
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.text import CharTokenizer
from lab.train import TrainConfig, TrainingState, next_token_loss, train

LINES = ["in the beginning", "the night and the light", "that it was good"] * 4
TOKENIZER = CharTokenizer.train(LINES)
STEPS, SAVE_EVERY, CONTEXT, BATCH_SIZE = 24, 2, 12, 4
RESULT = Path(__file__).parent / "results" / "kill.json"
PROCESSES = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def experiment() -> runs.Experiment:
    sizes = dict(context=CONTEXT, width=16, num_layers=2, num_heads=2, feed_forward=32)
    return runs.Experiment(
        TransformerConfig(TOKENIZER.vocab_size, **sizes, dropout=0.2),
        training=TrainConfig(STEPS, warmup=5, accumulate=2),
        data=runs.Data("psalm", "char", BATCH_SIZE, sha256=sha256_bytes(b"psalm")),
        seed=1,
    )


def flush_slowly(handle: int, flush=os.fsync) -> None:
    """A disk that takes its time: on a fast one a save is over before a kill can arrive in the middle of it."""
    flush(handle)
    time.sleep(0.004)


def train_to_the_end(folder: Path) -> None:
    """What the process that may be killed does: take the run up where it stands, or begin it."""
    os.fsync = flush_slowly  # of this process alone
    asked = experiment()
    run = runs.resume(folder, asked)
    if run is None:
        torch.manual_seed(asked.seed)
        model = DecoderOnlyTransformer(asked.model)
        run = runs.Run(asked, TOKENIZER, model, TrainingState(model, asked.training))
    else:
        runs.save(folder, run)  # saving a step once more is a moment to be killed in too
    ids = join_lines(TOKENIZER.encode_lines(LINES))
    batches = random_windows(ids, CONTEXT, BATCH_SIZE, torch.Generator().manual_seed(asked.seed))
    for step in train(run.model, batches, next_token_loss, asked.training, state=run.state):
        run.metrics.append({"step": step.step, "loss": step.loss})
        if run.state.step % SAVE_EVERY == 0:
            runs.save(folder, run)


def start(folder: Path) -> BaseProcess:
    """A new process that trains."""
    process = PROCESSES.Process(target=train_to_the_end, args=(folder,))
    process.start()
    return process


def hidden(folder: Path) -> list[str]:
    """Folders of checkpoints that a save is building, or has left unfinished."""
    inside = os.listdir(folder) if folder.is_dir() else []
    return [name for name in inside if name.startswith(".step-") and name.endswith(".part")]


def kill_somewhere(process: BaseProcess, folder: Path, dice: random.Random) -> bool:
    """Kill the process, mostly while it saves or just as that ends; False when it was at its end before."""
    stop = time.perf_counter() + dice.uniform(0, 0.3)
    moment = dice.choice(("any", "building", "renaming"))
    skipped = dice.randrange(4)  # how many saves may pass
    last = None
    while True:
        if not process.is_alive():
            return False
        if moment == "any" and time.perf_counter() > stop:
            break
        if moment != "any" and (found := hidden(folder)) and found[0] != last:
            if skipped == 0:
                break
            skipped, last = skipped - 1, found[0]
    if moment == "building":
        time.sleep(dice.uniform(0, 0.02))
    while moment == "renaming" and hidden(folder) and process.is_alive():
        pass
    process.kill()
    process.join()
    return True


def outcome(folder: Path) -> tuple[str, list[dict]]:
    """A fingerprint of the weights, and the losses of every step."""
    run = runs.load(folder)
    assert run.state.step == STEPS, f"the run ended at step {run.state.step}"
    named = sorted(run.model.state_dict().items())
    return sha256_bytes(b"".join(n.encode() + t.numpy().tobytes() for n, t in named)), run.metrics


def run_with_kills(folder: Path, dice: random.Random, counts: dict[str, int], kills: int) -> None:
    """Train in `folder` to the end, killed on the way until there have been `kills` kills in all."""
    reached = 0
    while True:
        process = start(folder)
        if counts["kills"] >= kills:
            process.join()
            counts["failures"] += process.exitcode != 0
            return
        if not kill_somewhere(process, folder, dice):
            return
        counts["kills"] += 1
        counts["inside a save"] += bool(hidden(folder))
        if folder.is_dir() and any(folder.glob("step-*")):
            step = runs.load(folder).state.step
            counts["failures"] += step < reached
            reached = step


def main(kills: int = 200, seed: int = 0, result: Path = RESULT) -> bool:
    """Kill, compare, report.

    Args:
        kills: how many processes are killed.
        seed: of the moments.
        result: where the report is written.
    """
    torch.set_num_threads(1)
    dice = random.Random(seed)
    counts = {"kills": 0, "inside a save": 0, "runs ended": 0, "as if left alone": 0, "failures": 0}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        alone = Path(scratch, "alone")
        start(alone).join()
        expected = outcome(alone)
        while counts["kills"] < kills:
            folder = Path(scratch, f"run{counts['runs ended']}")
            run_with_kills(folder, dice, counts, kills)
            counts["runs ended"] += 1
            counts["as if left alone"] += outcome(folder) == expected
    seconds = time.perf_counter() - began
    claims = [
        {
            "claim": "every run ends with the weights and losses of the one left alone",
            "measured": f"{counts['as if left alone']} of {counts['runs ended']}",
            "met": counts["as if left alone"] == counts["runs ended"] > 0,
        },
        {
            "claim": "no process fails to take a run up, and no saved step is lost",
            "measured": counts["failures"],
            "met": counts["failures"] == 0,
        },
        {
            "claim": "at least a fifth of the kills were inside a save",
            "measured": counts["inside a save"],
            "met": counts["inside a save"] >= kills / 5,
        },
    ]
    for claim in claims:
        print(f"{'met   ' if claim['met'] else 'MISSED'} {claim['claim']}: {claim['measured']}")
    print(f"{counts['kills']} kills, {counts['inside a save']} inside a save, in {seconds:.0f} s")
    report = {"question": __doc__.splitlines()[0], "machine": machine(), "seed": seed, "steps_a_run": STEPS}
    report |= {"counts": counts, "seconds": seconds, "claims": claims}
    write_atomic(result, json.dumps(report, indent=1) + "\n")
    return all(claim["met"] for claim in claims)


if __name__ == "__main__":
    sys.exit(0 if tyro.cli(main) else 1)
