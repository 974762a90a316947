"""How soon is what `lab train` makes as good as what others make, and how good in a quarter of an hour, and in an hour?

KJV, bits a character of the test lines, which nothing was chosen by; each case in turn with a GPT-2 of transformers
that is trained on the same lines in the manner of small GPT trainers: AdamW, cosine, float32, windows begun anywhere.

    python benchmarks/recipe.py --pace      # first, while nothing else runs: seconds a step, on all cores
    python benchmarks/recipe.py [--cases half-minute peer-180 ...] [--seeds 0 1 2] [--folder runs] [--threads 1]
    python benchmarks/recipe.py --quick     # a minute: everything runs, nothing is written

How long a step takes is measured apart, ours and theirs in turn, on all cores of a quiet machine. A peer is given as
many steps as fill its time at that pace, and every case is told with its steps times its pace: what is reached then
depends on no neighbour, and the training itself may run beside other work, on one thread, for hours, be stopped with
Ctrl-C and go on. A row is written to benchmarks/results/recipe.json as soon as it is there, and not measured again.
"""

import json
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
import tyro
from transformers import GPT2Config, GPT2LMHeadModel

import lab.text
from lab import runs
from lab.bench import machine
from lab.data import join_lines, random_windows
from lab.files import write_atomic
from lab.runs import Experiment
from lab.score import score_lines
from lab.text import BPETokenizer
from lab.train.optim import learning_rate_factor

RESULT = Path(__file__).parent / "results" / "recipe.json"


@dataclass(frozen=True)
class Ours:
    """What `lab train --recipe` makes, perhaps in fewer steps; the bits a character and seconds it should take."""

    recipe: str | None
    bits: float
    seconds: float
    steps: int | None = None


@dataclass(frozen=True)
class Peer:
    """A GPT-2 in the manner of small GPT trainers, by the clock; what it is known to reach, on two other cores."""

    width: int
    layers: int
    heads: int
    context: int
    batch: int
    seconds: float
    known: float


CASES = {
    "half-minute": Ours(None, 1.413, 30, steps=360),
    "peer-180": Peer(128, 4, 4, 64, 12, 180, 1.413),
    "quarter": Ours("quarter", 1.20, 900),
    "peer-600": Peer(192, 6, 6, 128, 16, 600, 1.326),
    "hour": Ours("hour", 1.16, 3600),
}


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    cases: tuple[str, ...] = tuple(CASES)
    seeds: tuple[int, ...] = (0, 1, 2)
    pace: bool = False
    folder: Path | None = None
    threads: int = 1
    quick: bool = False


def experiment(case: Ours, seed: int, steps: int | None) -> Experiment:
    usual = Experiment.usual(recipe=case.recipe)
    steps = steps or case.steps or usual.training.steps
    training, data = replace(usual.training, steps=steps), replace(usual.data, corpus="kjv")
    return replace(usual, training=training, data=data, seed=seed)


def ours(case: Ours, seed: int, steps: int | None, folder: Path | None) -> dict:
    run = runs.get_or_train(experiment(case, seed, steps), folder)
    material = run.experiment.material()
    return {
        "bits_per_char": score_lines(run.model, material.tokenizer, material.splits.test).bits_per_char,
        "validation": run.state.validation,
        "steps": run.state.step,
        "tokens": run.state.tokens,
        "parameters": run.model.num_parameters,
        "settings": run.experiment.to_json(),
    }


