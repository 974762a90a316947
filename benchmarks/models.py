"""How good are the models in models/? Bits a character of the test lines, which no choice was made by, with intervals.

Writes benchmarks/results/models.json; models/README.md cites it. The interval holds 95 of 100 scores when the lines are
drawn anew, with replacement: it is of the text, not of the seeds.

    python benchmarks/models.py [--names kjv-1]
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro

from lab import models
from lab.bench import machine
from lab.files import write_atomic
from lab.score import hidden_nats, token_logprobs

RESULT = Path(__file__).parent / "results" / "models.json"
RESAMPLES = 2000


@dataclass(frozen=True)
class Settings:
    """Which models are scored."""

    names: tuple[str, ...] = field(default_factory=lambda: tuple(models.names()))


def score(name: str) -> dict:
    run = models.get(name)
    material = run.experiment.material()
    lines = material.splits.test
    model = run.experiment.objective.language_model(run.model)
    encoded = run.tokenizer.encode_lines(lines)
    nats = np.array([-one.sum().item() for one in token_logprobs(model, encoded)])
    hidden = hidden_nats(run.tokenizer, lines, encoded)
    chars = np.array([len(line) + 1 for line in lines])
    drawn = np.random.default_rng(0).integers(len(lines), size=(RESAMPLES, len(lines)))
    spread = (nats[drawn].sum(1) + hidden) / chars[drawn].sum(1) / math.log(2)
    low, high = np.quantile(spread, [0.025, 0.975])
    [checkpoint] = (models.MODELS / name).glob("step-*")
    return {
        "bits_per_char": float((nats.sum() + hidden) / chars.sum() / math.log(2)),
        "interval": [float(low), float(high)],
        "lines": len(lines),
        "parameters": run.model.num_parameters,
        "bytes": sum(file.stat().st_size for file in checkpoint.iterdir()),
        "seconds_of_training": run.state.seconds,
        "tokens_of_training": run.state.tokens,
    }


def main(settings: Settings) -> None:
    kept = json.loads(RESULT.read_text("utf-8"))["models"] if RESULT.exists() else {}
    for name in settings.names:
        kept[name] = score(name)
        told = kept[name]
        low, high = told["interval"]
        print(
            f"{name:12} {told['bits_per_char']:.3f} bits a character ({low:.3f} to {high:.3f}) "
            f"of {told['lines']:,} test lines, {told['parameters'] / 1e6:.2f} M parameters, "
            f"{told['bytes'] / 1e6:.1f} MB, {told['seconds_of_training'] / 60:.0f} minutes of training"
        )
    write_atomic(
        RESULT,
        json.dumps({"question": __doc__.splitlines()[0], "machine": machine(), "models": kept}, indent=1)
        + "\n",
    )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
