"""What does one character encoder reach on all of its objectives, trained together on KJV for an hour on one core?

The recipe of notebook 08 at `full`: characters masked, the next one, reconstruction, a bottleneck of 512 numbers,
punctuation and spaces restored, the line before as memory. Trained through lab.runs, so an interrupted run goes on;
scored on test lines.

    python benchmarks/char_encoder.py [--steps 2000] [--folder runs] [--lines 0] [--threads 1]

Writes benchmarks/results/char_encoder.json, unless `--lines` cuts the test short.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import tyro

from lab import runs
from lab.bench import machine
from lab.chars import (
    CharacterObjectives,
    CharEncoderConfig,
    Weights,
    chance_levels,
    memory_effect,
    score_table,
)
from lab.files import write_atomic
from lab.nn import TransformerConfig
from lab.runs import Data, Experiment
from lab.train import TrainConfig

RESULT = Path(__file__).parent / "results" / "char_encoder.json"
PUNCTUATION = ".,:;?!'()-"


@dataclass(frozen=True)
class Settings:
    """How long, where the run is kept, and on how many test lines it is scored (0: all)."""

    steps: int = 2000
    folder: Path | None = None
    name: str | None = None
    lines: int = 0
    threads: int = 1


def experiment(steps: int) -> Experiment:
    stack = TransformerConfig(256, context=256, width=160, num_layers=4, num_heads=4, feed_forward=640)
    config = CharEncoderConfig(
        stack, decoder_layers=2, cross_attention="memory", memory_slots=1, latents=32, latent_width=16
    )
    objective = CharacterObjectives(
        Weights(mlm=1.0, clm=1.0, reconstruction=0.02, bottleneck=0.1, restoration=0.1),
        mask_rate=0.35,
        last_mask_rate=0.2,
        removed=(PUNCTUATION, " "),
        restored=0.15,
        memory=1,
        scored_lines=0,
    )
    training = TrainConfig(steps=steps, warmup=40)
    return Experiment(config, objective, training, Data("kjv", "char", batch_size=12))


def main(settings: Settings) -> bool:
    torch.set_num_threads(settings.threads)
    run = runs.get_or_train(experiment(settings.steps), settings.folder, name=settings.name)
    objective = run.experiment.objective
    text = objective.material(run.experiment)
    lines = text.splits.test[: settings.lines or None]
    scores = objective.scores(run.model, run.tokenizer, lines)
    rows = score_table(scores, chance_levels(run.tokenizer, lines))
    effect = memory_effect(run.model, run.tokenizer, text.corpus.lines, lines)
    print(f"{scores}\nmemory: MLM {effect.mlm}; CLM {effect.clm}")
    reached = {
        "MLM accuracy, at least 70 % (goal 80)": scores.mlm.accuracy >= 0.7,
        "CLM, at most 2.0 bits (goal 1.8)": scores.clm.bits_per_char <= 2.0,
        "bottleneck, at least 95 % of chunks exactly (goal 99)": scores.bottleneck.share >= 0.95,
    }
    for name, met in reached.items():
        print(f"{'met   ' if met else 'MISSED'} {name}")
    if not settings.lines:
        found = {
            "question": __doc__.splitlines()[0],
            "scores": rows,
            "memory": {"mlm": asdict(effect.mlm), "clm": asdict(effect.clm)},
            "lines": len(lines),
            "steps": run.state.step,
            "training_seconds": run.state.seconds,
            "parameters": run.model.num_parameters,
            "experiment": run.experiment.to_json(),
            "machine": machine(),
        }
        write_atomic(RESULT, json.dumps(found, indent=1) + "\n")
    return all(reached.values())


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, description=__doc__)) else 1)