def peer(case: Peer, seed: int, steps: int) -> dict:
    splits, tokenizer, _ = peer_text()
    model = trained_peer(case, seed, steps)
    score = score_lines(Logits(model), tokenizer, splits.test, context=case.context)
    return {
        "bits_per_char": score.bits_per_char,
        "steps": steps,
        "tokens": steps * case.batch * case.context,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


@cache
def peer_text() -> tuple[lab.text.Splits, BPETokenizer, torch.Tensor]:
    splits = lab.text.load("kjv").splits(seed=0)
    tokenizer = BPETokenizer.train(splits.train, 1000)
    return splits, tokenizer, join_lines(tokenizer.encode_lines(splits.train))


def trained_peer(case: Peer, seed: int, steps: int) -> GPT2LMHeadModel:
    _, tokenizer, stream = peer_text()
    torch.manual_seed(seed)
    model = gpt2(case, tokenizer.vocab_size)
    batches = random_windows(stream, case.context, case.batch, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    for step, batch in zip(range(steps), batches, strict=False):
        share = learning_rate_factor(step, steps, warmup=100, schedule="cosine", least=0.1)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * share
        logits = model(batch.ids).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def paces(rounds: int, steps: int) -> dict[str, float]:
    """Seconds a step of each case, medians over the rounds, in which all take turns; first steps are counted too."""
    torch.set_num_threads(os.cpu_count() or 1)
    peer_text()
    taken = {name: [] for name in CASES}
    for _, (name, case) in product(range(rounds), CASES.items()):
        if isinstance(case, Ours):
            with TemporaryDirectory() as folder:
                run = runs.get_or_train(
                    experiment(case, 0, steps), folder, progress=False, say=lambda _: None
                )
            taken[name].append(run.state.seconds / steps)
        else:
            begun = time.perf_counter()
            trained_peer(case, 0, steps)
            taken[name].append((time.perf_counter() - begun) / steps)
    return {name: median(times) for name, times in taken.items()}


def gpt2(case: Peer, vocab_size: int) -> GPT2LMHeadModel:
    sizes = {"n_embd": case.width, "n_layer": case.layers, "n_head": case.heads, "n_positions": case.context}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=vocab_size, bos_token_id=None, eos_token_id=None, **sizes, **dropout)
    )


class Logits(torch.nn.Module):
    """A model of transformers as `score_lines` calls one."""

    def __init__(self, model: GPT2LMHeadModel):
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.model(ids).logits


def main(settings: Settings) -> None:
    if settings.quick:
        pace, told = paces(rounds=1, steps=3), {"rows": []}
    else:
        told = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {"rows": []}
        if settings.pace:
            told["pace"] = {"machine": machine(), "seconds_a_step": paces(rounds=3, steps=60)}
            save(told)
            print(
                *(
                    f"{name:12} {one * 1e3:.1f} ms a step"
                    for name, one in told["pace"]["seconds_a_step"].items()
                ),
                sep="\n",
            )
            return
        if "pace" not in told:
            sys.exit(
                "How many steps fill the time is not known yet: run it with --pace first, while nothing else runs"
            )
        pace = told["pace"]["seconds_a_step"]
    torch.set_num_threads(settings.threads)
    done = {(row["case"], row["seed"]) for row in told["rows"]}
    for seed, name in product(settings.seeds, settings.cases):
        if (name, seed) in done:
            continue
        case = CASES[name]
        if isinstance(case, Peer):
            found = peer(case, seed, 3 if settings.quick else int(case.seconds / pace[name]))
        elif settings.quick:
            with TemporaryDirectory() as folder:
                found = ours(case, seed, 3, folder)
        else:
            found = ours(case, seed, None, settings.folder)
        row = {"case": name, "seed": seed, "threads": settings.threads, "machine": machine()} | found
        row["seconds"] = row["steps"] * pace[name]
        told["rows"].append(row)
        print(
            f"{name:12} seed {seed}: {row['bits_per_char']:.3f} bits a character after {row['seconds']:,.0f} s, "
            f"{row['steps']:,} steps, {row['parameters'] / 1e6:.2f} M parameters",
            flush=True,
        )
        if not settings.quick:
            save(told)
    for name in settings.cases:
        rows = [row for row in told["rows"] if row["case"] == name]
        if not rows:
            continue
        bits, seconds = (median(row[what] for row in rows) for what in ("bits_per_char", "seconds"))
        case = CASES[name]
        if isinstance(case, Peer):
            verdict = f"known to reach {case.known}"
        else:
            met = bits <= case.bits and seconds <= case.seconds
            verdict = f"{'met' if met else 'MISSED'}: {case.bits} in {case.seconds:,.0f} s"
        print(f"{name:12} {bits:.3f} after {seconds:,.0f} s, {len(rows)} seeds; {verdict}")


def save(told: dict) -> None:
    told = {"question": __doc__.splitlines()[0], "machine": machine()} | told
    write_atomic(RESULT, json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
