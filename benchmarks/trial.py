"""How often does the referee call two models different that are the same, and how often does it find a difference?

- null: a model against itself, 40 trials. Its objective draws some random numbers before the weights and reads the
  batches of another seed, so that the two sides are independent draws of the same thing.
- planted: the same, but of each probability the idea gives a share to a token that there is not, so that it is worse
  by exactly one or two standard deviations of the seeds.
- rule: the same rates by simulation, for the numbers of looks and comparisons that a trial may have.

    python benchmarks/trial.py [--trials 40]
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import tyro

from lab import runs
from lab.bench import machine
from lab.files import write_atomic
from lab.text import Corpus, load
from lab.trial import Trial, level, trial
from lab.trial.result import TOKENS
from lab.trial.rule import FIRST, MOST, smallest_p
from lab.trial.sides import BASELINE

RESULT = Path(__file__).parent / "results" / "trial.json"
STEPS, LINES = 12, 400
IDEA = '''
import math
from dataclasses import dataclass, replace
import torch
from torch import nn
from lab.nn import TransformerConfig
from lab.runs import Data, Experiment
from lab.train import NextToken, TrainConfig

class Worse(nn.Module):
    """What the model says, but for a share of the probability, so that each token costs so many bits more."""
    def __init__(self, model, bits):
        super().__init__()
        self.model, self.config, self.bits = model, model.config, bits
    def forward(self, ids):
        logits = self.model(ids)
        lost = logits.logsumexp(-1, keepdim=True) + math.log(2**self.bits - 1)
        return torch.cat([logits, lost], dim=-1)

@dataclass(frozen=True)
class Drawn(NextToken):
    name = "drawn"
    draw: int = 0
    worse: float = 0.0
    def build(self, config, material):
        torch.rand(self.draw)
        return super().build(config, material)
    def batches(self, experiment, material):
        return super().batches(replace(experiment, seed=experiment.seed + 100 * self.draw), material)
    def language_model(self, model):
        return Worse(model, self.worse) if self.worse else model

def baseline():
    sizes = TransformerConfig(99, context=24, width=16, num_layers=1, num_heads=2, feed_forward=32)
    how = TrainConfig(99, 0.1, 0.03, warmup=2)
    return Experiment(sizes, Drawn(FIRST), how, Data(tokenizer="char", batch_size=8))

def idea(baseline):
    return replace(baseline, objective=Drawn(FIRST + 1, WORSE))
'''


def judged(number: int, worse: float, folder: Path, text: Corpus) -> Trial:
    """The trial of that number: all others draw other numbers."""
    file = folder / "drawn.py"
    file.write_text(IDEA.replace("FIRST", str(2 * number + 1)).replace("WORSE", str(worse)), "utf-8")
    quiet = {"workers": 0, "progress": False, "say": lambda _: None}
    with patch.object(runs, "seconds_per_step", lambda sides, **_: [1.0] * len(sides)):
        return trial(file, text, folder=folder, steps=STEPS, pairs=MOST, **quiet)


def called(found: list[Trial]) -> dict[str, float]:
    """How many were called better or worse, and after how many pairs they ended."""
    sentences = [one.answers[TOKENS].split()[0] for one in found]
    return {
        "trials": len(found),
        "worse": sentences.count("worse"),
        "better": sentences.count("better"),
        "mean_pairs": float(np.mean([len(one.arms[TOKENS].pairs) for one in found])),
        "mean_difference": float(np.mean([one.arms[TOKENS].difference for one in found])),
    }


def seeds_apart(found: list[Trial]) -> float:
    """The standard deviation of the scores of a baseline's seeds."""
    scores = [[row["bits_per_char"] for row in one.rows if row["side"] == BASELINE] for one in found]
    return float(np.sqrt(np.mean([np.var(some, ddof=1) for some in scores])))


def simulated() -> list[dict]:
    """The rates of the rule, by draws other than those that its levels were found with."""
    rows = []
    for comparisons in (1, 2, 3):
        for most in (FIRST, 5, MOST):
            row = {"comparisons": comparisons, "most_pairs": most, "level": level(comparisons, most)}
            for effect in (0, 1, 2, 3):
                called = smallest_p(comparisons, most, effect, seed=1) < row["level"]
                row[f"called_at_{effect}_sd"] = float(np.mean(called))
            rows.append(row)
    return rows


def main(trials: int = 40, result: Path = RESULT) -> bool:
    """Judge, count, report.

    Args:
        trials: of each kind.
        result: where the report is written.
    """
    torch.set_num_threads(1)
    began, text = time.perf_counter(), Corpus("grammar", load("grammar").lines[:LINES])
    with tempfile.TemporaryDirectory() as folder:
        null = [judged(n, 0.0, Path(folder), text) for n in range(trials)]
        apart = seeds_apart(null)
        print(f"seeds apart by {apart:.4f} bits a character; {called(null)}", flush=True)
        planted = {}
        for effect in (1, 2):
            found = [judged(n, effect * apart, Path(folder), text) for n in range(trials, 2 * trials)]
            planted[f"{effect} sd"] = called(found)
            print(f"planted {effect} sd: {planted[f'{effect} sd']}", flush=True)
    rule, nothing = simulated(), called(null)
    worst = max(row["called_at_0_sd"] for row in rule)
    wrong = nothing["better"] + nothing["worse"]
    claims = [
        {
            "claim": "of trials of a model against itself at most one in ten is called different",
            "measured": f"{wrong} of {trials}",
            "met": wrong <= trials / 10,
        },
        {
            "claim": "the rule calls at most 5 % of ideas that change nothing different, by simulation",
            "measured": worst,
            "met": worst <= 0.05,
        },
        {
            "claim": "no planted difference is called by the wrong name",
            "measured": sum(one["better"] for one in planted.values()),
            "met": not any(one["better"] for one in planted.values()),
        },
    ]
    for claim in claims:
        print(f"{'met   ' if claim['met'] else 'MISSED'} {claim['claim']}: {claim['measured']}")
    report = {"question": __doc__.splitlines()[0], "machine": machine(), "steps_a_run": STEPS}
    report |= {"seeds_apart": apart, "null": nothing, "planted": planted, "rule": rule, "claims": claims}
    report |= {"seconds": time.perf_counter() - began}
    write_atomic(result, json.dumps(report, indent=1) + "\n")
    return all(claim["met"] for claim in claims)


if __name__ == "__main__":
    sys.exit(0 if tyro.cli(main) else 1)
