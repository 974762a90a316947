"""How soon is what `lab train` makes as good as what others make, and how good in a quarter of an hour, and in an hour?

KJV, bits a character of the test lines, which nothing was chosen by; each case in turn with a GPT-2 of transformers
that is trained on the same lines in the manner of small GPT trainers: AdamW, cosine, float32, windows begun anywhere.

    python benchmarks/recipe.py [--cases half-minute peer-180 ...] [--seeds 0 1 2] [--threads 2] [--quick]

Each row is written to benchmarks/results/recipe.json as soon as it is there, and a row that is there is not measured
again: stop with Ctrl-C and go on later. `--quick` shows in half a minute that everything runs and writes nothing.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
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
    threads: int = field(default_factory=torch.get_num_threads)
    quick: bool = False


def ours(case: Ours, seed: int, quick: bool) -> dict:
    usual = Experiment.usual(recipe=case.recipe)
    steps = 10 if quick else case.steps or usual.training.steps
    experiment = replace(
        usual,
        training=replace(usual.training, steps=steps),
        data=replace(usual.data, corpus="kjv"),
        seed=seed,
    )
    with TemporaryDirectory() as folder:
        run = runs.get_or_train(experiment, folder)
        material = run.experiment.material()
        score = score_lines(run.model, material.tokenizer, material.splits.test)
    return {
        "bits_per_char": score.bits_per_char,
        "seconds": run.state.seconds,
        "steps": steps,
        "tokens": run.state.tokens,
        "parameters": run.model.num_parameters,
        "settings": run.experiment.to_json(),
    }


def peer(case: Peer, seed: int, quick: bool) -> dict:
    """Trained for so many seconds, by a schedule that was planned from the speed of its first steps."""
    splits = lab.text.load("kjv").splits(seed=0)
    tokenizer = BPETokenizer.train(splits.train, 1000)
    stream = join_lines(tokenizer.encode_lines(splits.train))
    seconds = 2.0 if quick else case.seconds

    def steps(count: int) -> Iterator[tuple[torch.nn.Module, float]]:
        torch.manual_seed(seed)
        model = gpt2(case, tokenizer.vocab_size)
        generator = torch.Generator().manual_seed(seed)
        batches = random_windows(stream, case.context, case.batch, generator)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
        begun = time.perf_counter()
        for step, batch in zip(range(count), batches, strict=False):
            share = learning_rate_factor(step, count, warmup=100, schedule="cosine", least=0.1)
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * share
            logits = model(batch.ids).logits
            loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            yield model, time.perf_counter() - begun

    first = [taken for _, taken in steps(60)]
    count = int(seconds / median(b - a for a, b in pairwise(first)))
    *_, (model, taken) = steps(count)
    score = score_lines(Logits(model), tokenizer, splits.test, context=case.context)
    return {
        "bits_per_char": score.bits_per_char,
        "seconds": taken,
        "steps": count,
        "tokens": count * case.batch * case.context,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


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
    torch.set_num_threads(settings.threads)
    there = json.loads(RESULT.read_text("utf-8"))["rows"] if RESULT.exists() and not settings.quick else []
    done = {(row["case"], row["seed"]) for row in there}
    for seed in settings.seeds:
        for name in settings.cases:
            if (name, seed) in done:
                continue
            case = CASES[name]
            row = (ours if isinstance(case, Ours) else peer)(case, seed, settings.quick)
            print(
                f"{name:12} seed {seed}: {row['bits_per_char']:.3f} bits a character after {row['seconds']:,.1f} s, "
                f"{row['steps']:,} steps, {row['parameters'] / 1e6:.2f} M parameters"
            )
            there.append(
                {"case": name, "seed": seed, "threads": settings.threads, "machine": machine()} | row
            )
            if not settings.quick:
                told = {"question": __doc__.splitlines()[0], "machine": machine(), "rows": there}
                write_atomic(RESULT, json.dumps(told, indent=1) + "\n")
    for name in settings.cases:
        rows = [row for row in there if row["case"] == name]
        bits, seconds = (median(row[what] for row in rows) for what in ("bits_per_char", "seconds"))
        case = CASES[name]
        if isinstance(case, Peer):
            verdict = f"known to reach {case.known}"
        else:
            met = bits <= case.bits and seconds <= 1.05 * case.seconds
            verdict = f"{'met' if met else 'MISSED'}: {case.bits} in {case.seconds:,.0f} s"
        print(f"{name:12} {bits:.3f} after {seconds:,.0f} s, {len(rows)} seeds; {verdict}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
