"""How good are the models in models/? Scored on test lines, or utterances, by which nothing was chosen, with intervals.

Writes benchmarks/results/models.json; models/README.md cites it. An interval holds 95 of 100 scores when the lines are
drawn anew: it is of the text, not of the seeds.

    python benchmarks/models.py [--names kjv-1] [--threads 1]
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import tyro

import lab.text
from lab import models
from lab.bench import machine
from lab.diffusion import score_bound
from lab.files import write_atomic
from lab.runs import Run
from lab.score import KneserNey, hidden_nats, token_logprobs
from lab.speech import NGramScorer
from lab.speech.choosing import read_all
from lab.speech.reading import Reading
from lab.speech.script import texts

RESULT = Path(__file__).parent / "results" / "models.json"
RESAMPLES = 2000
GROUPS = 20  # of lines, where a score is no sum over them
STUDENT = 2.093  # 95 % of Student's t with 19 degrees of freedom


@dataclass(frozen=True)
class Settings:
    """Which models are scored."""

    names: tuple[str, ...] = field(default_factory=lambda: tuple(models.names()))
    threads: int = 1


@dataclass(frozen=True)
class Measured:
    """One score, and what it may be on other lines."""

    measure: str
    score: float
    low: float
    high: float


def next_tokens(run: Run) -> list[Measured]:
    lines = run.experiment.material().splits.test
    model = run.experiment.objective.language_model(run.model)
    encoded = run.tokenizer.encode_lines(lines)
    nats = np.array([-one.sum().item() for one in token_logprobs(model, encoded)])
    hidden = hidden_nats(run.tokenizer, lines, encoded)
    chars = np.array([len(line) + 1 for line in lines])
    drawn = np.random.default_rng(0).integers(len(lines), size=(RESAMPLES, len(lines)))
    spread = (nats[drawn].sum(1) + hidden) / chars[drawn].sum(1) / math.log(2)
    score = (nats.sum() + hidden) / chars.sum() / math.log(2)
    return [Measured("bits a character", float(score), *map(float, np.quantile(spread, [0.025, 0.975])))]


def by_group(run: Run, score: Callable[[list[str]], dict[str, float]]) -> list[Measured]:
    """Each score of each group of the test lines, and how far their mean may be off."""
    lines = run.experiment.material().splits.test
    found = [score(lines[n::GROUPS]) for n in range(GROUPS)]
    told = []
    for measure in found[0]:
        scores = np.array([one[measure] for one in found])
        mean, off = scores.mean(), STUDENT * scores.std(ddof=1) / math.sqrt(GROUPS)
        told.append(Measured(measure, float(mean), float(mean - off), float(mean + off)))
    return told


def visual_tokens(run: Run) -> list[Measured]:
    model, generator = run.model, torch.Generator().manual_seed(0)

    def score(lines: list[str]) -> dict[str, float]:
        bound = score_bound(model.denoiser, run.tokenizer, lines, model.lengths, generator=generator)
        return {"bits a character, at most": bound.bits_per_char}

    return by_group(run, score)


def characters(run: Run) -> list[Measured]:
    objective = replace(run.experiment.objective, scored_lines=0)

    def score(lines: list[str]) -> dict[str, float]:
        found = objective.scores(run.model, run.tokenizer, lines)
        restored = found.restoration[0]
        return {
            "masked characters, right (of 20 %)": found.mlm.accuracy,
            "bits a character, the next one": found.clm.bits_per_char,
            "chunks of 64 characters exactly, through the bottleneck": found.bottleneck.share,
            f"F1 of {restored.characters} put back": restored.f1,
        }

    return by_group(run, score)


def recognition(run: Run) -> list[Measured]:
    objective = run.experiment.objective
    speech = objective.material(run.experiment).speech
    said = texts(objective.script, lab.text.load(run.experiment.data.corpus)).train
    scorer = NGramScorer(KneserNey(said, order=8), run.tokenizer)
    readings = {
        "by CTC's best path": Reading("ctc"),
        "by attention, greedily": Reading("attention"),
        # as benchmarks/speech_recognition.py chose on validation utterances, for a run of the same recipe
        "by both, with a language model of 8 characters": Reading("both", beam=16, weight=1.2, bonus=1.5),
    }
    found = read_all(run.model, run.tokenizer, speech.test, readings.values(), scorer, resamples=RESAMPLES)
    return [
        Measured(f"{what} wrong, {how}", rate.rate, rate.low, rate.high)
        for how, one in zip(readings, found, strict=True)
        for what, rate in (("characters", one.cer), ("words", one.wer))
    ]


SCORED = {
    "next-token": next_tokens,
    "diffusion": visual_tokens,
    "characters": characters,
    "recognition": recognition,
}


def main(settings: Settings) -> None:
    torch.set_num_threads(settings.threads)
    kept = json.loads(RESULT.read_text("utf-8"))["models"] if RESULT.exists() else {}
    for name in settings.names:
        run = models.get(name)
        [checkpoint] = (models.MODELS / name).glob("step-*")
        kept[name] = {
            "scores": [asdict(one) for one in SCORED[run.experiment.objective.name](run)],
            "parameters": run.model.num_parameters,
            "bytes": sum(file.stat().st_size for file in checkpoint.iterdir()),
            "seconds_of_training": run.state.seconds,
            "tokens_of_training": run.state.tokens,
            "machine": machine(),
        }
        told = kept[name]
        print(
            f"{name}: {told['parameters'] / 1e6:.2f} M parameters, {told['bytes'] / 1e6:.1f} MB, "
            f"{told['seconds_of_training'] / 60:.0f} minutes of training"
        )
        for one in told["scores"]:
            print(f"    {one['score']:.4f} ({one['low']:.4f} to {one['high']:.4f}) {one['measure']}")
        told_all = {"question": __doc__.splitlines()[0], "machine": machine(), "models": kept}
        write_atomic(RESULT, json.dumps(told_all, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
