"""How near does diffusion over grids of cells come to an autoregressive model, after as many tokens?

KJV, BPE-1000. Four sides of about equal size are trained on as many tokens each: an autoregressive transformer, and
three denoisers whose tokens are 5 x 5 grids of 3 colours: whole tokens masked, single cells masked, and uniform noise.
The autoregressive model's figure is exact, the others are bounds over the same held-out lines, with the standard
error of the noise in them.

    python benchmarks/visual_tokens.py [--quick] [--only token cell uniform autoregressive] [--steps 4000] [--threads 1]

Each side has its own file, benchmarks/results/visual_tokens_SIDE.json, written as soon as it is scored, so several
processes may share the sides. `--quick` shows in a minute that everything runs
and writes nothing.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro

import lab.text
from lab.bench import machine
from lab.data import Batch, join_lines, random_windows
from lab.diffusion import (
    Codebook,
    Denoiser,
    DenoiserConfig,
    LineLengths,
    diffusion_loss,
    line_batches,
    score_bound,
)
from lab.files import write_atomic
from lab.nn import DecoderOnlyTransformer, TransformerConfig
from lab.score import Score, score_lines
from lab.text import BPETokenizer
from lab.train import Loss, Step, TrainConfig, next_token_loss, train

RESULTS = Path(__file__).parent / "results"
SIDES = ("autoregressive", "token", "cell", "uniform")
AT_MOST = {
    "token": (1.45, 1.2),
    "cell": (1.6, 1.3),
    "uniform": (1.8, 1.5),
}  # bound over autoregressive; the goal


@dataclass(frozen=True)
class Settings:
    """What is trained, and for how long; all sides alike."""

    only: tuple[Literal["autoregressive", "token", "cell", "uniform"], ...] = SIDES
    quick: bool = False
    steps: int = 4000
    tokens: int = 1536  # a step
    width: int = 160
    layers: int = 3
    neighbours: int = 2
    matrix_lr: float = 0.02
    other_lr: float = 6e-3
    lines: int = 0  # held-out lines that are scored, 0 = all
    draws: int = 16
    whole_first: float = (
        0.5  # the share of the steps in which side "cell" masks whole tokens, before it masks cells
    )
    seed: int = 0
    threads: int = 1


class Text:
    """KJV as ids, and the lines that are held out."""

    def __init__(self, settings: Settings):
        splits = lab.text.load("kjv").splits(seed=0)
        lines = splits.train[:1000] if settings.quick else splits.train
        self.held_out = splits.test[: settings.lines or None]
        self.tokenizer = BPETokenizer.train(lines, 1000)
        self.lines = self.tokenizer.encode_lines(lines)


def autoregressive(text: Text, s: Settings) -> tuple[torch.nn.Module, Iterator[Batch]]:
    context = 64
    config = TransformerConfig(
        text.tokenizer.vocab_size, context, s.width, s.layers, num_heads=4, feed_forward=4 * s.width
    )
    stream, generator = join_lines(text.lines), torch.Generator().manual_seed(s.seed)
    return DecoderOnlyTransformer(config), random_windows(stream, context, s.tokens // context, generator)


def denoiser(side: str, text: Text, s: Settings) -> tuple[Denoiser, Iterator[Batch]]:
    stack = TransformerConfig(
        text.tokenizer.vocab_size, 192, s.width, s.layers, num_heads=4, feed_forward=4 * s.width
    )
    uniform = side == "uniform"
    config = DenoiserConfig(
        stack,
        noise="uniform" if uniform else "absorbing",
        granularity="token" if side == "token" else "cell",
        reads="words",
        time_input=uniform,
        neighbours=s.neighbours,
    )
    generator = torch.Generator().manual_seed(s.seed)
    model = Denoiser(config, Codebook.linear(text.tokenizer.vocab_size))
    return model, line_batches(text.lines, config.context, s.tokens, generator)


def run(side: str, text: Text, s: Settings) -> dict:
    """Train one side and score it."""
    torch.manual_seed(s.seed)
    training = TrainConfig(s.steps, matrix_lr=s.matrix_lr, other_lr=s.other_lr)
    if side == "autoregressive":
        model, batches = autoregressive(text, s)
        loss = next_token_loss
    else:
        model, batches = denoiser(side, text, s)
        times = "uniform" if side == "token" else "informative"

        def loss(model: Denoiser, batch: Batch, step: Step) -> Loss:
            return diffusion_loss(model, batch, step.rng, times=times)

    read: list[int] = []
    began = time.process_time()
    for step in train(model, counted(batches, read), loss, training, seed=s.seed):
        if step.step % max(1, s.steps // 20) == 0:
            print(
                f"  {side:15} step {step.step:5}, {step.seconds:6.0f} s, loss {step.loss:.3f} nats",
                flush=True,
            )
    cpu_seconds = time.process_time() - began  # what the training took, whoever else used the machine
    if side == "autoregressive":
        score = score_lines(model, text.tokenizer, text.held_out)
    else:
        score = bound(model, text, s)
    print(f"{side}: {score}", flush=True)
    return {
        "bits_per_char": score.bits_per_char,
        "standard_error": score.standard_error,
        "is_bound": score.is_bound,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": sum(read),
        "seconds": step.seconds,
        "cpu_seconds": cpu_seconds,
        "lines": len(text.held_out),
        "settings": asdict(replace(s, only=())),
        "machine": machine(),
    }


def counted(batches: Iterator[Batch], read: list[int]) -> Iterator[Batch]:
    """The same batches; `read` gets the number of tokens of each, those that are given too."""
    for batch in batches:
        read.append(batch.ids.numel())
        yield batch


def bound(model: Denoiser, text: Text, s: Settings) -> Score:
    lengths, generator = LineLengths.of(text.lines), torch.Generator().manual_seed(s.seed)
    return score_bound(
        model,
        text.tokenizer,
        text.held_out,
        lengths,
        draws=s.draws,
        generator=generator,
        batch_size=32,
    )


def path(side: str) -> Path:
    return RESULTS / f"visual_tokens_{side}.json"


def record(side: str, found: dict) -> None:
    write_atomic(path(side), json.dumps({"question": __doc__.splitlines()[0]} | found, indent=1) + "\n")


def judge() -> bool:
    """Whether all bounds measured so far are near enough, those of earlier runs too."""
    sides = {side: json.loads(path(side).read_text("utf-8")) for side in SIDES if path(side).exists()}
    met = True
    if "autoregressive" in sides:
        exact = sides["autoregressive"]["bits_per_char"]
        for side, (most, goal) in AT_MOST.items():
            if side in sides:
                ratio = sides[side]["bits_per_char"] / exact
                met &= 1.0 <= ratio <= most
                print(f"{'met   ' if ratio <= most else 'MISSED'} {side}: bound over autoregressive {ratio:.3f}, "
                      f"at most {most} (goal {goal})")  # fmt: skip
    return met


def main(settings: Settings) -> bool:
    torch.set_num_threads(settings.threads)
    if settings.quick:
        settings = replace(settings, steps=8, lines=20, width=64, layers=1)
    text = Text(settings)
    for side in settings.only:
        found = run(side, text, settings)
        if not settings.quick:
            record(side, found)
    if settings.quick:
        print("everything runs; no figure is judged and nothing written: --quick")
        return True
    return judge()


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, description=__doc__)) else 1)
